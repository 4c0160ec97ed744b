//! Everything that can happen to the driver.

use std::{collections::BTreeMap, sync::Arc};

use dunlin_link::Link;
use dunlin_protocol::{
    Answer, Ask, AttemptId, ComponentDigest, Failure, Feature, FromAttempt, Inventory, InvocationId, NodeId,
    ProfileNode, Profiling, Submit, ToNode, ToScheduler,
};
use dunlin_scheduler_core::PlanRules;
use tokio::sync::{mpsc, oneshot};

use super::{Log, look, plan};
use crate::{catalog::Alias, policies::Policies};

/// Names one connection of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ConnectionId(pub(crate) u64);

/// Everything that can happen.
#[derive(Debug)]
pub(crate) enum Event {
    NodeJoined {
        name: NodeId,
        connection: ConnectionId,
        link: Link,
        orders: mpsc::Sender<ToNode>,
        features: Vec<Feature>,
        inventory: Box<Inventory>,
    },
    NodeSaid {
        name: NodeId,
        connection: ConnectionId,
        message: Box<ToScheduler>,
    },
    NodeHeard {
        name: NodeId,
        connection: ConnectionId,
    },
    NodeGone {
        name: NodeId,
        connection: ConnectionId,
    },
    Attempt {
        attempt: AttemptId,
        said: Box<FromAttempt>,
    },
    /// The stream of an attempt ended before the attempt did.
    AttemptLost {
        attempt: AttemptId,
        connection: ConnectionId,
    },
    Submit {
        submit: Box<Submit>,
        tenant: String,
        reply: oneshot::Sender<Result<Arc<Log>, Failure>>,
    },
    Follow {
        invocation: InvocationId,
        tenant: Option<String>,
        reply: oneshot::Sender<Option<Arc<Log>>>,
    },
    Cancel(InvocationId),
    Ask {
        ask: Box<Ask>,
        /// `None`: whoever asks may see everything.
        tenant: Option<String>,
        reply: oneshot::Sender<Answer>,
    },
    Profile {
        ask: ProfileNode,
        reply: mpsc::Sender<Profiling>,
    },
    /// Whoever hears of it by `reply` wants no more of it.
    EndProfile {
        node: NodeId,
        reply: mpsc::Sender<Profiling>,
    },
    Catalog(Catalogued),
    Policies(Arc<Policies>),
    Plan(Arc<PlanRules>),
    /// A command of the operator has ended.
    Errand {
        name: NodeId,
        call: plan::Call,
        result: Result<(), plan::ErrandError>,
    },
    /// Its certificates are worth nothing from now on.
    Denied(NodeId),
    /// What there is, for whoever shows it.
    Look(oneshot::Sender<look::Look>),
    Invocations {
        of: look::Which,
        reply: oneshot::Sender<Vec<look::Invocation>>,
    },
    /// From now on it hears of what happens to invocations.
    Observe(Arc<dyn look::Observe>),
    Rows {
        toml: String,
        reply: oneshot::Sender<Answer>,
    },
}

impl Event {
    /// Whether anything that is shown may be different after it.
    pub(super) fn is_seen(&self) -> bool {
        if let Self::Ask { ask, .. } = self {
            return matches!(
                **ask,
                Ask::Cordon { .. }
                    | Ask::Drain { .. }
                    | Ask::Mode { .. }
                    | Ask::Park { .. }
                    | Ask::Wake { .. }
            );
        }
        matches!(
            self,
            Self::NodeJoined { .. }
                | Self::NodeSaid { .. }
                | Self::NodeGone { .. }
                | Self::Attempt { .. }
                | Self::AttemptLost { .. }
                | Self::Submit { .. }
                | Self::Cancel(_)
                | Self::Catalog(_)
                | Self::Policies(_)
                | Self::Plan(_)
                | Self::Errand { .. }
                | Self::Denied(_)
        )
    }
}

/// What the catalog says, as a whole.
#[derive(Debug, Clone, Default)]
pub(crate) struct Catalogued {
    pub(crate) aliases: Vec<Alias>,
    /// Pipelines that were deployed, by name.
    pub(crate) pipelines: BTreeMap<String, ComponentDigest>,
    /// Those that come with Dunlin.
    pub(crate) builtins: Vec<String>,
}
