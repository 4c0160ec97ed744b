//! Nodes that get nothing new for a while, since they change their mode or are measured; and whoever waits for that.

use std::time::Duration;

use dunlin_protocol::{
    Answer, CommandId, Failure, FailureCode, Feature, HowToProfile, ModelDigest, NodeId, Order, PROFILES,
    ProfileDepth, ProfileModel, ProfileNode, Profiling,
};
use dunlin_scheduler_core::{self as core, Input, Standing};
use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};

use super::{Driver, convert, extras};

/// What runs on a node that is to be measured may take so long to end there; then it goes on elsewhere.
const DRAIN: Duration = Duration::from_secs(30);

/// Between two looks whether a node should be measured again, and between two measurements of one node.
const LOOK: Duration = Duration::from_secs(10);
const AGAIN: Duration = Duration::from_hours(1);

/// Milliseconds of a measurement that nobody asked for.
const BUDGET_MS: u64 = 180_000;

/// Room that is left for the last words of a profile.
const LAST_WORDS: usize = 64;

/// A node is held until it has done this.
#[derive(Debug)]
pub(super) struct Hold {
    pub(super) command: CommandId,
    pub(super) since: Instant,
    /// The one that it changes to, if that is why.
    pub(super) mode: Option<String>,
    waits: Waits,
    /// It takes work again afterwards; one that an operator has cordoned stays so.
    frees: bool,
}

/// Whoever waits for the outcome.
#[derive(Debug)]
pub(super) enum Waits {
    Nobody,
    /// The plan, which has ordered it.
    Plan,
    /// A node that goes to rest, or comes back.
    Park,
    Answer(oneshot::Sender<Answer>),
    Profile(mpsc::Sender<Profiling>),
}

impl Hold {
    pub(super) fn tell(&self, said: Profiling) {
        let Waits::Profile(to) = &self.waits else { return };
        // Of one who reads slowly or not at all, only progress is lost.
        let is_last = !matches!(said, Profiling::Runs { .. } | Profiling::Note(_));
        if is_last || to.capacity() > LAST_WORDS {
            drop(to.try_send(said));
        }
    }
}

impl Waits {
    pub(super) fn end(self, result: Result<(), Failure>) {
        // Who is gone does not wait.
        match (self, result) {
            (Self::Nobody | Self::Plan | Self::Park, _) | (Self::Profile(_), Ok(())) => {}
            (Self::Answer(reply), Ok(())) => drop(reply.send(Answer::Done)),
            (Self::Answer(reply), Err(failure)) => drop(reply.send(Answer::Failed(failure))),
            (Self::Profile(to), Err(failure)) => drop(to.try_send(Profiling::Failed(failure))),
        }
    }
}

/// Why nothing is known of what a node was doing.
pub(super) fn lost(name: &NodeId) -> Failure {
    let text = format!("the connection of {name} was lost meanwhile; it takes work again once it is back");
    Failure::new(FailureCode::Unavailable, text)
}

impl Driver {
    /// Whoever asked hears of it when the node has done it.
    pub(super) fn change_mode(&mut self, name: &NodeId, mode: String, reply: oneshot::Sender<Answer>) {
        let waits = Waits::Answer(reply);
        if let Err(failure) = self.may_change_to(name, &mode) {
            return waits.end(Err(failure));
        }
        self.hold(name, Input::Cordon, Order::Mode { mode }, waits);
    }

    fn may_change_to(&self, name: &NodeId, mode: &str) -> Result<(), Failure> {
        let node = self.nodes.get(name).ok_or_else(|| self.no_node(name))?;
        let points = &node.inventory.points;
        if points.iter().any(|point| point.mode == mode) {
            return Ok(());
        }
        let may: Vec<&str> = points.iter().map(|point| point.mode.as_str()).collect();
        let text = format!(
            "{name} may not be put into {mode:?}, only into {}: `dunlin agent --modes` says which",
            may.join(", ")
        );
        Err(Failure::new(FailureCode::Invalid, text))
    }

    pub(super) fn profile(&mut self, ask: ProfileNode, reply: mpsc::Sender<Profiling>) {
        let ProfileNode { node: name, model, how } = ask;
        let waits = Waits::Profile(reply);
        let model = self.model_to_profile(&name, &model).and_then(|model| {
            let node = self.nodes.get(&name).ok_or_else(|| self.no_node(&name))?;
            extras::can_measure(&name, &node.features, node.inventory.emulated, &how)?;
            Ok(model)
        });
        match model {
            Ok(model) => {
                let drain = |node| Input::Drain { node, within: DRAIN };
                let order = Order::Profile(ProfileModel { model, how });
                self.hold(&name, drain, order, waits);
            }
            Err(failure) => waits.end(Err(failure)),
        }
    }

    /// The variant of an alias that the node has on its disk.
    fn model_to_profile(&self, name: &NodeId, asked: &str) -> Result<ModelDigest, Failure> {
        let node = self.nodes.get(name).ok_or_else(|| self.no_node(name))?;
        if !node.features.contains(&Feature(PROFILES.to_owned())) {
            let text =
                format!("the agent of {name} is of a build that cannot be asked for a profile: upgrade it");
            return Err(Failure::new(FailureCode::Unsupported, text));
        }
        let stored = &node.inventory.models;
        let has = |digest: &ModelDigest| stored.iter().any(|stored| stored.digest == *digest);
        let of_alias = self.models().into_iter().find(|model| model.alias == asked);
        let variants = of_alias.into_iter().flat_map(|model| model.variants);
        let mut models = variants.map(|of| of.variant.model).chain(asked.parse().ok());
        models.find(has).ok_or_else(|| {
            let known: Vec<&str> = stored.iter().map(|stored| stored.name.as_str()).collect();
            let text = format!(
                "{name} has no model {asked:?} on its disk; it has {}. A model that the fleet has comes there when it is \
                 first used, or by `dunlin models alias NAME DIGEST --resident-on N`",
                if known.is_empty() { "none".to_owned() } else { known.join(", ") }
            );
            Failure::new(FailureCode::NotFound, text)
        })
    }

    /// Whoever hears of it by this channel has no more use for it.
    pub(super) fn end_profile(&mut self, name: &NodeId, reply: &mpsc::Sender<Profiling>) {
        let hold = self.nodes.get(name).and_then(|node| node.hold.as_ref());
        let is_theirs =
            hold.is_some_and(|hold| matches!(&hold.waits, Waits::Profile(to) if to.same_channel(reply)));
        if let (true, Some(node)) = (is_theirs, self.names.known(name)) {
            self.order(node, Order::EndProfile);
        }
    }

    /// Nothing new goes there until the node has answered.
    pub(super) fn hold(
        &mut self,
        name: &NodeId,
        rest: impl FnOnce(core::NodeId) -> Input,
        order: Order,
        waits: Waits,
    ) {
        let (Some(node), Some(of)) = (self.names.known(name), self.nodes.get(name)) else {
            return waits.end(Err(self.no_node(name)));
        };
        if !of.is_connected {
            let text = format!("{name} is not connected");
            return waits.end(Err(Failure::new(FailureCode::Unavailable, text)));
        }
        if of.hold.is_some() {
            let text = format!("{name} is busy: it changes its mode, or is measured");
            return waits.end(Err(Failure::new(FailureCode::Conflict, text).retry_after_ms(5000)));
        }
        if self.parked_state(name).is_some() && !matches!(waits, Waits::Park) {
            let text = format!("{name} is parked: dunlin wake {name}");
            return waits.end(Err(Failure::new(FailureCode::Conflict, text)));
        }
        // What an operator has cordoned stays so.
        let frees = self.core.node(node).is_some_and(|view| view.standing == Standing::Ready);
        if frees {
            self.handle(rest(node));
        }
        let mode = if let Order::Mode { mode } = &order { Some(mode.clone()) } else { None };
        self.order(node, order);
        if let Some(of) = self.nodes.get_mut(name) {
            let (command, since) = (CommandId(of.next_command), Instant::now());
            let hold = Hold { command, since, mode, waits, frees };
            hold.tell(Profiling::Waits);
            of.hold = Some(hold);
        }
    }

    /// Where requests have not taken what the rows say for long, an idle node that allows it is measured again; one at a time.
    pub(super) fn measure_stale(&mut self, now: Instant) {
        if now < self.next_look {
            return;
        }
        self.next_look = now + LOOK;
        let is_busy = self.core.load().queued > 0 || self.nodes.values().any(|node| node.hold.is_some());
        let stale = if is_busy { None } else { self.stale_node(now) };
        let Some((name, model)) = stale else { return };
        tracing::info!(node = %name, model = %model, "its rows are stale: it is measured again");
        if let Some(node) = self.nodes.get_mut(&name) {
            node.measured = Some(now);
        }
        let how = HowToProfile {
            depth: ProfileDepth::Quick,
            budget_ms: Some(BUDGET_MS),
            again: true,
            ..HowToProfile::default()
        };
        let drain = |node| Input::Drain { node, within: DRAIN };
        self.hold(&name, drain, Order::Profile(ProfileModel { model, how }), Waits::Nobody);
    }

    fn stale_node(&self, now: Instant) -> Option<(NodeId, ModelDigest)> {
        self.nodes.iter().find_map(|(name, node)| {
            let view = self.core.node(self.names.known(name)?)?;
            let rests = node.measured.is_some_and(|at| now.duration_since(at) < AGAIN);
            let is_free = node.is_connected
                && node.inventory.remeasures
                && node.features.contains(&Feature(PROFILES.to_owned()))
                && view.standing == Standing::Ready
                && view.in_flight == 0;
            let model = convert::digest_of(*view.stale.first()?);
            (is_free && !rests).then(|| (name.clone(), model))
        })
    }

    /// The node has done what it was held for, or is gone.
    pub(super) fn release(&mut self, name: &NodeId, result: Result<(), Failure>) {
        let Some(hold) = self.nodes.get_mut(name).and_then(|node| node.hold.take()) else { return };
        if let (true, Some(node)) = (hold.frees, self.names.known(name)) {
            self.handle(Input::Uncordon(node));
        }
        if let Some(mode) = &hold.mode {
            self.heard_of_mode(name, mode, &hold.waits, &result);
        }
        match &hold.waits {
            Waits::Park => self.heard_of_park(name, &result),
            Waits::Plan if hold.mode.is_none() => self.heard_of_unload(name, &result),
            _ => {}
        }
        hold.waits.end(result);
    }
}
