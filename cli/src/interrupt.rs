//! Ctrl-C and SIGTERM: the first is a request, the second is an end.

use std::{
    process,
    sync::{Arc, OnceLock},
};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::failure::{Exit, Failure};

/// Whether the person wants what is going on to stop.
#[derive(Debug, Clone)]
pub(crate) struct Interrupt {
    pub(crate) token: CancellationToken,
    how: Arc<OnceLock<Exit>>,
}

impl Interrupt {
    /// Watches from now on; must be called on a tokio runtime. The second signal ends the process at once.
    ///
    /// # Errors
    /// If signals cannot be caught.
    pub(crate) fn watch() -> anyhow::Result<Self> {
        let interrupt = Self { token: CancellationToken::new(), how: Arc::default() };
        let (mut ctrl_c, mut terminate) =
            (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        let watching = interrupt.clone();
        tokio::spawn(async move {
            let first = next(&mut ctrl_c, &mut terminate).await;
            watching.how.get_or_init(|| first);
            watching.token.cancel();
            process::exit(next(&mut ctrl_c, &mut terminate).await as i32);
        });
        Ok(interrupt)
    }

    /// What it is told and ends with.
    pub(crate) fn failure(&self) -> Failure {
        let exit = self.how.get().copied().unwrap_or(Exit::Interrupted);
        Failure::new(exit, if exit == Exit::Terminated { "terminated" } else { "interrupted" })
    }

    /// The outcome of some work, or the failure if the person does not want it any more.
    pub(crate) async fn unless<T>(&self, work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
        tokio::select! {
            done = work => done,
            () = self.token.cancelled() => Err(self.failure().into()),
        }
    }
}

async fn next(ctrl_c: &mut Signal, terminate: &mut Signal) -> Exit {
    tokio::select! {
        _ = ctrl_c.recv() => Exit::Interrupted,
        _ = terminate.recv() => Exit::Terminated,
    }
}
