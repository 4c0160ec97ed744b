//! What the core is told.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use dunlin_costs::{ModelDigest, Row};

use crate::{
    Alias, AttemptId, Epoch, Incarnation, Inventory, InvocationId, LoadPoint, Metered, NodeId, Report,
    Request, TenantId,
};

/// Something happened.
#[derive(Debug, Clone)]
pub enum Input {
    Submit(Box<Request>),
    /// Whoever asked wants it no more.
    Cancel(InvocationId),
    /// What a node said over a connection that proves who it is. What another incarnation says is not believed.
    Node {
        node: NodeId,
        incarnation: Incarnation,
        event: NodeEvent,
    },
    /// Nothing new goes there.
    Cordon(NodeId),
    /// Nothing new goes there, and what runs there ends or moves: then [`Output::Drained`](crate::Output::Drained).
    Drain {
        node: NodeId,
        /// Then what still runs there is handed over; at most [`MAX_DRAIN`](crate::limits::MAX_DRAIN).
        within: Duration,
    },
    /// It takes work again.
    Uncordon(NodeId),
    /// All aliases, in the place of those before.
    CatalogChanged(Vec<Alias>),
    /// All cost rows, in the place of those before.
    CostsChanged(Vec<Arc<Row>>),
    PolicyChanged(FleetPolicy),
    /// Time has passed: at the latest when [`Scheduler::next_wakeup`](crate::Scheduler::next_wakeup) says.
    Tick,
}

/// The parts of a policy that are not of single requests.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct FleetPolicy {
    /// Parts of the fleet, when it is short; those that are not named have one share.
    pub shares: BTreeMap<TenantId, u32>,
}

/// Any of them says that the node is alive.
#[derive(Debug, Clone)]
pub enum NodeEvent {
    /// Its control stream stands: the first of an incarnation, and again after each reconnect.
    Joined(Box<Inventory>),
    /// Its heartbeat.
    Report(Box<Report>),
    /// Some authenticated packet.
    PacketSeen,
    /// Its connection ended. It may come back before its lease is over.
    Disconnected,
    /// It wants to leave: as [`Input::Drain`].
    Leaving {
        within: Duration,
    },
    /// The model is resident, and the engine has taken the attempt: from here it reads.
    AttemptStarted(AttemptId),
    AttemptProgress(Progress),
    AttemptEnded {
        attempt: AttemptId,
        epoch: Epoch,
        ended: AttemptEnd,
    },
    ModelLoaded {
        model: ModelDigest,
        point: LoadPoint,
        sequences: u16,
        bytes: u64,
    },
    ModelFailed {
        model: ModelDigest,
    },
}

/// An attempt has given out `length` pieces from `offset` on: tokens of a generation, emits of another pipeline. Offsets
/// count from the beginning of the invocation, so a resumed attempt starts where it was told to.
///
/// The pieces themselves stay with the caller, who delivers as many of them as the answering
/// [`Output::Deliver`](crate::Output::Deliver) says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    pub attempt: AttemptId,
    pub epoch: Epoch,
    pub offset: u64,
    pub length: u64,
    /// Tokens that were generated meanwhile; for a generation, `length`.
    pub tokens: u32,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AttemptEnd {
    /// The offset after its last piece.
    pub next_offset: u64,
    pub metered: Metered,
    /// `None` if it came to its end.
    pub failure: Option<Failure>,
}

/// Why an attempt failed, as its node says or as the scheduler finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Failure {
    /// The engine died under it.
    EngineDied,
    /// The node has less room than was thought.
    Busy,
    /// The model could not be loaded.
    LoadFailed,
    /// The node stopped it, for reasons of its own.
    Interrupted,
    /// It has given out nothing for too long.
    Stalled,
    /// Its node knows nothing of it any more, or not all of what it gave out.
    Vanished,
    /// The pipeline failed or trapped: it would elsewhere, too.
    Pipeline,
    /// Its input or its parameters are wrong.
    Invalid,
    /// It ran into a limit of its own.
    Limit,
    /// It cannot go on elsewhere: what it did is not to be repeated.
    NotResumable,
}

impl Failure {
    /// Whether another attempt may fare better.
    pub const fn may_be_retried(self) -> bool {
        matches!(
            self,
            Self::EngineDied
                | Self::Busy
                | Self::LoadFailed
                | Self::Interrupted
                | Self::Stalled
                | Self::Vanished
        )
    }
}
