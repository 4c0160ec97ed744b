//! A piece of a streamed answer, as servers of OpenAI's API write it, and what Dunlin adds.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::fault::Fault;

/// Characters of a text of the server that are kept.
const MAX_SAID: usize = 300;

/// Tokens, as the server counted them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Usage {
    pub prompt_tokens: u64,
    pub completion_tokens: u64,
}

/// Joules of a request at the board's input, from a server that tells them.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Joules {
    #[serde(rename = "total_joules")]
    pub total: Option<f64>,
    #[serde(rename = "marginal_joules")]
    pub marginal: Option<f64>,
    #[serde(rename = "prefill_joules")]
    pub prefill: Option<f64>,
    #[serde(rename = "decode_joules")]
    pub decode: Option<f64>,
    pub source: Option<String>,
    pub scope: Option<String>,
}

/// Milliseconds by the server's own clock.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ServerTimes {
    pub queue_ms: Option<f64>,
    pub load_ms: Option<f64>,
    pub prefill_ms: Option<f64>,
    pub decode_ms: Option<f64>,
    pub ttft_ms: Option<f64>,
}

/// Where it ran.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Place {
    pub(crate) node: Option<String>,
    pub(crate) emulated: bool,
}

#[derive(Debug, PartialEq)]
pub(crate) enum Piece {
    /// `[DONE]`.
    End,
    Chunk(Box<Chunk>),
}

#[derive(Debug, PartialEq, Default)]
pub(crate) struct Chunk {
    /// Something that a person would see, or a tool would get.
    pub(crate) has_token: bool,
    pub(crate) finish: Option<String>,
    pub(crate) usage: Option<Usage>,
    pub(crate) times: Option<ServerTimes>,
    pub(crate) joules: Option<Joules>,
    pub(crate) place: Option<Place>,
}

#[derive(Deserialize)]
struct Written {
    #[serde(default)]
    choices: Option<Vec<Choice>>,
    #[serde(default)]
    usage: Option<Usage>,
    #[serde(default)]
    timings: Option<ServerTimes>,
    #[serde(default)]
    energy: Option<Joules>,
    #[serde(default)]
    dunlin: Option<Place>,
    #[serde(default)]
    error: Option<Value>,
}

#[derive(Deserialize)]
struct Choice {
    #[serde(default)]
    delta: Option<Delta>,
    #[serde(default)]
    text: Option<String>,
    #[serde(default)]
    finish_reason: Option<String>,
}

#[derive(Deserialize)]
struct Delta {
    #[serde(default)]
    content: Option<String>,
    #[serde(default, alias = "reasoning")]
    reasoning_content: Option<String>,
    #[serde(default)]
    tool_calls: Option<Vec<Value>>,
}

impl Choice {
    fn has_token(&self) -> bool {
        let is_said = |text: &Option<String>| text.as_ref().is_some_and(|text| !text.is_empty());
        let delta = self.delta.as_ref();
        is_said(&self.text)
            || delta.is_some_and(|delta| {
                is_said(&delta.content)
                    || is_said(&delta.reasoning_content)
                    || delta.tool_calls.as_ref().is_some_and(|calls| !calls.is_empty())
            })
    }
}

/// # Errors
/// If it is none, or says that the server broke off.
pub(crate) fn read(data: &str) -> Result<Piece, Fault> {
    if data.trim() == "[DONE]" {
        return Ok(Piece::End);
    }
    let written: Written = serde_json::from_str(data)
        .map_err(|error| Fault::Malformed(format!("{error}: {}", shortened(data))))?;
    if let Some(error) = &written.error {
        return Err(Fault::Told(said(error)));
    }
    let choices = written.choices.unwrap_or_default();
    Ok(Piece::Chunk(Box::new(Chunk {
        has_token: choices.iter().any(Choice::has_token),
        finish: choices.into_iter().find_map(|choice| choice.finish_reason),
        usage: written.usage,
        times: written.timings,
        joules: written.energy.filter(|joules| joules.total.or(joules.marginal).is_some()),
        place: written.dunlin,
    })))
}

/// What a server says in the body of a status that is none of success.
pub(crate) fn said_in(body: &str) -> String {
    match serde_json::from_str::<Value>(body) {
        Ok(document) => said(document.get("error").unwrap_or(&document)),
        Err(_) => shortened(body),
    }
}

fn said(error: &Value) -> String {
    let message = error.get("message").unwrap_or(error);
    shortened(&message.as_str().map_or_else(|| message.to_string(), str::to_owned))
}

/// One line of it, without what steers terminals.
pub(crate) fn shortened(text: &str) -> String {
    let plain: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let words = plain.split_whitespace().collect::<Vec<_>>().join(" ");
    match words.char_indices().nth(MAX_SAID) {
        Some((at, _)) => format!("{}...", &words[..at]),
        None => words,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_what_is_not_empty() {
        let check = |data: &str, has_token: bool| match read(data) {
            Ok(Piece::Chunk(chunk)) => assert_eq!(chunk.has_token, has_token, "{data}"),
            other => panic!("{data}: {other:?}"),
        };
        check(r#"{"choices":[{"delta":{"role":"assistant","content":""}}]}"#, false);
        check(r#"{"choices":[{"delta":{"content":null}}]}"#, false);
        check(r#"{"choices":[{"delta":{"content":" "}}]}"#, true);
        check(r#"{"choices":[{"delta":{"reasoning_content":"a"}}]}"#, true);
        check(r#"{"choices":[{"delta":{"tool_calls":[{"index":0}]}}]}"#, true);
        check(r#"{"choices":[{"text":"a"}]}"#, true);
        check(r#"{"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":2}}"#, false);
        check(r#"{"prompt_progress":{"total":3}}"#, false);
    }

    #[test]
    fn what_the_server_adds_is_kept() {
        let data = r#"{"choices":[],"usage":{"prompt_tokens":5,"completion_tokens":7,"total_tokens":12},
            "timings":{"queue_ms":1.5,"prompt_n":4},"energy":{"total_joules":3.0,"marginal_joules":2.0,"source":"emulated"},
            "dunlin":{"node":"pi","emulated":true}}"#;
        let Ok(Piece::Chunk(chunk)) = read(data) else { panic!("{data}") };
        assert_eq!(chunk.usage, Some(Usage { prompt_tokens: 5, completion_tokens: 7 }));
        assert_eq!(chunk.times.and_then(|times| times.queue_ms), Some(1.5));
        assert_eq!(chunk.joules.and_then(|joules| joules.marginal), Some(2.0));
        assert_eq!(chunk.place, Some(Place { node: Some("pi".to_owned()), emulated: true }));
    }

    #[test]
    fn what_is_no_piece_is_told() {
        assert_eq!(read("[DONE]"), Ok(Piece::End));
        assert!(matches!(read("<html>"), Err(Fault::Malformed(_))));
        assert_eq!(
            read(r#"{"error":{"message":"out of memory"}}"#),
            Err(Fault::Told("out of memory".to_owned()))
        );
        assert_eq!(said_in(r#"{"error":{"message":"no\u001b[2J key"}}"#), "no [2J key");
        assert_eq!(said_in("<html>\n <b>x</b>"), "<html> <b>x</b>");
        assert_eq!(said_in(r#"{"error":"plain"}"#), "plain");
    }
}
