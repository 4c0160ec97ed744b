//! Which nodes rest, and which are woken.

use std::{collections::BTreeMap, time::Duration};

use dunlin_costs::ModelDigest;

use super::rules::{ParkLevel, ParkRules, at_once};
use crate::{NodeId, Time};

/// Requests that wait for so long want another node, though some that could serve them are awake.
const WAKE_AFTER: Duration = Duration::from_secs(2);

/// A node that could not be parked or woken is left alone for this, doubled with each further failure.
const BACKOFF: Duration = Duration::from_mins(1);
const LONGEST_BACKOFF: Duration = Duration::from_hours(1);

/// What a node does, as far as parking goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ParkRest {
    Awake,
    /// It takes no work, and can be woken.
    Parked(ParkLevel),
    /// It is parked, and would take no work if it were woken: an operator has said so.
    Shut,
    /// On the way to rest, or to another mode.
    Changes,
    Wakes,
}

/// A node, as a round sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct ParkState {
    pub node: NodeId,
    pub rest: ParkRest,
    /// Connected, and takes work.
    pub is_ready: bool,
    /// Nothing has run there since; `None`: something does.
    pub idle_since: Option<Time>,
    /// How deep it would rest.
    pub level: ParkLevel,
    /// What going to rest and coming back take together.
    pub delays: Duration,
    /// An operator has pinned a model that it has in memory: it does not go to sleep.
    pub has_pinned: bool,
    /// It has models in memory that may leave it.
    pub has_unpinned: bool,
    /// Models on its disk, and in its memory.
    pub stored: Vec<ModelDigest>,
    pub residents: Vec<ModelDigest>,
}

/// An alias: what stands behind it, and who waits for it.
#[derive(Debug, Clone, PartialEq)]
pub struct Need {
    pub variants: Vec<ModelDigest>,
    /// On so many nodes one of them is to be in memory.
    pub resident_on: u32,
    /// Requests have waited since; `None`: none does.
    pub waits_since: Option<Time>,
    /// Parked nodes that would have kept the targets of a request that was turned away of late, or placed where it
    /// misses them.
    pub missed_by: Vec<NodeId>,
}

/// What is to be begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ParkAction {
    Park {
        node: NodeId,
        level: ParkLevel,
    },
    /// For the alias of this place in the list of needs.
    Wake {
        node: NodeId,
        need: usize,
    },
}

/// What is remembered of failures.
#[derive(Debug, Default)]
pub struct ParkPlan {
    failed: BTreeMap<NodeId, Failed>,
}

#[derive(Debug)]
struct Failed {
    times: u32,
    again: Time,
    why: String,
}

impl ParkPlan {
    /// Nodes that may rest now.
    pub fn park(
        &mut self,
        now: Time,
        rules: &ParkRules,
        nodes: &[ParkState],
        needs: &[Need],
    ) -> Vec<ParkAction> {
        self.failed.retain(|id, _| nodes.iter().any(|state| state.node == *id));
        let changing =
            nodes.iter().filter(|state| matches!(state.rest, ParkRest::Changes | ParkRest::Wakes)).count();
        let mut room = at_once(rules.at_once, nodes.len()).saturating_sub(changing);
        let (mut awake, mut due) = (Awake::of(nodes, needs), Vec::new());
        for state in nodes {
            if room > 0 && self.may_rest(now, rules, state) && !awake.needs(rules, state) {
                room -= 1;
                awake.goes(state);
                due.push(ParkAction::Park { node: state.node, level: state.level });
            }
        }
        due
    }

    fn may_rest(&self, now: Time, rules: &ParkRules, state: &ParkState) -> bool {
        let rested = |since: Time| now.since(since) >= rules.after.max(state.delays);
        let may = if state.level > ParkLevel::Unload { !state.has_pinned } else { state.has_unpinned };
        state.rest == ParkRest::Awake
            && state.is_ready
            && may
            && state.idle_since.is_some_and(rested)
            && !self.is_barred(state.node, now)
    }

    /// Nodes that are needed: one at a time for each alias, the quickest to come.
    pub fn wake(&self, now: Time, nodes: &[ParkState], needs: &[Need]) -> Vec<ParkAction> {
        let mut due: Vec<ParkAction> = Vec::new();
        for (at, need) in needs.iter().enumerate() {
            let can_serve = |state: &&ParkState| need.is_in(&state.stored);
            let has = || nodes.iter().filter(can_serve);
            let is_due = |id: NodeId| {
                due.iter().any(|action| matches!(action, ParkAction::Wake { node, .. } if *node == id))
            };
            let is_coming = has().any(|state| state.rest == ParkRest::Wakes || is_due(state.node));
            if is_coming || (need.waits_since.is_none() && need.missed_by.is_empty()) {
                continue;
            }
            let waits = need.waits(now, has());
            let parked = has().filter(|state| {
                let helps = waits || need.missed_by.contains(&state.node);
                helps && matches!(state.rest, ParkRest::Parked(_)) && !self.is_barred(state.node, now)
            });
            let first = parked.min_by_key(|state| (state.delays, state.node));
            due.extend(first.map(|state| ParkAction::Wake { node: state.node, need: at }));
        }
        due
    }

    /// Until when a node is left alone, and why.
    pub fn failure(&self, node: NodeId, now: Time) -> Option<(Time, &str)> {
        let failed = self.failed.get(&node).filter(|failed| failed.again > now)?;
        Some((failed.again, &failed.why))
    }

    fn is_barred(&self, node: NodeId, now: Time) -> bool {
        self.failure(node, now).is_some()
    }

    pub fn failed(&mut self, node: NodeId, why: &str, now: Time) {
        let times = self.failed.get(&node).map_or(0, |failed| failed.times) + 1;
        let backoff = BACKOFF.saturating_mul(1 << (times - 1).min(10)).min(LONGEST_BACKOFF);
        self.failed.insert(node, Failed { times, again: now + backoff, why: why.to_owned() });
    }

    /// It was parked or woken, by whomever.
    pub fn succeeded(&mut self, node: NodeId) {
        self.failed.remove(&node);
    }
}

impl Need {
    /// What is awake does not serve it.
    fn waits<'a>(&self, now: Time, mut could: impl Iterator<Item = &'a ParkState>) -> bool {
        self.waits_since.is_some_and(|since| {
            now.since(since) >= WAKE_AFTER
                || !could.any(|state| state.rest == ParkRest::Awake && state.is_ready)
        })
    }

    fn is_in(&self, models: &[ModelDigest]) -> bool {
        self.variants.iter().any(|of| models.contains(of))
    }
}

/// Nodes that are awake with a model of each need.
struct Awake<'a> {
    needs: &'a [Need],
    in_memory: Vec<usize>,
    on_disk: Vec<usize>,
}

impl<'a> Awake<'a> {
    fn of(nodes: &[ParkState], needs: &'a [Need]) -> Self {
        let mut awake = Self { needs, in_memory: vec![0; needs.len()], on_disk: vec![0; needs.len()] };
        for state in nodes.iter().filter(|state| state.rest == ParkRest::Awake && state.is_ready) {
            for (at, need) in needs.iter().enumerate() {
                awake.in_memory[at] += usize::from(need.is_in(&state.residents));
                awake.on_disk[at] += usize::from(need.is_in(&state.stored));
            }
        }
        awake
    }

    /// Without it too few would be: in memory where it has one there, and on the disk where it goes to sleep. It is one of
    /// those that are counted.
    fn needs(&self, rules: &ParkRules, state: &ParkState) -> bool {
        let least = rules.keep_awake as usize;
        let sleeps = state.level > ParkLevel::Unload;
        self.needs.iter().enumerate().any(|(at, need)| {
            (sleeps && need.is_in(&state.stored) && self.on_disk[at] <= least)
                || (need.is_in(&state.residents)
                    && self.in_memory[at] <= least.max(need.resident_on as usize))
        })
    }

    fn goes(&mut self, state: &ParkState) {
        for (at, need) in self.needs.iter().enumerate() {
            self.in_memory[at] -= usize::from(need.is_in(&state.residents));
            self.on_disk[at] -= usize::from(state.level > ParkLevel::Unload && need.is_in(&state.stored));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model(number: u8) -> ModelDigest {
        ModelDigest::new([number; 32])
    }

    fn at(seconds: u64) -> Time {
        Time::since_epoch(Duration::from_secs(seconds))
    }

    /// Idle since the beginning, with model 1 on its disk.
    fn board(node: u64, level: ParkLevel) -> ParkState {
        ParkState {
            node: NodeId(node),
            rest: ParkRest::Awake,
            is_ready: true,
            idle_since: Some(Time::ZERO),
            level,
            delays: Duration::from_secs(60),
            has_pinned: false,
            has_unpinned: true,
            stored: vec![model(1)],
            residents: Vec::new(),
        }
    }

    fn need(number: u8) -> Need {
        Need { variants: vec![model(number)], resident_on: 0, waits_since: None, missed_by: Vec::new() }
    }

    fn parked(seconds: u64, rules: &ParkRules, nodes: &[ParkState], needs: &[Need]) -> Vec<u64> {
        let due = ParkPlan::default().park(at(seconds), rules, nodes, needs);
        let node = |action: &ParkAction| match action {
            ParkAction::Park { node, .. } | ParkAction::Wake { node, .. } => node.0,
        };
        due.iter().map(node).collect()
    }

    #[test]
    fn what_does_nothing_rests_and_one_of_each_model_stays() {
        let rules = ParkRules { level: ParkLevel::Off, at_once: 1.0, ..ParkRules::default() };
        let mut nodes: Vec<ParkState> = (0..4).map(|node| board(node, ParkLevel::Off)).collect();
        assert_eq!(parked(899, &rules, &nodes, &[need(1)]), []);
        assert_eq!(parked(900, &rules, &nodes, &[need(1)]), [0, 1, 2]);
        let two = ParkRules { keep_awake: 2, ..rules };
        assert_eq!(parked(900, &two, &nodes, &[need(1)]), [0, 1]);
        // The one that has it in memory stays.
        nodes[1].residents = vec![model(1)];
        assert_eq!(parked(900, &rules, &nodes, &[need(1)]), [0, 2, 3]);
        // Nobody else has another model.
        nodes[0].stored.push(model(2));
        assert_eq!(parked(900, &rules, &nodes, &[need(1), need(2)]), [2, 3]);
        // What somebody has pinned stays.
        nodes[3].has_pinned = true;
        assert_eq!(parked(900, &rules, &nodes, &[need(1), need(2)]), [2]);
        nodes[3].has_pinned = false;
        // What works, is gone or is parked already.
        nodes[2].idle_since = None;
        nodes[3].is_ready = false;
        assert_eq!(parked(900, &rules, &nodes, &[need(1), need(2)]), []);
        nodes[2].idle_since = Some(at(100));
        assert_eq!(parked(900, &rules, &nodes, &[need(1)]), [0]);
        assert_eq!(parked(1000, &rules, &nodes, &[need(1)]), [0, 2]);
        // Going off and coming back takes longer than it has rested.
        nodes[0].delays = Duration::from_mins(20);
        assert_eq!(parked(1000, &rules, &nodes, &[need(1)]), [2]);
    }

    #[test]
    fn unloading_is_of_what_is_loaded_elsewhere_too() {
        let rules = ParkRules { at_once: 1.0, ..ParkRules::default() };
        let mut nodes: Vec<ParkState> = (0..3).map(|node| board(node, ParkLevel::Unload)).collect();
        nodes.iter_mut().for_each(|node| node.has_unpinned = false);
        assert_eq!(parked(900, &rules, &nodes, &[need(1)]), []);
        nodes.iter_mut().for_each(|node| (node.residents, node.has_unpinned) = (vec![model(1)], true));
        assert_eq!(parked(900, &rules, &nodes, &[need(1)]), [0, 1]);
        nodes[0].has_unpinned = false;
        assert_eq!(parked(900, &rules, &nodes, &[need(1)]), [1, 2]);
        nodes[0].has_unpinned = true;
        // An operator wants it in the memory of two.
        let wanted = Need { resident_on: 2, ..need(1) };
        assert_eq!(parked(900, &rules, &nodes, &[wanted]), [0]);
    }

    #[test]
    fn few_go_at_once() {
        let rules = ParkRules { level: ParkLevel::Off, ..ParkRules::default() };
        let mut nodes: Vec<ParkState> = (0..30).map(|node| board(node, ParkLevel::Off)).collect();
        assert_eq!(parked(900, &rules, &nodes, &[need(1)]), [0, 1, 2]);
        (nodes[0].rest, nodes[1].rest) = (ParkRest::Changes, ParkRest::Parked(ParkLevel::Off));
        assert_eq!(parked(900, &rules, &nodes, &[need(1)]), [2, 3]);
    }

    #[test]
    fn who_waits_wakes_one_at_a_time() {
        let mut nodes: Vec<ParkState> = (0..3).map(|node| board(node, ParkLevel::Off)).collect();
        nodes.iter_mut().for_each(|node| node.rest = ParkRest::Parked(ParkLevel::Off));
        nodes[0].delays = Duration::from_secs(90);
        let woken = |plan: &ParkPlan, seconds, nodes: &[ParkState], need: Need| {
            let due = plan.wake(at(seconds), nodes, &[need_of_others(), need]);
            assert!(due.iter().all(|action| matches!(action, ParkAction::Wake { need: 1, .. })));
            due.iter()
                .map(|action| match action {
                    ParkAction::Park { .. } => 99,
                    ParkAction::Wake { node, .. } => node.0,
                })
                .collect::<Vec<_>>()
        };
        let waits = |since| Need { waits_since: Some(at(since)), ..need(1) };
        let mut plan = ParkPlan::default();
        assert_eq!(woken(&plan, 10, &nodes, need(1)), []);
        // Nobody is awake: at once, the quickest.
        assert_eq!(woken(&plan, 10, &nodes, waits(10)), [1]);
        // It could not be woken: the next.
        plan.failed(NodeId(1), "no answer", at(10));
        assert_eq!(woken(&plan, 10, &nodes, waits(10)), [2]);
        assert_eq!(plan.failure(NodeId(1), at(69)), Some((at(70), "no answer")));
        assert_eq!(woken(&plan, 70, &nodes, waits(10)), [1]);
        nodes[2].rest = ParkRest::Wakes;
        assert_eq!(woken(&plan, 20, &nodes, waits(10)), []);
        // One is awake: another when they have waited, or miss their targets.
        nodes[2].rest = ParkRest::Awake;
        assert_eq!(woken(&plan, 71, &nodes, waits(70)), []);
        assert_eq!(woken(&plan, 72, &nodes, waits(70)), [1]);
        let missed = |node| Need { missed_by: vec![NodeId(node)], ..need(1) };
        assert_eq!(woken(&plan, 71, &nodes, missed(0)), [0], "the only one that would keep the targets");
        assert_eq!(woken(&plan, 71, &nodes, missed(2)), [], "it is awake");
        plan.failed(NodeId(1), "no answer", at(72));
        assert_eq!(plan.failure(NodeId(1), at(73)).unwrap().0, at(72 + 120), "twice as long");
        plan.succeeded(NodeId(1));
        assert_eq!(plan.failure(NodeId(1), at(73)), None);
    }

    fn need_of_others() -> Need {
        Need { waits_since: Some(Time::ZERO), ..need(9) }
    }
}
