//! An invocation in a list of those that there are.

use serde::{Deserialize, Serialize};

use crate::{AtMost, Energy, Failure, InvocationId, NodeId, limits::MAX_NAME};

/// As it is at one moment. Times are milliseconds since its submission, counts are of what was delivered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListedInvocation {
    pub id: InvocationId,
    #[serde(default, with = "AtMost::<MAX_NAME>")]
    pub tenant: String,
    #[serde(default, with = "AtMost::<MAX_NAME>")]
    pub pipeline: String,
    #[serde(default, with = "AtMost::<MAX_NAME>")]
    pub model: String,
    #[serde(default, with = "AtMost::<MAX_NAME>")]
    pub policy: String,
    /// `queued`, `placed`, `running`, `done`, ...
    #[serde(default, with = "AtMost::<MAX_NAME>")]
    pub state: String,
    #[serde(default)]
    pub submitted_unix_ms: u64,
    #[serde(default)]
    pub age_ms: u64,
    /// Of its last placement.
    #[serde(default)]
    pub node: Option<NodeId>,
    /// Placements so far.
    #[serde(default)]
    pub attempts: u32,
    #[serde(default)]
    pub tokens: u64,
    #[serde(default)]
    pub first_token_ms: Option<u64>,
    #[serde(default)]
    pub ended_ms: Option<u64>,
    #[serde(default)]
    pub failure: Option<Failure>,
    /// Of the attempt that ended it, once it has.
    #[serde(default)]
    pub energy: Option<Energy>,
    /// It ran on an emulated board.
    #[serde(default)]
    pub emulated: bool,
}
