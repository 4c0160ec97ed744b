//! The fleet at one moment, and how it changes between two.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use dunlin_protocol::{
    FleetSummary, InvocationId, JoinedNode, ListedInvocation, ModelDigest, NodeState, ParkLevel,
};

/// How much of an older rate stays in a newer one.
const SMOOTHING: f64 = 0.5;

#[derive(Debug, Clone)]
pub(super) struct Look {
    pub(super) fleet: FleetSummary,
    pub(super) nodes: Vec<JoinedNode>,
    /// By digest, the aliases that they stand behind.
    pub(super) models: Vec<(ModelDigest, String)>,
    /// The newest first.
    pub(super) invocations: Vec<ListedInvocation>,
    pub(super) at: Instant,
}

impl Look {
    /// The name of a model, or how its digest begins.
    pub(super) fn model(&self, digest: ModelDigest) -> String {
        let named = self.models.iter().find(|(known, _)| *known == digest);
        named.map_or_else(
            || digest.to_string().trim_start_matches("sha256:").chars().take(8).collect(),
            |(_, name)| name.clone(),
        )
    }

    /// What all boards that say so draw, and how many do.
    pub(super) fn watts(&self) -> (f64, usize) {
        let known =
            self.nodes.iter().filter(|node| !is_gone(node.state)).filter_map(|node| node.health.milliwatts);
        known.fold((0.0, 0), |(watts, count), milliwatts| (watts + f64::from(milliwatts) / 1e3, count + 1))
    }

    pub(super) fn gone(&self) -> usize {
        self.nodes.iter().filter(|node| is_gone(node.state)).count()
    }

    /// Those that rest, and those of them that are off.
    pub(super) fn resting(&self) -> (usize, usize) {
        let resting = self.nodes.iter().filter(|node| node.state == NodeState::Parked);
        (resting.clone().count(), resting.filter(|node| is_off(node)).count())
    }

    /// Those that are on their way into another mode, rest aside.
    pub(super) fn changing(&self) -> usize {
        let changes = |node: &&JoinedNode| {
            node.plan.as_deref().is_some_and(|plan| plan.parked.is_none() && plan.changes_to.is_some())
        };
        self.nodes.iter().filter(changes).count()
    }
}

pub(super) fn is_gone(state: NodeState) -> bool {
    matches!(state, NodeState::Lost | NodeState::Suspected | NodeState::Denied)
}

/// It was put off, so that nothing is known of it, and nothing is wrong.
pub(super) fn is_off(node: &JoinedNode) -> bool {
    let parked = node.plan.as_deref().and_then(|plan| plan.parked);
    node.state == NodeState::Parked && parked.is_some_and(|parked| parked.level == ParkLevel::Off)
}

pub(super) fn is_live(invocation: &ListedInvocation) -> bool {
    invocation.ended_ms.is_none()
        && !matches!(invocation.state.as_str(), "refused" | "failed" | "done" | "cancelled" | "expired")
}

/// Tokens a second, of each invocation.
#[derive(Debug, Clone, Default)]
pub(super) struct Rates {
    before: Option<Instant>,
    tokens: BTreeMap<InvocationId, u64>,
    rates: BTreeMap<InvocationId, f64>,
}

impl Rates {
    pub(super) fn see(&mut self, look: &Look) {
        let passed = self.before.map(|before| look.at.saturating_duration_since(before));
        let mut rates = BTreeMap::new();
        if let Some(passed) = passed.filter(|passed| *passed > Duration::ZERO) {
            for invocation in look.invocations.iter().filter(|invocation| is_live(invocation)) {
                let before = self.tokens.get(&invocation.id).copied().unwrap_or(0);
                let now = invocation.tokens.saturating_sub(before) as f64 / passed.as_secs_f64();
                let older = self.rates.get(&invocation.id).copied().unwrap_or(now);
                rates.insert(invocation.id, SMOOTHING * older + (1.0 - SMOOTHING) * now);
            }
        }
        self.rates = rates;
        self.before = Some(look.at);
        self.tokens = look.invocations.iter().map(|invocation| (invocation.id, invocation.tokens)).collect();
    }

    /// While it runs by what was seen; after that over its whole life.
    pub(super) fn of(&self, invocation: &ListedInvocation) -> Option<f64> {
        if is_live(invocation) {
            return self.rates.get(&invocation.id).copied().filter(|rate| *rate > 0.0);
        }
        let decode = invocation.ended_ms?.checked_sub(invocation.first_token_ms?).filter(|ms| *ms > 0)?;
        let further = invocation.tokens.checked_sub(1).filter(|tokens| *tokens > 0)?;
        Some(further as f64 * 1e3 / decode as f64)
    }

    pub(super) fn all(&self) -> f64 {
        self.rates.values().sum()
    }
}
