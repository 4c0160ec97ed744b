//! One answer of `chat` or `complete`, put together from its pieces.

use dunlin_protocol::InvocationId;
use serde_json::Value;

use crate::{
    answer::{Finish, Piece},
    call::Answers,
    error::Answered,
};

/// An answer so far.
#[derive(Debug, Clone, Default)]
pub(crate) struct Collected {
    pub(crate) text: String,
    pub(crate) reasoning: String,
    pub(crate) logprobs: Vec<Value>,
    /// As OpenAI tells them.
    pub(crate) tool_calls: Vec<Value>,
    pub(crate) finish: Option<Finish>,
}

/// Why an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    Stop,
    /// One of the texts that end it.
    StopString,
    Length,
    ToolCalls,
}

impl Reason {
    /// As OpenAI names it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Stop | Self::StopString => "stop",
            Self::Length => "length",
            Self::ToolCalls => "tool_calls",
        }
    }

    /// As the pipeline reports it at its end.
    pub(crate) fn of(finish: &Finish) -> Self {
        let report: Value = serde_json::from_slice(&finish.body).unwrap_or_default();
        match report["finish_reason"].as_str() {
            Some("length") => Self::Length,
            Some("tool_calls") => Self::ToolCalls,
            _ if report["stop_string"] == true => Self::StopString,
            _ => Self::Stop,
        }
    }
}

impl Collected {
    pub(crate) fn take(&mut self, piece: Piece) {
        match piece {
            Piece::Text(text) => self.text += &text,
            Piece::Reasoning(text) => self.reasoning += &text,
            Piece::Logprobs(list) => self.logprobs.extend(list),
            Piece::ToolCall(call) => self.tool_calls.push(call),
            Piece::End(finish) => self.finish = Some(*finish),
            Piece::Progress(_) | Piece::Json(_) => {}
        }
    }

    pub(crate) fn reason(&self) -> Reason {
        self.finish.as_ref().map_or(Reason::Stop, Reason::of)
    }

    /// All answers, in the order in which they were asked for.
    ///
    /// # Errors
    /// The first that did not come to its end.
    pub(crate) async fn all(mut answers: Answers) -> Answered<Vec<Self>> {
        let mut all = vec![Self::default(); answers.count()];
        while let Some((index, piece)) = answers.next().await {
            let (_, piece) = piece?;
            all[index].take(piece);
        }
        for (collected, invocation) in all.iter_mut().zip(&answers.invocations) {
            collected.name_calls(*invocation);
        }
        Ok(all)
    }

    fn name_calls(&mut self, invocation: InvocationId) {
        for (index, call) in self.tool_calls.iter_mut().enumerate() {
            call["id"] = call_id(invocation, index as u64).into();
            if let Some(fields) = call.as_object_mut() {
                fields.shift_remove("index");
            }
        }
    }
}

/// The same wherever the invocation goes on, and no other's.
pub(crate) fn call_id(invocation: InvocationId, index: u64) -> String {
    format!("call_{invocation}{index}")
}
