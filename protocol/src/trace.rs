//! Which trace an invocation belongs to, as W3C's Trace Context has it; and names of spans on which both ends agree without
//! a word: they are made of the invocation, the attempt and what the span is of.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{AttemptId, InvocationId};

/// A span, and the trace that it is of; written as `00-{32 digits}-{16 digits}-{2 digits}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TraceContext {
    pub trace: TraceId,
    /// What new spans are below.
    pub span: SpanId,
    /// Whoever began the trace keeps it.
    #[serde(default)]
    pub sampled: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TraceId(pub u128);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SpanId(pub u64);

/// What spans of an invocation are of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Layer {
    /// The whole of it, as the scheduler sees it.
    Invocation,
    /// Waiting for a place.
    Queue,
    /// The decision.
    Placement,
    /// On a node, from the order to the end.
    Attempt,
    /// Of the model, for it.
    Load,
    /// The run of the component in the host.
    Pipeline,
    /// Of the engine: to the first token, and from there on.
    Prefill,
    Decode,
}

/// Why some text is no trace context.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0:?} is no traceparent, as in 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")]
pub struct TraceContextError(String);

impl TraceId {
    /// Of an invocation that nobody else traces.
    pub fn of(invocation: InvocationId) -> Self {
        // 0 is none.
        Self(invocation.0.max(1))
    }
}

impl Layer {
    const fn number(self) -> u8 {
        self as u8
    }

    /// As spans of it are named.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Invocation => "invocation",
            Self::Queue => "queue",
            Self::Placement => "placement",
            Self::Attempt => "attempt",
            Self::Load => "load",
            Self::Pipeline => "pipeline",
            Self::Prefill => "prefill",
            Self::Decode => "decode",
        }
    }
}

impl SpanId {
    /// Of the whole invocation.
    pub fn root(invocation: InvocationId) -> Self {
        Self::of(AttemptId { invocation, number: 0 }, Layer::Invocation)
    }

    /// Of a layer of an attempt.
    pub fn of(attempt: AttemptId, layer: Layer) -> Self {
        let AttemptId { invocation, number } = attempt;
        let bytes =
            invocation.0.to_be_bytes().into_iter().chain(number.to_be_bytes()).chain([layer.number()]);
        // FNV-1a (Fowler, Noll, Vo), then the last step of splitmix64, which spreads what differs at the end.
        let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        let hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        // 0 is none.
        Self((hash ^ (hash >> 31)).max(1))
    }
}

impl TraceContext {
    /// What the spans of an attempt on a node are below, where `caller` traces the invocation, or nobody.
    pub fn of(attempt: AttemptId, caller: Option<Self>) -> Self {
        Self {
            trace: caller.map_or_else(|| TraceId::of(attempt.invocation), |caller| caller.trace),
            span: SpanId::of(attempt, Layer::Attempt),
            sampled: caller.is_none_or(|caller| caller.sampled),
        }
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{}-{}-{:02x}", self.trace, self.span, u8::from(self.sampled))
    }
}

impl FromStr for TraceContext {
    type Err = TraceContextError;

    fn from_str(text: &str) -> Result<Self, TraceContextError> {
        parse(text).ok_or_else(|| TraceContextError(text.to_owned()))
    }
}

/// Of a later version, what this one knows.
fn parse(text: &str) -> Option<TraceContext> {
    let mut parts = text.split('-');
    let mut next = |length: usize| {
        let part = parts.next()?;
        let is_hex = part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        (part.len() == length && is_hex).then_some(part)
    };
    let (version, trace, span, flags) = (next(2)?, next(32)?, next(16)?, next(2)?);
    if version == "ff" || (version == "00" && parts.next().is_some()) {
        return None;
    }
    let trace = TraceId(u128::from_str_radix(trace, 16).ok().filter(|id| *id != 0)?);
    let span = SpanId(u64::from_str_radix(span, 16).ok().filter(|id| *id != 0)?);
    Some(TraceContext { trace, span, sampled: u8::from_str_radix(flags, 16).ok()? & 1 == 1 })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const EXAMPLE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn contexts_are_read_as_they_are_written() {
        let read: TraceContext = EXAMPLE.parse().unwrap();
        assert_eq!((read.to_string().as_str(), read.sampled), (EXAMPLE, true));
        let later = EXAMPLE.replacen("00-", "cc-", 1) + "-what-comes";
        assert_eq!(later.parse(), Ok(read));
        for text in [
            "",
            "00",
            &EXAMPLE[1..],
            &EXAMPLE.to_uppercase(),
            &EXAMPLE.replacen("00-", "ff-", 1),
            &(EXAMPLE.to_owned() + "-more"),
            &EXAMPLE.replace("0af7651916cd43dd8448eb211c80319c", &"0".repeat(32)),
            &EXAMPLE.replace("b7ad6b7169203331", &"0".repeat(16)),
            &EXAMPLE.replace("b7ad6b7169203331", "é7ad6b716920333"),
        ] {
            assert!(text.parse::<TraceContext>().is_err(), "{text}");
        }
    }

    #[test]
    fn spans_of_an_invocation_have_names_of_their_own() {
        let layers = [
            Layer::Invocation,
            Layer::Queue,
            Layer::Placement,
            Layer::Attempt,
            Layer::Load,
            Layer::Pipeline,
            Layer::Prefill,
            Layer::Decode,
        ];
        let mut seen = BTreeSet::new();
        for invocation in [0, 1, 2, u128::MAX].map(InvocationId) {
            for number in 0..4 {
                let attempt = AttemptId { invocation, number };
                seen.extend(layers.map(|layer| SpanId::of(attempt, layer)));
            }
        }
        assert_eq!(seen.len(), 4 * 4 * layers.len());
        // They are on the wire of whoever exports them: they stay what they are.
        let attempt = AttemptId { invocation: InvocationId(7), number: 1 };
        let context = TraceContext::of(attempt, None);
        assert_eq!(context.trace.to_string(), format!("{:032x}", 7));
        let caller: TraceContext = EXAMPLE.parse().unwrap();
        let below = TraceContext::of(attempt, Some(caller));
        assert_eq!((below.trace, below.span), (caller.trace, context.span));
    }
}
