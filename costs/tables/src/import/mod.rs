//! Rows from what other programs measured, and from tables of our own in other forms.

mod llama_bench;
mod llama_server;
mod text;

use dunlin_costs::{
    Backend, Decode, Figure, Fit, KvType, LoadCosts, Memory, Method, Mode, ModelDigest, NodeClass, Origin,
    Prefill, Provenance, Quality, Quantisation, Row, RowFault, RowKey, RowParts, Table, Thermal,
    fit::{self, FitError, Goodness},
};
use thiserror::Error;

pub use text::JsonError;

use crate::{Sheet, SheetError};

/// Bytes of a file.
pub const MAX_IMPORT_BYTES: usize = 16 << 20;
/// Rows of one file.
const MAX_ROWS: usize = 4096;
/// Tests or answers of one file.
const MAX_ENTRIES: usize = 100_000;
const MIB: f64 = (1u64 << 20) as f64;

/// What a file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `llama-bench -o json`, or `-o jsonl`, of any build.
    LlamaBench,
    /// Answers of llama-server, or their `timings`.
    LlamaServer,
    /// A table of ours in JSON.
    Json,
    /// A table of ours in CSV.
    Csv,
    /// A table of ours in TOML.
    Toml,
}

/// What files of other programs do not say.
#[derive(Debug, Clone, PartialEq)]
pub struct Subject {
    pub class: NodeClass,
    pub mode: Mode,
    pub thermal: Thermal,
    pub firmware: String,
    pub context: u32,
    /// Threads of prompts and answers, where the file does not say.
    pub threads: (u16, u16),
    /// The model that rows have to be of. Of other programs' files, the one they are taken to be of.
    pub model: Option<Model>,
    /// Where the file is from.
    pub source: String,
}

/// A model, by its file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Model {
    pub name: String,
    pub digest: ModelDigest,
    pub quantisation: Quantisation,
    pub kv_bytes_per_token: u64,
    pub file_bytes: u64,
}

/// What came of a file.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Imported {
    pub table: Table,
    /// What was left out or assumed.
    pub notes: Vec<String>,
}

/// Why nothing of a file is taken.
#[derive(Debug, Error)]
pub enum ImportError {
    #[error("it has {0} bytes, at most {MAX_IMPORT_BYTES} are possible")]
    TooLarge(usize),
    #[error(transparent)]
    Json(#[from] JsonError),
    #[error(transparent)]
    Sheet(#[from] SheetError),
    #[error(transparent)]
    Document(#[from] dunlin_costs::DocumentError),
    #[error("it has neither tests of llama-bench, nor timings of llama-server, nor rows of a cost table")]
    Unknown,
    #[error("{place}: {problem}")]
    Entry { place: String, problem: String },
    #[error("it holds {0} entries, at most {MAX_ENTRIES} are possible")]
    TooMany(usize),
    #[error("no prompt was measured alone: run llama-bench with -p 128,512,1024,2048 -n 0")]
    NoPrompts,
    #[error("no answer was measured: run llama-bench with -p 0 -n 128 -d 0,512,2048")]
    NoAnswers,
    #[error("{0}: {1}")]
    Fit(String, FitError),
    #[error("{0}: {1}")]
    Row(String, RowFault),
    #[error("it names no model file: say which it is of by --model")]
    NoModel,
    #[error("all {rows} rows are of another model than {wanted}")]
    OtherModel { rows: usize, wanted: String },
}

impl Format {
    /// By what the text looks like.
    ///
    /// # Errors
    /// [`ImportError::Unknown`]; [`JsonError`] if it is JSON and broken.
    pub fn of(text: &str) -> Result<Self, ImportError> {
        let start = text.trim_start_matches('\u{feff}').trim_start();
        if start.starts_with("[[") || start.starts_with('#') {
            return Ok(Self::Toml);
        }
        if !start.starts_with(['[', '{']) && !start.starts_with("data:") {
            return if start.lines().next().is_some_and(|line| line.contains(',')) {
                Ok(Self::Csv)
            } else {
                Err(ImportError::Unknown)
            };
        }
        let entries = text::entries(text)?;
        let has = |field: &str| entries.iter().any(|(_, entry)| entry.contains_key(field));
        if has("row") {
            Ok(Self::Json)
        } else if has("timings") || has("predicted_ms") {
            Ok(Self::LlamaServer)
        } else if has("n_prompt") && has("n_gen") {
            Ok(Self::LlamaBench)
        } else {
            Err(ImportError::Unknown)
        }
    }
}

/// Reads rows. All of a file, or nothing.
///
/// # Errors
/// [`ImportError`], with the place.
pub fn import(text: &str, format: Option<Format>, subject: &Subject) -> Result<Imported, ImportError> {
    if text.len() > MAX_IMPORT_BYTES {
        return Err(ImportError::TooLarge(text.len()));
    }
    let format = format.map_or_else(|| Format::of(text), Ok)?;
    match format {
        Format::LlamaBench => llama_bench::import(text, subject),
        Format::LlamaServer => llama_server::import(text, subject),
        Format::Json => of_model(text::table(text)?, subject),
        Format::Csv => of_model(Sheet::parse(text)?, subject),
        Format::Toml => of_model(Table::parse(text)?, subject),
    }
}

/// Rows of our own say what they are of: those of another model than the one that is asked for are left out.
fn of_model(table: Table, subject: &Subject) -> Result<Imported, ImportError> {
    let Some(model) = &subject.model else { return Ok(Imported { table, notes: Vec::new() }) };
    let rows = table.len();
    let kept: Table = table.rows().filter(|row| row.key.model == model.digest).cloned().collect();
    if kept.is_empty() && rows > 0 {
        return Err(ImportError::OtherModel { rows, wanted: format!("{} ({})", model.name, model.digest) });
    }
    let left = rows - kept.len();
    let notes = (left > 0).then(|| format!("{left} rows of other models than {} are left out", model.name));
    Ok(Imported { table: kept, notes: notes.into_iter().collect() })
}

/// Times of one model by one thread count for each phase.
struct Samples {
    /// Prompt tokens, seconds.
    prompts: Vec<(u32, f64)>,
    /// Depth, sequences, seconds.
    answers: Vec<(u32, u32, f64)>,
}

/// What rows of other programs have in common.
struct Frame {
    name: String,
    key: RowKey,
    memory: Memory,
    date: String,
    source: String,
}

impl Frame {
    fn of(subject: &Subject, model: &Model, backend: Backend, kv_type: &str, runtime: &str) -> Self {
        Self {
            name: model.name.clone(),
            key: RowKey {
                class: subject.class.clone(),
                model: model.digest,
                mode: subject.mode.clone(),
                thermal: subject.thermal,
                prefill_threads: subject.threads.0,
                decode_threads: subject.threads.1,
                backend,
                quantisation: model.quantisation.clone(),
                kv_type: KvType::new(kv_type),
                context: subject.context,
                firmware: subject.firmware.clone(),
                runtime: runtime.to_owned(),
            },
            memory: Memory {
                weights_bytes: model.file_bytes,
                kv_bytes_per_token: model.kv_bytes_per_token,
                ..Memory::default()
            },
            date: String::new(),
            source: subject.source.clone(),
        }
    }

    fn row(&self, threads: (u16, u16), samples: &Samples) -> Result<Row, ImportError> {
        let name = format!("{} by {}/{} threads", self.name, threads.0, threads.1);
        let wrong = |error| ImportError::Fit(name.clone(), error);
        let (prefill, reads) = fit::prefill(&samples.prompts).map_err(wrong)?;
        let (decode, decodes) = fit::decode(&samples.answers).map_err(wrong)?;
        let parts = self.parts(threads, prefill, decode, [reads, decodes]);
        Row::try_from(parts).map_err(|fault| ImportError::Row(name, fault))
    }

    fn parts(&self, threads: (u16, u16), prefill: Prefill, decode: Decode, fits: [Goodness; 2]) -> RowParts {
        let mib = self.memory.weights_bytes as f64 / MIB;
        let source = "not in the file: NVMe to slow SD card, small boards to desktops";
        RowParts {
            name: self.name.clone(),
            key: RowKey { prefill_threads: threads.0, decode_threads: threads.1, ..self.key.clone() },
            provenance: Provenance {
                origin: Origin::Imported,
                method: Method::Usual,
                grade: None,
                source: self.source.clone(),
                date: self.date.clone(),
            },
            load: LoadCosts {
                cold_ms: Figure::assumed(300.0 + 0.5 * mib, 1000.0 + 5.0 * mib, 3000.0 + 25.0 * mib, source),
                warm_ms: Figure::assumed(300.0, 1000.0, 3000.0, source),
                ..LoadCosts::default()
            },
            memory: self.memory,
            decode: shared(decode, &prefill),
            prefill,
            power: None,
            quality: Quality::default(),
            fit: Fit { residual_q90: Fit::default().residual_q90, ..fit::fit_of(fits[0], fits[1]) }.rough(),
        }
    }
}

/// Of what the files say nothing: several sequences, other models.
fn shared(mut decode: Decode, prefill: &Prefill) -> Decode {
    let (alone, token) = (decode.batch_ms[0].nominal(), prefill.p1_ms_per_token.nominal());
    let step = |further: f64| {
        let by = |times: f64| alone + times * token * further;
        Figure::assumed(by(1.0), by(3.0), by(5.0), "not in the file: one to five prompt tokens a sequence")
    };
    decode.between_ms.clear();
    decode.batch_ms.truncate(1);
    decode.batch_ms.extend((1..5u32).map(|power| step(f64::from((1u32 << power) - 1))));
    decode.contention = Figure::assumed(0.0, 1.0, 2.0, "not in the file: beside one other model");
    decode
}

/// Repeats of a benchmark say less of requests than requests do.
trait Rough {
    fn rough(self) -> Self;
}

impl Rough for Fit {
    fn rough(self) -> Self {
        Self { prefill_residual_q90: None, decode_residual_q90: None, ..self }
    }
}

fn median(values: &mut [f64]) -> Option<f64> {
    values.sort_unstable_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        odd if odd % 2 == 1 => Some(values[middle]),
        _ => Some(f64::midpoint(values[middle - 1], values[middle])),
    }
}
