//! How long a node counts as there without being heard.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::Time;

/// Any authenticated packet renews it.
pub const LEASE: Duration = Duration::from_secs(3);

/// A node whose packets come but whose reports do not is wedged: its transport lives, its agent does not.
pub const REPORT_LEASE: Duration = Duration::from_secs(10);

/// Why a lease is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Lapse {
    /// No packet for [`LEASE`].
    Silent,
    /// No report for [`REPORT_LEASE`].
    Wedged,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Lease {
    heard: Time,
    reported: Time,
}

impl Lease {
    pub(crate) const fn new(now: Time) -> Self {
        Self { heard: now, reported: now }
    }

    pub(crate) fn hear(&mut self, now: Time) {
        self.heard = self.heard.max(now);
    }

    pub(crate) fn report(&mut self, now: Time) {
        self.hear(now);
        self.reported = self.reported.max(now);
    }

    pub(crate) const fn reported(&self) -> Time {
        self.reported
    }

    /// The first moment at which it is over, as things stand.
    pub(crate) fn end(&self) -> Time {
        (self.heard + LEASE).min(self.reported + REPORT_LEASE)
    }

    pub(crate) fn lapse(&self, now: Time) -> Option<Lapse> {
        if now >= self.heard + LEASE {
            Some(Lapse::Silent)
        } else if now >= self.reported + REPORT_LEASE {
            Some(Lapse::Wedged)
        } else {
            None
        }
    }

    /// The scheduler itself was away: what came meanwhile has not been read yet.
    pub(crate) fn extend(&mut self, by: Duration, now: Time) {
        self.heard = (self.heard + by).min(now);
        self.reported = (self.reported + by).min(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(heard_ms: u64, reported_ms: u64, at_ms: u64, expected: Option<Lapse>) {
        let at = |ms| Time::since_epoch(Duration::from_millis(ms));
        let lease = Lease { heard: at(heard_ms), reported: at(reported_ms) };
        assert_eq!(lease.lapse(at(at_ms)), expected);
        assert_eq!(at(at_ms) >= lease.end(), expected.is_some(), "the end is where it lapses");
    }

    #[test]
    fn lapses_at_the_end_and_not_before() {
        check(1000, 1000, 3999, None);
        check(1000, 1000, 4000, Some(Lapse::Silent));
        check(10_500, 1000, 10_999, None);
        check(10_500, 1000, 11_000, Some(Lapse::Wedged));
        check(1000, 1000, 20_000, Some(Lapse::Silent));
    }
}
