//! How often what failed is tried again: a share of what succeeds, so that retries never become the load.

use std::time::Duration;

/// An invocation that lost its node goes on elsewhere so many times.
pub const MAX_LOSSES: u32 = 8;

/// An invocation whose attempt failed is tried elsewhere so many times.
pub const MAX_RETRIES: u32 = 3;

/// The wait before the first retry; doubled for each further one.
const BACKOFF: Duration = Duration::from_millis(50);

/// What one accepted invocation adds to the budget of all: ten pay for one retry.
const EARNED: u32 = 1;
const PRICE: u32 = 10;

/// A fleet that has just started may retry this often.
const INITIAL: u32 = 20 * PRICE;
const MOST: u32 = 100 * PRICE;

/// Of the whole scheduler. A lost node does not draw on it: its streams go on by promise.
#[derive(Debug)]
pub(crate) struct RetryBudget {
    saved: u32,
}

impl Default for RetryBudget {
    fn default() -> Self {
        Self { saved: INITIAL }
    }
}

impl RetryBudget {
    pub(crate) fn earn(&mut self) {
        self.saved = (self.saved + EARNED).min(MOST);
    }

    pub(crate) fn spend(&mut self) -> bool {
        let left = self.saved.checked_sub(PRICE);
        self.saved = left.unwrap_or(self.saved);
        left.is_some()
    }
}

/// Before retry number `retry`, from 1: the doubled [`BACKOFF`], and up to half of it more by `jitter` (0 to 1).
pub(crate) fn backoff(retry: u32, jitter: f64) -> Duration {
    let wait = BACKOFF * 2_u32.pow(retry.saturating_sub(1).min(10));
    wait + wait.mul_f64(jitter.clamp(0.0, 1.0) / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_invocations_pay_for_a_retry() {
        let mut budget = RetryBudget::default();
        let at_start = std::iter::from_fn(|| budget.spend().then_some(())).count();
        assert_eq!(at_start, 20);
        for _ in 0..25 {
            budget.earn();
        }
        assert_eq!([budget.spend(), budget.spend(), budget.spend()], [true, true, false]);
    }

    #[test]
    fn waits_longer_each_time() {
        assert_eq!([1, 2, 3].map(|n| backoff(n, 0.0).as_millis()), [50, 100, 200]);
        assert_eq!(backoff(1, 1.0).as_millis(), 75);
    }
}
