//! Placeholder of what protocol brings.

use std::fmt;

use dunlin_protocol::{
    AtMost, Class, Failure, FleetId, NodeId, Secret, TokenId, VersionRange, frame::Message,
};
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

const MAX_CERTIFICATE: usize = 8 << 10;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinRequest {
    pub versions: VersionRange,
    pub token: TokenId,
    pub secret: Secret,
    #[serde(default)]
    pub name: Option<NodeId>,
    pub request: CertificateRequest,
    #[serde(default, with = "AtMost::<128>")]
    pub build: String,
    #[serde(default)]
    pub unix_seconds: u64,
}

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CertificateRequest(#[serde(with = "AtMost::<MAX_CERTIFICATE>")] pub ByteBuf);

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

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Issued {
    pub fleet: FleetId,
    pub name: NodeId,
    #[serde(with = "AtMost::<4>")]
    pub chain: Vec<CertificateDer>,
    #[serde(default)]
    pub unix_seconds: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Renewal {
    Issued(Issued),
    Refused(Failure),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Open {
    Renew(CertificateRequest),
    Other,
}

impl Message for Open {
    const CLASS: Class = Class::Request;
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
