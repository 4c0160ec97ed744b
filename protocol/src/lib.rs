//! What schedulers, agents and clients of a fleet say to each other: frames, messages, versions, identities.
//!
//! Messages are MessagePack with named fields: fields that are not known are ignored, fields that are missing have
//! their default. Every frame has a cap by its [`Class`], checked before anything is allocated, and so has every list
//! and text in it. A variant that is new is sent only to those whose [`Hello`] names its feature.
//!
//! Absent here: sockets, clocks, cryptography, and what the messages lead to. Read [`Decoder`] and [`Hello`].

mod bounded;
mod digest;
mod failure;
pub mod frame;
mod hello;
mod identity;
mod invocation;
mod node_id;
mod token;

pub use bounded::AtMost;
pub use digest::{BlobDigest, ComponentDigest, DigestError, ModelDigest};
pub use failure::{Failure, FailureCode, Fault, MAX_FAILURE_TEXT};
pub use frame::{Class, Decoder, FrameError};
pub use hello::{
    ALPN, ALPN_JOIN, Hello, HelloReply, MAX_FEATURES, VERSIONS, Version, VersionError, VersionRange, Welcome,
    negotiate,
};
pub use identity::{Identity, IdentityError, Role};
pub use invocation::{AttemptId, CommandId, Epoch, Incarnation, InvocationId, InvocationIdError};
pub use node_id::{FleetId, MAX_NODE_ID, NodeId, NodeIdError};
pub use token::{CaPin, JoinToken, Secret, TokenError, TokenId};
