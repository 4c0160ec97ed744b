//! What a board draws while nothing runs on it.

use std::collections::VecDeque;

/// Intervals without work that count.
const MAX_KEPT: usize = 64;

/// Intervals without work before there is a figure.
const ENOUGH: usize = 5;

/// The median of the last intervals without work: what disturbs some of them does not count.
#[derive(Debug, Clone, Default)]
pub(crate) struct IdleWatts {
    kept: VecDeque<f64>,
    median: Option<f64>,
    /// The interval after work still has some of it.
    rests: bool,
}

impl IdleWatts {
    /// An interval of so many seconds in which nothing ran.
    pub(crate) fn note(&mut self, joules: f64, seconds: f64) {
        if seconds <= 0.0 || !std::mem::replace(&mut self.rests, true) {
            return;
        }
        if self.kept.len() == MAX_KEPT {
            self.kept.pop_front();
        }
        self.kept.push_back(joules / seconds);
        if self.kept.len() >= ENOUGH {
            let mut sorted: Vec<f64> = self.kept.iter().copied().collect();
            sorted.sort_by(f64::total_cmp);
            self.median = Some(sorted[sorted.len() / 2]);
        }
    }

    pub(crate) fn watts(&self) -> Option<f64> {
        self.median
    }

    /// Something runs.
    pub(crate) fn disturb(&mut self) {
        self.rests = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_after_work_and_single_disturbances_do_not_count() {
        let mut idle = IdleWatts::default();
        assert_eq!(idle.watts(), None);
        idle.note(0.9, 0.1);
        (0..9).for_each(|_| idle.note(0.3, 0.1));
        idle.disturb();
        idle.note(0.7, 0.1);
        idle.note(0.8, 0.1);
        let watts = idle.watts().unwrap_or_default();
        assert!((watts - 3.0).abs() < 1e-9, "{watts}");
    }
}
