//! For whom the time of steps was.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use dunlin_engine_handle::{CallId, Division, Part, Share};

/// Between two messages about shares, unless a call ends.
const SHARES_INTERVAL: Duration = Duration::from_millis(50);

/// Microseconds of steps, by call, since they were last told.
#[derive(Debug, Default)]
pub(super) struct Shares {
    by_call: BTreeMap<CallId, (f64, f64)>,
    division: Division,
    told: Option<Instant>,
}

impl Shares {
    pub(super) fn are_due(&self) -> bool {
        self.told.is_none_or(|told| told.elapsed() >= SHARES_INTERVAL)
    }

    /// Notes for whom a step was that took so long.
    pub(super) fn divide(&mut self, took: Duration, calls: &[CallId], parts: &[Part]) {
        let seconds = self.division.divide(took.as_secs_f64(), parts);
        for ((call, part), seconds) in calls.iter().zip(parts).zip(seconds) {
            let (prefill, decode) = self.by_call.entry(*call).or_default();
            *(if part.rows == 0 { decode } else { prefill }) += seconds * 1e6;
        }
    }

    /// What there is to tell.
    pub(super) fn take(&mut self) -> Vec<(CallId, Share)> {
        self.told = Some(Instant::now());
        let share =
            |(prefill, decode): (f64, f64)| Share { prefill_us: prefill as u64, decode_us: decode as u64 };
        std::mem::take(&mut self.by_call).into_iter().map(|(call, of)| (call, share(of))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_call_reads_and_what_it_decodes_are_told_apart_once() {
        let mut shares = Shares::default();
        let part = |rows| Part { rows, context: 10 };
        shares.divide(Duration::from_millis(40), &[CallId(1), CallId(2)], &[part(0), part(0)]);
        shares.divide(Duration::from_millis(90), &[CallId(1), CallId(3)], &[part(0), part(32)]);
        let taken: Vec<_> =
            shares.take().iter().map(|(id, of)| (id.0, of.prefill_us / 1000, of.decode_us / 1000)).collect();
        // 40 ms of the second step would have been there without the prompt.
        assert_eq!(taken, [(1, 0, 40), (2, 0, 20), (3, 70, 0)]);
        assert!(shares.take().is_empty());
    }
}
