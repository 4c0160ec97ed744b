//! Cost rows of what was measured.

#[cfg(test)]
mod tests;

use dunlin_costs::{
    Decode, Figure, Fit, LoadCosts, Memory, Method, Origin, Power, Prefill, Provenance, Row, RowKey,
    RowParts, Scope, fit,
};
use dunlin_meters::Declared;
use serde::{Deserialize, Serialize};

use crate::{
    Cell, DISTURBED, Joules, Judgements, Operators, PhaseUse, State, Summary, disturbance, energy,
    phases::{over_time, peaks, phases},
    summarize,
};

/// Rows of one profile.
const MAX_ROWS: usize = 256;
/// Nobody repeats better than that: a row says no less of its residuals.
const LEAST_RESIDUAL: f64 = 0.02;

/// How much longer a step gets beside another model that works: two models were not measured together.
fn contention() -> Figure {
    Figure::assumed(0.0, 1.0, 2.0, "not measured: beside one other model")
}

/// What a row is of, beside what is measured.
#[derive(Debug, Clone)]
pub struct Subject {
    pub name: String,
    /// Its threads are replaced.
    pub key: RowKey,
    pub memory: Memory,
    pub origin: Origin,
    pub method: Method,
    /// The machine.
    pub source: String,
    /// As in `2026-11-29`.
    pub date: String,
}

/// What came of a profile.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Profile {
    pub name: String,
    #[serde(skip)]
    pub rows: Vec<Row>,
    pub cells: Vec<Of>,
    /// What the engine's process used in each phase.
    #[serde(default)]
    pub phases: Vec<PhaseUse>,
    #[serde(default)]
    pub quality: Judgements,
    /// Where the time of a step goes, if that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operators: Option<Operators>,
    /// What could not be measured, and why.
    pub notes: Vec<String>,
    /// What told the joules; `None`: they are not known.
    pub meter: Option<String>,
    /// What the joules per token are of.
    pub joules_of: Option<Scope>,
    /// Part of the time, 0 to 1, in which others kept a thread of the engine from a processor.
    #[serde(default)]
    pub disturbed: Option<f64>,
}

/// What repeats of one cell say.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Of {
    #[serde(flatten)]
    pub cell: Cell,
    #[serde(flatten)]
    pub seconds: Summary,
    /// Runs that do not count.
    pub spoilt: u32,
    /// As the sensor reads them, or as they were declared.
    pub watts: Option<f64>,
    /// Idle draw included; at the board's input where the sensor is corrected to it.
    pub joules_per_token: Option<f64>,
    /// Highest memory of the engine by the end of these runs, in bytes.
    pub memory: Option<u64>,
    /// Processors in use, on average over the time of all runs.
    pub cores: Option<f64>,
    /// Context switches a second.
    pub switches: Option<f64>,
    pub celsius: Option<f32>,
}

/// Fits rows to the samples: one for each pair of thread counts that was measured.
pub fn rows(subject: &Subject, state: &State, joules: &Joules) -> Profile {
    let (cells, phases) = (cells(state, joules), phases(state));
    let subject = Subject { memory: peaks(&phases, subject.memory), ..subject.clone() };
    let mut notes = Vec::new();
    let prefills: Vec<(u16, Fitted<Prefill>)> = counts(&cells, true)
        .into_iter()
        .filter_map(|threads| fitted_prefill(state, &cells, threads).map(|fit| (threads, fit)))
        .collect();
    let decodes: Vec<(u16, Fitted<Decode>)> = counts(&cells, false)
        .into_iter()
        .filter_map(|threads| fitted_decode(state, &cells, threads).map(|fit| (threads, fit)))
        .collect();
    let load = load(&cells, &subject, &mut notes);
    let mut rows = Vec::new();
    for (prefill_threads, prefill) in &prefills {
        for (decode_threads, decode) in &decodes {
            let threads = (*prefill_threads, *decode_threads);
            let power = power(state, threads, joules);
            let measured = parts(&subject, threads, prefill, decode, &load, power, &cells);
            let disturbed = disturbed(state, threads);
            let fit = Fit { disturbed: disturbed.filter(|part| *part >= DISTURBED), ..measured.fit };
            let parts = RowParts { quality: state.judged.quality(), fit, ..measured };
            match Row::try_from(parts) {
                Ok(row) if rows.len() < MAX_ROWS => rows.push(row),
                Ok(_) => {}
                Err(fault) => notes.push(format!("no row for {}/{} threads: {fault}", threads.0, threads.1)),
            }
        }
    }
    if rows.is_empty() {
        notes.push(
            "too little was measured for a row: at least one prompt and one answer are needed".to_owned(),
        );
    }
    let has_power = rows.iter().any(|row| row.power.is_some());
    let throttled: u32 = cells.iter().map(|of| of.spoilt).sum();
    if throttled > 0 {
        notes.push(format!(
            "{throttled} runs do not count: throttled, cut short, or of a prefix that was held"
        ));
    }
    if let Some(disturbed) = rows.iter().filter_map(|row| row.fit.disturbed).reduce(f64::max) {
        notes.push(format!(
            "others kept the engine from a processor in up to {:.0} % of the time, and rows say so: measure again on a quiet \
             board, with --again",
            100.0 * disturbed
        ));
    }
    notes.push("contention with other models is assumed, not measured".to_owned());
    match joules {
        Joules::Unknown => {
            notes.push("joules are not known: no meter works (`dunlin doctor` says why)".to_owned())
        }
        Joules::Declared(_) => {
            notes.push("joules are modelled: watts were declared, not measured".to_owned())
        }
        Joules::Metered(_) if !has_power => {
            notes.push(
                "rows have no joules: runs were too short for the meter, or it did not see them all"
                    .to_owned(),
            );
        }
        Joules::Metered(_) | Joules::Elsewhere => {}
    }
    let has_joules = cells.iter().any(|of| of.joules_per_token.is_some());
    let (meter, joules_of) = match has_joules {
        true => (joules.source(), joules.corrected_scope()),
        false => (None, None),
    };
    Profile {
        name: subject.name,
        rows,
        cells,
        phases,
        quality: state.judged.figures(),
        operators: None,
        notes,
        meter,
        joules_of,
        disturbed: disturbance(&state.samples),
    }
}

/// While a row of these threads was measured.
fn disturbed(state: &State, (prefill, decode): (u16, u16)) -> Option<f64> {
    disturbance(state.samples.iter().filter(|sample| match sample.cell {
        Cell::Prefill { threads, .. } => threads == prefill,
        Cell::Decode { threads, .. } => threads == decode,
        Cell::Load { .. } | Cell::Idle => false,
    }))
}

struct Fitted<T> {
    of: T,
    mape_pct: f64,
    /// Over all runs, not only the medians that were fitted.
    residual_q90: f64,
}

fn cells(state: &State, joules: &Joules) -> Vec<Of> {
    let mut cells: Vec<Cell> = state.samples.iter().map(|sample| sample.cell).collect();
    cells.sort_unstable();
    cells.dedup();
    let of = |cell: Cell| {
        let seconds = summarize(&state.seconds(cell))?;
        let counted = || state.of(cell).filter(|sample| sample.counts()).map(|sample| &sample.measured);
        let watts = match joules {
            Joules::Unknown => None,
            Joules::Metered(_) | Joules::Elsewhere => state.watts(cell),
            Joules::Declared(declared) => Some(declared_watts(declared, cell)),
        };
        let tokens = tokens_a_time(cell);
        Some(Of {
            cell,
            joules_per_token: watts
                .zip(tokens)
                .map(|(watts, tokens)| joules.corrected(watts) * seconds.median / tokens),
            seconds,
            spoilt: state.of(cell).filter(|sample| sample.spoilt.is_some()).count() as u32,
            watts,
            memory: counted().filter_map(|measured| measured.memory).max(),
            cores: over_time(counted(), |measured| measured.cores),
            switches: over_time(counted(), |measured| measured.switches),
            celsius: counted().filter_map(|measured| measured.celsius).max_by(f32::total_cmp),
        })
    };
    cells.into_iter().filter_map(of).collect()
}

/// Tokens in the time that is told of a cell.
fn tokens_a_time(cell: Cell) -> Option<f64> {
    match cell {
        Cell::Prefill { prompt, .. } => Some(f64::from(prompt)),
        Cell::Decode { batch, .. } => Some(f64::from(batch)),
        Cell::Load { .. } | Cell::Idle => None,
    }
}

fn declared_watts(watts: &Declared, cell: Cell) -> f64 {
    match cell {
        Cell::Load { .. } => watts.load_w,
        Cell::Idle => watts.idle_w,
        Cell::Prefill { .. } => watts.prefill_w,
        Cell::Decode { .. } => watts.decode_w,
    }
}

fn counts(cells: &[Of], of_prefill: bool) -> Vec<u16> {
    let of_phase = cells.iter().filter(|of| match of.cell {
        Cell::Prefill { .. } => of_prefill,
        Cell::Decode { .. } => !of_prefill,
        _ => false,
    });
    let mut counts: Vec<u16> = of_phase.filter_map(|of| of.cell.threads()).collect();
    counts.sort_unstable();
    counts.dedup();
    counts
}

fn fitted_prefill(state: &State, cells: &[Of], threads: u16) -> Option<Fitted<Prefill>> {
    let prompt = |cell: Cell| match cell {
        Cell::Prefill { threads: of, prompt } if of == threads => Some(prompt),
        _ => None,
    };
    let medians: Vec<(u32, f64)> =
        cells.iter().filter_map(|of| Some((prompt(of.cell)?, of.seconds.median))).collect();
    let (prefill, goodness) = fit::prefill(&medians).ok()?;
    let runs = state.samples.iter().filter(|sample| sample.counts());
    let predicted = |n: u32| {
        let n = f64::from(n);
        let ms = prefill.p0_ms.nominal()
            + prefill.p1_ms_per_token.nominal() * n
            + prefill.p2_ms_per_token2.nominal() * n * n;
        ms / 1e3
    };
    let residuals =
        runs.filter_map(|run| Some((run.measured.seconds / predicted(prompt(run.cell)?)).ln())).collect();
    Some(Fitted { residual_q90: q90(residuals), of: prefill, mape_pct: goodness.mape_pct })
}

fn fitted_decode(state: &State, cells: &[Of], threads: u16) -> Option<Fitted<Decode>> {
    let batch = |cell: Cell| match cell {
        Cell::Decode { threads: of, batch, .. } if of == threads => Some(u32::from(batch)),
        _ => None,
    };
    let context = |cell: Cell| {
        let counted = state.of(cell).filter(|sample| sample.counts());
        let contexts: Vec<f64> = counted.map(|sample| f64::from(sample.measured.context)).collect();
        summarize(&contexts).map(|of| of.median as u32)
    };
    let medians: Vec<(u32, u32, f64)> =
        cells.iter().filter_map(|of| Some((context(of.cell)?, batch(of.cell)?, of.seconds.median))).collect();
    let (decode, goodness) = fit::decode(&medians).ok()?;
    let residuals = state
        .samples
        .iter()
        .filter(|sample| sample.counts())
        .filter_map(|run| {
            let sequences = batch(run.cell)?;
            let predicted = fit::step_seconds(&decode, sequences, f64::from(run.measured.context));
            Some((run.measured.seconds / predicted).ln())
        })
        .collect();
    Some(Fitted { residual_q90: q90(residuals), of: decode, mape_pct: goodness.mape_pct })
}

fn q90(mut residuals: Vec<f64>) -> f64 {
    residuals.sort_unstable_by(f64::total_cmp);
    let at = (residuals.len() * 9).div_ceil(10).max(1) - 1;
    residuals.get(at).copied().unwrap_or(LEAST_RESIDUAL).clamp(LEAST_RESIDUAL, 3.0)
}

fn load(cells: &[Of], subject: &Subject, notes: &mut Vec<String>) -> LoadCosts {
    let of = |cold: bool| cells.iter().find(|of| of.cell == Cell::Load { cold });
    let ms = |of: &Of| Figure::known(of.seconds.median * 1e3);
    let joules = |of: &Of| Some(Figure::known(of.watts? * of.seconds.median));
    match (of(true), of(false)) {
        (None, None) => {
            notes.push("loads were not measured".to_owned());
            LoadCosts::default()
        }
        (cold, warm) => {
            let warm_ms = warm.or(cold).map(ms).unwrap_or_default();
            // Between NVMe and a slow SD card: the range of the embedded classes.
            let mib = subject.memory.weights_bytes as f64 / f64::from(1 << 20);
            let guess = |per_mib: f64| warm_ms.nominal() + per_mib * mib;
            let cold_ms = cold.map(ms).unwrap_or_else(|| {
                Figure::assumed(guess(0.4), guess(2.0), guess(25.0), "assumed: the disk was not measured")
            });
            LoadCosts {
                cold_joules: cold.and_then(joules),
                warm_joules: warm.and_then(joules),
                cold_ms,
                warm_ms,
            }
        }
    }
}

/// `None` unless idle, reading and writing were all metered.
fn power(state: &State, (prefill, decode): (u16, u16), joules: &Joules) -> Option<Power> {
    let (scope, correction) = joules.scope()?;
    if let Joules::Declared(watts) = joules {
        return Some(Power {
            scope,
            idle_w: energy::declared(watts.idle_w),
            load_w: energy::declared(watts.load_w),
            prefill_w: energy::declared(watts.prefill_w),
            decode_w: energy::declared(watts.decode_w),
            correction,
        });
    }
    let mean = |keep: &dyn Fn(Cell) -> bool| {
        let metered = state.samples.iter().filter(|sample| sample.counts() && keep(sample.cell));
        let (joules, seconds) = metered
            .filter_map(|sample| sample.measured.joules)
            .fold((0.0, 0.0), |sum, of| (sum.0 + of.0, sum.1 + of.1));
        (seconds > 0.0).then(|| joules / seconds)
    };
    let idle = mean(&|cell| cell == Cell::Idle)?;
    let reading = mean(&|cell| matches!(cell, Cell::Prefill { threads, .. } if threads == prefill))?;
    let writing = mean(&|cell| matches!(cell, Cell::Decode { threads, .. } if threads == decode))?;
    let loading = mean(&|cell| matches!(cell, Cell::Load { .. })).unwrap_or(writing);
    let watts = |watts: f64| Figure::known(watts.max(0.0));
    Some(Power {
        scope,
        idle_w: watts(idle),
        load_w: watts(loading),
        prefill_w: watts(reading),
        decode_w: watts(writing),
        correction,
    })
}

fn parts(
    subject: &Subject,
    (prefill_threads, decode_threads): (u16, u16),
    prefill: &Fitted<Prefill>,
    decode: &Fitted<Decode>,
    load: &LoadCosts,
    power: Option<Power>,
    cells: &[Of],
) -> RowParts {
    let own = |of: &&Of| of.cell.threads().is_some_and(|of| of == prefill_threads || of == decode_threads);
    let prompts = cells.iter().filter_map(|of| match of.cell {
        Cell::Prefill { threads, prompt } if threads == prefill_threads => {
            Some(of.seconds.median / f64::from(prompt))
        }
        _ => None,
    });
    let depths = cells.iter().filter_map(|of| match of.cell {
        Cell::Decode { threads, batch: 1, .. } if threads == decode_threads => Some(of.seconds.median),
        _ => None,
    });
    let cvs: Vec<f64> = cells.iter().filter(own).map(|of| of.seconds.cv_pct).collect();
    RowParts {
        name: subject.name.clone(),
        key: RowKey { prefill_threads, decode_threads, ..subject.key.clone() },
        provenance: Provenance {
            origin: subject.origin,
            method: subject.method,
            grade: None,
            source: subject.source.clone(),
            date: subject.date.clone(),
        },
        load: load.clone(),
        memory: subject.memory,
        prefill: prefill.of.clone(),
        decode: Decode { contention: contention(), ..decode.of.clone() },
        power,
        quality: dunlin_costs::Quality::default(),
        fit: Fit {
            prefill_mape_pct: Some(prefill.mape_pct),
            decode_mape_pct: Some(decode.mape_pct),
            cv_pct: summarize(&cvs).map(|of| of.median),
            prefill_cv_pct: spread(prompts),
            decode_cv_pct: spread(depths),
            disturbed: None,
            residual_q90: prefill.residual_q90.max(decode.residual_q90),
            prefill_residual_q90: Some(prefill.residual_q90),
            decode_residual_q90: Some(decode.residual_q90),
        },
    }
}

/// In percent of the mean; `None` of less than two.
fn spread(values: impl Iterator<Item = f64>) -> Option<f64> {
    let values: Vec<f64> = values.collect();
    summarize(&values).filter(|of| of.runs > 1).map(|of| of.cv_pct)
}
