//! In which mode each node should be.

use std::{collections::BTreeMap, fmt, time::Duration};

use dunlin_costs::{Mode, ModelDigest};

use super::rules::{ModeRules, at_once};
use crate::{NodeId, Objective, Time};

/// A node should not be at work for a larger part of the time: what comes together would wait.
const MOST_BUSY: f64 = 0.7;

/// Predictions may use so much of what a target allows: the margin of attainment.
const MOST_STRAIN: f64 = 0.9;

/// A mode that failed is not tried again for [`ModeRules::rest`], doubled with each further failure, and at most for this.
const LONGEST_BACKOFF: Duration = Duration::from_hours(24);

/// Modes of one node whose failures are remembered.
const MAX_FAILED: usize = 32;

/// A mode of a node, at what it is asked for now.
#[derive(Debug, Clone, PartialEq)]
pub struct ModeChoice {
    pub mode: Mode,
    /// Drawn at the board's input, idle and work together: idle W + rate x marginal J; `None`: not known.
    pub watts: Option<f64>,
    /// Part of the time that it is at work.
    pub busy: f64,
    /// Of a request as they usually are.
    pub seconds: f64,
    /// What nine of ten requests take, in parts of their strictest target; 0 where none has targets.
    pub strain: f64,
}

impl ModeChoice {
    /// Quick enough for what is asked, with a margin.
    pub fn suffices(&self) -> bool {
        self.busy <= MOST_BUSY && self.strain <= MOST_STRAIN
    }
}

/// A node, as a round sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct ModeState {
    pub node: NodeId,
    pub mode: Mode,
    /// Modes that it may be put into and whose costs are known; the one that it is in among them.
    pub choices: Vec<ModeChoice>,
    /// Models that it has in memory.
    pub residents: Vec<ModelDigest>,
    /// It is connected and takes work.
    pub is_ready: bool,
    /// Nothing runs there.
    pub is_idle: bool,
    /// It changes now.
    pub changes: bool,
}

/// A change that is due.
#[derive(Debug, Clone, PartialEq)]
pub struct ModeChange {
    pub node: NodeId,
    pub mode: Mode,
    pub gain: Gain,
}

/// What another mode is better by.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Gain {
    /// A part of what the mode of now costs, by the objective.
    Saves { part: f64, objective: Objective, watts: Option<(f64, f64)> },
    /// The mode of now is too slow: it would be at work for this part of the time, and takes these parts of the targets.
    Keeps { busy: f64, strain: f64 },
}

impl Gain {
    /// What a part of is saved, in words; `None`: nothing is.
    pub const fn saved(&self) -> Option<&'static str> {
        match self {
            Self::Saves { objective: Objective::Latency, .. } => Some("time"),
            Self::Saves { objective: Objective::Energy, .. } => Some("watts"),
            Self::Saves { objective: Objective::Balanced, .. } => Some("watts x time"),
            Self::Keeps { .. } => None,
        }
    }
}

impl fmt::Display for Gain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Saves { part, watts, .. } => {
                write!(f, "saves {:.0} % of {}", 100.0 * part, self.saved().unwrap_or_default())?;
                match watts {
                    Some((now, then)) => write!(f, " ({now:.2} W now, {then:.2} W then)"),
                    None => Ok(()),
                }
            }
            Self::Keeps { busy, strain } if strain > MOST_STRAIN => {
                write!(
                    f,
                    "is quicker: now requests take {:.0} % of what their targets allow",
                    100.0 * strain
                )?;
                if busy > MOST_BUSY {
                    write!(f, ", and keep it at work {:.0} % of the time", 100.0 * busy)
                } else {
                    Ok(())
                }
            }
            Self::Keeps { busy, .. } => {
                write!(f, "is quicker: now requests keep it at work {:.0} % of the time", 100.0 * busy)
            }
        }
    }
}

/// What was wished for each node, and for how long.
#[derive(Debug, Default)]
pub struct ModePlan {
    nodes: BTreeMap<NodeId, Memory>,
}

#[derive(Debug, Default)]
struct Memory {
    wish: Option<ModeWish>,
    changed: Option<Time>,
    failed: BTreeMap<Mode, Failed>,
}

#[derive(Debug)]
struct Failed {
    times: u32,
    again: Time,
    why: String,
}

/// A mode that a node would better be in.
#[derive(Debug, Clone, PartialEq)]
pub struct ModeWish {
    pub mode: Mode,
    pub gain: Gain,
    /// So many in a row have said so,
    pub rounds: u32,
    /// the first of them then.
    pub since: Time,
    /// Why it is not changed; `None`: it is about to be.
    pub waits: Option<ModeWaits>,
}

/// Why a wish is not followed yet.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum ModeWaits {
    /// More rounds have to say the same.
    Rounds { of: u32 },
    /// It has changed a while ago.
    Rests { until: Time },
    /// As many change as may at once.
    Others,
    /// It works, and no other node has in memory what it has.
    Needed,
    /// It is not connected, or takes no work.
    Away,
}

impl ModePlan {
    /// A round. What it gives is to be begun now.
    pub fn round(
        &mut self,
        now: Time,
        rules: &ModeRules,
        objective: Objective,
        nodes: &[ModeState],
    ) -> Vec<ModeChange> {
        self.nodes.retain(|id, memory| {
            let is_here = nodes.iter().any(|state| state.node == *id);
            if !is_here {
                memory.wish = None;
            }
            is_here || memory.is_fresh(now, rules)
        });
        let changing = nodes.iter().filter(|state| state.changes).count();
        let mut room = at_once(rules.at_once, nodes.len()).saturating_sub(changing);
        let (mut holders, mut due) = (Holders::of(nodes), Vec::new());
        for state in nodes {
            let memory = self.nodes.entry(state.node).or_default();
            memory.follow(better(rules, objective, state, |mode| memory.is_barred(mode, now)), now);
            let Some(wish) = &mut memory.wish else { continue };
            let rests = memory.changed.map(|at| at + rules.rest).filter(|until| *until > now);
            wish.waits = if wish.rounds < rules.rounds {
                Some(ModeWaits::Rounds { of: rules.rounds })
            } else if let Some(until) = rests {
                Some(ModeWaits::Rests { until })
            } else if !state.is_ready || state.changes {
                Some(ModeWaits::Away)
            } else if room == 0 {
                Some(ModeWaits::Others)
            } else if !holders.can_spare(state) {
                Some(ModeWaits::Needed)
            } else {
                None
            };
            if wish.waits.is_none() {
                room -= 1;
                holders.change(state);
                due.push(ModeChange { node: state.node, mode: wish.mode.clone(), gain: wish.gain });
                (memory.wish, memory.changed) = (None, Some(now));
            }
        }
        due
    }

    /// What the last round would have, where that is not the mode of now.
    pub fn wish(&self, node: NodeId) -> Option<&ModeWish> {
        self.nodes.get(&node)?.wish.as_ref()
    }

    /// The failure that bars a mode for the longest: the mode, until when, and why.
    pub fn failure(&self, node: NodeId, now: Time) -> Option<(&Mode, Time, &str)> {
        let failed = self.nodes.get(&node)?.failed.iter().filter(|(_, failed)| failed.again > now);
        let (mode, failed) = failed.max_by_key(|(_, failed)| failed.again)?;
        Some((mode, failed.again, &failed.why))
    }

    /// Its mode was changed, by whomever: nothing for a while.
    pub fn changed(&mut self, node: NodeId, mode: &Mode, now: Time) {
        let memory = self.nodes.entry(node).or_default();
        (memory.wish, memory.changed) = (None, Some(now));
        memory.failed.remove(mode);
    }

    /// A change did not come about: this mode is left alone for longer each time.
    pub fn failed(&mut self, node: NodeId, mode: &Mode, why: &str, rules: &ModeRules, now: Time) {
        let memory = self.nodes.entry(node).or_default();
        (memory.wish, memory.changed) = (None, Some(now));
        let times = memory.failed.get(mode).map_or(0, |failed| failed.times) + 1;
        let backoff = rules.rest.saturating_mul(1 << (times - 1).min(10)).min(LONGEST_BACKOFF);
        if memory.failed.len() < MAX_FAILED || memory.failed.contains_key(mode) {
            let failed = Failed { times, again: now + backoff, why: why.to_owned() };
            memory.failed.insert(mode.clone(), failed);
        }
    }
}

impl Memory {
    fn is_barred(&self, mode: &Mode, now: Time) -> bool {
        self.failed.get(mode).is_some_and(|failed| failed.again > now)
    }

    /// One that is lost for a while, perhaps by what it was told to do, is not told so again as soon as it is back.
    fn is_fresh(&self, now: Time, rules: &ModeRules) -> bool {
        self.changed.is_some_and(|at| at + rules.rest > now)
            || self.failed.values().any(|failed| failed.again + LONGEST_BACKOFF > now)
    }

    fn follow(&mut self, better: Option<(Mode, Gain)>, now: Time) {
        let before = self.wish.take();
        self.wish = better.map(|(mode, gain)| {
            let same = before.filter(|before| before.mode == mode);
            let (rounds, since) = same.map_or((0, now), |same| (same.rounds, same.since));
            ModeWish { mode, gain, rounds: rounds.saturating_add(1), since, waits: None }
        });
    }
}

/// Nodes that have each model in memory: all of them, and those that take work.
struct Holders(BTreeMap<ModelDigest, (usize, usize)>);

impl Holders {
    fn of(nodes: &[ModeState]) -> Self {
        let mut holders = BTreeMap::<ModelDigest, (usize, usize)>::new();
        for (state, model) in nodes.iter().flat_map(|state| state.residents.iter().map(move |of| (state, of)))
        {
            let (all, awake) = holders.entry(*model).or_default();
            *all += 1;
            *awake += usize::from(state.is_ready && !state.changes);
        }
        Self(holders)
    }

    /// While it changes, what it has in memory is awake elsewhere; or it does nothing, and nobody else ever had it. It is
    /// one of those that are awake.
    fn can_spare(&self, state: &ModeState) -> bool {
        let mut models = state.residents.iter().map(|model| self.0.get(model).copied().unwrap_or_default());
        let loads = !state.is_idle && state.residents.is_empty();
        !loads && models.all(|(all, awake)| awake > 1 || (state.is_idle && all == 1))
    }

    fn change(&mut self, state: &ModeState) {
        for model in &state.residents {
            self.0.entry(*model).and_modify(|(_, awake)| *awake -= 1);
        }
    }
}

/// The mode that the node would better be in, and what that is good for.
fn better(
    rules: &ModeRules,
    objective: Objective,
    state: &ModeState,
    is_barred: impl Fn(&Mode) -> bool,
) -> Option<(Mode, Gain)> {
    let now = state.choices.iter().find(|choice| choice.mode == state.mode)?;
    let open = || state.choices.iter().filter(|choice| choice.mode == now.mode || !is_barred(&choice.mode));
    // Where no mode is quick enough, the quickest.
    let best = if open().any(ModeChoice::suffices) {
        least(open().filter(|choice| choice.suffices()), |choice| cost(objective, choice))
    } else {
        least(open(), |choice| Some(choice.seconds))
    };
    let best = best.filter(|best| best.mode != now.mode)?;
    if !now.suffices() {
        let gain = Gain::Keeps { busy: now.busy, strain: now.strain };
        return (best.seconds < now.seconds).then(|| (best.mode.clone(), gain));
    }
    let part = 1.0 - cost(objective, best)? / cost(objective, now)?;
    let gain = Gain::Saves { part, objective, watts: now.watts.zip(best.watts) };
    (part > rules.least_saving).then(|| (best.mode.clone(), gain))
}

fn least<'a>(
    choices: impl Iterator<Item = &'a ModeChoice>,
    cost: impl Fn(&ModeChoice) -> Option<f64>,
) -> Option<&'a ModeChoice> {
    let known = choices.filter_map(|choice| Some((cost(choice)?, choice)));
    known.min_by(|a, b| a.0.total_cmp(&b.0).then_with(|| a.1.mode.cmp(&b.1.mode))).map(|(_, choice)| choice)
}

fn cost(objective: Objective, choice: &ModeChoice) -> Option<f64> {
    match objective {
        Objective::Latency => Some(choice.seconds),
        Objective::Energy => choice.watts,
        Objective::Balanced => Some(choice.watts? * choice.seconds),
    }
}

#[cfg(test)]
mod tests;
