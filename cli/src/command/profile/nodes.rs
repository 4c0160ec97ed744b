//! On nodes of the fleet, one after another.

use dunlin_profiler::{Depth, Points, Profile as Outcome};
use dunlin_protocol::{
    HowToProfile, NodeId, ProfileDepth, ProfileNode, ProfilePoints, Profiling, ToProfile, limits::MAX_POINTS,
};
use serde_json::{Value, json};

use super::{Profile, show::show};
use crate::{
    arguments::Global,
    failure::{self, Exit, Failure},
    fleet::{Client, client::told},
    interrupt::Interrupt,
    runtime::{SHUTDOWN, runtime},
    terminal::{
        self,
        progress::{Bar, Progress},
    },
};

/// What came of one node.
struct Measured {
    outcome: Outcome,
    stopped: bool,
}

impl Profile {
    /// # Errors
    /// If a node could not be measured; the others were. Interrupted, the node that is on keeps what it has measured.
    pub(super) fn there(&self, global: Global) -> anyhow::Result<()> {
        let runtime = runtime()?;
        let done = runtime.block_on(async {
            let interrupt = Interrupt::watch()?;
            let client = interrupt.unless(Client::connect()).await?;
            let done = self.all(&client, &interrupt, global).await;
            client.leave().await;
            done
        });
        runtime.shutdown_timeout(SHUTDOWN);
        done
    }

    async fn all(&self, client: &Client, interrupt: &Interrupt, global: Global) -> anyhow::Result<()> {
        let (mut documents, mut failures) = (Vec::new(), Vec::new());
        for node in &self.nodes {
            match self.one(client, node, interrupt, global).await {
                Ok(measured) => documents.push(self.tell(node, &measured, global)?),
                Err(error) if self.nodes.len() == 1 => return Err(error),
                Err(error) => {
                    failure::warn(&format!("{node}: {error:#}"));
                    failures.push(node.to_string());
                }
            }
            if interrupt.token.is_cancelled() {
                break;
            }
        }
        if self.json {
            terminal::print_json(&documents)?;
        }
        if interrupt.token.is_cancelled() {
            return Err(interrupt
                .failure()
                .hint("what was measured is kept on the node: the same command goes on")
                .into());
        }
        match failures.is_empty() {
            true => Ok(()),
            false => Err(Failure::new(Exit::Failed, format!("not measured: {}", failures.join(", "))).into()),
        }
    }

    async fn one(
        &self,
        client: &Client,
        node: &NodeId,
        interrupt: &Interrupt,
        global: Global,
    ) -> anyhow::Result<Measured> {
        let ask = ProfileNode { node: node.clone(), model: self.model.model.clone(), how: self.how() };
        let (mut to, mut from) = client.profile(ask).await?;
        let bar = Progress::new(global.quiet).count(&format!("{node}: {}", self.model.model), 1);
        let (mut measured, mut is_stopped) = (None, false);
        loop {
            let said = tokio::select! {
                said = from.receive() => said?,
                () = interrupt.token.cancelled(), if !is_stopped => {
                    is_stopped = true;
                    bar.say(&format!("{node}: ends"));
                    to.send(&ToProfile::Stop).await?;
                    continue;
                }
            };
            match said {
                Some(Profiling::Measured { json, stopped }) => {
                    let outcome = serde_json::from_str(&json)?;
                    measured = Some(Measured { outcome, stopped });
                }
                Some(Profiling::Failed(fault)) => return Err(told(&fault).into()),
                Some(said) => show_progress(&bar, node, said, global),
                // The node takes work again.
                None => {
                    let silent = || Failure::new(Exit::Failed, "the scheduler did not say what came of it");
                    return Ok(measured.ok_or_else(silent)?);
                }
            }
        }
    }

    fn how(&self) -> HowToProfile {
        HowToProfile {
            depth: match self.depth() {
                Depth::Quick => ProfileDepth::Quick,
                Depth::Standard => ProfileDepth::Standard,
                Depth::Full => ProfileDepth::Full,
            },
            points: match &self.points {
                Points::Auto { .. } => ProfilePoints::Auto,
                Points::All { .. } => ProfilePoints::All,
                Points::Only(threads) => {
                    ProfilePoints::Only(threads.iter().copied().take(MAX_POINTS).collect())
                }
            },
            budget_ms: self.budget.map(|budget| budget.as_millis() as u64),
            again: self.again,
        }
    }

    fn tell(&self, node: &NodeId, measured: &Measured, global: Global) -> anyhow::Result<Value> {
        let Measured { outcome, stopped } = measured;
        if !self.json {
            if self.nodes.len() > 1 {
                terminal::print(format_args!("{node}"))?;
            }
            show(outcome, global)?;
        }
        if *stopped && !global.quiet {
            terminal::tell(format_args!("note: {node} was stopped before everything was measured"));
        }
        Ok(json!({ "node": node.to_string(), "profile": outcome, "stopped": stopped }))
    }
}

fn show_progress(bar: &Bar, node: &NodeId, said: Profiling, global: Global) {
    match said {
        Profiling::Waits => bar.say(&format!("{node}: ends what it runs")),
        Profiling::Runs { running, done, total } => {
            bar.set_total(total.into());
            bar.say(&format!("{node}: {running}"));
            bar.set_position(done.into());
        }
        Profiling::Note(note) if !global.quiet => terminal::tell(format_args!("note: {node}: {note}")),
        Profiling::Note(_) | Profiling::Measured { .. } | Profiling::Failed(_) => {}
    }
}
