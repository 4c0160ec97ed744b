//! Traces: requests that came once, with their times. JSON lines, or the layout of the traces that Azure published
//! (`TIMESTAMP,ContextTokens,GeneratedTokens`; github.com/Azure/AzurePublicDataset).

use std::{io::BufRead, time::Duration};

use jiff::{Timestamp, civil::DateTime};
use serde::Deserialize;
use thiserror::Error;

use crate::MAX_REQUESTS;

/// Bytes of one line.
const MAX_LINE: usize = 4 << 20;
/// Tokens of an answer where a trace does not say.
const DEFAULT_OUTPUT: u64 = 128;
const AZURE: &str = "timestamp,contexttokens,generatedtokens";

#[derive(Debug, Error)]
pub enum TraceError {
    #[error("cannot be read: {0}")]
    Io(#[from] std::io::Error),
    #[error("line {line}: {problem}")]
    Line { line: usize, problem: String },
    #[error("has no requests")]
    Empty,
    #[error("has more than {MAX_REQUESTS} requests")]
    Long,
}

/// In the order of their times; the first is at zero.
#[derive(Debug, Clone, PartialEq)]
pub struct Trace(Vec<Entry>);

#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    pub at: Duration,
    /// As it is; else one is made up.
    pub prompt: Option<String>,
    pub prompt_tokens: u64,
    pub max_tokens: u64,
}

/// A line of JSON. `timestamp` is in milliseconds, as in the traces that Moonshot published; `arrival` in seconds.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    #[serde(alias = "at")]
    arrival: Option<f64>,
    timestamp: Option<f64>,
    #[serde(alias = "text")]
    prompt: Option<String>,
    #[serde(alias = "input_length")]
    prompt_tokens: Option<u64>,
    #[serde(alias = "output_length", alias = "output_tokens")]
    max_tokens: Option<u64>,
    #[serde(default, rename = "hash_ids")]
    _hash_ids: Option<serde::de::IgnoredAny>,
}

impl Trace {
    pub fn entries(&self) -> &[Entry] {
        &self.0
    }

    /// # Errors
    /// With the line that is wrong.
    pub fn read(from: impl BufRead) -> Result<Self, TraceError> {
        let mut entries = Vec::new();
        let mut is_azure = false;
        for (number, text) in from.lines().enumerate() {
            let (line, text) = (number + 1, text?);
            let text = text.trim().trim_start_matches('\u{feff}');
            let wrong = |problem: String| TraceError::Line { line, problem };
            if text.len() > MAX_LINE {
                return Err(wrong(format!("longer than {MAX_LINE} bytes")));
            }
            if line == 1 && text.to_lowercase().replace([' ', '"'], "") == AZURE {
                is_azure = true;
            } else if !text.is_empty() {
                let entry = if is_azure { of_azure(text) } else { of_json(text) };
                entries.push(entry.map_err(wrong)?);
            }
            if entries.len() > MAX_REQUESTS {
                return Err(TraceError::Long);
            }
        }
        Self::of(entries)
    }

    fn of(mut entries: Vec<(f64, Entry)>) -> Result<Self, TraceError> {
        entries.sort_by(|a, b| a.0.total_cmp(&b.0));
        let first = entries.first().ok_or(TraceError::Empty)?.0;
        let from_zero = entries.into_iter().map(|(seconds, entry)| Entry {
            at: Duration::try_from_secs_f64(seconds - first).unwrap_or_default(),
            ..entry
        });
        Ok(Self(from_zero.collect()))
    }
}

fn of_json(text: &str) -> Result<(f64, Entry), String> {
    let line: Line = serde_json::from_str(text).map_err(|error| {
        format!("{error}; a line is as in {{\"arrival\": 0.25, \"prompt_tokens\": 300, \"max_tokens\": 80}}")
    })?;
    let seconds = line.arrival.or(line.timestamp.map(|ms| ms / 1e3));
    let seconds = seconds
        .filter(|seconds| seconds.is_finite())
        .ok_or("when is it? `arrival` is missing, in seconds")?;
    let prompt_tokens = match (&line.prompt, line.prompt_tokens) {
        (Some(_), tokens) => tokens.unwrap_or(0),
        (None, Some(tokens)) if tokens > 0 => tokens,
        (None, _) => return Err("give `prompt`, or `prompt_tokens` above 0".to_owned()),
    };
    let max_tokens = line.max_tokens.unwrap_or(DEFAULT_OUTPUT);
    if max_tokens == 0 {
        return Err("`max_tokens` is 0".to_owned());
    }
    Ok((seconds, Entry { at: Duration::ZERO, prompt: line.prompt, prompt_tokens, max_tokens }))
}

fn of_azure(text: &str) -> Result<(f64, Entry), String> {
    let mut cells = text.split(',').map(|cell| cell.trim().trim_matches('"'));
    let (Some(time), Some(prompt), Some(output), None) =
        (cells.next(), cells.next(), cells.next(), cells.next())
    else {
        return Err("there are three columns: TIMESTAMP,ContextTokens,GeneratedTokens".to_owned());
    };
    let seconds =
        instant(time).ok_or_else(|| format!("{time:?} is no time, as in 2023-11-16 18:15:46.6805900"))?;
    let tokens = |cell: &str, name: &str| {
        cell.parse::<u64>().map_err(|_| format!("{name} is {cell:?}, which is no number of tokens"))
    };
    let (prompt_tokens, max_tokens) = (tokens(prompt, "ContextTokens")?, tokens(output, "GeneratedTokens")?);
    // Some of them have none; one is the least that can be asked for.
    let entry = Entry {
        at: Duration::ZERO,
        prompt: None,
        prompt_tokens: prompt_tokens.max(1),
        max_tokens: max_tokens.max(1),
    };
    Ok((seconds, entry))
}

/// Seconds since 1970. One of the traces has offsets, one has none.
fn instant(text: &str) -> Option<f64> {
    let with_offset = text.parse::<Timestamp>();
    let timestamp = with_offset.or_else(|_| {
        let civil: DateTime = text.parse()?;
        civil.to_zoned(jiff::tz::TimeZone::UTC).map(|zoned| zoned.timestamp())
    });
    Some(timestamp.ok()?.as_duration().as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Trace, TraceError> {
        Trace::read(text.as_bytes())
    }

    #[test]
    fn the_layout_of_azure_is_read() {
        for text in [
            "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:15:46.6805900,374,44\n2023-11-16 18:15:50.9951690,396,109\n",
            "\u{feff}TIMESTAMP,ContextTokens,GeneratedTokens\r\n2024-05-10 00:00:04.314579+00:00,396,109\r\n2024-05-10 00:00:00+00:00,374,44\r\n",
        ] {
            let trace = read(text).unwrap();
            let [first, second] = trace.entries() else { panic!("{trace:?}") };
            assert_eq!((first.at, first.prompt_tokens, first.max_tokens), (Duration::ZERO, 374, 44));
            assert_eq!((second.at.as_millis(), second.prompt_tokens), (4314, 396));
        }
    }

    #[test]
    fn lines_of_json_are_read() {
        let trace = read(
            "{\"arrival\": 1.5, \"prompt\": \"hello\", \"max_tokens\": 4}\n\n{\"arrival\": 1, \"prompt_tokens\": 7}\n\
             {\"timestamp\": 3000, \"input_length\": 9, \"output_length\": 2, \"hash_ids\": [1, 2]}\n",
        )
        .unwrap();
        let [first, second, third] = trace.entries() else { panic!("{trace:?}") };
        assert_eq!((first.at, first.prompt_tokens, first.max_tokens), (Duration::ZERO, 7, DEFAULT_OUTPUT));
        assert_eq!((second.at, second.prompt.as_deref()), (Duration::from_millis(500), Some("hello")));
        assert_eq!((third.at, third.prompt_tokens, third.max_tokens), (Duration::from_secs(2), 9, 2));
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line() {
        let check = |text: &str, expected: &str| {
            let error = read(text).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        };
        check("", "has no requests");
        check("{}\n", "line 1: when is it?");
        check("{\"arrival\": 1}\n", "line 1: give `prompt`");
        check("{\"arrival\": 1, \"prompt\": \"a\", \"max_tokens\": 0}", "`max_tokens` is 0");
        check("{\"arrival\": 1, \"promt\": \"a\"}", "unknown field `promt`");
        check("hello\n", "a line is as in");
        check("TIMESTAMP,ContextTokens,GeneratedTokens\nyesterday,1,2\n", "line 2: \"yesterday\" is no time");
        check(
            "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:15:46,1\n",
            "line 2: there are three columns",
        );
    }
}
