//! One placement of an invocation, and what is accepted from it.

use std::time::Duration;

use dunlin_costs::{Prediction, Work};

use crate::{DecisionId, ModelIndex, NodeId, RowIndex, Time, fleet::Slot, input::AttemptEnd};

/// An attempt that gives out nothing has stalled after this; before its first token, after four times what was predicted
/// if that is longer.
pub const STALL: Duration = Duration::from_secs(120);
const STALL_FACTOR: f64 = 4.0;

/// What was asked for again has to come within this.
pub const GAP_TIMEOUT: Duration = Duration::from_secs(5);

/// Reports without an attempt that should be there, until it counts as gone.
pub const MISSED_REPORTS: u8 = 2;

/// So long after its placement, a report without it says nothing yet.
pub const MISSED_GRACE: Duration = Duration::from_secs(3);

#[derive(Debug)]
pub(crate) struct Attempt {
    pub(crate) number: u32,
    pub(crate) node: NodeId,
    pub(crate) slot: Slot,
    pub(crate) model: ModelIndex,
    pub(crate) row: RowIndex,
    pub(crate) decision: DecisionId,
    pub(crate) prediction: Prediction,
    /// What the row says of reading and of joules, calibration aside.
    pub(crate) plain: Prediction,
    /// What that is for.
    pub(crate) work: Work,
    pub(crate) placed: Time,
    pub(crate) started: Option<Time>,
    pub(crate) first_token: Option<Time>,
    /// The model was loaded for it: what its first token took says nothing of reading.
    pub(crate) loads: bool,
    /// When it last gave out something, or was placed.
    pub(crate) last_progress: Time,
    pub(crate) tokens: u64,
    /// The offset that was asked for again.
    pub(crate) asked: Option<u64>,
    /// It has ended, but what it gave out before has not all come.
    pub(crate) ended: Option<AttemptEnd>,
    pub(crate) missed_reports: u8,
    pub(crate) pace: Pace,
}

/// Tokens over which its pace is measured.
const PACE_TOKENS: u32 = 16;

/// What it took to generate some tokens, and what it should have taken in what really ran beside them.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Pace {
    tokens: u32,
    expected: f64,
    actual: f64,
}

impl Pace {
    /// `disturbed` means that prompts were read meanwhile. Tells (expected, actual) seconds when there is enough.
    pub(crate) fn add(
        &mut self,
        tokens: u32,
        tpot: f64,
        took: Duration,
        disturbed: bool,
    ) -> Option<(f64, f64)> {
        if disturbed {
            *self = Self::default();
            return None;
        }
        self.tokens += tokens;
        self.expected += f64::from(tokens) * tpot;
        self.actual += took.as_secs_f64();
        (self.tokens >= PACE_TOKENS).then(|| {
            let Self { expected, actual, .. } = std::mem::take(self);
            (expected, actual)
        })
    }
}

impl Attempt {
    /// When it counts as stalled if nothing more is heard of it.
    pub(crate) fn stalls_at(&self) -> Time {
        let expected = crate::time::from_secs(self.prediction.ttft.q90 * STALL_FACTOR);
        let patience = if self.first_token.is_some() { STALL } else { STALL.max(expected) };
        self.last_progress + patience
    }
}

/// What is new of a piece of output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Accepted {
    /// Without the first `skip`, so many.
    Fresh {
        skip: u64,
        length: u64,
    },
    Repeated,
    /// Something before it is missing.
    Gap,
}

/// `next` is the offset that was not delivered yet.
pub(crate) fn accept(next: u64, offset: u64, length: u64) -> Accepted {
    let end = offset.saturating_add(length);
    if offset > next {
        Accepted::Gap
    } else if end <= next {
        Accepted::Repeated
    } else {
        Accepted::Fresh { skip: next - offset, length: end - next }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(offset: u64, length: u64, expected: Accepted) {
        assert_eq!(accept(10, offset, length), expected, "{offset} + {length}");
    }

    #[test]
    fn accepts_what_is_next() {
        check(10, 3, Accepted::Fresh { skip: 0, length: 3 });
        check(8, 5, Accepted::Fresh { skip: 2, length: 3 });
        check(0, u64::MAX, Accepted::Fresh { skip: 10, length: u64::MAX - 10 });
        check(10, 0, Accepted::Repeated);
        check(7, 3, Accepted::Repeated);
        check(11, 1, Accepted::Gap);
        check(u64::MAX, u64::MAX, Accepted::Gap);
    }
}
