//! JSON as programs write it: one document, or one a line; and where it is broken.

use dunlin_costs::{Row, Table};
use serde::Deserialize;
use serde_json::{Map, Value, error::Category};
use thiserror::Error;

use super::{ImportError, MAX_ENTRIES};

/// An object, and what it is called in messages.
pub(super) type Entry = (String, Map<String, Value>);

/// Where JSON is broken, and how.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum JsonError {
    #[error("it ends in line {line}, in the middle of a value: it was cut off; fetch or write it again")]
    CutOff { line: usize },
    #[error("line {line}, column {column}: {word} is no number that can be measured")]
    NotFinite { line: usize, column: usize, word: &'static str },
    #[error("line {line}, column {column}: {problem}")]
    Broken { line: usize, column: usize, problem: String },
}

impl JsonError {
    fn of(error: &serde_json::Error, text: &str, first_line: usize) -> Self {
        let (line, column) = (error.line() + first_line, error.column());
        if error.classify() == Category::Eof {
            return Self::CutOff { line };
        }
        let at = text.lines().nth(error.line().saturating_sub(1)).unwrap_or_default();
        let rest: String = at.chars().skip(column.saturating_sub(1)).collect();
        let words = [("NaN", "NaN"), ("nan", "NaN"), ("aN", "NaN"), ("Inf", "Infinity"), ("nf", "Infinity")];
        let word = words.into_iter().find(|(start, _)| rest.starts_with(start));
        if let (Category::Syntax, Some((_, word))) = (error.classify(), word) {
            return Self::NotFinite { line, column, word };
        }
        let said = error.to_string();
        let problem = said.rsplit_once(" at line ").map_or(said.as_str(), |(problem, _)| problem);
        Self::Broken { line, column, problem: problem.to_owned() }
    }
}

/// Objects: of an array, of one document, or of one a line.
pub(super) fn entries(text: &str) -> Result<Vec<Entry>, ImportError> {
    let text = text.trim_start_matches('\u{feff}');
    let entries = if text.trim_start().starts_with('[') { array(text)? } else { lines(text)? };
    if entries.len() > MAX_ENTRIES {
        return Err(ImportError::TooMany(entries.len()));
    }
    Ok(entries)
}

fn array(text: &str) -> Result<Vec<Entry>, JsonError> {
    let values: Vec<Map<String, Value>> =
        serde_json::from_str(text).map_err(|error| JsonError::of(&error, text, 0))?;
    Ok((1..).map(|number| format!("entry {number}")).zip(values).collect())
}

/// A document over several lines, or one in each.
fn lines(text: &str) -> Result<Vec<Entry>, JsonError> {
    if let Ok(one) = serde_json::from_str::<Map<String, Value>>(text) {
        return Ok(vec![("the document".to_owned(), one)]);
    }
    let mut lines = text.lines().map(data).enumerate().filter(|(_, line)| !is_empty(line)).peekable();
    // A first line that is no document by itself: then the whole was meant to be one.
    if let Some((at, first)) = lines.peek()
        && serde_json::from_str::<Value>(first).is_err()
        && *at == 0
        && text.lines().count() > 1
    {
        let error = serde_json::from_str::<Value>(text).err();
        return Err(error.map_or(JsonError::CutOff { line: 1 }, |error| JsonError::of(&error, text, 0)));
    }
    let parse = |(at, line): (usize, &str)| {
        let entry = serde_json::from_str(line).map_err(|error| JsonError::of(&error, line, at))?;
        Ok((format!("line {}", at + 1), entry))
    };
    lines.map(parse).collect()
}

/// Without what a stream of events puts before it.
fn data(line: &str) -> &str {
    line.strip_prefix("data:").unwrap_or(line).trim()
}

fn is_empty(line: &str) -> bool {
    line.is_empty() || line == "[DONE]"
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TableFile {
    row: Vec<Row>,
}

/// A table of ours.
pub(super) fn table(text: &str) -> Result<Table, JsonError> {
    let file: TableFile = serde_json::from_str(text).map_err(|error| JsonError::of(&error, text, 0))?;
    Ok(file.row.into_iter().collect())
}
