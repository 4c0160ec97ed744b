//! Requests as they were, for whoever wants to try another way to predict or to learn.

use std::{
    fs::{File, OpenOptions},
    io::{BufWriter, Write},
    path::Path,
};

use dunlin_costs::{Calibration, Row};
use serde::Serialize;

use crate::{judge::predict, stand::Seen};

/// One request: what it met, what its row predicts without calibration, what it took. Times are in seconds.
#[derive(Debug, Serialize)]
struct Sample<'a> {
    shape: &'a str,
    threads: u16,
    number: usize,
    #[serde(flatten)]
    seen: &'a Seen,
    /// Its own prefill steps.
    predicted_reading: f64,
    predicted_ttft: f64,
    predicted_tpot: f64,
    /// What nine of ten requests stay below, as the row has it: logarithms of what the mean is multiplied with.
    row_prefill_q90: f64,
    row_decode_q90: f64,
}

/// Appends them, in the order in which they ran.
///
/// # Errors
/// Of the file system.
pub(crate) fn write(path: &Path, shape: &str, threads: u16, row: &Row, seen: &[Seen]) -> anyhow::Result<()> {
    let file: File = OpenOptions::new().create(true).append(true).open(path)?;
    let mut to = BufWriter::new(file);
    for (number, seen) in seen.iter().enumerate() {
        let predicted = predict(row, seen, &Calibration::default());
        let sample = Sample {
            shape,
            threads,
            number,
            seen,
            predicted_reading: predicted.reading,
            predicted_ttft: predicted.ttft.mean,
            predicted_tpot: predicted.tpot.mean,
            row_prefill_q90: row.fit.prefill_q90(),
            row_decode_q90: row.fit.decode_q90(),
        };
        serde_json::to_writer(&mut to, &sample)?;
        to.write_all(b"\n")?;
    }
    Ok(to.flush()?)
}
