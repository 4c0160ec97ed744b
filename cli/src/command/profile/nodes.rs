//! On nodes of the fleet, one after another.

use std::io::Cursor;

use dunlin_profiler::{Depth, Points, Profile as Outcome};
use dunlin_protocol::{
    ComponentDigest, FailureCode, HowToProfile, JudgedFile, NodeId, ProfileDepth, ProfileNode, ProfilePoints,
    Profiling, ToProfile, limits::MAX_POINTS,
};
use serde_json::{Value, json};

use super::{
    Profile,
    extra::{File, Place, Wanted},
    show::show,
};
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

const GOES_ON: &str = "what was measured is kept on the node: the same command goes on";

/// What came of one node.
struct Measured {
    outcome: Outcome,
    stopped: bool,
}

impl Profile {
    /// # Errors
    /// If a node could not be measured; the others were. Interrupted, the node that is on keeps what it has measured.
    pub(super) fn there(&self, global: Global) -> anyhow::Result<()> {
        // What cannot be sent is better said before anybody is asked.
        let wanted = self.extra.read(Place::Node)?;
        let runtime = runtime()?;
        let done = runtime.block_on(async {
            let interrupt = Interrupt::watch()?;
            let client = interrupt.unless(Client::connect()).await?;
            let done = self.all(&client, &wanted, &interrupt, global).await;
            client.leave().await;
            done
        });
        runtime.shutdown_timeout(SHUTDOWN);
        done
    }

    async fn all(
        &self,
        client: &Client,
        wanted: &Wanted,
        interrupt: &Interrupt,
        global: Global,
    ) -> anyhow::Result<()> {
        client.may_profile(&self.how(wanted))?;
        let (mut documents, mut failures) = (Vec::new(), Vec::new());
        for node in &self.nodes {
            match self.one(client, node, wanted, interrupt, global).await {
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
            return Err(interrupt.failure().hint(GOES_ON).into());
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
        wanted: &Wanted,
        interrupt: &Interrupt,
        global: Global,
    ) -> anyhow::Result<Measured> {
        let progress = Progress::new(global.quiet);
        interrupt.unless(send(client, wanted, &progress)).await?;
        let ask = ProfileNode { node: node.clone(), model: self.model.model.clone(), how: self.how(wanted) };
        let (mut to, mut from) = client.profile(ask).await?;
        let bar = progress.count(&format!("{node}: {}", self.model.model), 1);
        let (mut measured, mut has_begun, mut is_stopped) = (None, false, false);
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
                Some(Profiling::Failed(fault)) => {
                    let failure = told(&fault);
                    return Err(match fault.code {
                        FailureCode::Unavailable if has_begun => failure.hint(GOES_ON),
                        _ => failure,
                    }
                    .into());
                }
                Some(said) => {
                    has_begun |= matches!(said, Profiling::Runs { .. });
                    show_progress(&bar, node, said, global);
                }
                // The node takes work again.
                None => {
                    let silent = || Failure::new(Exit::Failed, "the scheduler did not say what came of it");
                    return Ok(measured.ok_or_else(silent)?);
                }
            }
        }
    }

    fn how(&self, wanted: &Wanted) -> HowToProfile {
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
            text: wanted.text.as_ref().map(told_of),
            questions: wanted.questions.as_ref().map(told_of),
            operators: self.extra.operators,
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

/// The scheduler keeps it until a profile that needs it is over.
async fn send(client: &Client, wanted: &Wanted, progress: &Progress) -> anyhow::Result<()> {
    for file in wanted.text.iter().chain(&wanted.questions) {
        let JudgedFile { name, blob, bytes } = told_of(file);
        client.put_from(blob, &mut Cursor::new(&file.text), bytes, &name, progress).await?;
    }
    Ok(())
}

fn told_of(file: &File) -> JudgedFile {
    let blob = ComponentDigest(*file.digest.as_bytes()).into();
    JudgedFile { name: file.name.clone(), blob, bytes: file.text.len() as u64 }
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
