//! A look at an engine that was just loaded: seconds, so that it is placed by what it does and not by what is assumed.

use std::time::Duration;

use dunlin_engine_handle::{Engine, EngineError, Threads};
use tokio::time::Instant;

use crate::{Cell, Joules, Machine, Measured, Sample, Senses, Spoilt, run::Measuring};

/// Tokens of an answer.
const OUTPUT: u32 = 12;
/// Runs of each cell, time permitting.
const ROUNDS: usize = 2;

/// Whether a look has come far enough for a row: a prompt and an answer.
pub fn is_enough(samples: &[Sample]) -> bool {
    let counts = |of: fn(&Cell) -> bool| samples.iter().any(|sample| sample.counts() && of(&sample.cell));
    counts(|cell| matches!(cell, Cell::Prefill { .. })) && counts(|cell| matches!(cell, Cell::Decode { .. }))
}

/// Measures until `limit` is over, what matters most first: a short prompt and an answer always. `known` is what an earlier
/// look found, which is not looked at again; each run goes to `found` when it is over, so that one that is dropped in the
/// middle loses only the run that is on.
///
/// # Errors
/// Of the engine.
pub async fn probe(
    engine: &Engine,
    threads: Threads,
    senses: &dyn Senses,
    limit: Duration,
    known: &[Sample],
    found: &mut (dyn FnMut(Sample) + Send),
) -> Result<(), EngineError> {
    let model = engine.ready().await?;
    let (joules, machine) = (Joules::Elsewhere, Machine::default());
    let measuring = Measuring { engine, model: &model, joules: &joules, machine: &machine };
    let began = Instant::now();
    let mut samples = known.to_vec();
    // The first steps of an engine are slow.
    measuring.decode(threads, 8, 1, 4).await?;
    for round in 1..=ROUNDS {
        for cell in cells(threads, model.context_length) {
            if runs(&samples, cell) >= round {
                continue;
            }
            if is_enough(&samples) && began.elapsed() + expected(cell, &samples) > limit {
                continue;
            }
            let (measured, spoilt) = match cell {
                Cell::Prefill { prompt, .. } => measuring.prefill(threads, prompt).await?,
                Cell::Decode { depth, batch, .. } => measuring.decode(threads, depth, batch, OUTPUT).await?,
                Cell::Load { .. } | Cell::Idle => continue,
            };
            let conditions = senses.conditions();
            let throttled = conditions.throttled.then_some(Spoilt::Throttled);
            let measured = Measured { celsius: conditions.celsius, ..measured };
            let sample = Sample { cell, measured, spoilt: spoilt.or(throttled), warm_up: false };
            samples.push(sample);
            found(sample);
        }
    }
    Ok(())
}

/// Of this cell, whatever came of them: what is spoilt now would be again.
fn runs(samples: &[Sample], cell: Cell) -> usize {
    samples.iter().filter(|sample| sample.cell == cell).count()
}

/// What matters most first.
fn cells(threads: Threads, context: u32) -> Vec<Cell> {
    let read = |prompt| Cell::Prefill { threads: threads.prefill as u16, prompt };
    let write = |depth, batch| Cell::Decode { threads: threads.decode as u16, depth, batch };
    let all = [
        (read(48), 48),
        (write(8, 1), 8),
        (read(256), 256),
        (write(8, 4), 8),
        (read(128), 128),
        (write(512, 1), 512),
        (write(8, 2), 8),
        (write(8, 3), 8),
        (read(512), 512),
        (write(256, 4), 256),
        (read(1024), 1024),
    ];
    let fits = |tokens: u32| tokens + 2 * OUTPUT < context;
    all.into_iter().filter(|(_, tokens)| fits(*tokens)).map(|(cell, _)| cell).collect()
}

/// By the slowest prompt and the slowest answer so far; nothing before there are any.
fn expected(cell: Cell, samples: &[Sample]) -> Duration {
    let per_token = samples.iter().filter_map(|sample| match sample.cell {
        Cell::Prefill { prompt, .. } => Some(sample.measured.seconds / f64::from(prompt)),
        _ => None,
    });
    let per_token = per_token.fold(0.0, f64::max);
    let answers = samples.iter().filter(|sample| matches!(sample.cell, Cell::Decode { .. }));
    let step = answers.map(|sample| sample.measured.seconds).fold(0.0, f64::max);
    let seconds = match cell {
        Cell::Prefill { prompt, .. } => per_token * f64::from(prompt),
        Cell::Decode { depth, batch, .. } => {
            // Each of a batch is read before the last one writes.
            per_token * f64::from(depth) * f64::from(batch) + step * f64::from(OUTPUT + u32::from(batch) * 4)
        }
        Cell::Load { .. } | Cell::Idle => 0.0,
    };
    Duration::from_secs_f64(seconds)
}
