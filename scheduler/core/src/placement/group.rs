//! Nodes that are alike for a model: a placement looks at the best of each group, not at every node.

use std::collections::{BTreeMap, BTreeSet};

use dunlin_costs::{Load, Mode, NodeClass, Row, Thermal, Work};

use super::{
    learned::LeastFactors,
    point::{Least, Point},
    rows::Rows,
};
use crate::{
    ModelIndex, Objective,
    catalog::Catalog,
    fleet::{LoadPoint, Node, Residency, Slot},
};

/// Nodes are alike for a model if they have one hardware and software, mode and heat, and the model equally near.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct GroupKey {
    model: ModelIndex,
    kind: u16,
    mode: Mode,
    thermal: Thermal,
    nearness: Nearness,
}

/// [`Residency`], as far as it makes a difference to costs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Nearness {
    Resident(LoadPoint),
    Loading,
    OnDisk { cached: bool },
    Absent,
}

impl Nearness {
    const fn load(&self) -> Load {
        match self {
            Self::Resident(_) | Self::Loading => Load::Resident,
            Self::OnDisk { cached: true } => Load::Warm,
            Self::OnDisk { cached: false } | Self::Absent => Load::Cold,
        }
    }
}

/// What rows are by: class, firmware, build.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Kind {
    pub(crate) class: NodeClass,
    pub(crate) firmware: String,
    pub(crate) runtime: String,
}

/// Combinations of class, firmware and build that are ever known.
pub const MAX_KINDS: usize = 1024;

/// Groups at once; what would be in further ones gets no work until the table changes.
pub const MAX_GROUPS: usize = 65_536;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct GroupId(u32);

#[derive(Debug)]
pub(crate) struct Group {
    model: ModelIndex,
    /// What its nodes can run the model at.
    pub(crate) points: Vec<Point>,
    /// What a placement there has to load.
    pub(crate) load: Load,
    /// By rank: the least busy first, of those the quickest, of those the lowest slot.
    members: BTreeSet<u64>,
}

impl Group {
    pub(crate) fn members(&self) -> impl Iterator<Item = Slot> {
        self.members.iter().map(|&rank| slot_of(rank))
    }

    pub(crate) fn busiest(&self) -> impl Iterator<Item = Slot> {
        self.members.iter().rev().map(|&rank| slot_of(rank))
    }

    pub(crate) const fn model(&self) -> ModelIndex {
        self.model
    }

    pub(crate) fn len(&self) -> usize {
        self.members.len()
    }

    /// See [`Point::least`].
    pub(crate) fn least(&self, objective: Objective, work: &Work, factors: &LeastFactors) -> Least {
        let of_points = self.points.iter().map(|point| point.least(objective, work, self.load, factors));
        of_points.fold(Least::NONE, Least::of_both)
    }
}

#[derive(Debug, Default)]
pub(crate) struct Groups {
    kinds: Vec<Kind>,
    groups: Vec<Group>,
    index: BTreeMap<GroupKey, GroupId>,
    /// Of each model, by its index.
    of_model: Vec<Vec<GroupId>>,
}

impl Groups {
    /// `None` if there are too many.
    pub(crate) fn kind(&mut self, kind: Kind) -> Option<u16> {
        let known = self.kinds.iter().position(|known| *known == kind);
        let at = known.unwrap_or(self.kinds.len());
        if at >= MAX_KINDS {
            return None;
        }
        if known.is_none() {
            self.kinds.push(kind);
        }
        Some(at as u16)
    }

    pub(crate) fn class(&self, kind: u16) -> &NodeClass {
        &self.kinds[kind as usize].class
    }

    pub(crate) fn of_model(&self, model: ModelIndex) -> impl Iterator<Item = (GroupId, &Group)> {
        let of_model = self.of_model.get(model.slot()).map_or(&[][..], Vec::as_slice);
        of_model.iter().map(|&id| (id, self.group(id)))
    }

    pub(crate) fn group(&self, id: GroupId) -> &Group {
        &self.groups[id.0 as usize]
    }

    /// Puts a node where it belongs now, for every model, and nowhere if it takes no work.
    pub(crate) fn file(&mut self, slot: Slot, node: &mut Node, catalog: &Catalog, rows: &Rows) {
        node.recount();
        let rank = rank(slot, node);
        let wanted = if node.takes_work() { self.wanted(node, catalog, rows) } else { Vec::new() };
        if wanted == node.memberships {
            return self.rerank(slot, node);
        }
        for &(_, group) in &node.memberships {
            self.groups[group.0 as usize].members.remove(&node.rank);
        }
        for &(_, group) in &wanted {
            self.groups[group.0 as usize].members.insert(rank);
        }
        (node.memberships, node.rank) = (wanted, rank);
    }

    /// After the work on a node has changed.
    pub(crate) fn rerank(&mut self, slot: Slot, node: &mut Node) {
        node.recount();
        let rank = rank(slot, node);
        if rank == node.rank {
            return;
        }
        for &(_, group) in &node.memberships {
            let members = &mut self.groups[group.0 as usize].members;
            members.remove(&node.rank);
            members.insert(rank);
        }
        node.rank = rank;
    }

    pub(crate) fn remove(&mut self, node: &mut Node) {
        for (_, group) in node.memberships.drain(..) {
            self.groups[group.0 as usize].members.remove(&node.rank);
        }
    }

    /// The table has changed: nodes are to be filed again.
    pub(crate) fn reset(&mut self) {
        self.groups.clear();
        self.index.clear();
        self.of_model.clear();
    }

    fn wanted(&mut self, node: &Node, catalog: &Catalog, rows: &Rows) -> Vec<(ModelIndex, GroupId)> {
        let models = catalog.models().map(|(model, _)| model);
        let groups = models.filter_map(|model| {
            let nearness = match node.engine(model).map(|engine| &engine.residency) {
                Some(Residency::Resident { point, .. }) => Nearness::Resident(point.clone()),
                Some(Residency::Loading) => Nearness::Loading,
                Some(&Residency::OnDisk { cached }) => Nearness::OnDisk { cached },
                Some(Residency::Absent) | None => Nearness::Absent,
            };
            let (kind, mode, thermal) = (node.kind, node.mode.clone(), node.thermal);
            let key = GroupKey { model, kind, mode, thermal, nearness };
            let group = self.group_of(&key, catalog, rows)?;
            (!self.groups[group.0 as usize].points.is_empty()).then_some((model, group))
        });
        groups.collect()
    }

    fn group_of(&mut self, key: &GroupKey, catalog: &Catalog, rows: &Rows) -> Option<GroupId> {
        if let Some(&group) = self.index.get(key) {
            return Some(group);
        }
        if self.groups.len() >= MAX_GROUPS {
            return None;
        }
        let id = GroupId(self.groups.len() as u32);
        let points = points_of(key, &self.kinds[key.kind as usize], catalog, rows);
        if self.of_model.len() <= key.model.slot() {
            self.of_model.resize_with(key.model.slot() + 1, Vec::new);
        }
        self.of_model[key.model.slot()].push(id);
        self.index.insert(key.clone(), id);
        let model = key.model;
        self.groups.push(Group { model, points, load: key.nearness.load(), members: BTreeSet::new() });
        Some(id)
    }
}

/// The rows of a group: of its class, model, mode and load point; of its heat, firmware and build where there are any, in
/// this order of importance.
fn points_of(key: &GroupKey, kind: &Kind, catalog: &Catalog, rows: &Rows) -> Vec<Point> {
    let digest = catalog.digest(key.model);
    let fits = |row: &Row| {
        let of = &row.key;
        let loaded = match &key.nearness {
            Nearness::Resident(point) => *point == LoadPoint::of(of),
            _ => true,
        };
        of.class == kind.class && of.model == digest && of.mode == key.mode && loaded
    };
    let closeness = |row: &Row| {
        let of = &row.key;
        let software = u8::from(of.firmware == kind.firmware) + u8::from(of.runtime == kind.runtime);
        let heat = if of.thermal == key.thermal { 2 } else { u8::from(of.thermal == Thermal::Cool) };
        (heat, software)
    };
    let fitting: Vec<_> = rows.iter().filter(|(_, row)| fits(row)).map(|of| (closeness(of.1), of)).collect();
    let closest = fitting.iter().map(|&(closeness, _)| closeness).max();
    let closest = fitting.into_iter().filter(|&(closeness, _)| Some(closeness) == closest);
    closest.map(|(_, (index, row))| Point::of(index, row)).collect()
}

/// How busy, how quick, which: compared as one number.
fn rank(slot: Slot, node: &Node) -> u64 {
    u64::from(node.busyness()) << 40 | u64::from(node.slowness()) << 32 | u64::from(slot.0)
}

const fn slot_of(rank: u64) -> Slot {
    Slot(rank as u32)
}
