//! Which models are to be resident without being asked for.

use super::Scheduler;
use crate::{
    Alias, ModelIndex, NodeId, Output,
    catalog::Variant,
    fleet::{Load, Node, Residency, Slot},
    placement::bytes_to_load,
};

/// A model without a cost row is taken to need so much more than its file: keys, values, buffers.
const UNKNOWN_OVERHEAD: f64 = 1.3;

impl Scheduler {
    /// Loads what should be resident on more nodes than it is, and what is asked for but has no cost row anywhere: a node
    /// probes what it loads, and then there is one. One load of each alias at a time.
    pub(super) fn look_after_models(&mut self) {
        let aliases: Vec<&Alias> = self.fleet.catalog.aliases().collect();
        let loads: Vec<_> = aliases.into_iter().filter_map(|alias| self.load_for(alias)).collect();
        for (slot, model, bytes) in loads {
            let (node, digest) = (self.fleet.node(slot).id, self.fleet.catalog.digest(model));
            tracing::debug!(%node, model = %digest, "load");
            self.fleet.load(slot, model, Load { since: self.now, bytes, expected: None });
            self.outputs.push_back(Output::LoadModel { node, model: digest });
        }
    }

    fn load_for(&self, alias: &Alias) -> Option<(Slot, ModelIndex, u64)> {
        let models =
            || alias.variants.iter().filter_map(|of| Some((of, self.fleet.catalog.index(&of.model)?)));
        let unknown = |model| self.fleet.groups.of_model(model).all(|(_, group)| group.len() == 0);
        let asked_for = self.queue.lane_len(&alias.name) > 0;
        let probe = asked_for && models().all(|(_, model)| unknown(model));
        let wanted = alias.resident_on.max(u32::from(probe)) as usize;
        if wanted == 0 {
            return None;
        }
        let holds = |node: &Node| models().any(|(_, model)| is_near(node, model));
        let nodes = self.fleet.nodes().filter(|(_, node)| node.takes_work());
        if nodes.filter(|(_, node)| holds(node)).count() >= wanted {
            return None;
        }
        models().find_map(|(variant, model)| self.roomiest(variant, model))
    }

    /// The node with most free memory of those that could take it without giving up another; of equals, the lowest id.
    fn roomiest(&self, variant: &Variant, model: ModelIndex) -> Option<(Slot, ModelIndex, u64)> {
        let known = self.fleet.rows.iter().filter(|(_, row)| row.key.model == variant.model);
        let unknown = (variant.bytes as f64 * UNKNOWN_OVERHEAD) as u64;
        let bytes = known.map(|(_, row)| bytes_to_load(row)).min().unwrap_or(unknown);
        let may = |node: &Node| {
            let failed = node.engine(model).is_some_and(|engine| engine.load_again.is_some());
            node.takes_work() && !failed && !is_near(node, model) && node.free_bytes >= bytes
        };
        let nodes = self.fleet.nodes().filter(|(_, node)| may(node));
        let order = |node: &Node| (node.free_bytes, std::cmp::Reverse::<NodeId>(node.id));
        nodes.max_by_key(|(_, node)| order(node)).map(|(slot, _)| (slot, model, bytes))
    }
}

fn is_near(node: &Node, model: ModelIndex) -> bool {
    let residency = node.engine(model).map(|engine| &engine.residency);
    matches!(residency, Some(Residency::Resident { .. } | Residency::Loading))
}
