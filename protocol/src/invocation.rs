//! Numbers that name invocations, attempts and orders.

use std::{fmt, str::FromStr};

use data_encoding::BASE32_NOPAD as BASE32;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// One call of a pipeline; unique in the fleet, chosen by the scheduler. Shown as 26 characters of base 32.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct InvocationId(pub u128);

/// Why some text names no invocation.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "{0:?} is no invocation; they are named as in aaaaaaaaaaaaaaaaaaaaaabjcu, by 26 letters and digits from 2 to 7"
)]
pub struct InvocationIdError(String);

impl fmt::Display for InvocationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&BASE32.encode(&self.0.to_be_bytes()).to_ascii_lowercase())
    }
}

impl FromStr for InvocationId {
    type Err = InvocationIdError;

    fn from_str(text: &str) -> Result<Self, InvocationIdError> {
        let bytes = BASE32.decode(text.to_ascii_uppercase().as_bytes()).ok();
        let bytes = bytes.and_then(|bytes| <[u8; 16]>::try_from(bytes).ok());
        bytes.map(|bytes| Self(u128::from_be_bytes(bytes))).ok_or_else(|| InvocationIdError(text.to_owned()))
    }
}

/// One placement of an invocation on a node. Of two attempts, the higher number is the current one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AttemptId {
    pub invocation: InvocationId,
    pub number: u32,
}

impl fmt::Display for AttemptId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.invocation, self.number)
    }
}

/// Names one command on one control stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct CommandId(pub u64);

/// The leadership under which an order is given. A node obeys the highest that it has seen, and keeps it on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Epoch(pub u64);

/// One life of an agent's process: higher than that of every life before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Incarnation(pub u64);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invocations_are_read_as_they_are_written() {
        for id in [0, 1, 9000, u128::MAX].map(InvocationId) {
            assert_eq!(id.to_string().len(), 26);
            assert_eq!(id.to_string().parse(), Ok(id));
            assert_eq!(id.to_string().to_uppercase().parse(), Ok(id));
        }
        // The last character has bits to spare, which must be zero: one name, one number.
        let name = InvocationId(0).to_string();
        let damaged =
            [&name[1..], &format!("{name}a"), &format!("{}b", &name[1..]), &name.replacen('a', "1", 1)];
        for text in damaged.into_iter().chain(["", "é"]) {
            assert_eq!(text.parse::<InvocationId>(), Err(InvocationIdError(text.into())));
        }
    }
}
