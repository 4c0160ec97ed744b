//! How boards and people get certificates, and keep them.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use crate::{
    AtMost, Class, Failure, FleetId, NodeId, Secret, TokenId, VersionRange,
    frame::Message,
    limits::{MAX_CERTIFICATE, MAX_CHAIN, MAX_NAME},
};

/// The only message of whoever joins; sent after the hash of the CA was checked. The key never leaves the board.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinRequest {
    pub versions: VersionRange,
    pub token: TokenId,
    pub secret: Secret,
    /// The name that it would like; the token may name another.
    #[serde(default)]
    pub name: Option<NodeId>,
    pub request: CertificateRequest,
    #[serde(default, with = "AtMost::<MAX_NAME>")]
    pub build: String,
    /// The clock of the board, in seconds since 1970; it may be wrong.
    #[serde(default)]
    pub unix_seconds: u64,
}

/// A certificate signing request (PKCS #10, DER).
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CertificateRequest(#[serde(with = "AtMost::<MAX_CERTIFICATE>")] pub ByteBuf);

/// A certificate (X.509, DER).
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CertificateDer(#[serde(with = "AtMost::<MAX_CERTIFICATE>")] pub ByteBuf);

impl fmt::Debug for CertificateRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CertificateRequest({} bytes)", self.0.len())
    }
}

impl fmt::Debug for CertificateDer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CertificateDer({} bytes)", self.0.len())
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum JoinReply {
    Joined(Issued),
    Refused(Failure),
}

/// A certificate, and what its holder must know with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Issued {
    pub fleet: FleetId,
    pub name: NodeId,
    /// The holder's first, the CA's last.
    #[serde(with = "AtMost::<MAX_CHAIN>")]
    pub chain: Vec<CertificateDer>,
    /// The scheduler's clock, in seconds since 1970: the earliest that it may be.
    #[serde(default)]
    pub unix_seconds: u64,
}

/// The answer to a request for a certificate that is valid for longer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Renewal {
    Issued(Issued),
    Refused(Failure),
}

impl Message for JoinRequest {
    const CLASS: Class = Class::Control;
}

impl Message for JoinReply {
    const CLASS: Class = Class::Control;
}

impl Message for Renewal {
    const CLASS: Class = Class::Control;
}
