//! The fleet, as far as the scheduler knows it. Nodes are the truth: what they report replaces what was thought.

mod engine;
mod node;
mod prefixes;
mod report;
mod view;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use dunlin_costs::{Calibration, Phase, Row};
use slab::Slab;

pub use engine::MAX_PREFIXES_PER_ENGINE;
pub(crate) use engine::{Engine, Load, Stream};
pub(crate) use node::Node;
pub use node::{MAX_CALIBRATIONS, Standing};
pub use prefixes::{MAX_HELD, MAX_HOLDERS};
pub use report::{
    AttemptReport, Battery, Grants, Inventory, Labels, LoadPoint, MAX_ATTEMPTS_PER_NODE, MAX_MODELS_PER_NODE,
    ModelReport, NodeFilter, OperatingPoint, Report, Residency,
};
pub use view::{ModelView, NodeView};

use crate::{
    AttemptId, Incarnation, ModelIndex, NodeId, RowIndex, Time,
    catalog::{Alias, Catalog},
    placement::{Groups, Kind, LeastFactors, Rows},
};
use prefixes::Prefixes;

/// Nodes of one scheduler.
pub const MAX_NODES: usize = 20_000;

/// So long after a load was ordered, a report without it says nothing yet.
const LOAD_GRACE: Duration = Duration::from_secs(3);

/// Observations after which the least factors are looked for anew.
const REFRESH: u32 = 65_536;

/// A node's place in the core's tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Slot(pub(crate) u32);

#[derive(Debug, Default)]
pub(crate) struct Fleet {
    nodes: Slab<Node>,
    by_id: BTreeMap<NodeId, Slot>,
    pub(crate) groups: Groups,
    pub(crate) rows: Rows,
    pub(crate) catalog: Catalog,
    prefixes: Prefixes,
    /// Of nodes that nothing was learned of.
    pub(crate) uncalibrated: Calibration,
    pub(crate) least_factors: LeastFactors,
    learned: u32,
}

impl Fleet {
    pub(crate) fn len(&self) -> usize {
        self.nodes.len()
    }

    pub(crate) fn slot(&self, id: NodeId) -> Option<Slot> {
        self.by_id.get(&id).copied()
    }

    pub(crate) fn node(&self, slot: Slot) -> &Node {
        &self.nodes[slot.0 as usize]
    }

    pub(crate) fn node_mut(&mut self, slot: Slot) -> &mut Node {
        &mut self.nodes[slot.0 as usize]
    }

    pub(crate) fn by_id(&self, id: NodeId) -> Option<&Node> {
        self.slot(id).map(|slot| self.node(slot))
    }

    /// In the order of their ids.
    pub(crate) fn ids(&self) -> impl Iterator<Item = NodeId> {
        self.by_id.keys().copied()
    }

    pub(crate) fn nodes(&self) -> impl Iterator<Item = (Slot, &Node)> {
        self.nodes.iter().map(|(slot, node)| (Slot(slot as u32), node))
    }

    pub(crate) fn nodes_mut(&mut self) -> impl Iterator<Item = &mut Node> {
        self.nodes.iter_mut().map(|(_, node)| node)
    }

    /// The node is not there yet. `None` if there is no room for it.
    pub(crate) fn join(
        &mut self,
        id: NodeId,
        incarnation: Incarnation,
        inventory: &Inventory,
        now: Time,
    ) -> Option<Slot> {
        let Inventory { class, firmware, runtime, .. } = inventory.clone();
        let kind = self.groups.kind(Kind { class, firmware, runtime });
        let kind = kind.filter(|_| self.nodes.len() < MAX_NODES)?;
        let slot = Slot(self.nodes.insert(Node::new(id, incarnation, kind, inventory, now)) as u32);
        self.by_id.insert(id, slot);
        self.report(slot, &inventory.report, now);
        Some(slot)
    }

    /// What ran there ends nowhere: the caller takes care of it.
    pub(crate) fn remove(&mut self, slot: Slot) -> Node {
        let mut node = self.nodes.remove(slot.0 as usize);
        self.by_id.remove(&node.id);
        self.groups.remove(&mut node);
        for engine in node.engines_mut() {
            let model = engine.model;
            engine.take_prefixes().into_iter().for_each(|hash| self.prefixes.drop(model, hash, slot));
        }
        node
    }

    /// The heartbeat: everything that changes.
    pub(crate) fn report(&mut self, slot: Slot, report: &Report, now: Time) {
        let node = &mut self.nodes[slot.0 as usize];
        node.lease.report(now);
        (node.mode, node.thermal, node.battery) = (report.mode.clone(), report.thermal, report.battery);
        let mut seen = Vec::with_capacity(report.models.len());
        for model in report.models.iter().take(MAX_MODELS_PER_NODE) {
            let Some(index) = self.catalog.index(&model.model) else { continue };
            node.take_report(index, model, now);
            if let Some(hashes) = &model.prefixes {
                self.prefixes.replace(slot, node.engine_mut(index), hashes);
            }
            seen.push(index);
        }
        for engine in node.engines_mut().iter_mut().filter(|engine| !seen.contains(&engine.model)) {
            self.prefixes.replace(slot, Some(engine), &[]);
        }
        node.drop_unseen(&seen, now);
        let ordered: u64 =
            node.engines().iter().filter_map(|engine| engine.load).map(|load| load.bytes).sum();
        node.free_bytes = report.free_bytes.saturating_sub(ordered);
        self.file(slot);
    }

    /// After something that decides what a node can be used for has changed.
    pub(crate) fn file(&mut self, slot: Slot) {
        let node = &mut self.nodes[slot.0 as usize];
        self.groups.file(slot, node, &self.catalog, &self.rows);
    }

    /// Reserves a place. Orders the load that it needs, of so many bytes.
    pub(crate) fn place(
        &mut self,
        slot: Slot,
        model: ModelIndex,
        row: RowIndex,
        stream: Stream,
        load: Option<Load>,
    ) {
        if let Some(load) = load {
            self.load(slot, model, load);
        }
        let node = &mut self.nodes[slot.0 as usize];
        node.engine_or_new(model).add(stream, row);
        self.groups.rerank(slot, node);
    }

    pub(crate) fn load(&mut self, slot: Slot, model: ModelIndex, load: Load) {
        let node = &mut self.nodes[slot.0 as usize];
        node.free_bytes = node.free_bytes.saturating_sub(load.bytes);
        let engine = node.engine_or_new(model);
        (engine.load, engine.residency) = (Some(load), Residency::Loading);
        self.file(slot);
    }

    pub(crate) fn progress(&mut self, slot: Slot, model: ModelIndex, attempt: AttemptId, tokens: u32) {
        let node = &mut self.nodes[slot.0 as usize];
        if let Some(engine) = node.engine_mut(model) {
            engine.progress(attempt, tokens);
        }
        self.groups.rerank(slot, node);
    }

    pub(crate) fn finish(&mut self, slot: Slot, model: ModelIndex, attempt: AttemptId) {
        let node = &mut self.nodes[slot.0 as usize];
        if let Some(engine) = node.engine_mut(model) {
            engine.remove(attempt);
        }
        self.groups.rerank(slot, node);
    }

    /// A model is resident. Tells of the load that was ordered.
    pub(crate) fn loaded(
        &mut self,
        slot: Slot,
        model: ModelIndex,
        residency: Residency,
        bytes: u64,
    ) -> Option<Load> {
        let engine = self.nodes[slot.0 as usize].engine_or_new(model);
        (engine.residency, engine.bytes) = (residency, bytes);
        let load = engine.load.take();
        self.file(slot);
        load
    }

    pub(crate) fn load_failed(&mut self, slot: Slot, model: ModelIndex, again: Time) {
        let node = &mut self.nodes[slot.0 as usize];
        let engine = node.engine_or_new(model);
        (engine.residency, engine.load_again) = (Residency::OnDisk { cached: false }, Some(again));
        if let Some(load) = engine.load.take() {
            node.free_bytes += load.bytes;
        }
        self.file(slot);
    }

    /// Its connection stands again.
    pub(crate) fn readmit(&mut self, slot: Slot, inventory: &Inventory) {
        let node = &mut self.nodes[slot.0 as usize];
        node.connected = true;
        (node.labels, node.grants) = (inventory.labels.clone(), inventory.grants);
        (node.slots, node.sequences) = (inventory.slots, inventory.sequences);
    }

    /// Learns of a node how it differs from its row.
    pub(crate) fn learn(&mut self, slot: Slot, index: RowIndex, phase: Phase, expected: f64, actual: f64) {
        let Some(row) = self.rows.row(index) else { return };
        let node = &mut self.nodes[slot.0 as usize];
        let calibration = node.calibration_mut(index);
        calibration.follow(&row.key);
        let learned = calibration.observe(phase, expected, actual);
        self.least_factors.learn(calibration);
        tracing::trace!(node = %node.id, ?phase, expected, actual, ?learned, "observed");
        node.weigh();
        self.groups.rerank(slot, node);
        self.learned += 1;
        if self.learned.is_multiple_of(REFRESH) {
            self.refresh_factors();
        }
    }

    /// What was least once may be so no more.
    fn refresh_factors(&mut self) {
        self.least_factors = LeastFactors::default();
        let calibrations = self.nodes.iter().flat_map(|(_, node)| node.calibrations());
        calibrations.for_each(|calibration| self.least_factors.learn(calibration));
    }

    pub(crate) fn hold_prefix(&mut self, slot: Slot, model: ModelIndex, hash: u64) {
        if let Some(engine) = self.nodes[slot.0 as usize].engine_mut(model) {
            self.prefixes.hold(slot, engine, hash);
        }
    }

    pub(crate) fn holders(&self, model: ModelIndex, hash: u64) -> &[Slot] {
        self.prefixes.holders(model, hash)
    }

    pub(crate) fn replace_catalog(&mut self, aliases: Vec<Alias>) {
        self.catalog.replace(aliases);
        self.file_all();
    }

    pub(crate) fn replace_rows(&mut self, rows: Vec<Arc<Row>>) {
        let changed = self.rows.replace(rows);
        self.nodes
            .iter_mut()
            .for_each(|(_, node)| node.forget_calibrations(|row| changed.binary_search(&row).is_ok()));
        self.file_all();
    }

    fn file_all(&mut self) {
        self.groups.reset();
        let slots: Vec<Slot> = self.nodes.iter().map(|(slot, _)| Slot(slot as u32)).collect();
        for slot in slots {
            self.node_mut(slot).memberships.clear();
            self.file(slot);
        }
    }
}
