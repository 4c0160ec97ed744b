//! What schedulers, agents and clients of a fleet say to each other: frames, messages, versions, identities.
//!
//! Messages are MessagePack with named fields: fields that are not known are ignored, fields that are missing have
//! their default. Every frame has a cap by its [`Class`], checked before anything is allocated, and so has every list
//! and text in it. A variant that is new is sent only to those whose [`Hello`] names its feature.
//!
//! Absent here: sockets, clocks, cryptography, and what the messages lead to. Read [`Decoder`] and [`Hello`].

mod attempt;
mod blob;
mod bounded;
mod client;
mod control;
mod digest;
mod emission;
mod explanation;
mod failure;
pub mod frame;
mod hello;
mod identity;
mod inventory;
mod invocation;
mod join;
pub mod limits;
mod listed;
mod node_id;
mod plan;
mod point;
mod profile;
mod token;
mod tokens;
mod trace;
mod usage;

pub use attempt::{
    AttemptOpening, Binding, Ended, FromAttempt, Grants, Invoke, Limits, Name, Outcome, Parameter,
    PipelineRef, Request, Resume, Started, ToAttempt, Value,
};
pub use blob::{BlobChunk, FromStore, ToStore};
pub use bounded::AtMost;
pub use client::{
    Allowance, Answer, Ask, FleetSummary, FromInvocation, KeySummary, ModelSummary, NewKey, NewToken,
    Opening, Page, PipelineSummary, Placed, PolicyFault, Submit, Targets, ToInvocation, Variant,
    VariantSummary,
};
pub use control::{Command, Order, Rows, ToNode, ToScheduler};
pub use digest::{BlobDigest, ComponentDigest, DigestError, ModelDigest};
pub use emission::{Chunk, Emission, Emissions};
pub use explanation::{Candidate, Counted, Decision, Explanation, JoinedNode, NodeState, PredictedCosts};
pub use failure::{Failure, FailureCode, Fault};
pub use frame::{Class, Decoder, FrameError, Message};
pub use hello::{
    ALPN, ALPN_JOIN, Feature, Hello, HelloReply, VERSIONS, Version, VersionError, VersionRange, Welcome,
    negotiate,
};
pub use identity::{Identity, IdentityError, Role};
pub use inventory::{
    Drawn, Health, HeldAttempt, Inventory, ObservedLoad, Permissions, Progress, Report, Residency, Resident,
    StoredModel, Thermal,
};
pub use invocation::{AttemptId, CommandId, Epoch, Incarnation, InvocationId, InvocationIdError};
pub use join::{CertificateDer, CertificateRequest, Issued, JoinReply, JoinRequest, Renewal};
pub use listed::ListedInvocation;
pub use node_id::{FleetId, NodeId, NodeIdError};
pub use plan::{NodePlan, ParkLevel, ParkStage, Parked, PlanDocument, PlannedMode, Saving};
pub use point::{OperatingPoint, StepPoint};
pub use profile::{
    HowToProfile, JudgedFile, PROFILE_EXTRAS, PROFILES, ProfileDepth, ProfileModel, ProfileNode,
    ProfilePoints, Profiling, ToProfile,
};
pub use serde_bytes::ByteBuf;
pub use token::{CaPin, JoinToken, Secret, TokenError, TokenId};
pub use tokens::Tokens;
pub use trace::{Layer, SpanId, TraceContext, TraceContextError, TraceId};
pub use usage::{Energy, EnergyScope, EnergySource, Usage};
