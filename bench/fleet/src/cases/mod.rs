//! What is measured, and what it is to reach.

mod core;
mod hop;
mod loss;
mod tokens;

use dunlin_bench_stand::Case;

pub(crate) const ALL: &[Case] = &[
    Case {
        name: "placement",
        target: "1,000 nodes x 8 models x 4 points: p99 <= 50 us of CPU",
        run: core::placement,
    },
    Case { name: "core", target: "10,000 nodes in 100 MB; 5,000 invocations/s", run: core::capacity },
    Case { name: "hop", target: "invoke to first byte, 16 at once: p50 <= 1 ms, p99 <= 5 ms", run: hop::hop },
    Case { name: "tokens", target: "what the fleet adds to a token: <= 2 % of a step", run: tokens::path },
    Case { name: "tpot", target: "TPOT through the fleet by dunlin run: <= 1.02 x", run: tokens::tpot },
    Case { name: "loss", target: "50 streams, kill -9 of a node: 50 end, nothing lost", run: loss::streams },
    Case { name: "restart", target: "kill -9 of the scheduler: 20 agents back <= 3.5 s", run: loss::restart },
    Case { name: "memory", target: "scheduler <= 50 MB, agent <= 40 MB without models", run: loss::memory },
];
