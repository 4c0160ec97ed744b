//! The first words on every connection: which versions and features each end knows.

use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{
    AtMost, Class, Epoch, Failure,
    frame::Message,
    limits::{MAX_FEATURES, MAX_NAME},
};

/// Of the connections of those who have a certificate.
pub const ALPN: &[u8] = b"dunlin/1";

/// Of the endpoint where one gets a certificate for a token.
pub const ALPN_JOIN: &[u8] = b"dunlin-join/1";

/// A version of the messages. It grows when old ends could misunderstand; what they may ignore is a feature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Version(pub u16);

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// The versions that one end speaks, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionRange {
    pub oldest: Version,
    pub newest: Version,
}

/// What this build speaks.
pub const VERSIONS: VersionRange = VersionRange { oldest: Version(1), newest: Version(1) };

impl fmt::Display for VersionRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.oldest == self.newest {
            write!(f, "version {}", self.oldest)
        } else {
            write!(f, "versions {} to {}", self.oldest, self.newest)
        }
    }
}

/// Why two ends cannot talk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum VersionError {
    #[error("this end speaks {ours} of the protocol, the other {theirs}: upgrade {}", if ours.newest < theirs.oldest { "this end" } else { "the other end" })]
    Disjoint { ours: VersionRange, theirs: VersionRange },
    #[error("the other end claims to speak versions {} to {} of the protocol", .0.oldest, .0.newest)]
    Reversed(VersionRange),
}

/// The newest version that both speak.
///
/// # Errors
/// [`VersionError`], which names both ranges and the end to upgrade.
pub fn negotiate(ours: VersionRange, theirs: VersionRange) -> Result<Version, VersionError> {
    if theirs.oldest > theirs.newest {
        return Err(VersionError::Reversed(theirs));
    }
    let newest = ours.newest.min(theirs.newest);
    if newest < ours.oldest.max(theirs.oldest) {
        return Err(VersionError::Disjoint { ours, theirs });
    }
    Ok(newest)
}

/// The first message of whoever connects. Who it is, is in its certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    pub versions: VersionRange,
    /// What it can do beyond the version, by names; those that are not known are ignored.
    #[serde(default, with = "AtMost::<MAX_FEATURES>")]
    pub features: Vec<Feature>,
    /// For people: the version of the program.
    #[serde(default, with = "AtMost::<MAX_NAME>")]
    pub build: String,
    /// The clock of the sender, in seconds since 1970; it may be wrong.
    #[serde(default)]
    pub unix_seconds: u64,
}

/// The name of something that one end can do.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Feature(#[serde(with = "AtMost::<MAX_NAME>")] pub String);

/// The answer to a hello.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum HelloReply {
    Welcome(Welcome),
    /// The connection is closed after it.
    Refused(Failure),
}

/// What holds for this connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    pub version: Version,
    /// Those that both ends named.
    #[serde(default, with = "AtMost::<MAX_FEATURES>")]
    pub features: Vec<Feature>,
    #[serde(default, with = "AtMost::<MAX_NAME>")]
    pub build: String,
    pub epoch: Epoch,
    /// The scheduler's clock, in seconds since 1970: a board that wakes in 1970 takes it as the earliest that it may be.
    #[serde(default)]
    pub unix_seconds: u64,
    /// How long after the last sign of life a node counts as lost.
    #[serde(default = "lease_ms")]
    pub lease_ms: u64,
    /// How often a node reports.
    #[serde(default = "report_every_ms")]
    pub report_every_ms: u64,
}

fn lease_ms() -> u64 {
    3000
}

fn report_every_ms() -> u64 {
    1000
}

impl Hello {
    /// Of this build.
    pub fn new(features: &[&str], build: &str, unix_seconds: u64) -> Self {
        let features = features.iter().map(|name| Feature((*name).to_owned())).collect();
        Self { versions: VERSIONS, features, build: build.to_owned(), unix_seconds }
    }

    /// The version and the features that both ends have.
    ///
    /// # Errors
    /// As [`negotiate`].
    pub fn agree(&self, ours: &Self) -> Result<(Version, Vec<Feature>), VersionError> {
        let version = negotiate(ours.versions, self.versions)?;
        let both = ours.features.iter().filter(|feature| self.features.contains(feature));
        Ok((version, both.cloned().collect()))
    }
}

impl Message for Hello {
    const CLASS: Class = Class::Control;
}

impl Message for HelloReply {
    const CLASS: Class = Class::Control;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(oldest: u16, newest: u16) -> VersionRange {
        VersionRange { oldest: Version(oldest), newest: Version(newest) }
    }

    fn check(ours: (u16, u16), theirs: (u16, u16), expected: Result<u16, &str>) {
        let agreed = negotiate(range(ours.0, ours.1), range(theirs.0, theirs.1));
        let agreed = agreed.map(|version| version.0).map_err(|error| error.to_string());
        assert_eq!(agreed, expected.map_err(str::to_owned));
    }

    #[test]
    fn the_newest_common_version_is_taken() {
        check((1, 1), (1, 1), Ok(1));
        check((1, 3), (2, 5), Ok(3));
        check((2, 5), (1, 3), Ok(3));
        check((1, 9), (4, 4), Ok(4));
        let newer = "this end speaks versions 1 to 2 of the protocol, the other version 3: upgrade this end";
        check((1, 2), (3, 3), Err(newer));
        let older =
            "this end speaks version 3 of the protocol, the other versions 1 to 2: upgrade the other end";
        check((3, 3), (1, 2), Err(older));
        check((1, 9), (5, 4), Err("the other end claims to speak versions 5 to 4 of the protocol"));
    }

    #[test]
    fn features_are_those_of_both() {
        let ours = Hello::new(&["journal", "modes"], "", 0);
        let theirs = Hello::new(&["telepathy", "modes"], "", 0);
        assert_eq!(theirs.agree(&ours), Ok((Version(1), vec![Feature("modes".into())])));
    }
}
