//! Which kinds of operators take the time of a step: matrix products, attention, norms, and what else there is.
//!
//! It takes an engine that computes every operator by itself. What that costs is known from those that compute nothing, and
//! taken off; what is lost by it, as operators that are computed as one, is not.

use std::collections::BTreeMap;

use dunlin_engine_handle::{Engine, EngineError, OperatorKind, OperatorTimes, StepKind, Threads};
use serde::{Deserialize, Serialize};

use crate::{Joules, Machine, run::Measuring};

/// Tokens of the prompt that is read, and of the answers that are written after prompts of so many.
const PROMPT: u32 = 512;
const DEPTH: u32 = 256;
const OUTPUT: u32 = 32;
/// Runs of each.
const RUNS: usize = 3;
/// Operators that are told apart by name, of each phase.
const NAMED: usize = 24;

/// Where the time of both phases goes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Operators {
    pub threads: u16,
    /// Of a prompt of that many tokens.
    pub prompt: u32,
    /// Of answers that begin at this depth.
    pub depth: u32,
    pub prefill: PhaseShares,
    pub decode: PhaseShares,
    /// Taken off the time of every operator, in microseconds: what it costs to time one.
    pub overhead_us: f64,
}

/// Of one phase.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PhaseShares {
    /// Largest first. They add up to 1.
    pub kinds: Vec<OperatorShare<OperatorKind>>,
    /// By the names that ggml gives them, largest first; the last ones may be left out.
    pub operators: Vec<OperatorShare<String>>,
    /// How many times longer it took than where operators are not timed.
    pub stretched: f64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OperatorShare<T> {
    pub of: T,
    /// Of the time of all operators of the phase, 0 to 1.
    pub share: f64,
    pub calls: u64,
    /// Of all calls together.
    pub milliseconds: f64,
}

/// Times operators by threads of that number. `start` starts engines, that time them and that do not.
///
/// # Errors
/// Of the engines; [`EngineError::Unsupported`] where there is nothing to time.
pub async fn operators(
    start: &(dyn Fn(bool) -> Engine + Send + Sync),
    threads: u16,
) -> Result<Operators, EngineError> {
    let plain = start(false);
    let usual = runs(&plain, threads).await;
    plain.drain().await;
    let timed = start(true);
    let found = async { Ok((runs(&timed, threads).await?, timed.operators().await?)) }.await;
    timed.drain().await;
    let (usual, (slower, times)) = (usual?, found?);
    Ok(Operators {
        threads,
        prompt: usual.prompt,
        depth: usual.depth,
        prefill: shares(&times, StepKind::Prefill, slower.prefill / usual.prefill),
        decode: shares(&times, StepKind::Decode, slower.decode / usual.decode),
        overhead_us: times.empty_ns as f64 / 1e3,
    })
}

/// Seconds of both, the shortest of a few.
struct Took {
    prompt: u32,
    depth: u32,
    prefill: f64,
    decode: f64,
}

async fn runs(engine: &Engine, threads: u16) -> Result<Took, EngineError> {
    let model = engine.ready().await?;
    let (joules, machine) = (Joules::Unknown, Machine::default());
    let measuring = Measuring { engine, model: &model, joules: &joules, machine: &machine };
    let both = Threads { prefill: threads.into(), decode: threads.into() };
    let fits = |tokens: u32| tokens.min(model.context_length.saturating_sub(OUTPUT + 2)).max(8);
    let mut took =
        Took { prompt: fits(PROMPT), depth: fits(DEPTH), prefill: f64::INFINITY, decode: f64::INFINITY };
    for _ in 0..RUNS {
        let (read, _) = measuring.prefill(both, took.prompt).await?;
        let (wrote, _) = measuring.decode(both, took.depth, 1, OUTPUT).await?;
        took.prefill = took.prefill.min(read.seconds);
        took.decode = took.decode.min(wrote.seconds);
    }
    Ok(took)
}

fn shares(times: &OperatorTimes, step: StepKind, stretched: f64) -> PhaseShares {
    let mut kinds: BTreeMap<OperatorKind, (u64, f64)> = BTreeMap::new();
    let mut operators: BTreeMap<String, (u64, f64)> = BTreeMap::new();
    for of in times.operators.iter().filter(|of| of.step == step) {
        let ns = of.total_ns.saturating_sub(of.calls * times.empty_ns) as f64;
        for sum in [kinds.entry(of.kind).or_default(), operators.entry(of.operator.clone()).or_default()] {
            *sum = (sum.0 + of.calls, sum.1 + ns);
        }
    }
    let mut operators = ranked(operators);
    operators.truncate(NAMED);
    PhaseShares { kinds: ranked(kinds), operators, stretched }
}

fn ranked<T>(sums: BTreeMap<T, (u64, f64)>) -> Vec<OperatorShare<T>> {
    let all: f64 = sums.values().map(|(_, ns)| ns).sum();
    let share = |(of, (calls, ns)): (T, (u64, f64))| OperatorShare {
        of,
        share: if all > 0.0 { ns / all } else { 0.0 },
        calls,
        milliseconds: ns / 1e6,
    };
    let mut shares: Vec<OperatorShare<T>> = sums.into_iter().map(share).collect();
    shares.sort_by(|a, b| b.share.total_cmp(&a.share));
    shares
}

#[cfg(test)]
mod tests {
    use dunlin_engine_handle::OperatorTime;

    use super::*;

    #[test]
    fn shares_are_of_the_time_without_what_timing_costs() {
        let of = |operator: &str, kind, step, calls, total_ns| OperatorTime {
            operator: operator.to_owned(),
            kind,
            step,
            calls,
            total_ns,
        };
        let times = OperatorTimes {
            operators: vec![
                of("MUL_MAT", OperatorKind::MatrixProduct, StepKind::Decode, 10, 70_000),
                of("MUL_MAT", OperatorKind::Attention, StepKind::Decode, 5, 15_000),
                of("RMS_NORM", OperatorKind::Norm, StepKind::Decode, 5, 15_000),
                of("ADD", OperatorKind::ElementWise, StepKind::Decode, 5, 4_000),
                of("MUL_MAT", OperatorKind::MatrixProduct, StepKind::Prefill, 1, 9_000),
            ],
            empty_ns: 1_000,
            empties: 7,
        };
        let found = shares(&times, StepKind::Decode, 1.2);
        let told: Vec<_> = found.kinds.iter().map(|of| (of.of, of.share)).collect();
        assert_eq!(
            told,
            [
                (OperatorKind::MatrixProduct, 0.75),
                (OperatorKind::Attention, 0.125),
                (OperatorKind::Norm, 0.125),
                // Shorter than what timing it costs.
                (OperatorKind::ElementWise, 0.0),
            ]
        );
        assert_eq!((found.operators[0].of.as_str(), found.operators[0].calls), ("MUL_MAT", 15));
    }
}
