//! What to show: nothing here changes anything.

use std::time::Duration;

use super::Scheduler;
use crate::{
    AttemptId, Decision, DecisionId, InvocationId, NodeId, NodeView, Standing, TenantId, fleet::Node,
    invocation::State, placement::Survey,
};

/// An invocation that is under way.
#[derive(Debug, Clone, PartialEq)]
pub struct InvocationView {
    pub id: InvocationId,
    pub tenant: TenantId,
    pub stage: Stage,
    /// Since it was submitted.
    pub age: Duration,
    /// The offset that is delivered next.
    pub next_offset: u64,
    pub losses: u32,
    pub retries: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    Queued,
    /// It failed, and is tried again in a moment.
    Backoff,
    Placed {
        attempt: AttemptId,
        node: NodeId,
    },
    Running {
        attempt: AttemptId,
        node: NodeId,
    },
}

/// How full the scheduler is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Load {
    pub nodes: usize,
    pub queued: usize,
    pub invocations: usize,
}

impl Scheduler {
    /// In the order of their ids.
    pub fn nodes(&self) -> impl Iterator<Item = NodeView> {
        self.fleet.ids().filter_map(|id| self.node(id))
    }

    pub fn node(&self, id: NodeId) -> Option<NodeView> {
        self.fleet.by_id(id).map(|node| self.fleet.view(node, self.now))
    }

    /// What runs on a node, or is on its way there. A part of [`Self::node`] that costs nothing.
    pub fn in_flight(&self, id: NodeId) -> usize {
        self.fleet.by_id(id).map_or(0, Node::in_flight)
    }

    /// Whether a node takes work, as far as people and itself say; `None`: it is not there.
    pub fn standing(&self, id: NodeId) -> Option<Standing> {
        self.fleet.by_id(id).map(|node| node.standing)
    }

    /// In the order of their ids.
    pub fn invocations(&self) -> impl Iterator<Item = InvocationView> {
        self.invocations.keys().filter_map(|&id| self.invocation(id))
    }

    pub fn invocation(&self, id: InvocationId) -> Option<InvocationView> {
        let invocation = self.invocations.get(&id)?;
        let stage = match &invocation.state {
            State::Queued { .. } => Stage::Queued,
            State::Backoff => Stage::Backoff,
            State::Placed(of) => {
                let attempt = AttemptId { invocation: id, number: of.number };
                let begun = of.started.is_some() || of.first_token.is_some();
                let node = of.node;
                if begun { Stage::Running { attempt, node } } else { Stage::Placed { attempt, node } }
            }
        };
        Some(InvocationView {
            id,
            tenant: invocation.request.tenant,
            stage,
            age: self.now - invocation.submitted,
            next_offset: invocation.delivered,
            losses: invocation.losses,
            retries: invocation.retries,
        })
    }

    pub fn load(&self) -> Load {
        Load { nodes: self.fleet.len(), queued: self.queue.len(), invocations: self.invocations.len() }
    }

    /// Models that requests wait for, and how many do.
    pub fn waiting(&self) -> impl Iterator<Item = (&str, usize)> {
        self.queue.lanes().map(|lane| (&**lane, self.queue.lane_len(lane)))
    }

    /// What would be decided now about one that waits: why it does.
    pub fn consider(&self, id: InvocationId) -> Option<Decision> {
        self.considered(id, &mut Survey::thorough())
    }

    pub(super) fn considered(&self, id: InvocationId, survey: &mut Survey) -> Option<Decision> {
        let invocation = self.invocations.get(&id).filter(|of| of.attempt().is_none())?;
        let (question, variants) = (self.question(invocation), self.variants(&invocation.request.model));
        let choice = self.decide(&question, variants, survey);
        let attempt = AttemptId { invocation: id, number: invocation.next_attempt };
        let decision = DecisionId(self.next_decision);
        Some(Decision::record(decision, attempt, &self.fleet, &question, variants, survey, choice))
    }
}
