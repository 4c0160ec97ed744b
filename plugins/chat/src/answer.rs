//! An answer, as it comes and as a whole.

use dunlin_guest::{Error, Event, Response, StopReason, ToolCall, job::Chunk};
use dunlin_plugin_parameters::sampling::logprob;
use serde_json::{Map, Value, json};

use crate::calls::Listener;

/// How an answer is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// Its text, without what the model thought; JSON only if it calls tools.
    Text,
    /// Messages and their pieces as in OpenAI's chat completions.
    Json,
    /// Its text as text, which may be cut anywhere; all else as JSON; and at the end only why it ended.
    Report,
}

/// What the assistant has said so far.
#[derive(Debug, Default)]
pub(crate) struct Said {
    content: String,
    reasoning: String,
    tool_calls: Vec<ToolCall>,
    /// Finds calls in the text, where there are functions to call.
    listener: Option<Listener>,
    pub(crate) stop: Option<StopReason>,
}

impl Said {
    /// Of a model that may call these functions.
    pub(crate) fn with_tools(names: Vec<String>) -> Self {
        let listener = (!names.is_empty()).then(|| Listener::new(names));
        Self { listener, ..Self::default() }
    }

    /// Adds what came, and gives what the caller is told of it.
    pub(crate) fn take(&mut self, events: Vec<Event>, shape: Shape) -> Vec<Chunk> {
        let mut text = String::new();
        let mut reasoning = String::new();
        let mut calls = Vec::new();
        let mut logprobs = Vec::new();
        for event in self.heard(events) {
            match event {
                Event::Text(piece) => text += &piece,
                Event::Reasoning(piece) => reasoning += &piece,
                Event::ToolCall(call) => calls.push(call),
                Event::Tokens(tokens) => logprobs.extend(tokens.iter().map(logprob)),
                Event::Finish((stop, _)) => self.stop = Some(stop),
            }
        }
        let mut chunks = Vec::new();
        match shape {
            Shape::Text | Shape::Report if !text.is_empty() => chunks.push(Chunk::Text(text.clone())),
            Shape::Text | Shape::Report => {}
            Shape::Json => {
                chunks.extend(delta("reasoning", &reasoning).into_iter().chain(delta("content", &text)))
            }
        }
        if shape == Shape::Report {
            chunks.extend(delta("reasoning", &reasoning));
        }
        if shape != Shape::Text && !logprobs.is_empty() {
            chunks.push(Chunk::Json(json!({ "logprobs": logprobs }).to_string()));
        }
        let first = self.tool_calls.len();
        chunks.extend(calls.iter().enumerate().map(|(index, call)| {
            let mut call = tool_call(call);
            call["index"] = (first + index).into();
            Chunk::Json(json!({ "tool_calls": [call] }).to_string())
        }));
        self.content += &text;
        self.reasoning += &reasoning;
        self.tool_calls.extend(calls);
        chunks
    }

    /// With the calls that the text has.
    fn heard(&mut self, events: Vec<Event>) -> Vec<Event> {
        let Some(listener) = &mut self.listener else { return events };
        let mut heard = Vec::new();
        for event in events {
            match event {
                Event::Text(piece) => heard.extend(listener.hear(&piece)),
                finish @ Event::Finish(_) => {
                    heard.extend(listener.end());
                    heard.push(finish);
                }
                other => heard.push(other),
            }
        }
        heard
    }

    /// # Errors
    /// If it was not the model that ended the answer, nor a limit of its length.
    pub(crate) fn response(self, shape: Shape) -> Result<Response, Error> {
        match self.stop {
            Some(StopReason::Cancelled) => return Err(Error::Cancelled),
            Some(StopReason::Deadline) => return Err(Error::Deadline),
            _ => {}
        }
        match shape {
            Shape::Text if self.tool_calls.is_empty() => Ok(Response::text(self.content)),
            Shape::Text | Shape::Json => Ok(Response::json(self.message().to_string())),
            Shape::Report => {
                let by_stop = self.stop == Some(StopReason::StopString);
                let report = json!({ "finish_reason": self.finish_reason(), "stop_string": by_stop });
                Ok(Response::json(report.to_string()))
            }
        }
    }

    fn message(&self) -> Value {
        let mut message = Map::new();
        message.insert("role".into(), "assistant".into());
        message.insert("content".into(), self.content.as_str().into());
        if !self.reasoning.is_empty() {
            message.insert("reasoning".into(), self.reasoning.as_str().into());
        }
        if !self.tool_calls.is_empty() {
            message.insert("tool_calls".into(), self.tool_calls.iter().map(tool_call).collect());
        }
        message.insert("finish_reason".into(), self.finish_reason().into());
        message.into()
    }

    fn finish_reason(&self) -> &'static str {
        match self.stop {
            Some(StopReason::MaxTokens | StopReason::ContextFull) => "length",
            _ if !self.tool_calls.is_empty() => "tool_calls",
            _ => "stop",
        }
    }
}

fn delta(key: &str, text: &str) -> Option<Chunk> {
    (!text.is_empty()).then(|| Chunk::Json(json!({ key: text }).to_string()))
}

fn tool_call(call: &ToolCall) -> Value {
    json!({ "id": call.id, "type": "function", "function": { "name": call.name, "arguments": call.arguments_json } })
}

#[cfg(test)]
mod tests {
    use dunlin_guest::{Logprob, TokenInfo, Usage};

    use super::*;

    fn finish(stop: StopReason) -> Event {
        let usage = Usage {
            prompt_tokens: 0,
            cached_tokens: 0,
            output_tokens: 0,
            forced_tokens: 0,
            queue_us: 0,
            ttft_us: 0,
            tpot_p50_us: 0,
            tpot_p99_us: 0,
            energy: None,
            node: String::new(),
            operating_point: String::new(),
        };
        Event::Finish((stop, usage))
    }

    fn call(name: &str) -> Event {
        Event::ToolCall(ToolCall {
            id: "call_1".into(),
            name: name.into(),
            arguments_json: r#"{"unit":"sshd"}"#.into(),
        })
    }

    /// Each inner list arrives at once. Gives the chunks and the body.
    fn told(shape: Shape, events: Vec<Vec<Event>>) -> (Vec<String>, String) {
        let mut said = Said::default();
        let chunks = events.into_iter().flat_map(|events| said.take(events, shape)).collect::<Vec<_>>();
        let chunks = chunks.into_iter().map(|chunk| match chunk {
            Chunk::Text(text) => text,
            Chunk::Json(json) => json,
            Chunk::Progress(share) => share.to_string(),
        });
        let chunks = chunks.collect();
        (chunks, String::from_utf8(said.response(shape).unwrap().body).unwrap())
    }

    fn thought() -> Vec<Vec<Event>> {
        vec![
            vec![Event::Reasoning("two and ".into()), Event::Reasoning("two".into())],
            vec![Event::Text("fo".into()), Event::Text("ur".into())],
            vec![finish(StopReason::EndOfTurn)],
        ]
    }

    #[test]
    fn text_is_told_as_text_without_the_thoughts() {
        assert_eq!(told(Shape::Text, thought()), (vec!["four".to_owned()], "four".to_owned()));
    }

    #[test]
    fn json_tells_everything() {
        let (chunks, body) = told(Shape::Json, thought());
        assert_eq!(chunks, [r#"{"reasoning":"two and two"}"#, r#"{"content":"four"}"#]);
        assert_eq!(
            body,
            r#"{"role":"assistant","content":"four","reasoning":"two and two","finish_reason":"stop"}"#
        );
    }

    #[test]
    fn calls_are_told_one_by_one_and_then_together() {
        let events = vec![vec![call("restart")], vec![call("status"), finish(StopReason::ToolCalls)]];
        let (chunks, body) = told(Shape::Text, events);
        assert_eq!(
            chunks,
            [
                r#"{"tool_calls":[{"id":"call_1","type":"function","function":{"name":"restart","arguments":"{\"unit\":\"sshd\"}"},"index":0}]}"#,
                r#"{"tool_calls":[{"id":"call_1","type":"function","function":{"name":"status","arguments":"{\"unit\":\"sshd\"}"},"index":1}]}"#,
            ]
        );
        assert!(body.starts_with(r#"{"role":"assistant","content":"","tool_calls":[{"id""#), "{body}");
        assert!(body.ends_with(r#"],"finish_reason":"tool_calls"}"#), "{body}");
    }

    #[test]
    fn an_answer_that_was_cut_says_so() {
        let events = vec![vec![Event::Text("and".into()), finish(StopReason::MaxTokens)]];
        assert_eq!(
            told(Shape::Json, events).1,
            r#"{"role":"assistant","content":"and","finish_reason":"length"}"#
        );
    }

    #[test]
    fn what_ends_the_job_is_an_error() {
        let ended = |stop| {
            let mut said = Said::default();
            said.take(vec![Event::Text("half".into()), finish(stop)], Shape::Text);
            said.response(Shape::Text).unwrap_err()
        };
        assert!(matches!(ended(StopReason::Cancelled), Error::Cancelled));
        assert!(matches!(ended(StopReason::Deadline), Error::Deadline));
    }

    #[test]
    fn a_report_has_text_as_text_and_says_why_it_ended() {
        let (chunks, body) = told(Shape::Report, thought());
        assert_eq!(chunks, [r#"{"reasoning":"two and two"}"#, "four"]);
        assert_eq!(body, r#"{"finish_reason":"stop","stop_string":false}"#);
    }

    #[test]
    fn likelihoods_are_told_where_they_are_asked_for() {
        let of = |bytes: &[u8], logprob| Logprob { token: 1, bytes: bytes.to_vec(), logprob };
        let info = TokenInfo { chosen: of(b"a", -0.5), top: vec![of(b"b", -1.5)] };
        let events =
            vec![vec![Event::Text("a".into()), Event::Tokens(vec![info]), finish(StopReason::EndOfTurn)]];
        assert_eq!(
            told(Shape::Report, events).0,
            [
                "a",
                r#"{"logprobs":[{"token":"a","logprob":-0.5,"bytes":[97],"top_logprobs":[{"token":"b","logprob":-1.5,"bytes":[98]}]}]}"#
            ]
        );
    }
}
