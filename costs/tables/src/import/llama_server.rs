//! What llama-server says of an answer: its `timings`, one a line, in an array, or within the answers.

use dunlin_costs::Backend;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::{Frame, ImportError, Imported, Samples, Subject, text};

/// Fewer tokens say little of the time of one.
const LEAST_TOKENS: u32 = 8;

#[derive(Deserialize)]
struct Timings {
    prompt_n: u32,
    prompt_ms: f64,
    predicted_n: u32,
    predicted_ms: f64,
    /// Of the prompt, what was held.
    #[serde(default)]
    cache_n: u32,
}

pub(super) fn import(text: &str, subject: &Subject) -> Result<Imported, ImportError> {
    let model = subject.model.as_ref().ok_or(ImportError::NoModel)?;
    let (mut samples, mut skipped) = (Samples { prompts: Vec::new(), answers: Vec::new() }, 0);
    for (place, entry) in text::entries(text)? {
        let Some(timings) = timings(entry) else { continue };
        let wrong = |problem: String| ImportError::Entry { place: place.clone(), problem };
        let of: Timings = serde_json::from_value(timings).map_err(|error| wrong(error.to_string()))?;
        let sound = |ms: f64| ms.is_finite() && ms >= 0.0;
        if !sound(of.prompt_ms) || !sound(of.predicted_ms) {
            return Err(wrong(format!("times of {} and {} ms are none", of.prompt_ms, of.predicted_ms)));
        }
        let before = (samples.prompts.len(), samples.answers.len());
        if of.cache_n == 0 && of.prompt_n >= LEAST_TOKENS && of.prompt_ms > 0.0 {
            samples.prompts.push((of.prompt_n, of.prompt_ms / 1e3));
        }
        if of.predicted_n >= LEAST_TOKENS && of.predicted_ms > 0.0 {
            let depth = of.cache_n + of.prompt_n + of.predicted_n / 2;
            samples.answers.push((depth, 1, of.predicted_ms / 1e3 / f64::from(of.predicted_n)));
        }
        skipped += usize::from(before == (samples.prompts.len(), samples.answers.len()));
    }
    if samples.prompts.is_empty() {
        return Err(ImportError::NoPrompts);
    }
    if samples.answers.is_empty() {
        return Err(ImportError::NoAnswers);
    }
    let frame = Frame::of(subject, model, Backend::Cpu, "f16", "llama-server");
    let mut imported = Imported::default();
    drop(imported.table.insert(frame.row(subject.threads, &samples)?));
    if skipped > 0 {
        imported.notes.push(format!("{skipped} answers shorter than {LEAST_TOKENS} tokens are left out"));
    }
    imported.notes.push(
        "taken as requests that ran alone, by the threads of --threads; loads, watts and several sequences are assumed, or missing"
            .to_owned(),
    );
    Ok(imported)
}

/// Of an answer, or by themselves.
fn timings(mut entry: Map<String, Value>) -> Option<Value> {
    entry.remove("timings").or_else(|| entry.contains_key("predicted_ms").then_some(Value::Object(entry)))
}
