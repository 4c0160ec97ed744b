//! One value of every variant of every message, no field of it at its default.

mod answers;
mod attempts;
mod blobs;
mod clients;
mod joining;
mod nodes;

use dunlin_protocol::*;

pub(crate) use self::{
    answers::{answer, explanation, planned_node},
    attempts::{attempt_opening, from_attempt, to_attempt},
    blobs::{from_store, to_store},
    clients::{from_invocation, opening, to_invocation},
    joining::{hello, hello_reply, join_reply, join_request, renewal},
    nodes::{profiling, to_node, to_profile, to_scheduler},
};

/// A name for the file, and the value.
pub(crate) type Samples<M> = Vec<(String, M)>;

/// Samples of all variants: a variant without one does not compile.
macro_rules! samples {
    ($type:ident { $($variant:ident => $sample:expr;)* }) => {{
        fn variant(message: &$type) -> &'static str {
            match message { $($type::$variant { .. } => stringify!($variant),)* }
        }
        let samples: Vec<$type> = vec![$($sample),*];
        let expected = [$(stringify!($variant)),*];
        assert_eq!(samples.iter().map(variant).collect::<Vec<_>>(), expected, "each where it belongs");
        expected.into_iter().map(str::to_owned).zip(samples).collect::<Samples<$type>>()
    }};
}
use samples;

/// `samples`, the one variant that holds `of` replaced by as many as there are of these.
fn spread<M, P>(samples: Samples<M>, of: &str, parts: Samples<P>, whole: impl Fn(P) -> M) -> Samples<M> {
    let (mut kept, replaced): (Vec<_>, Vec<_>) = samples.into_iter().partition(|(name, _)| name != of);
    assert_eq!(replaced.len(), 1, "{of}");
    kept.extend(parts.into_iter().map(|(part, value)| (format!("{of}.{part}"), whole(value))));
    kept
}

fn text(value: &str) -> String {
    value.to_owned()
}

fn bytes(value: &[u8]) -> ByteBuf {
    ByteBuf::from(value)
}

fn node(name: &str) -> NodeId {
    name.parse().unwrap()
}

fn model() -> ModelDigest {
    ModelDigest([0x11; 32])
}

fn component() -> ComponentDigest {
    ComponentDigest([0x22; 32])
}

fn attempt() -> AttemptId {
    AttemptId { invocation: InvocationId(0x0123_4567_89ab_cdef_0123_4567_89ab_cdef), number: 2 }
}

fn parameter() -> Parameter {
    Parameter { name: text("room"), value: text("cellar") }
}

fn point() -> OperatingPoint {
    OperatingPoint {
        mode: text("25W"),
        backend: text("cuda"),
        kv_type: text("q8_0"),
        context: 4096,
        prefill_threads: 6,
        decode_threads: 2,
    }
}

fn failure() -> Failure {
    Failure::new(FailureCode::Overloaded, "the queue is full; come back later").retry_after_ms(1500)
}
