//! Who a certificate speaks for.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{FleetId, NodeId, NodeIdError};

/// What the holder of a certificate may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Runs attempts, and speaks for itself alone.
    Node,
    /// Changes the fleet.
    Operator,
    /// Invokes pipelines.
    Client,
    Scheduler,
}

impl Role {
    pub const ALL: [Self; 4] = [Self::Node, Self::Operator, Self::Client, Self::Scheduler];

    pub fn name(self) -> &'static str {
        match self {
            Self::Node => "node",
            Self::Operator => "operator",
            Self::Client => "client",
            Self::Scheduler => "scheduler",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Role {
    type Err = IdentityError;

    fn from_str(text: &str) -> Result<Self, IdentityError> {
        Self::ALL
            .into_iter()
            .find(|role| role.name() == text)
            .ok_or_else(|| IdentityError::Role(text.to_owned()))
    }
}

/// The subject of a certificate. Its text is the URI in the certificate: `dunlin://FLEET/ROLE/NAME`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Identity {
    pub fleet: FleetId,
    pub role: Role,
    pub name: NodeId,
}

/// Why some URI is no identity.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum IdentityError {
    #[error("an identity is written as in dunlin://FLEET/node/NAME")]
    Form,
    #[error("{0:?} is no role; there are node, operator, client and scheduler")]
    Role(String),
    #[error(transparent)]
    Name(#[from] NodeIdError),
}

const SCHEME: &str = "dunlin://";

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}{}/{}/{}", self.fleet, self.role, self.name)
    }
}

impl FromStr for Identity {
    type Err = IdentityError;

    fn from_str(text: &str) -> Result<Self, IdentityError> {
        let mut parts = text.strip_prefix(SCHEME).ok_or(IdentityError::Form)?.split('/');
        let (Some(fleet), Some(role), Some(name), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(IdentityError::Form);
        };
        Ok(Self { fleet: fleet.parse()?, role: role.parse()?, name: name.parse()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Option<&IdentityError>) {
        let read = text.parse::<Identity>();
        assert_eq!(read.as_ref().err(), expected, "{text}");
        assert!(read.is_err() || read.is_ok_and(|identity| identity.to_string() == text));
    }

    #[test]
    fn identities_are_read_as_they_are_written() {
        for role in Role::ALL {
            check(&format!("dunlin://f7/{role}/pi-1"), None);
        }
        check("https://f7/node/pi-1", Some(&IdentityError::Form));
        check("dunlin://f7/node", Some(&IdentityError::Form));
        check("dunlin://f7/node/pi-1/x", Some(&IdentityError::Form));
        check("dunlin://f7/Node/pi-1", Some(&IdentityError::Role("Node".into())));
        check("dunlin:///node/pi-1", Some(&NodeIdError::Length(0).into()));
        check("dunlin://f7/node/pi-1?x", Some(&NodeIdError::Character('?').into()));
        check("dunlin://f7/node/..", Some(&NodeIdError::Character('.').into()));
    }
}
