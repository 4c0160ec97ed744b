//! The stream of one attempt: scheduler to node, and back.
//!
//! What an attempt emits is a log of emissions, numbered from 0 over all attempts of its invocation. The scheduler takes
//! an emission only from the current attempt, and only the next one; it asks again for what is missing.

use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use crate::{
    AtMost, AttemptId, Chunk, Class, ComponentDigest, Epoch, Failure, ModelDigest, OperatingPoint, Tokens,
    TraceContext, Usage,
    frame::Message,
    limits::{
        MAX_BINDINGS, MAX_GENERATIONS, MAX_NAME, MAX_PARAMETERS, MAX_PROMPT_PREFIXES, MAX_REQUEST_BODY,
        MAX_TEXT, MAX_VALUE,
    },
};

/// The first message on the stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum AttemptOpening {
    Invoke(Box<Invoke>),
    /// After a reconnect: go on sending what the node holds of it.
    Attach {
        attempt: AttemptId,
        epoch: Epoch,
        offset: u64,
    },
}

/// Scheduler to node, after the opening.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToAttempt {
    /// There is a gap: send everything from this emission on.
    Again {
        offset: u64,
    },
    Cancel {
        epoch: Epoch,
    },
    /// The end has arrived; the log need not be kept.
    Forget,
}

/// Node to scheduler.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum FromAttempt {
    Started(Started),
    Chunk(Chunk),
    /// The last message.
    Ended(Box<Ended>),
    /// Nothing of it was run. The last message.
    Refused(Failure),
}

/// One attempt, with everything that it needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invoke {
    pub attempt: AttemptId,
    pub epoch: Epoch,
    pub pipeline: PipelineRef,
    #[serde(default)]
    pub request: Request,
    /// Prefixes are shared within a tenant, never across.
    #[serde(default, with = "AtMost::<MAX_NAME>")]
    pub tenant: String,
    /// The models that the pipeline may open.
    #[serde(default, with = "AtMost::<MAX_BINDINGS>")]
    pub models: Vec<Binding>,
    #[serde(default)]
    pub grants: Grants,
    #[serde(default)]
    pub limits: Limits,
    /// Hashes that name beginnings of the prompt, the shortest first: the node reports which of them its engine holds.
    #[serde(default, with = "AtMost::<MAX_PROMPT_PREFIXES>")]
    pub prefixes: Vec<u64>,
    #[serde(default)]
    pub seed: u64,
    /// Time left from the arrival at the node.
    #[serde(default)]
    pub deadline_ms: Option<u64>,
    /// What earlier attempts brought.
    #[serde(default)]
    pub resume: Resume,
    /// What whoever asked traces it by; `None`: see [`TraceContext::of`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<TraceContext>,
}

/// What is run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum PipelineRef {
    /// One that comes with the agent, by its name.
    Builtin(#[serde(with = "AtMost::<MAX_NAME>")] String),
    Component(ComponentDigest),
}

/// What a pipeline is asked.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Request {
    #[serde(with = "AtMost::<MAX_NAME>")]
    pub content_type: String,
    #[serde(with = "AtMost::<MAX_REQUEST_BODY>")]
    pub body: ByteBuf,
    #[serde(with = "AtMost::<MAX_PARAMETERS>")]
    pub params: Vec<Parameter>,
}

/// A name and its value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parameter {
    #[serde(with = "AtMost::<MAX_NAME>")]
    pub name: String,
    #[serde(default, with = "AtMost::<MAX_VALUE>")]
    pub value: String,
}

/// A model under the name by which the pipeline opens it, and how to run it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Binding {
    #[serde(with = "AtMost::<MAX_NAME>")]
    pub alias: String,
    pub model: ModelDigest,
    #[serde(default)]
    pub point: OperatingPoint,
}

/// What the pipeline may use beside models.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Grants {
    /// Destinations of HTTP requests, as manifests write them.
    #[serde(with = "AtMost::<MAX_PARAMETERS>")]
    pub http: Vec<Name>,
    #[serde(with = "AtMost::<MAX_PARAMETERS>")]
    pub environment: Vec<Parameter>,
    #[serde(with = "AtMost::<MAX_PARAMETERS>")]
    pub public_prefixes: Vec<Value>,
}

/// A short text in a list.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Name(#[serde(with = "AtMost::<MAX_NAME>")] pub String);

/// A text in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Value(#[serde(with = "AtMost::<MAX_VALUE>")] pub String);

/// What the invocation may use up; `None`: what the node allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Limits {
    pub time_ms: Option<u64>,
    pub tokens: Option<u64>,
    pub memory_bytes: Option<u64>,
    pub kv_cells: Option<u64>,
    pub contexts: Option<u64>,
    pub generations: Option<u64>,
    pub host_calls: Option<u64>,
    pub emitted_bytes: Option<u64>,
}

/// Where an attempt takes up its invocation. The default: at the beginning.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Resume {
    /// Emissions that were delivered; the first one of this attempt has this number.
    pub offset: u64,
    /// Tokens that were delivered of each generation, in the order in which they were begun: they are drawn already.
    #[serde(with = "AtMost::<MAX_GENERATIONS>")]
    pub generations: Vec<Tokens>,
    /// Bytes of text and JSON that were delivered: the pipeline emits them again, and nobody is told.
    pub text_bytes: u64,
    /// The same of the response's body.
    pub body_bytes: u64,
}

/// The attempt runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Started {
    /// A model has to be loaded first.
    pub loads: bool,
}

/// The end of an attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// The number that the next emission would have had.
    pub offset: u64,
    pub outcome: Outcome,
    pub usage: Usage,
    /// The end of what the guest wrote to stdout and stderr.
    #[serde(default, with = "AtMost::<MAX_TEXT>")]
    pub log: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// The bodies among the emissions are the response.
    Done {
        #[serde(default, with = "AtMost::<MAX_NAME>")]
        content_type: String,
    },
    Failed(Failure),
    Cancelled,
    /// The deadline passed.
    Expired,
    /// The node drains: go on elsewhere.
    HandedOver,
}

impl Message for AttemptOpening {
    const CLASS: Class = Class::Request;
}

impl Message for ToAttempt {
    const CLASS: Class = Class::Control;
}

impl Message for FromAttempt {
    const CLASS: Class = Class::Tokens;
}
