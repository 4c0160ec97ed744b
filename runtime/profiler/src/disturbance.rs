//! Whether others had the processors that the engine wanted.

use crate::{Cell, Sample};

/// From this part of the time on, a row says that it was disturbed.
pub const DISTURBED: f64 = 0.1;

/// Part of the time, 0 to 1, in which a thread of the engine was ready and others had its processor, over the prompts and answers
/// that count: a step is not over before its last thread is. `None` where the kernel does not tell.
///
/// Where several threads wait at once it is less than that. What others take of the memory's bandwidth is not seen.
pub fn disturbance<'a>(runs: impl IntoIterator<Item = &'a Sample>) -> Option<f64> {
    let (waited, looked) = runs
        .into_iter()
        .filter(|run| run.counts() && matches!(run.cell, Cell::Prefill { .. } | Cell::Decode { .. }))
        .filter_map(|run| Some((run.measured.waited?, run.measured.looked)))
        .fold((0.0, 0.0), |all, of| (all.0 + of.0, all.1 + of.1));
    (looked > 0.0).then(|| (waited / looked).min(1.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Measured, Spoilt};

    #[test]
    fn what_others_took_is_told_of_runs_that_count() {
        let run = |cell, waited, looked| {
            let measured = Measured { waited, looked, ..Measured::default() };
            Sample { cell, measured, spoilt: None, warm_up: false }
        };
        let answer = Cell::Decode { threads: 2, depth: 8, batch: 1 };
        assert_eq!(disturbance(&[run(answer, None, 1.0)]), None, "the kernel does not tell");
        let quiet = run(answer, Some(0.25), 3.0);
        let spoilt = Sample { spoilt: Some(Spoilt::Throttled), ..run(answer, Some(9.0), 9.0) };
        let load = run(Cell::Load { cold: false }, Some(9.0), 9.0);
        let runs = [quiet, run(Cell::Prefill { threads: 2, prompt: 64 }, Some(0.75), 1.0), spoilt, load];
        assert_eq!(disturbance(&runs), Some(0.25));
        assert_eq!(disturbance(&[run(answer, Some(5.0), 1.0)]), Some(1.0), "five threads at once");
    }
}
