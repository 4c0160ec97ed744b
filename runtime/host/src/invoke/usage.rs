//! What an invocation took, over all of its generations.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use dunlin_engine_handle as engine;

use crate::{Node, bindings::dunlin::llm::types as wit};

/// What an invocation took. Counts are of tokens, times in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    pub generations: u32,
    /// Prompt tokens that were computed.
    pub prompt_tokens: u32,
    /// Prompt tokens that were held already.
    pub cached_tokens: u32,
    pub output_tokens: u32,
    /// Of the output, tokens that a constraint left no choice about.
    pub forced_tokens: u32,
    /// Tokens of what was scored: each prompt and its candidates, held already or not.
    pub scored_tokens: u32,
    /// Sum over the generations.
    pub queue_us: u64,
    /// From the start of the invocation to its first token; 0 without one.
    pub ttft_us: u64,
    /// Mean of the generations' medians, weighted by their tokens.
    pub tpot_p50_us: u64,
    /// The largest of the generations'.
    pub tpot_p99_us: u64,
}

impl Usage {
    pub(crate) fn describe(&self, node: &Node, operating_point: &str) -> wit::Usage {
        wit::Usage {
            prompt_tokens: self.prompt_tokens,
            cached_tokens: self.cached_tokens,
            output_tokens: self.output_tokens,
            forced_tokens: self.forced_tokens,
            queue_us: self.queue_us,
            ttft_us: self.ttft_us,
            tpot_p50_us: self.tpot_p50_us,
            tpot_p99_us: self.tpot_p99_us,
            energy: None,
            node: node.id.clone(),
            operating_point: operating_point.to_owned(),
        }
    }
}

/// What one generation took, in the same form.
pub(crate) fn of_generation(usage: &engine::Usage) -> Usage {
    Usage {
        generations: 1,
        prompt_tokens: usage.prompt_tokens,
        cached_tokens: usage.cached_tokens,
        output_tokens: usage.output_tokens,
        forced_tokens: usage.forced_tokens,
        scored_tokens: 0,
        queue_us: usage.queue_us,
        ttft_us: usage.ttft_us,
        tpot_p50_us: usage.tpot_p50_us,
        tpot_p99_us: usage.tpot_p99_us,
    }
}

/// Adds up as generations end.
#[derive(Debug, Default)]
pub(crate) struct Totals(Mutex<Sums>);

#[derive(Debug, Default)]
struct Sums {
    usage: Usage,
    /// Of (output tokens x median).
    weighted_p50: u128,
}

impl Totals {
    /// A generation ended that began this long after the invocation.
    pub(crate) fn add(&self, began: Duration, of: &Usage) {
        let mut sums = self.lock();
        sums.weighted_p50 += u128::from(of.tpot_p50_us) * u128::from(of.output_tokens);
        let total = &mut sums.usage;
        if of.output_tokens > 0 {
            let first = (began.as_micros() as u64 + of.ttft_us).max(1);
            total.ttft_us = if total.ttft_us == 0 { first } else { total.ttft_us.min(first) };
        }
        total.generations = total.generations.saturating_add(1);
        total.prompt_tokens = total.prompt_tokens.saturating_add(of.prompt_tokens);
        total.cached_tokens = total.cached_tokens.saturating_add(of.cached_tokens);
        total.output_tokens = total.output_tokens.saturating_add(of.output_tokens);
        total.forced_tokens = total.forced_tokens.saturating_add(of.forced_tokens);
        total.queue_us = total.queue_us.saturating_add(of.queue_us);
        total.tpot_p99_us = total.tpot_p99_us.max(of.tpot_p99_us);
    }

    /// Candidates were scored.
    pub(crate) fn add_scored(&self, tokens: usize) {
        let mut sums = self.lock();
        let tokens = u32::try_from(tokens).unwrap_or(u32::MAX);
        sums.usage.scored_tokens = sums.usage.scored_tokens.saturating_add(tokens);
    }

    pub(crate) fn sum(&self) -> Usage {
        let sums = self.lock();
        let p50 = sums.weighted_p50 / u128::from(sums.usage.output_tokens.max(1));
        Usage { tpot_p50_us: p50 as u64, ..sums.usage }
    }

    fn lock(&self) -> MutexGuard<'_, Sums> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_means_and_extremes() {
        let totals = Totals::default();
        let generation = |output_tokens, ttft_us, tpot_p50_us| Usage {
            output_tokens,
            ttft_us,
            tpot_p50_us,
            tpot_p99_us: 2 * tpot_p50_us,
            ..Usage::default()
        };
        totals.add(Duration::from_micros(500), &generation(30, 100, 10));
        totals.add(Duration::from_micros(100), &generation(10, 200, 50));
        totals.add(Duration::ZERO, &generation(0, 0, 0));
        totals.add_scored(25);
        totals.add_scored(5);
        let sum = totals.sum();
        assert_eq!((sum.generations, sum.output_tokens, sum.scored_tokens), (3, 40, 30));
        assert_eq!((sum.ttft_us, sum.tpot_p50_us, sum.tpot_p99_us), (300, 20, 100));
    }
}
