//! Moments, as the caller counts them.

use std::{
    ops::{Add, AddAssign, Sub},
    time::Duration,
};

use serde::{Deserialize, Serialize};

/// A moment: the time since an epoch that the caller chooses once and keeps. Sums and differences saturate.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Time {
    nanos: u64,
}

impl Time {
    pub const ZERO: Self = Self { nanos: 0 };

    pub const fn from_nanos(nanos: u64) -> Self {
        Self { nanos }
    }

    pub fn since_epoch(since: Duration) -> Self {
        Self::ZERO + since
    }

    /// Zero if `earlier` is not earlier.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.nanos.saturating_sub(earlier.nanos))
    }
}

impl Add<Duration> for Time {
    type Output = Self;

    fn add(self, after: Duration) -> Self {
        let after = u64::try_from(after.as_nanos()).unwrap_or(u64::MAX);
        Self { nanos: self.nanos.saturating_add(after) }
    }
}

impl AddAssign<Duration> for Time {
    fn add_assign(&mut self, after: Duration) {
        *self = *self + after;
    }
}

impl Sub for Time {
    type Output = Duration;

    fn sub(self, earlier: Self) -> Duration {
        self.since(earlier)
    }
}

/// Of seconds that may be anything: what is no time is none, what is too long is a year.
pub(crate) fn from_secs(secs: f64) -> Duration {
    const YEAR_SECS: f64 = 365.0 * 86_400.0;
    if secs > 0.0 { Duration::from_secs_f64(secs.min(YEAR_SECS)) } else { Duration::ZERO }
}
