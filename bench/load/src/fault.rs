//! How a request can fail.

use std::{fmt, time::Duration};

/// Told once for each kind, so they are short.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// No connection: nobody listens, no such name, no trust in the certificate.
    Connect(String),
    /// Longer than a request may take.
    Timeout(Duration),
    /// An answer that is none, with what the server says of it.
    Status { status: u16, said: String, retry_after: Option<Duration> },
    /// Not `text/event-stream`.
    NotAStream(String),
    /// An event that is no JSON of a piece of an answer.
    Malformed(String),
    /// An error in the stream.
    Told(String),
    /// The connection broke.
    Broken(String),
    /// The stream ended without an end: no finish reason, no `[DONE]`.
    Cut,
    /// A whole answer without a token.
    Empty,
    /// Not sent, since too many were under way.
    Crowded,
}

impl Fault {
    /// What it is counted under.
    pub fn kind(&self) -> String {
        match self {
            Self::Connect(_) => "no connection".to_owned(),
            Self::Timeout(_) => "too slow".to_owned(),
            Self::Status { status, .. } => format!("status {status}"),
            Self::NotAStream(_) => "no stream".to_owned(),
            Self::Malformed(_) => "malformed".to_owned(),
            Self::Told(_) => "error in the stream".to_owned(),
            Self::Broken(_) => "connection broke".to_owned(),
            Self::Cut => "cut off".to_owned(),
            Self::Empty => "no token".to_owned(),
            Self::Crowded => "not sent".to_owned(),
        }
    }

    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Status { retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect(why) => write!(f, "no connection: {why}"),
            Self::Timeout(limit) => write!(f, "no end of the answer within {} s", limit.as_secs_f64()),
            Self::Status { status, said, .. } if said.is_empty() => write!(f, "status {status}"),
            Self::Status { status, said, .. } => write!(f, "status {status}: {said}"),
            Self::NotAStream(what) => write!(f, "the answer is no stream of events, but {what}"),
            Self::Malformed(what) => write!(f, "a piece of the answer cannot be read: {what}"),
            Self::Told(what) => write!(f, "the server broke off: {what}"),
            Self::Broken(why) => write!(f, "the connection broke: {why}"),
            Self::Cut => f.write_str("the stream ended in the middle: no finish_reason, no [DONE]"),
            Self::Empty => f.write_str("the answer is whole, and has no token"),
            Self::Crowded => {
                write!(f, "{} requests were under way, which is the limit", crate::MAX_IN_FLIGHT)
            }
        }
    }
}
