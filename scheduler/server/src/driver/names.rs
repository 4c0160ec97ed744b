//! Numbers for names: the core counts, people and certificates do not.

use std::collections::BTreeMap;

use dunlin_protocol::NodeId;
use dunlin_scheduler_core as core;

/// Nodes and tenants as they were met. Numbers are those of this life of the scheduler.
#[derive(Debug, Default)]
pub(crate) struct Names {
    nodes: Vec<NodeId>,
    node_numbers: BTreeMap<NodeId, u64>,
    tenants: BTreeMap<String, u64>,
}

impl Names {
    pub(crate) fn node(&mut self, name: &NodeId) -> core::NodeId {
        if let Some(number) = self.node_numbers.get(name) {
            return core::NodeId(*number);
        }
        let number = self.nodes.len() as u64;
        self.nodes.push(name.clone());
        self.node_numbers.insert(name.clone(), number);
        core::NodeId(number)
    }

    /// One that was met.
    pub(crate) fn known(&self, name: &NodeId) -> Option<core::NodeId> {
        self.node_numbers.get(name).map(|number| core::NodeId(*number))
    }

    pub(crate) fn name(&self, node: core::NodeId) -> Option<&NodeId> {
        self.nodes.get(usize::try_from(node.0).ok()?)
    }

    pub(crate) fn tenant(&mut self, name: &str) -> core::TenantId {
        let next = self.tenants.len() as u64;
        core::TenantId(*self.tenants.entry(name.to_owned()).or_insert(next))
    }
}
