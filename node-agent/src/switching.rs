//! A node changes its mode: waits for what runs, switches, reads back, goes on. That nothing new comes meanwhile is the
//! scheduler's to see to.

use std::{sync::Arc, time::Duration};

use dunlin_protocol::{Failure, FailureCode};
use dunlin_worker_handle::BoardState;
use tokio::time::timeout;

use crate::{mode::ModeError, node::Node};

/// What runs may take so long to end; then the mode stays.
const QUIET: Duration = Duration::from_secs(60);

/// An emulated board tells its mode within this, or has refused it.
const ANSWER: Duration = Duration::from_secs(5);

impl Node {
    /// # Errors
    /// If the machine does not take it, or what runs does not end; then the mode is as it was.
    pub(crate) async fn change_mode(self: &Arc<Self>, mode: String) -> Result<(), Failure> {
        let Ok(_alone) = self.switching.try_lock() else {
            let text = format!("{} is changing its mode already", self.name);
            return Err(Failure::new(FailureCode::Conflict, text).retry_after_ms(5000));
        };
        if mode == self.mode() {
            return Ok(());
        }
        self.change_when_quiet(mode).await
    }

    async fn change_when_quiet(self: &Arc<Self>, mode: String) -> Result<(), Failure> {
        self.until_quiet(QUIET).await?;
        self.bench.interrupt();
        match self.board() {
            Some(board) => self.change_board(BoardState { mode: mode.clone(), ..board }).await?,
            None => {
                let (node, wanted) = (self.clone(), mode.clone());
                let set = tokio::task::spawn_blocking(move || node.modes.set(&wanted)).await;
                let set = set.map_err(|error| Failure::new(FailureCode::Internal, error.to_string()))?;
                set.map_err(|error| Failure::new(code(&error), format!("{}: {error}", self.name)))?;
            }
        }
        tracing::info!(from = self.mode(), to = mode, "the mode is changed");
        self.keep_mode(mode);
        self.metering.mode_changed();
        Ok(())
    }

    /// Until what runs has ended.
    ///
    /// # Errors
    /// If it does not within this time.
    pub(crate) async fn until_quiet(&self, within: Duration) -> Result<(), Failure> {
        let mut news = self.news.subscribe();
        let quiet = async {
            while !self.running().is_empty() {
                drop(news.changed().await);
            }
        };
        timeout(within, quiet).await.map_err(|_| {
            let text = format!(
                "what runs on {} does not end; drain it first: dunlin drain {}",
                self.name, self.name
            );
            Failure::new(FailureCode::Conflict, text)
        })
    }

    async fn change_board(&self, board: BoardState) -> Result<(), Failure> {
        let mode = board.mode.clone();
        let mut told = self.worker.board();
        self.worker.set_board(board);
        let taken = told.wait_for(|shown| shown.as_ref().is_some_and(|shown| shown.mode == mode));
        let refused = || {
            let known = self.options.emulation.as_ref().map(|of| of.modes.join(", ")).unwrap_or_default();
            let text = format!("{} has no mode {mode:?}; there are {known}", self.name);
            Failure::new(FailureCode::Invalid, text)
        };
        match timeout(ANSWER, taken).await {
            Ok(Ok(_)) => Ok(()),
            _ => Err(refused()),
        }
    }
}

fn code(error: &ModeError) -> FailureCode {
    match error {
        ModeError::Unknown { .. } => FailureCode::Invalid,
        ModeError::None | ModeError::Restart { .. } | ModeError::NotTaken { .. } => FailureCode::Unsupported,
        ModeError::Denied { .. } => FailureCode::Forbidden,
        ModeError::Io { .. } | ModeError::Garbage { .. } => FailureCode::Unavailable,
    }
}
