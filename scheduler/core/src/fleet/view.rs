//! What to show of a node.

use std::time::Duration;

use dunlin_costs::{Mode, ModelDigest, NodeClass, Thermal};

use super::{Battery, Fleet, Labels, Node, Residency, Standing};
use crate::{Incarnation, NodeId, Time};

/// A node, for people and metrics.
#[derive(Debug, Clone, PartialEq)]
pub struct NodeView {
    pub id: NodeId,
    pub incarnation: Incarnation,
    pub class: NodeClass,
    pub labels: Labels,
    pub standing: Standing,
    pub connected: bool,
    pub mode: Mode,
    pub thermal: Thermal,
    pub battery: Option<Battery>,
    pub free_bytes: u64,
    pub in_flight: usize,
    pub slots: u16,
    pub models: Vec<ModelView>,
    /// Models whose rows its requests have not followed for long.
    pub stale: Vec<ModelDigest>,
    /// How many times as long as its rows say its requests take, as was learned.
    pub slowness: f64,
    /// Since its last packet and its last report: how old what is said here is.
    pub heard_ago: Duration,
    pub reported_ago: Duration,
}

#[derive(Debug, Clone, PartialEq)]
pub struct ModelView {
    pub model: ModelDigest,
    pub residency: Residency,
    pub bytes: u64,
    pub pinned: bool,
    pub in_flight: usize,
}

impl Fleet {
    pub(crate) fn view(&self, node: &Node, now: Time) -> NodeView {
        let models = node.engines().iter().map(|engine| ModelView {
            model: self.catalog.digest(engine.model),
            residency: engine.residency.clone(),
            bytes: engine.bytes,
            pinned: engine.pinned,
            in_flight: engine.streams.len(),
        });
        let mut stale: Vec<ModelDigest> =
            node.stale_rows().filter_map(|row| Some(self.rows.row(row)?.key.model)).collect();
        // One has a row for each operating point.
        stale.sort_unstable();
        stale.dedup();
        NodeView {
            stale,
            id: node.id,
            incarnation: node.incarnation,
            class: self.groups.class(node.kind).clone(),
            labels: node.labels.clone(),
            standing: node.standing,
            connected: node.connected,
            mode: node.mode.clone(),
            thermal: node.thermal,
            battery: node.battery,
            free_bytes: node.free_bytes,
            in_flight: node.in_flight(),
            slots: node.slots,
            models: models.collect(),
            slowness: node.times_slower(),
            heard_ago: now.since(node.lease.heard()),
            reported_ago: now.since(node.lease.reported()),
        }
    }
}
