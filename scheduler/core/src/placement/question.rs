//! What a placement is asked for.

use std::{sync::Arc, time::Duration};

use dunlin_costs::Work;

use super::assess::Guards;
use crate::{
    ModelIndex, NodeId, Request, Time, WhenNothingFits,
    fleet::{Node, Stream},
    request::MAX_PREFIXES,
};

/// A request does not wait longer than this for a place that is better than a free one.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A request that is to be placed, with what became of it so far.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Question<'a> {
    pub(crate) request: &'a Arc<Request>,
    pub(crate) now: Time,
    pub(crate) submitted: Time,
    /// Since when it has been in the queue.
    pub(crate) queued: Time,
    /// It has been placed before.
    pub(crate) begun: bool,
    /// Tokens that it has given out already: they are read again, as a part of the prompt.
    pub(crate) emitted: u64,
    /// What they came from: it goes on with no other.
    pub(crate) model: Option<ModelIndex>,
    /// Nodes on which it has failed.
    pub(crate) avoid: &'a [NodeId],
    /// An engine died under it lately: it runs alone.
    pub(crate) suspect: bool,
    /// The expected number of requests that share a load.
    pub(crate) reuse: f64,
}

impl Question<'_> {
    pub(crate) fn work(&self, cached_tokens: u32) -> Work {
        let emitted = u32::try_from(self.emitted).unwrap_or(u32::MAX);
        let prompt_tokens = self.request.prompt_tokens.saturating_add(emitted);
        let output_tokens = self.request.output_tokens.saturating_sub(emitted).max(1);
        Work { prompt_tokens, cached_tokens: cached_tokens.min(prompt_tokens), output_tokens }
    }

    pub(crate) fn guards(&self) -> Guards {
        let targets = &self.request.terms.targets;
        let wait = if self.is_patient() { (self.queued + PATIENCE - self.now).as_secs_f64() } else { 0.0 };
        let mut guards = Guards::new(targets, self.submitted, self.now, self.emitted > 0, wait);
        let late = targets.ttft.is_some_and(|ttft| self.now.since(self.submitted) >= ttft);
        if late && self.request.terms.when_nothing_fits == WhenNothingFits::Queue {
            guards.ttft = f64::INFINITY;
        }
        guards
    }

    pub(crate) fn is_patient(&self) -> bool {
        self.now < self.queued + PATIENCE
    }

    /// Shortest first, as many as count.
    pub(crate) fn prefixes(&self) -> &[crate::Prefix] {
        let prefixes = &self.request.prefixes;
        &prefixes[prefixes.len().saturating_sub(MAX_PREFIXES)..]
    }

    /// What it would be to those beside it.
    pub(crate) fn stream(&self, attempt: crate::AttemptId, work: &Work) -> Stream {
        let targets = &self.request.terms.targets;
        Stream {
            attempt,
            unread: work.prompt_tokens.saturating_sub(work.cached_tokens).max(1),
            context: work.prompt_tokens,
            output_left: work.output_tokens,
            tpot: targets.tpot.map_or(f64::INFINITY, |tpot| tpot.as_secs_f64()),
            deadline: targets.deadline.map(|deadline| self.submitted + deadline),
            suspect: self.suspect,
        }
    }

    pub(crate) fn avoids(&self, node: &Node) -> bool {
        self.avoid.contains(&node.id)
    }
}
