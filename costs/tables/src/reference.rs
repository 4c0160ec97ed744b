//! The shipped reference rows: how they are made of published cells, and what was made.

use std::collections::BTreeMap;

use dunlin_costs::{
    Class, ClassError, DocumentError, Figure, Fit, Grade, Method, Mode, NodeClass, Origin, Provenance, Row,
    RowFault, RowParts, Table,
    fit::{self, FitError},
};
use thiserror::Error;

use crate::measurement::{Exclusion, Measurement, ReferenceError, Source, exclusions, measurements, sources};

/// What is embedded, by class.
pub const FILES: [(&str, &str); 2] = [
    ("orin-nano-8g", include_str!("../reference/orin-nano-8g.toml")),
    ("pi5-8g-hot", include_str!("../reference/pi5-8g-hot.toml")),
];
/// Classes whose rows are declared ranges.
const ASSUMED: [&str; 1] = ["pi5-8g"];
/// Digits of a fitted coefficient that are kept.
const DIGITS: i32 = 6;

/// Why there are no reference rows. The tests of this crate rule it out.
#[derive(Debug, Error)]
pub enum MakeError {
    #[error(transparent)]
    Read(#[from] ReferenceError),
    #[error(transparent)]
    Class(#[from] ClassError),
    #[error("{0}: {1}")]
    Document(&'static str, DocumentError),
    #[error("{0}: {1}")]
    Fit(String, FitError),
    #[error("{0}: {1}")]
    Row(String, RowFault),
    #[error("{0}: nothing says what is not measured of it: costs/classes has no row for it")]
    NoClass(String),
    #[error("there is no source {0:?}")]
    NoSource(String),
}

/// The shipped rows: imported ones, and the assumed ones of boards that nobody published enough of.
///
/// # Errors
/// [`MakeError`], which the tests of this crate rule out.
pub fn reference() -> Result<Table, MakeError> {
    let mut table = Table::default();
    for (name, text) in FILES {
        table.merge(Table::parse(text).map_err(|error| MakeError::Document(name, error))?);
    }
    for name in ASSUMED {
        table.merge(Class::find(name)?.table);
    }
    Ok(table)
}

/// What cells are of.
type Group = (NodeClass, String, Mode);

/// Makes the rows of [`FILES`] anew: fits of published cells, with the assumed ranges of `costs/classes` where those say
/// nothing.
///
/// # Errors
/// [`MakeError`].
pub fn make() -> Result<Table, MakeError> {
    let (sources, excluded) = (sources()?, exclusions()?);
    let mut groups = BTreeMap::<Group, Vec<Measurement>>::new();
    for cell in measurements()? {
        if !excluded.iter().any(|of: &Exclusion| of.is_of(&cell)) {
            let group = (cell.class.clone(), cell.model.clone(), cell.mode.clone());
            groups.entry(group).or_default().push(cell);
        }
    }
    groups.into_iter().map(|(group, cells)| row(&group, &cells, &sources)).collect()
}

fn row((class, model, mode): &Group, cells: &[Measurement], sources: &[Source]) -> Result<Row, MakeError> {
    let name = format!("{model} on {class} in {mode}");
    let known = Class::find(class.as_str())?;
    let found = known.table.rows().find(|row| row.name == *model && row.key.mode == *mode);
    let mut parts = RowParts::from(found.ok_or_else(|| MakeError::NoClass(name.clone()))?.clone());
    let source = sources.iter().find(|source| source.id == cells[0].source);
    let source = source.ok_or_else(|| MakeError::NoSource(cells[0].source.clone()))?;
    fit_times(&mut parts, cells).map_err(|error| MakeError::Fit(name.clone(), error))?;
    put_watts(&mut parts, cells);
    parts.provenance = Provenance {
        method: Method::Usual,
        origin: Origin::Imported,
        grade: cells.iter().map(|cell| cell.grade).max(),
        source: format!("fit to {} cells of {}", cells.len(), source.citation()),
        date: source.date.clone(),
    };
    Row::try_from(parts).map_err(|fault| MakeError::Row(name, fault))
}

fn fit_times(parts: &mut RowParts, cells: &[Measurement]) -> Result<(), FitError> {
    let (mut prefill, of_prefill) = fit::prefill(&prompts(cells))?;
    let (decode, of_decode) = fit::decode(&answers(cells))?;
    for figure in [&mut prefill.p0_ms, &mut prefill.p1_ms_per_token, &mut prefill.p2_ms_per_token2] {
        *figure = figure.map(rounded);
    }
    let alone = rounded(decode.batch_ms[0].nominal());
    // Nothing was published of several sequences: the assumed distance from one stays.
    let shift = alone - parts.decode.batch_ms[0].nominal();
    for step in &mut parts.decode.batch_ms {
        *step = step.map(|ms| rounded(ms + shift));
    }
    parts.decode.batch_ms[0] = Figure::known(alone);
    parts.decode.depth_ms_per_token = decode.depth_ms_per_token.map(rounded);
    parts.decode.measured_depth = cells
        .iter()
        .filter_map(|cell| Some(cell.prompt_tokens? + cell.output_tokens.unwrap_or(0.0) as u32))
        .max()
        .unwrap_or(0);
    parts.prefill = prefill;
    // Residuals of medians say little of requests: what the class assumes of them stays.
    parts.fit = Fit {
        prefill_mape_pct: Some(hundredths(of_prefill.mape_pct)),
        decode_mape_pct: Some(hundredths(of_decode.mape_pct)),
        residual_q90: parts.fit.residual_q90,
        ..Fit::default()
    };
    Ok(())
}

/// Prompt tokens, and seconds to the first token.
pub fn prompts(cells: &[Measurement]) -> Vec<(u32, f64)> {
    cells.iter().filter_map(|cell| Some((cell.prompt_tokens?, cell.ttft_ms? / 1e3))).collect()
}

/// Mean depth, one sequence, and seconds of a token.
pub fn answers(cells: &[Measurement]) -> Vec<(u32, u32, f64)> {
    cells.iter().filter_map(|cell| Some((cell.depth()? as u32, 1, cell.tpot_ms / 1e3))).collect()
}

/// Watts of the cells, where they have any; reading keeps its assumed relation to decoding.
fn put_watts(parts: &mut RowParts, cells: &[Measurement]) {
    let watts: Vec<f64> = cells.iter().filter_map(|cell| cell.power_w).collect();
    let Some(power) = parts.power.as_mut().filter(|_| !watts.is_empty()) else { return };
    let mean = rounded(watts.iter().sum::<f64>() / watts.len() as f64);
    let ratio = mean / power.decode_w.nominal();
    power.prefill_w = power.prefill_w.map(|watts| rounded(watts * ratio));
    power.decode_w = Figure::known(mean);
}

fn rounded(value: f64) -> f64 {
    if value == 0.0 {
        return 0.0;
    }
    let digits = DIGITS - 1 - value.abs().log10().floor() as i32;
    // By way of text: a product of powers of ten leaves digits of its own.
    if digits <= 0 { value.round() } else { format!("{value:.*}", digits as usize).parse().unwrap_or(value) }
}

fn hundredths(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

/// The text of one of [`FILES`].
///
/// # Errors
/// Never for rows that were made.
pub fn document(table: &Table, class: &str) -> Result<String, String> {
    let of_class: Table = table.rows().filter(|row| row.key.class.as_str() == class).cloned().collect();
    let toml = of_class.to_toml().map_err(|error| error.to_string())?;
    Ok(format!(
        "# Made of reference/measurements.csv by `cargo run -p dunlin-tables --example reference`: do not edit.\n\
         # What was published is a plain number; what is assumed is a range with its source.\n\n{toml}"
    ))
}

/// What a grade says.
pub const fn grade_means(grade: Grade) -> &'static str {
    match grade {
        Grade::A => "percentiles and power are published",
        Grade::B => "clean token rates, no more",
        Grade::C => "doubtful: throttled, or of an odd build",
    }
}
