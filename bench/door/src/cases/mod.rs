//! What is measured, and what it is to reach.

mod gaps;
mod schemas;
mod slow;
mod streams;
mod ttft;

use dunlin_bench_stand::Case;

pub(crate) const ALL: &[Case] = &[
    Case {
        name: "ttft",
        target: "added to the engine's, 64 at once: p50 <= 1 ms, p99 <= 5 ms",
        run: ttft::added,
    },
    Case {
        name: "streams",
        target: "1,000 streams: nothing lost, scheduler <= 150 MB",
        run: streams::thousand,
    },
    Case { name: "itl", target: "between tokens, by the engine alone: <= 1.02 x", run: gaps::added },
    Case {
        name: "slow",
        target: "4,000 slow or silent connections: a good request <= 1 s",
        run: slow::crowds,
    },
    Case { name: "schemas", target: "a hostile schema is refused <= 100 ms", run: schemas::hostile },
];
