//! What the driver knows, as a page shows it: the fleet, its invocations, and what becomes of each.

use std::{fmt, time::Duration};

use dunlin_protocol::{
    Ended, Failure, FleetSummary, InvocationId, JoinedNode, ListedInvocation, ModelSummary, NodeId, Outcome,
    Placed, PredictedCosts, StoredModel, Usage,
};
use dunlin_scheduler_core::{Stage, Verdict};
use tokio::{sync::watch, time::Instant};

use super::{Driver, End, Record, convert, plan::Countdown};

/// Invocations in one list.
const MAX_LISTED: usize = 1000;

/// The fleet at one moment.
#[derive(Debug, Clone)]
pub struct Look {
    pub summary: FleetSummary,
    pub nodes: Vec<Node>,
    pub models: Vec<ModelSummary>,
    /// Of requests that name none.
    pub default_policy: String,
    pub policies: Vec<String>,
}

/// A node and what it holds.
#[derive(Debug, Clone)]
pub struct Node {
    pub joined: JoinedNode,
    pub stored: Vec<StoredModel>,
    /// Attempts that it runs at once.
    pub slots: u32,
    pub disk_free_bytes: u64,
}

/// Which invocations are looked at.
#[derive(Debug, Clone, Default)]
pub struct Which {
    /// `None`: of all.
    pub tenant: Option<String>,
    /// `None`: any.
    pub only: Option<InvocationId>,
    /// Only those that have not ended.
    pub live: bool,
    /// At most so many, and never more than a thousand.
    pub limit: usize,
}

/// An invocation at one moment. Times are milliseconds since its submission.
#[derive(Debug, Clone)]
pub struct Invocation {
    pub id: InvocationId,
    pub tenant: String,
    pub pipeline: String,
    pub model: String,
    pub policy: String,
    pub submitted_unix_ms: u64,
    pub age_ms: u64,
    pub state: State,
    pub placed: Vec<PlacedAt>,
    /// Tokens that were delivered.
    pub tokens: u64,
    pub first_token_ms: Option<u64>,
    pub ended_ms: Option<u64>,
    pub failure: Option<Failure>,
    pub usage: Option<Usage>,
}

impl Invocation {
    /// As it is told to members.
    pub(super) fn listed(self) -> ListedInvocation {
        let last = self.placed.last();
        ListedInvocation {
            id: self.id,
            node: last.map(|at| at.placed.node.clone()),
            attempts: u32::try_from(self.placed.len()).unwrap_or(u32::MAX),
            tenant: self.tenant,
            pipeline: self.pipeline,
            model: self.model,
            policy: self.policy,
            state: self.state.name().to_owned(),
            submitted_unix_ms: self.submitted_unix_ms,
            age_ms: self.age_ms,
            tokens: self.tokens,
            first_token_ms: self.first_token_ms,
            ended_ms: self.ended_ms,
            failure: self.failure,
            emulated: self.usage.as_ref().is_some_and(|usage| usage.emulated),
            energy: self.usage.and_then(|usage| usage.energy),
        }
    }
}

/// A placement, and when.
#[derive(Debug, Clone)]
pub struct PlacedAt {
    pub placed: Placed,
    pub after_ms: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    Queued,
    /// It failed, and waits to be tried again.
    Backoff,
    /// On its way to a node, or waiting there for the model.
    Placed,
    Running,
    Done,
    Failed,
    Cancelled,
    Expired,
    Refused,
}

impl State {
    /// Those that an invocation ends in.
    pub const ENDS: [Self; 5] = [Self::Done, Self::Failed, Self::Cancelled, Self::Expired, Self::Refused];

    pub fn name(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Backoff => "backoff",
            Self::Placed => "placed",
            Self::Running => "running",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Expired => "expired",
            Self::Refused => "refused",
        }
    }
}

/// An invocation that came to its end.
#[derive(Debug)]
pub struct Finished<'a> {
    pub invocation: &'a Invocation,
    /// Of the node that it ended on.
    pub class: &'a str,
    /// Of its last placement.
    pub predicted: Option<PredictedCosts>,
    /// Each of its attempts, in their order.
    pub attempts: Vec<AttemptEnd<'a>>,
    /// Between one delivery of tokens and the next, as the scheduler saw it.
    pub gaps: &'a [Duration],
}

/// How an attempt came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AttemptEnd<'a> {
    /// Of its node.
    pub class: &'a str,
    /// `done`, `failed`, `cancelled`, `expired`, `handed-over`; `lost` where its node never said.
    pub outcome: &'static str,
}

/// Why nodes are given up, in a word each.
pub const FENCED: [&str; 5] = ["superseded", "unknown", "silent", "wedged", "no-room"];

/// Hears of what happens; called in the middle of everything, so it must not wait.
pub trait Observe: fmt::Debug + Send + Sync {
    fn finished(&self, finished: &Finished<'_>);

    /// A node of this class was given up, and why: one of [`FENCED`].
    fn fenced(&self, class: &str, reason: &'static str);
}

impl Driver {
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Something that is shown is different, and nobody has said so.
    pub(super) fn shows(&self) {
        self.changed.send_modify(|count| *count += 1);
    }

    pub(super) fn look(&self) -> Look {
        let nodes = self.known().into_iter().map(|(name, (inventory, node))| Node {
            joined: self.joined_node(name, inventory, node, Countdown::Untold),
            stored: inventory.models.clone(),
            slots: inventory.slots,
            disk_free_bytes: inventory.disk_free_bytes,
        });
        Look {
            summary: self.summary(),
            nodes: nodes.collect(),
            models: self.models(),
            default_policy: self.policies.default_name().to_owned(),
            policies: self.policies.names().map(str::to_owned).collect(),
        }
    }

    pub(super) fn invocations(&self, which: &Which) -> Vec<Invocation> {
        let is_asked = |record: &&Record| {
            which.tenant.as_ref().is_none_or(|tenant| *tenant == record.tenant)
                && !(which.live && record.log.has_ended())
        };
        if let Some(id) = which.only {
            return self
                .records
                .get(&id)
                .filter(is_asked)
                .map(|record| self.seen(record))
                .into_iter()
                .collect();
        }
        let mut records: Vec<&Record> = self.records.values().filter(is_asked).collect();
        records.sort_by_key(|record| std::cmp::Reverse(record.submitted));
        records.truncate(which.limit.min(MAX_LISTED));
        records.into_iter().map(|record| self.seen(record)).collect()
    }

    fn seen(&self, record: &Record) -> Invocation {
        let standing = record.log.standing();
        let since = |at: Instant| at.saturating_duration_since(record.submitted).as_millis() as u64;
        let decided = |number: u32| {
            let decision = record.decisions.iter().find(|(decision, _)| decision.attempt.number == number);
            decision.map(|(_, at)| since(*at))
        };
        let placed = standing.placed.into_iter().map(|placed| {
            let after_ms = decided(placed.attempt.number);
            PlacedAt { placed, after_ms }
        });
        let (state, failure, usage) = match standing.end {
            None => (self.stage(record), None, None),
            Some(End::Refused(failure)) => (State::Refused, Some(failure), None),
            Some(End::Ended(ended)) => {
                let (state, failure) = match ended.outcome {
                    Outcome::Done { .. } => (State::Done, None),
                    Outcome::Failed(failure) => (State::Failed, Some(failure)),
                    Outcome::Cancelled | Outcome::HandedOver => (State::Cancelled, None),
                    Outcome::Expired => (State::Expired, None),
                };
                (state, failure, Some(ended.usage))
            }
        };
        Invocation {
            id: record.log.id,
            tenant: record.tenant.clone(),
            pipeline: record.submit.pipeline.clone(),
            model: record.model.clone(),
            policy: record.policy.clone(),
            submitted_unix_ms: record.submitted_unix_ms,
            age_ms: since(Instant::now()),
            state,
            placed: placed.collect(),
            tokens: standing.tokens,
            first_token_ms: standing.first_at.map(since),
            ended_ms: standing.ended_at.map(since),
            failure,
            usage,
        }
    }

    fn stage(&self, record: &Record) -> State {
        match self.core.invocation(convert::invocation(record.log.id)).map(|view| view.stage) {
            Some(Stage::Queued) => State::Queued,
            Some(Stage::Backoff) => State::Backoff,
            Some(Stage::Placed { .. }) => State::Placed,
            // One that the core has let go of is about to say its end.
            Some(Stage::Running { .. }) | None => State::Running,
        }
    }

    fn class_of(&self, node: &NodeId) -> &str {
        self.nodes.get(node).map_or("", |node| node.inventory.class.as_str())
    }

    /// Tells the observer of an end, if there is one.
    pub(super) fn tell_finished(&self, invocation: InvocationId) {
        let (Some(observer), Some(record)) = (&self.observer, self.records.get(&invocation)) else { return };
        let seen = self.seen(record);
        let chosen = record.decisions.last().and_then(|(decision, _)| {
            decision.candidates.iter().find(|candidate| candidate.verdict == Verdict::Chosen)
        });
        let attempts = seen.placed.iter().map(|at| AttemptEnd {
            class: self.class_of(&at.placed.node),
            outcome: record.ended.get(&at.placed.attempt.number).map_or("lost", |(ended, _)| outcome(ended)),
        });
        observer.finished(&Finished {
            attempts: attempts.collect(),
            gaps: &record.log.take_gaps(),
            invocation: &seen,
            class: seen.placed.last().map_or("", |at| self.class_of(&at.placed.node)),
            predicted: chosen.map(|candidate| convert::predicted(&candidate.prediction)),
        });
    }
}

pub(super) fn outcome(ended: &Ended) -> &'static str {
    match ended.outcome {
        Outcome::Done { .. } => "done",
        Outcome::Failed(_) => "failed",
        Outcome::Cancelled => "cancelled",
        Outcome::Expired => "expired",
        Outcome::HandedOver => "handed-over",
    }
}

#[cfg(test)]
mod tests {
    use dunlin_scheduler_core::{Fenced, Lapse};

    use super::*;

    #[test]
    fn whatever_a_node_is_given_up_for_has_a_word() {
        let all = [
            Fenced::Superseded,
            Fenced::Unknown,
            Fenced::Lapsed(Lapse::Silent),
            Fenced::Lapsed(Lapse::Wedged),
            Fenced::NoRoom,
        ];
        assert_eq!(all.map(convert::fenced), FENCED);
    }
}
