//! What operators and clients ask of a scheduler: a stream for each question.

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    AtMost, AttemptId, CertificateRequest, Chunk, Class, ComponentDigest, Ended, Explanation, Failure,
    FleetId, Grants, InvocationId, JoinedNode, Limits, ListedInvocation, ModelDigest, Name, NodeId,
    OperatingPoint, Parameter, ParkLevel, PredictedCosts, ProfileNode, Request, Role, ToStore, TokenId,
    TraceContext,
    frame::Message,
    limits::{
        MAX_BINDINGS, MAX_DOCUMENT, MAX_LABELS, MAX_NAME, MAX_PAGE, MAX_PARAMETERS, MAX_REASONS, MAX_TEXT,
    },
};

/// The first message on every stream to a scheduler but the one of the hello.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Opening {
    /// Answered by one [`Answer`].
    Ask(Box<Ask>),
    /// Answered by [`FromInvocation`]s; [`ToInvocation`]s may follow.
    Submit(Box<Submit>),
    /// As `Submit`, of an invocation that there is, from this emission on.
    Follow { invocation: InvocationId, offset: u64 },
    /// The stream goes on with the messages of blobs.
    Store(ToStore),
    /// Answered by a [`crate::Renewal`]. All that the holder of an expired certificate may open.
    Renew(CertificateRequest),
    /// Answered by [`crate::Profiling`]s; [`crate::ToProfile`]s may follow. For operators.
    Profile(ProfileNode),
}

/// One invocation. The tenant is that of the certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Submit {
    /// A name that was deployed, or of a pipeline that comes with Dunlin.
    #[serde(with = "AtMost::<MAX_NAME>")]
    pub pipeline: String,
    #[serde(default)]
    pub request: Request,
    /// Which model of the fleet stands behind a name of the pipeline; what is not named stands for itself.
    #[serde(default, with = "AtMost::<MAX_BINDINGS>")]
    pub models: Vec<Parameter>,
    /// Two submissions with the same key are the same invocation.
    #[serde(default, with = "AtMost::<MAX_NAME>")]
    pub idempotency_key: Option<String>,
    /// Of the scheduler's; else the one that its routes choose.
    #[serde(default, with = "AtMost::<MAX_NAME>")]
    pub policy: Option<String>,
    #[serde(default)]
    pub targets: Targets,
    #[serde(default)]
    pub grants: Grants,
    #[serde(default)]
    pub limits: Limits,
    #[serde(default)]
    pub seed: Option<u64>,
    /// For the routes of policies.
    #[serde(default, with = "AtMost::<MAX_LABELS>")]
    pub labels: Vec<Parameter>,
    /// Whoever submits traces it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<TraceContext>,
}

/// Guards that a placement must meet, in addition to those of the policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Targets {
    pub ttft_ms: Option<u64>,
    pub tpot_ms: Option<u64>,
    pub deadline_ms: Option<u64>,
    pub millijoules_per_token: Option<u64>,
    /// Thousandths of the accuracy that the rows name.
    pub min_quality: Option<u16>,
}

/// Client to scheduler, after `Submit` or `Follow`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToInvocation {
    Cancel,
}

/// Scheduler to client, after `Submit` or `Follow`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum FromInvocation {
    Accepted {
        invocation: InvocationId,
    },
    Placed(Box<Placed>),
    Chunk(Chunk),
    /// The last message.
    Ended(Box<Ended>),
    /// Nothing of it was run. The last message.
    Refused(Failure),
}

/// Where an attempt runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Placed {
    pub attempt: AttemptId,
    pub node: NodeId,
    #[serde(default)]
    pub point: OperatingPoint,
    #[serde(default)]
    pub model: Option<ModelDigest>,
    #[serde(default)]
    pub predicted: Option<PredictedCosts>,
}

/// A question with one answer. What changes something is for operators.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ask {
    Fleet,
    /// In the order of their names, from behind this one on.
    Nodes {
        after: Option<NodeId>,
    },
    Models {
        #[serde(default, with = "AtMost::<MAX_NAME>")]
        after: Option<String>,
    },
    Pipelines {
        #[serde(default, with = "AtMost::<MAX_NAME>")]
        after: Option<String>,
    },
    /// The newest first, as many as a page has room for.
    Invocations {
        /// Only those that have not ended.
        #[serde(default)]
        live: bool,
    },
    Explain {
        invocation: InvocationId,
    },
    Cancel {
        invocation: InvocationId,
    },
    /// Names a component whose bytes were sent before.
    Deploy {
        #[serde(with = "AtMost::<MAX_NAME>")]
        name: String,
        component: ComponentDigest,
    },
    /// Says which models an alias stands for, the best first.
    Alias {
        #[serde(with = "AtMost::<MAX_NAME>")]
        alias: String,
        #[serde(with = "AtMost::<MAX_BINDINGS>")]
        variants: Vec<Variant>,
        /// On so many nodes one of them is kept in memory.
        #[serde(default)]
        resident_on: u32,
    },
    /// On one node, or on all that have it.
    Pin {
        model: ModelDigest,
        #[serde(default)]
        node: Option<NodeId>,
        pinned: bool,
    },
    NewToken(NewToken),
    RevokeToken {
        token: TokenId,
    },
    /// Cuts its connections, and refuses it from now on.
    Deny {
        role: Role,
        name: NodeId,
    },
    Drain {
        node: NodeId,
        within_ms: u64,
    },
    Cordon {
        node: NodeId,
        cordoned: bool,
    },
    /// Put a node into a power mode, once what runs there has ended.
    Mode {
        node: NodeId,
        #[serde(with = "AtMost::<MAX_NAME>")]
        mode: String,
    },
    /// Let a node rest until it is needed, or woken.
    Park {
        node: NodeId,
        /// `None`: as the plan says, else without models.
        #[serde(default)]
        level: Option<ParkLevel>,
    },
    /// Get a parked node back to work.
    Wake {
        node: NodeId,
    },
    Policies {
        #[serde(default, with = "AtMost::<MAX_NAME>")]
        after: Option<String>,
    },
    CheckPolicy {
        #[serde(with = "AtMost::<MAX_DOCUMENT>")]
        toml: String,
    },
    SetPolicy {
        #[serde(with = "AtMost::<MAX_NAME>")]
        name: String,
        #[serde(with = "AtMost::<MAX_DOCUMENT>")]
        toml: String,
    },
    ShowPolicy {
        #[serde(with = "AtMost::<MAX_NAME>")]
        name: String,
    },
    AddRows {
        #[serde(with = "AtMost::<MAX_DOCUMENT>")]
        toml: String,
    },
    NewKey(NewKey),
    Keys {
        #[serde(default, with = "AtMost::<MAX_NAME>")]
        after: Option<String>,
    },
    RemoveKey {
        #[serde(with = "AtMost::<MAX_NAME>")]
        name: String,
    },
}

/// One of the models behind an alias.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Variant {
    pub model: ModelDigest,
    /// For people: `1b-q4_k_m`.
    #[serde(default, with = "AtMost::<MAX_NAME>")]
    pub name: String,
    /// Of its files: `degrade` goes to smaller ones.
    #[serde(default)]
    pub bytes: u64,
    /// Thousandths of a task set that it answers rightly, where the cost rows do not say.
    #[serde(default)]
    pub quality: Option<u16>,
}

/// A token to be made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewToken {
    pub role: Role,
    /// The only name that it may be used for.
    #[serde(default)]
    pub name: Option<NodeId>,
    /// Of the node that it makes.
    #[serde(default, with = "AtMost::<MAX_LABELS>")]
    pub labels: Vec<Parameter>,
    /// `None`: the default of the scheduler.
    #[serde(default)]
    pub valid_for_s: Option<u64>,
}

/// A key of the HTTP API that is to be made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewKey {
    /// Who asks by it; its invocations are theirs.
    #[serde(with = "AtMost::<MAX_NAME>")]
    pub name: String,
    #[serde(default)]
    pub allowance: Allowance,
    /// `None`: for good.
    #[serde(default)]
    pub valid_for_s: Option<u64>,
}

/// What a key allows.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Allowance {
    /// The fleet, and the invocations of others.
    pub sees_all: bool,
    /// Empty: all models.
    #[serde(with = "AtMost::<MAX_PARAMETERS>")]
    pub models: Vec<Name>,
    pub requests_per_minute: Option<u32>,
    pub tokens_per_minute: Option<u64>,
    pub joules_per_day: Option<u64>,
}

/// A key that there is, without its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeySummary {
    #[serde(with = "AtMost::<MAX_NAME>")]
    pub name: String,
    /// How it begins.
    #[serde(default, with = "AtMost::<MAX_NAME>")]
    pub beginning: String,
    #[serde(default)]
    pub allowance: Allowance,
    #[serde(default)]
    pub created_unix_seconds: u64,
    #[serde(default)]
    pub expires_unix_seconds: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    Done,
    Failed(Failure),
    Fleet(FleetSummary),
    Nodes(Page<JoinedNode>),
    Models(Page<ModelSummary>),
    Pipelines(Page<PipelineSummary>),
    Policies(Page<Name>),
    Invocations(Page<ListedInvocation>),
    Explanation(Box<Explanation>),
    /// The text holds the secret, and is shown only once.
    Token {
        #[serde(with = "AtMost::<MAX_NAME>")]
        text: String,
        expires_unix_seconds: u64,
    },
    Policy {
        #[serde(with = "AtMost::<MAX_DOCUMENT>")]
        toml: String,
    },
    /// What is wrong with a policy; nothing: it can be used.
    /// After `SetPolicy`: it is in force all the same.
    PolicyFaults(#[serde(with = "AtMost::<MAX_REASONS>")] Vec<PolicyFault>),
    /// The whole key, which is shown only once.
    Key {
        #[serde(with = "AtMost::<MAX_NAME>")]
        text: String,
        /// Other machines can connect to the scheduler's HTTP, and it is not encrypted: whoever is on the way can read the key.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        unencrypted: bool,
    },
    Keys(Page<KeySummary>),
}

/// A part of a list. Where there is more, ask for what follows the last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(bound = "T: Serialize + DeserializeOwned")]
pub struct Page<T> {
    #[serde(with = "AtMost::<MAX_PAGE>")]
    pub items: Vec<T>,
    #[serde(default)]
    pub more: bool,
}

impl<T> Page<T> {
    /// As much of a list as a page has room for.
    pub fn of(items: impl Iterator<Item = T>) -> Self {
        let mut items: Vec<T> = items.take(MAX_PAGE + 1).collect();
        let more = items.len() > MAX_PAGE;
        items.truncate(MAX_PAGE);
        Self { items, more }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FleetSummary {
    pub fleet: FleetId,
    #[serde(default, with = "AtMost::<MAX_NAME>")]
    pub build: String,
    #[serde(default)]
    pub nodes: u32,
    #[serde(default)]
    pub connected: u32,
    #[serde(default)]
    pub running: u32,
    #[serde(default)]
    pub queued: u32,
}

/// An alias and what stands behind it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelSummary {
    #[serde(with = "AtMost::<MAX_NAME>")]
    pub alias: String,
    #[serde(with = "AtMost::<MAX_BINDINGS>")]
    pub variants: Vec<VariantSummary>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VariantSummary {
    pub variant: Variant,
    /// Nodes that have it on disk, and in memory.
    #[serde(default)]
    pub stored: u32,
    #[serde(default)]
    pub resident: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PipelineSummary {
    #[serde(with = "AtMost::<MAX_NAME>")]
    pub name: String,
    /// `None`: it comes with Dunlin.
    #[serde(default)]
    pub component: Option<ComponentDigest>,
    #[serde(default, with = "AtMost::<MAX_TEXT>")]
    pub description: String,
}

/// A fault of a policy, with its place; lines and columns from 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyFault {
    #[serde(default)]
    pub line: u32,
    #[serde(default)]
    pub column: u32,
    #[serde(with = "AtMost::<MAX_TEXT>")]
    pub text: String,
}

impl Message for Opening {
    const CLASS: Class = Class::Request;
}

impl Message for ToInvocation {
    const CLASS: Class = Class::Control;
}

impl Message for FromInvocation {
    // A little more than a chunk of an attempt, which travels on in it.
    const CLASS: Class = Class::Control;
}

impl Message for Answer {
    const CLASS: Class = Class::Request;
}
