//! What is planned of nodes over minutes: rounds, what they rest on, and what came of what they began.

mod demand;
mod errand;
mod kept;
mod modes;
mod needs;
mod parking;
mod told;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use dunlin_costs::{Mode, Work};
use dunlin_protocol::{Ended, Failure, FailureCode, NodeId, Outcome};
use dunlin_scheduler_core::{Alias, Decision, ModePlan, ParkPlan, PlanRules, Time};
use tokio::time::Instant;

use self::{demand::Demands, kept::Keeper, modes::Modes, needs::Wanted, parking::Parking};
pub(super) use self::{errand::ErrandError, parking::Call, told::Countdown};
use super::{
    Driver,
    hold::{Hold, Waits},
};

/// A node that has not said so long after the order that it is in a mode has not taken it.
pub(super) const MODE_PATIENCE: Duration = Duration::from_mins(5);

/// Between two looks at what is due, and at what waits.
const BEAT: Duration = Duration::from_millis(250);

/// Bytes of a reason that is shown.
const MAX_REASON: usize = 400;

/// What a plan rests on, and what it remembers.
#[derive(Debug)]
pub(super) struct Planning {
    rules: Arc<PlanRules>,
    next: Instant,
    beat: Instant,
    demands: Demands,
    modes: ModePlan,
    /// The modes of each node, as the last round saw them.
    seen: BTreeMap<NodeId, Modes>,
    parks: ParkPlan,
    /// Nodes that rest, or are on their way there or back.
    parked: BTreeMap<NodeId, Parking>,
    /// When nodes have last done something, as far as that is looked at.
    worked: BTreeMap<NodeId, Time>,
    wanted: Wanted,
    keeper: Option<Keeper>,
    /// As the core was told them last.
    pub(super) aliases: Vec<Alias>,
    /// What was said of the plan, once.
    noted: BTreeSet<String>,
}

impl Planning {
    pub(super) fn new(now: Instant) -> Self {
        let rules = Arc::<PlanRules>::default();
        Self {
            next: now + rules.every,
            beat: now,
            rules,
            demands: Demands::default(),
            modes: ModePlan::default(),
            seen: BTreeMap::new(),
            parks: ParkPlan::default(),
            parked: BTreeMap::new(),
            worked: BTreeMap::new(),
            wanted: Wanted::default(),
            keeper: None,
            aliases: Vec::new(),
            noted: BTreeSet::new(),
        }
    }

    /// An attempt has ended, and with it its invocation.
    pub(super) fn note(&mut self, ended: &Ended, decision: &Decision, now: Time) {
        self.worked.insert(ended.usage.node.clone(), now);
        let (Outcome::Done { .. }, Some(chosen)) = (&ended.outcome, decision.chosen()) else { return };
        let usage = &ended.usage;
        let work = Work {
            prompt_tokens: usage.prompt_tokens + usage.cached_tokens,
            cached_tokens: usage.cached_tokens,
            output_tokens: usage.output_tokens,
        };
        let targets = &decision.request.terms.targets;
        self.demands.note(&usage.node, chosen.model(), &work, targets, Instant::now());
    }

    fn note_once(&mut self, note: String) {
        if self.noted.len() < MAX_NOTES && !self.noted.contains(&note) {
            tracing::warn!("the plan: {note}");
            self.noted.insert(note);
        }
    }
}

/// Notes on a plan that are remembered as said.
const MAX_NOTES: usize = 1024;

impl Driver {
    /// Another plan: rounds begin anew, what nodes were asked for is still known.
    pub(super) fn on_plan(&mut self, rules: Arc<PlanRules>) {
        let planning = &mut self.planning;
        planning.next = Instant::now() + rules.every;
        planning.rules = rules;
        planning.modes = ModePlan::default();
        (planning.seen, planning.noted) = (BTreeMap::new(), BTreeSet::new());
    }

    /// What is due, of all that is planned.
    pub(super) fn plan(&mut self, now: Instant) {
        if self.planning.beat > now {
            return;
        }
        self.planning.beat = now + BEAT;
        self.look_after_parked(now);
        self.wake_who_is_needed();
        if self.planning.next > now {
            return;
        }
        self.planning.next = now + self.planning.rules.every;
        self.planning.demands.tidy(now);
        self.give_up_on_modes(now);
        self.note_work();
        if self.planning.rules.modes.is_some() {
            self.plan_modes(now);
        }
        self.plan_parking();
        self.shows();
    }

    /// The models of a node have left its memory, or not.
    pub(super) fn heard_of_unload(&mut self, name: &NodeId, result: &Result<(), Failure>) {
        let (Some(id), now) = (self.names.known(name), self.now()) else { return };
        match result {
            Ok(()) => self.planning.parks.succeeded(id),
            Err(failure) => self.planning.parks.failed(id, reason(&failure.text), now),
        }
    }

    /// A node has done what it was held for, or has not.
    pub(super) fn heard_of_mode(
        &mut self,
        name: &NodeId,
        mode: &str,
        waits: &Waits,
        result: &Result<(), Failure>,
    ) {
        let (Some(id), now) = (self.names.known(name), self.now()) else { return };
        let mode = Mode::new(mode);
        match result {
            Ok(()) => self.planning.modes.changed(id, &mode, now),
            Err(failure) if matches!(waits, Waits::Plan) => {
                let rules = self.planning.rules.modes.unwrap_or_default();
                tracing::warn!(node = %name, %mode, %failure, "planned, and not taken");
                self.planning.modes.failed(id, &mode, reason(&failure.text), &rules, now);
            }
            Err(_) => {}
        }
    }

    /// Without it, a node whose agent is stuck would be out of work for ever.
    fn give_up_on_modes(&mut self, now: Instant) {
        let is_overdue =
            |hold: &Hold| hold.mode.is_some() && now.saturating_duration_since(hold.since) > MODE_PATIENCE;
        let overdue = self.nodes.iter().filter(|(_, node)| node.hold.as_ref().is_some_and(is_overdue));
        let overdue: Vec<NodeId> = overdue.map(|(name, _)| name.clone()).collect();
        for name in overdue {
            let text =
                format!("{name} has not said within {} s whether it took the mode", MODE_PATIENCE.as_secs());
            let failure = Failure::new(FailureCode::Unavailable, text);
            self.release(&name, Err(failure));
        }
    }
}

fn reason(text: &str) -> &str {
    &text[..text.floor_char_boundary(MAX_REASON)]
}
