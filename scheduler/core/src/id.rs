//! What things are called. Ids are given from outside, but for those of attempts and decisions.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! id {
    ($(#[$doc:meta])* $name:ident($number:ty)) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub $number);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

id! {
    /// An invocation, for all time and in the whole fleet.
    InvocationId(u128)
}
id! {
    /// A node, as the catalog numbers it.
    NodeId(u64)
}
id! {
    /// One life of a node's agent: a higher one means that what the lower one ran is gone.
    Incarnation(u64)
}
id! {
    /// Who asks: fair shares, grants and prefixes are by tenant.
    TenantId(u64)
}
id! {
    /// One placement decision of this scheduler.
    DecisionId(u64)
}
id! {
    /// The term of a leading scheduler. Nodes obey the highest that they have seen.
    Epoch(u64)
}
id! {
    /// What makes two requests the same request: a hash of pipeline, model and input, made by the caller.
    Fingerprint(u64)
}

/// One placement of an invocation: attempt 0, 1, ...
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
