//! A look at an engine that was just loaded: seconds, so that it is placed by what it does and not by what is assumed.

use std::time::Duration;

use dunlin_engine_handle::{Engine, EngineError, Threads};
use tokio::time::Instant;

use crate::{Cell, Joules, Machine, Sample, Senses, Spoilt, run::Measuring};

/// Tokens of an answer.
const OUTPUT: u32 = 12;
/// Runs of each cell, time permitting.
const ROUNDS: usize = 2;

/// Measures until `limit` is over, what matters most first: a short prompt and an answer always.
///
/// # Errors
/// Of the engine.
pub async fn probe(
    engine: &Engine,
    threads: Threads,
    joules: &Joules,
    limit: Duration,
) -> Result<Vec<Sample>, EngineError> {
    let model = engine.ready().await?;
    let machine = Machine::default();
    let measuring = Measuring { engine, model: &model, joules, machine: &machine };
    let began = Instant::now();
    // The first steps of an engine are slow.
    measuring.decode(threads, 8, 1, 4).await?;
    let context = model.context_length;
    let mut samples: Vec<Sample> = Vec::new();
    for round in 0..ROUNDS {
        for (at, cell) in cells(threads, context).into_iter().enumerate() {
            let needed = round == 0 && at < 2;
            let expected = expected(cell, &samples);
            if !needed && began.elapsed() + expected > limit {
                continue;
            }
            let (measured, spoilt) = match cell {
                Cell::Prefill { prompt, .. } => measuring.prefill(threads, prompt).await?,
                Cell::Decode { depth, batch, .. } => measuring.decode(threads, depth, batch, OUTPUT).await?,
                Cell::Load { .. } | Cell::Idle => continue,
            };
            let throttled = machine.conditions().throttled.then_some(Spoilt::Throttled);
            samples.push(Sample { cell, measured, spoilt: spoilt.or(throttled), warm_up: false });
        }
    }
    Ok(samples)
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
