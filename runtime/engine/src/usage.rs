//! What one generation took, by the engine's own clock.

use std::time::{Duration, Instant};

use dunlin_engine_handle::Usage;

/// Timestamps of one generation.
#[derive(Debug)]
pub(crate) struct Clock {
    arrived: Instant,
    started: Option<Instant>,
    last_token: Option<Instant>,
    ttft: Duration,
    /// Time per token after the first, in microseconds.
    gaps: Vec<u32>,
    mask: Duration,
}

impl Clock {
    pub(crate) fn new(arrived: Instant) -> Self {
        Self {
            arrived,
            started: None,
            last_token: None,
            ttft: Duration::ZERO,
            gaps: Vec::new(),
            mask: Duration::ZERO,
        }
    }

    /// The call begins to be computed. False where it began before, and was preempted.
    pub(crate) fn start(&mut self) -> bool {
        let first = self.started.is_none();
        self.started.get_or_insert_with(Instant::now);
        first
    }

    /// `count` tokens came with one step; none is no step.
    pub(crate) fn tokens(&mut self, count: usize) {
        if count == 0 {
            return;
        }
        let now = Instant::now();
        match self.last_token {
            None => {
                self.ttft = now - self.arrived;
                self.gaps.extend(std::iter::repeat_n(0, count.saturating_sub(1)));
            }
            Some(last) => {
                let gap = (now - last).as_micros() / count.max(1) as u128;
                self.gaps.extend(std::iter::repeat_n(u32::try_from(gap).unwrap_or(u32::MAX), count));
            }
        }
        self.last_token = Some(now);
    }

    pub(crate) fn mask(&mut self, spent: Duration) {
        self.mask += spent;
    }

    /// Fills in the times.
    pub(crate) fn report(&mut self, usage: &mut Usage) {
        let total = self.arrived.elapsed();
        self.gaps.sort_unstable();
        usage.queue_us = micros(self.started.map_or(total, |started| started - self.arrived));
        usage.ttft_us = micros(if self.last_token.is_some() { self.ttft } else { total });
        usage.tpot_p50_us = percentile(&self.gaps, 50);
        usage.tpot_p99_us = percentile(&self.gaps, 99);
        usage.total_us = micros(total);
        usage.mask_us = micros(self.mask);
    }
}

/// Of sorted values, by nearest rank; 0 of none.
fn percentile(sorted: &[u32], percent: usize) -> u64 {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.saturating_sub(1)).copied().map_or(0, u64::from)
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_the_nearest_rank() {
        let values: Vec<u32> = (1..=200).collect();
        assert_eq!((percentile(&values, 50), percentile(&values, 99), percentile(&[], 50)), (100, 198, 0));
        assert_eq!((percentile(&[7], 50), percentile(&[7], 99)), (7, 7));
    }
}
