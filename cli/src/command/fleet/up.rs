//! `dunlin up`.

use std::{path::PathBuf, time::Duration};

use dunlin_protocol::{NodeState, Role};
use dunlin_scheduler::{Front, look};

use super::{
    agent::NodeOptions,
    http::HttpOptions,
    scheduler::{self, SchedulerOptions},
    watch::{MetricsOptions, TraceOptions},
};
use crate::{
    arguments::Global,
    fleet::member::Member,
    folders::Folders,
    interrupt::Interrupt,
    runtime::{SHUTDOWN, for_many},
    terminal,
};

/// How long what runs may take to end.
const DRAIN: Duration = Duration::from_secs(10);

/// Run a fleet of one: scheduler and agent on this machine, in one process tree
#[derive(Debug, clap::Args)]
pub(crate) struct Up {
    /// Where it is kept [default: $XDG_DATA_HOME/dunlin/fleet]
    #[arg(long, value_name = "FOLDER")]
    folder: Option<PathBuf>,
    /// The policy for requests that name none; read again whenever it changes
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// What may be done to this machine by itself, as for `dunlin scheduler`; read again whenever it changes [default: nothing]
    #[arg(long, value_name = "FILE")]
    plan: Option<PathBuf>,
    /// Modes that a plan and `dunlin mode` may put this machine into, or `all`; what was found is restored at the end
    #[arg(long, value_name = "NAME,NAME", value_delimiter = ',')]
    modes: Vec<String>,
    /// UDP port for members
    #[arg(long, value_name = "PORT", default_value_t = crate::fleet::member::PORT)]
    port: u16,
    #[command(flatten)]
    http: HttpOptions,
    #[command(flatten)]
    metrics: MetricsOptions,
    #[command(flatten)]
    traces: TraceOptions,
}

impl Up {
    /// # Errors
    /// As `dunlin scheduler` and `dunlin agent`.
    pub(crate) fn execute(&self, global: Global) -> anyhow::Result<()> {
        let runtime = for_many()?;
        let done = runtime.block_on(async {
            let interrupt = Interrupt::watch()?;
            let folders = Folders::find()?;
            let folder = self.folder.clone().unwrap_or_else(|| folders.data.join("fleet"));
            let options = SchedulerOptions {
                policy: self.policy.clone(),
                plan: self.plan.clone(),
                listen: [127, 0, 0, 1].into(),
                port: self.port,
                fleet: None,
                folder: Some(folder.join("scheduler")),
                traces: self.traces.clone(),
            };
            let server = scheduler::start(&options).await?;
            scheduler::log_in(&server).await?;
            let door = self.http.open(&server, global).await?;
            let address = scheduler::address(&server);
            let member = Member::open(&folder.join("agent"))?;
            let is_ours = member.folder.identity()?.is_some_and(|(trust, _)| trust.fleet == *server.fleet());
            if !is_ours || member.scheduler().as_ref() != Some(&address) {
                let token = server.token(Role::Node, None).await?;
                member.join(&address, &token, "local".parse().ok()).await?;
            }
            let node = NodeOptions::local(&self.modes, &self.traces).start(&member, &address, global)?;
            let _metrics = self.metrics.expose(&node, global).await?;
            let running = node.run(interrupt.token.clone(), DRAIN);
            tokio::pin!(running);
            tokio::select! {
                _ = &mut running => {}
                () = server.failed() => return Err(scheduler::failed().into()),
                () = node_is_known(server.front()) => {
                    if !global.quiet {
                        terminal::tell(format_args!(
                            "fleet {} is up, on UDP {}: try `dunlin invoke classify --text \"disk nearly full\" \
                             --param choices=ok,warning,critical --explain` in another terminal; Ctrl-C ends",
                            server.fleet(),
                            server.members()
                        ));
                    }
                    tokio::select! {
                        _ = &mut running => {}
                        () = server.failed() => return Err(scheduler::failed().into()),
                    }
                }
            }
            if let Some(door) = door {
                door.close().await;
            }
            server.stop().await;
            Ok(())
        });
        runtime.shutdown_timeout(SHUTDOWN);
        done
    }
}

/// Waits until the scheduler knows what its node has: what is asked for after that finds a model.
async fn node_is_known(front: &Front) {
    let mut changes = front.changes();
    loop {
        changes.mark_unchanged();
        // Of one that was cordoned before, too.
        let is_there = |node: &look::Node| {
            matches!(node.joined.state, NodeState::Ready | NodeState::Cordoned | NodeState::Draining)
        };
        if front.look().await.is_ok_and(|look| look.nodes.iter().any(is_there)) {
            return;
        }
        if changes.changed().await.is_err() {
            // It goes down, and says so elsewhere.
            return std::future::pending().await;
        }
    }
}
