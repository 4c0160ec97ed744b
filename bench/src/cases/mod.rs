//! What is measured, and what it is to reach.

mod batching;
mod constrained;
mod kernels;
mod layers;
mod neighbour;

use crate::{Arguments, engines::Setting};

/// One thing to measure; it prints what it found on a line.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    /// What a quiet machine is to show.
    pub(crate) target: &'static str,
    pub(crate) run: fn(&Arguments, &Setting) -> anyhow::Result<()>,
}

pub(crate) const ALL: &[Case] = &[
    Case {
        name: "decode: pipeline, host and engine process by bare loop",
        target: "lower bound at least 0.97 x",
        run: layers::decode,
    },
    Case {
        name: "decode: engine process by bare loop",
        target: "what the process alone costs",
        run: layers::decode_process,
    },
    Case {
        name: "first token: pipeline, host and engine process less bare loop",
        target: "at most 1 ms",
        run: layers::first_token,
    },
    Case { name: "cancel to silence", target: "within one step", run: layers::cancel },
    Case {
        name: "decode: engine process by llama-bench tg128",
        target: "at least 0.95 x",
        run: kernels::decode,
    },
    Case {
        name: "prefill: engine process by llama-bench pp512",
        target: "at least 0.97 x",
        run: kernels::prefill,
    },
    Case { name: "sampling: greedy, of a step", target: "under 3 %", run: kernels::greedy },
    Case { name: "batch: eight sequences by one", target: "at least 2 x", run: batching::eight },
    Case {
        name: "prefix: 16 requests with 512 tokens in common",
        target: "read once",
        run: batching::shared_prefix,
    },
    Case {
        name: "neighbour: decode beside a busy process by alone",
        target: "at least 0.3 x",
        run: neighbour::decode,
    },
    Case {
        name: "neighbour: decode beside the compilation of a pipeline in Python by alone",
        target: "at least 0.95 x",
        run: neighbour::compiling,
    },
    Case {
        name: "constrained: generations on the demo model",
        target: "none invalid that ended complete",
        run: constrained::validity,
    },
];
