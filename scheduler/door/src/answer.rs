//! What an invocation says, in pieces; and its end, whoever leaves first.

use std::{collections::VecDeque, sync::Arc};

use dunlin_protocol::{
    Emission, Ended, Failure, FailureCode, FromInvocation, InvocationId, Outcome, Placed, Usage,
};
use dunlin_scheduler::Following;
use serde_json::Value;

use crate::{
    auth::Caller,
    desk::Desk,
    error::{Answered, ApiError},
};

/// A piece of an answer.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Piece {
    Text(String),
    Reasoning(String),
    /// As OpenAI tells them, one for each token.
    Logprobs(Vec<Value>),
    /// As OpenAI tells it, with its index.
    ToolCall(Value),
    Progress(f64),
    /// JSON that a pipeline gave as it is.
    Json(Value),
    /// The last one.
    End(Box<Finish>),
}

/// How it ended, and what it took.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Finish {
    pub(crate) invocation: InvocationId,
    pub(crate) placed: Vec<Placed>,
    pub(crate) usage: Usage,
    pub(crate) content_type: String,
    pub(crate) body: Vec<u8>,
}

/// A piece, and the number of the emission after it: who has it comes back with this number.
pub(crate) type Numbered = (u64, Piece);

/// One invocation that somebody waits for. When it is dropped before its end, the invocation is cancelled, unless it stays.
#[derive(Debug)]
pub(crate) struct Answer {
    desk: Arc<Desk>,
    caller: Caller,
    following: Following,
    stays: bool,
    placed: Vec<Placed>,
    body: Vec<u8>,
    pieces: VecDeque<Numbered>,
}

impl Answer {
    pub(crate) fn new(desk: Arc<Desk>, caller: Caller, following: Following, stays: bool) -> Self {
        Self { desk, caller, following, stays, placed: Vec::new(), body: Vec::new(), pieces: VecDeque::new() }
    }

    pub(crate) fn invocation(&self) -> InvocationId {
        self.following.invocation()
    }

    /// The next piece; after its end or an error there is none.
    ///
    /// # Errors
    /// Why it did not come to its end.
    pub(crate) async fn next(&mut self) -> Answered<Numbered> {
        loop {
            if let Some(piece) = self.pieces.pop_front() {
                return Ok(piece);
            }
            match self.following.next().await {
                FromInvocation::Accepted { .. } => {}
                FromInvocation::Placed(placed) => self.placed.push(*placed),
                FromInvocation::Chunk(chunk) => {
                    for (number, emission) in (chunk.offset + 1..).zip(chunk.emissions) {
                        self.take(number, emission)?;
                    }
                }
                FromInvocation::Refused(failure) => return Err(failure.into()),
                FromInvocation::Ended(ended) => return self.end(*ended),
            }
        }
    }

    /// The end, whatever comes before it.
    ///
    /// # Errors
    /// As [`Self::next`].
    pub(crate) async fn end_of_all(&mut self) -> Answered<Finish> {
        loop {
            if let (_, Piece::End(finish)) = self.next().await? {
                return Ok(*finish);
            }
        }
    }

    fn take(&mut self, number: u64, emission: Emission) -> Answered<()> {
        match emission {
            Emission::Tokens { .. } => {}
            Emission::Text(text) => self.pieces.push_back((number, Piece::Text(text))),
            Emission::Progress(thousandths) => {
                self.pieces.push_back((number, Piece::Progress(f64::from(thousandths) / 1000.0)));
            }
            Emission::Body(bytes) => self.body.extend_from_slice(&bytes),
            Emission::Json(json) => {
                // After a move to another node what was told is left out by its bytes, which may cut JSON in two.
                let value = serde_json::from_str(&json).map_err(|_| moved())?;
                self.pieces.extend(pieces(value).into_iter().map(|piece| (number, piece)));
            }
        }
        Ok(())
    }

    fn end(&mut self, ended: Ended) -> Answered<Numbered> {
        self.desk.settle(&self.caller, &ended.usage);
        let failure = match ended.outcome {
            Outcome::Done { content_type } => {
                let finish = Finish {
                    invocation: self.invocation(),
                    placed: std::mem::take(&mut self.placed),
                    usage: ended.usage,
                    content_type,
                    body: std::mem::take(&mut self.body),
                };
                return Ok((ended.offset, Piece::End(Box::new(finish))));
            }
            Outcome::Failed(failure) => failure,
            Outcome::Cancelled | Outcome::HandedOver => {
                Failure::new(FailureCode::Cancelled, "it was cancelled")
            }
            Outcome::Expired => Failure::new(FailureCode::Deadline, "the deadline passed"),
        };
        Err(failure.into())
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        if !self.stays && !self.following.has_ended() {
            self.desk.front.cancel(self.following.invocation());
        }
    }
}

/// What a report of `chat` or `complete` says; of other pipelines, all of it is JSON.
fn pieces(value: Value) -> Vec<Piece> {
    let Value::Object(fields) = &value else { return vec![Piece::Json(value)] };
    let only = if fields.len() == 1 { fields.iter().next() } else { None };
    match only {
        Some((name, Value::String(text))) if name == "reasoning" => vec![Piece::Reasoning(text.clone())],
        Some((name, Value::Array(list))) if name == "logprobs" => vec![Piece::Logprobs(list.clone())],
        Some((name, Value::Array(list))) if name == "tool_calls" => {
            list.iter().cloned().map(Piece::ToolCall).collect()
        }
        _ => vec![Piece::Json(value)],
    }
}

fn moved() -> ApiError {
    let text = "its node was lost, and an answer of this kind cannot go on elsewhere: send it again";
    Failure::new(FailureCode::NotResumable, text).into()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn reports_are_told_apart_from_json_of_pipelines() {
        assert_eq!(pieces(json!({ "reasoning": "hm" })), [Piece::Reasoning("hm".into())]);
        assert_eq!(pieces(json!({ "logprobs": [1] })), [Piece::Logprobs(vec![json!(1)])]);
        assert_eq!(
            pieces(json!({ "tool_calls": [{ "index": 0 }, { "index": 1 }] })),
            [Piece::ToolCall(json!({ "index": 0 })), Piece::ToolCall(json!({ "index": 1 }))]
        );
        let other = json!({ "logprobs": [1], "more": 2 });
        assert_eq!(pieces(other.clone()), [Piece::Json(other)]);
    }
}
