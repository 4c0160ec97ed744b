//! The control stream of a node: what it reports, and what it is told.

use serde::{Deserialize, Serialize};

use crate::{
    AtMost, AttemptId, BlobDigest, Class, CommandId, Epoch, Failure, Inventory, ModelDigest, OperatingPoint,
    ProfileModel, Profiling, Renewal, Report, StepPoint,
    frame::Message,
    limits::{MAX_DOCUMENT, MAX_NAME},
};

/// Node to scheduler, after the welcome.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToScheduler {
    /// The first message, and again whenever what is on the disk changes.
    Inventory(Box<Inventory>),
    Report(Box<Report>),
    /// How a command ended.
    Done {
        id: CommandId,
        result: Result<(), Failure>,
    },
    /// Costs that the node has measured.
    Rows(Rows),
    /// The node is told to stop: give it nothing more, and take over what it hands over.
    Leaving {
        within_ms: u64,
    },
    /// Asks for a certificate that is valid for longer.
    Renew(crate::CertificateRequest),
    /// How far a profile is that was ordered.
    Profiling {
        id: CommandId,
        said: Box<Profiling>,
    },
}

/// Scheduler to node, after the welcome.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToNode {
    Command(Command),
    Renewed(Renewal),
}

/// An order. A node obeys it only under the highest epoch that it has seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Command {
    pub id: CommandId,
    pub epoch: Epoch,
    pub order: Order,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Order {
    /// Get a file, on a connection of its own.
    Fetch {
        blob: BlobDigest,
        bytes: u64,
    },
    /// Make a model resident.
    Load {
        model: ModelDigest,
        #[serde(default)]
        point: OperatingPoint,
    },
    Evict {
        model: ModelDigest,
    },
    /// Delete from the disk.
    Remove {
        blob: BlobDigest,
    },
    Pin {
        model: ModelDigest,
        pinned: bool,
    },
    /// Change the threads of a model that is resident, from its next step on.
    Step {
        model: ModelDigest,
        point: StepPoint,
    },
    /// Change the power state of the machine.
    Mode {
        #[serde(with = "AtMost::<MAX_NAME>")]
        mode: String,
    },
    /// Take nothing new, or take it again.
    Cordon {
        cordoned: bool,
    },
    /// Finish or hand over everything within this time.
    Drain {
        within_ms: u64,
    },
    /// Where the attempt has no stream.
    Cancel {
        attempt: AttemptId,
    },
    /// Nobody wants the log of this attempt.
    Forget {
        attempt: AttemptId,
    },
    /// Send the inventory again.
    Report,
    /// Measure what a model costs; for those with the feature [`PROFILES`](crate::PROFILES).
    Profile(ProfileModel),
    /// End the profile that runs, if one does.
    EndProfile,
}

/// Cost rows in the text form of `dunlin-costs`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rows {
    #[serde(with = "AtMost::<MAX_DOCUMENT>")]
    pub toml: String,
}

impl Message for ToScheduler {
    const CLASS: Class = Class::Control;
}

impl Message for ToNode {
    const CLASS: Class = Class::Control;
}
