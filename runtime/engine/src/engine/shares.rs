//! For whom the time of steps was.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use dunlin_engine_handle::{CallId, Share};

/// Between two messages about shares, unless a call ends.
const SHARES_INTERVAL: Duration = Duration::from_millis(50);

/// Microseconds of steps, by call, since they were last told.
#[derive(Debug, Default)]
pub(super) struct Shares {
    by_call: BTreeMap<CallId, (f64, f64)>,
    told: Option<Instant>,
}

impl Shares {
    pub(super) fn are_due(&self) -> bool {
        self.told.is_none_or(|told| told.elapsed() >= SHARES_INTERVAL)
    }

    /// Divides a step that took so long among its parts: calls, each with the rows of prompt that it read; 0: it decoded.
    ///
    /// All share equally in what a step that only decodes would have taken, since the weights are read for all of them. What the
    /// step took longer is of those who read a prompt, by their rows.
    pub(super) fn divide(
        &mut self,
        took: Duration,
        decode_step: Duration,
        parts: impl Iterator<Item = (CallId, usize)> + Clone,
    ) {
        let (count, rows) =
            parts.clone().fold((0usize, 0usize), |(count, all), (_, rows)| (count + 1, all + rows));
        if count == 0 {
            return;
        }
        let took = took.as_secs_f64() * 1e6;
        let base = match rows {
            0 => took,
            _ => took.min(decode_step.as_secs_f64() * 1e6),
        };
        for (call, own) in parts {
            let (prefill, decode) = self.by_call.entry(call).or_default();
            let equal = base / count as f64;
            match own {
                0 => *decode += equal,
                own => *prefill += equal + (took - base) * own as f64 / rows as f64,
            }
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

    fn check(took: u64, decode_step: u64, parts: &[(u64, usize)], expected: &[(u64, u64, u64)]) {
        let mut shares = Shares::default();
        let ms = Duration::from_millis;
        shares.divide(ms(took), ms(decode_step), parts.iter().map(|&(id, rows)| (CallId(id), rows)));
        let taken: Vec<_> =
            shares.take().iter().map(|(id, of)| (id.0, of.prefill_us / 1000, of.decode_us / 1000)).collect();
        assert_eq!(taken, expected);
        assert!(shares.take().is_empty());
    }

    #[test]
    fn a_step_is_divided_without_rest() {
        check(40, 0, &[(1, 0)], &[(1, 0, 40)]);
        check(40, 20, &[(1, 0), (2, 0)], &[(1, 0, 20), (2, 0, 20)]);
        // Alone with its prompt.
        check(90, 20, &[(1, 64)], &[(1, 90, 0)]);
        // 30 ms that the step takes anyway for three, 60 ms more for the two that read.
        check(90, 30, &[(1, 0), (2, 32), (3, 96)], &[(1, 0, 10), (2, 25, 0), (3, 55, 0)]);
        // Nothing is known of steps that only decode.
        check(90, 0, &[(1, 0), (2, 64)], &[(1, 0, 0), (2, 90, 0)]);
        // Shorter than such a step usually is.
        check(20, 30, &[(1, 0), (2, 16)], &[(1, 0, 10), (2, 10, 0)]);
        check(20, 30, &[], &[]);
    }
}
