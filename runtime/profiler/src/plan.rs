//! Which cells are measured, and how often.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::Cell;

/// Thread counts of one phase.
const MAX_THREAD_POINTS: usize = 16;

/// How thorough a profile is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Depth {
    /// Seconds: short prompts, two runs.
    Quick,
    Standard,
    /// Five runs of all, with pauses.
    Full,
}

/// Which thread counts are measured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Points {
    /// All up to the cores of the machine, pruned as soon as they are beaten.
    Auto {
        cores: u16,
    },
    All {
        cores: u16,
    },
    /// These, for both phases.
    Only(Vec<u16>),
}

/// What is measured.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    pub prefill_threads: Vec<u16>,
    pub decode_threads: Vec<u16>,
    /// Beaten thread counts are left out after the first rounds.
    pub prunes: bool,
    /// In tokens, shortest first.
    pub prompts: Vec<u32>,
    pub depths: Vec<u32>,
    pub batches: Vec<u16>,
    /// Depth at which the largest batches are measured once more, if any.
    pub deep_batch: Option<(u32, u16)>,
    /// Runs of each cell that count.
    pub repeats: u32,
    /// Tokens of an answer.
    pub output: u32,
    /// An answer that is metered takes at least so long.
    pub window: Duration,
    /// Between two runs, so that a board cools.
    pub pause: Duration,
    pub loads: bool,
}

impl Plan {
    /// The method of the papers: prompts of 128 to 2048 tokens, depths to 2048, batches to 8 (arXiv:2503.09114v1, 4;
    /// Liu, Zhang, Shi 2026, III-C), and batches between powers of two, which take longer than a line between those has it where
    /// kernels compute rows by fours. `context`: the longest sequence that the engine serves.
    pub fn new(depth: Depth, points: &Points, context: u32) -> Self {
        let (threads, prunes) = threads(points);
        let (prompts, depths, batches): (&[u32], &[u32], &[u16]) = match depth {
            Depth::Quick => (&[32, 128, 384], &[16, 384], &[1, 2, 3, 4]),
            Depth::Standard | Depth::Full => (&[128, 512, 1024, 2048], &[0, 512, 2048], &[1, 2, 3, 4, 6, 8]),
        };
        let (repeats, output, pause) = match depth {
            Depth::Quick => (2, 24, Duration::ZERO),
            Depth::Standard => (3, 32, Duration::ZERO),
            Depth::Full => (5, 64, Duration::from_secs(1)),
        };
        // Room for the answer.
        let fits = |tokens: &u32| tokens + output < context;
        let prompts: Vec<u32> = prompts.iter().copied().filter(fits).collect();
        let depths: Vec<u32> = depths.iter().copied().filter(fits).collect();
        let deep = if depth == Depth::Quick { 256 } else { 512 };
        Self {
            prefill_threads: threads.clone(),
            decode_threads: threads,
            prunes,
            prompts: or_least(prompts, context),
            depths: or_least(depths, 0),
            batches: batches.to_vec(),
            deep_batch: fits(&deep).then_some((deep, 4)),
            repeats,
            output,
            window: Duration::from_millis(500),
            pause,
            loads: true,
        }
    }

    /// All cells of these thread counts but the loads.
    pub fn cells(&self, prefill_threads: &[u16], decode_threads: &[u16]) -> Vec<Cell> {
        let prompts = prefill_threads.iter().flat_map(|threads| {
            self.prompts.iter().map(|prompt| Cell::Prefill { threads: *threads, prompt: *prompt })
        });
        let answers = decode_threads.iter().flat_map(|threads| self.answers(*threads));
        prompts.chain(answers).collect()
    }

    fn answers(&self, threads: u16) -> Vec<Cell> {
        let decode = |depth: u32, batch: u16| Cell::Decode { threads, depth, batch };
        let shallow = self.depths.first().copied().unwrap_or(0);
        let deep = self.depths.iter().skip(1).map(|depth| decode(*depth, 1));
        let batches = self.batches.iter().map(|batch| decode(shallow, *batch));
        let deep_batch = self.deep_batch.map(|(depth, batch)| decode(depth, batch));
        batches.chain(deep).chain(deep_batch).collect()
    }

    /// The cells by which thread counts are compared before the rest is measured.
    pub fn scouts(&self, prefill_threads: &[u16], decode_threads: &[u16]) -> Vec<Cell> {
        let prompt = self.prompts[self.prompts.len().min(2) - 1];
        let shallow = self.depths.first().copied().unwrap_or(0);
        let prompts = prefill_threads.iter().map(|threads| Cell::Prefill { threads: *threads, prompt });
        let answers =
            decode_threads.iter().map(|threads| Cell::Decode { threads: *threads, depth: shallow, batch: 1 });
        prompts.chain(answers).collect()
    }
}

fn or_least(mut sizes: Vec<u32>, context: u32) -> Vec<u32> {
    if sizes.is_empty() {
        sizes.push((context / 2).min(16));
    }
    sizes
}

/// 1 to all cores; of many cores, some between.
fn threads(points: &Points) -> (Vec<u16>, bool) {
    match points {
        Points::Only(threads) => {
            let mut threads = threads.clone();
            threads.sort_unstable();
            threads.dedup();
            threads.truncate(MAX_THREAD_POINTS);
            (threads, false)
        }
        Points::Auto { cores } => (up_to(*cores), true),
        Points::All { cores } => (up_to(*cores), false),
    }
}

fn up_to(cores: u16) -> Vec<u16> {
    let cores = cores.max(1);
    let step = cores.div_ceil(MAX_THREAD_POINTS as u16 / 2).max(1);
    let mut threads: Vec<u16> = (1..=cores).filter(|count| count % step == 0 || *count <= 2).collect();
    if threads.last() != Some(&cores) {
        threads.push(cores);
    }
    threads
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_standard_plan_is_that_of_the_papers() {
        let plan = Plan::new(Depth::Standard, &Points::All { cores: 2 }, 4096);
        assert_eq!(plan.prompts, [128, 512, 1024, 2048]);
        assert_eq!(plan.prefill_threads, [1, 2]);
        // Four prompts, six batches, two further depths, one deep batch; twice.
        assert_eq!(plan.cells(&[1, 2], &[1, 2]).len(), 2 * (4 + 6 + 2 + 1));
    }

    #[test]
    fn what_does_not_fit_into_the_context_is_left_out() {
        let plan = Plan::new(Depth::Full, &Points::Only(vec![2, 1, 2]), 1100);
        assert_eq!((plan.prompts, plan.depths), (vec![128, 512, 1024], vec![0, 512]));
        let tiny = Plan::new(Depth::Standard, &Points::Only(vec![1]), 64);
        assert_eq!((tiny.prompts, tiny.deep_batch), (vec![16], None));
    }

    #[test]
    fn many_cores_are_sampled() {
        let check = |cores, expected: &[u16]| assert_eq!(up_to(cores), expected);
        check(1, &[1]);
        check(4, &[1, 2, 3, 4]);
        check(6, &[1, 2, 3, 4, 5, 6]);
        check(12, &[1, 2, 4, 6, 8, 10, 12]);
        check(64, &[1, 2, 8, 16, 24, 32, 40, 48, 56, 64]);
    }
}
