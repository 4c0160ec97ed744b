//! A node, as the scheduler sees it.

use dunlin_costs::{Calibration, Mode, Phase, Thermal};

use super::{
    LOAD_GRACE,
    engine::{Engine, Stream},
    report::{Battery, Grants, Inventory, Labels, ModelReport, NodeFilter, Residency},
};
use crate::{AttemptId, Incarnation, ModelIndex, NodeId, RowIndex, Time, lease::Lease, placement::GroupId};

/// Calibrations of one node; of more, the one that was used least recently is forgotten.
pub const MAX_CALIBRATIONS: usize = 16;

/// Whether new work may go there, as far as people and the node itself say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    Ready,
    /// What runs goes on, nothing new comes.
    Cordoned,
    /// What runs ends, or is handed over when the time is up.
    Draining,
}

/// Of all engines of a node, for the same reason.
#[derive(Debug, Clone, Copy, Default)]
struct Sums {
    in_flight: u32,
    /// Engines that run something.
    active: u32,
    /// Some stream has a target.
    guarded: bool,
    evictable_bytes: u64,
    tokens_left: u64,
}

#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) id: NodeId,
    pub(crate) incarnation: Incarnation,
    /// Class, firmware and build, as the groups number them.
    pub(crate) kind: u16,
    pub(crate) labels: Labels,
    pub(crate) grants: Grants,
    pub(crate) slots: u16,
    pub(crate) sequences: u16,
    pub(crate) lease: Lease,
    /// Its connection stands: orders reach it.
    pub(crate) connected: bool,
    pub(crate) standing: Standing,
    pub(crate) mode: Mode,
    pub(crate) thermal: Thermal,
    pub(crate) battery: Option<Battery>,
    /// As reported, less what has been ordered since.
    pub(crate) free_bytes: u64,
    /// In the order of their models; those that the node has, and those that were ordered there.
    engines: Vec<Engine>,
    /// Their models once more, side by side: placements look here at many nodes, and cache misses are what takes time.
    models: Vec<ModelIndex>,
    sums: Sums,
    /// The groups that it is in, and where: see [`crate::placement::Groups`].
    pub(crate) memberships: Vec<(ModelIndex, GroupId)>,
    pub(crate) rank: u64,
    slowness: u8,
    /// Of rows in a thermal state: a board that is hot is another one.
    calibrations: Vec<((RowIndex, Thermal), Calibration)>,
}

impl Node {
    pub(crate) fn new(
        id: NodeId,
        incarnation: Incarnation,
        kind: u16,
        inventory: &Inventory,
        now: Time,
    ) -> Self {
        Self {
            id,
            incarnation,
            kind,
            labels: inventory.labels.clone(),
            grants: inventory.grants,
            slots: inventory.slots,
            sequences: inventory.sequences,
            lease: Lease::new(now),
            connected: true,
            standing: Standing::Ready,
            mode: inventory.report.mode.clone(),
            thermal: inventory.report.thermal,
            battery: inventory.report.battery,
            free_bytes: 0,
            engines: Vec::new(),
            models: Vec::new(),
            sums: Sums::default(),
            memberships: Vec::new(),
            rank: 0,
            slowness: 128,
            calibrations: Vec::new(),
        }
    }

    pub(crate) fn takes_work(&self) -> bool {
        self.connected && self.standing == Standing::Ready
    }

    pub(crate) fn engines(&self) -> &[Engine] {
        &self.engines
    }

    pub(crate) fn engines_mut(&mut self) -> &mut [Engine] {
        &mut self.engines
    }

    pub(crate) fn engine(&self, model: ModelIndex) -> Option<&Engine> {
        self.models.binary_search(&model).ok().map(|at| &self.engines[at])
    }

    pub(crate) fn engine_mut(&mut self, model: ModelIndex) -> Option<&mut Engine> {
        self.models.binary_search(&model).ok().map(|at| &mut self.engines[at])
    }

    /// After anything that [`Sums`] are of has changed.
    pub(crate) fn recount(&mut self) {
        let mut sums = Sums::default();
        for engine in &self.engines {
            sums.in_flight += engine.streams.len() as u32;
            sums.active += u32::from(!engine.is_idle());
            sums.guarded |= engine.streams.iter().any(Stream::has_target);
            sums.tokens_left += engine.streams.iter().map(Stream::tokens_left).sum::<u64>();
            if engine.is_evictable() {
                sums.evictable_bytes += engine.bytes;
            }
        }
        self.sums = sums;
    }

    pub(crate) const fn in_flight(&self) -> usize {
        self.sums.in_flight as usize
    }

    /// Whether it runs something that has a target.
    pub(crate) const fn is_guarded(&self) -> bool {
        self.sums.guarded
    }

    pub(crate) fn attempts(&self) -> impl Iterator<Item = AttemptId> {
        self.engines.iter().flat_map(|engine| engine.streams.iter().map(|stream| stream.attempt))
    }

    /// Other models that work beside this one.
    pub(crate) fn neighbours(&self, model: ModelIndex) -> u32 {
        let itself = self.engine(model).is_some_and(|engine| !engine.is_idle());
        self.sums.active.saturating_sub(u32::from(itself))
    }

    pub(crate) fn is_in(&self, group: GroupId) -> bool {
        self.memberships.iter().any(|&(_, of)| of == group)
    }

    /// What would be free for a model that is not resident if everything went that can go.
    pub(crate) const fn reachable_bytes(&self) -> u64 {
        self.free_bytes + self.sums.evictable_bytes
    }

    pub(crate) fn passes(&self, filter: &NodeFilter) -> bool {
        let charged = match (filter.min_battery_pct, self.battery) {
            (Some(least), Some(battery)) => battery.charging || battery.charge_pct >= least,
            _ => true,
        };
        charged && filter.labels.iter().all(|(name, value)| self.labels.get(name) == Some(value))
    }

    pub(crate) fn calibration(&self, row: RowIndex) -> Option<&Calibration> {
        let key = (row, self.thermal);
        let of_row = self.calibrations.iter().find(|(calibrated, _)| *calibrated == key);
        of_row.map(|(_, calibration)| calibration)
    }

    /// Rows that its requests have not followed for long.
    pub(crate) fn stale_rows(&self) -> impl Iterator<Item = RowIndex> {
        self.calibrations.iter().filter(|(_, of_row)| of_row.is_stale()).map(|((row, _), _)| *row)
    }

    pub(crate) fn calibrations(&self) -> impl Iterator<Item = &Calibration> {
        self.calibrations.iter().map(|(_, of_row)| of_row)
    }

    /// To learn: it moves to the end of those that might be forgotten.
    pub(crate) fn calibration_mut(&mut self, row: RowIndex) -> &mut Calibration {
        let key = (row, self.thermal);
        let found = self.calibrations.iter().position(|(calibrated, _)| *calibrated == key);
        let entry = found.map_or_else(|| (key, Calibration::default()), |at| self.calibrations.remove(at));
        if self.calibrations.len() >= MAX_CALIBRATIONS {
            self.calibrations.remove(0);
        }
        self.calibrations.push(entry);
        let last = self.calibrations.len() - 1;
        &mut self.calibrations[last].1
    }

    /// How much its streams still have to do, from 0 (nothing) in steps of about 40 %.
    pub(crate) fn busyness(&self) -> u8 {
        let tokens = self.sums.tokens_left;
        if tokens == 0 { 0 } else { (2.0 * (tokens as f32).log2()) as u8 + 1 }
    }

    /// How much slower it is than its rows say: 128 if not at all, 16 more for each doubling.
    pub(crate) fn slowness(&self) -> u8 {
        self.slowness
    }

    /// The same as a factor.
    pub(crate) fn times_slower(&self) -> f64 {
        ((f64::from(self.slowness) - 128.0) / 16.0).exp2()
    }

    /// After a calibration has learned.
    pub(crate) fn weigh(&mut self) {
        let now = self.calibrations.iter().filter(|((_, thermal), _)| *thermal == self.thermal);
        let log = |of_row: &Calibration| {
            (of_row.factor(Phase::Prefill) * of_row.factor(Phase::Decode)).log2() / 2.0
        };
        let (sum, count) = now.fold((0.0, 0), |(sum, count), (_, of_row)| (sum + log(of_row), count + 1));
        let mean = sum / f64::from(count.max(1));
        self.slowness = (128.0 + 16.0 * mean).round().clamp(0.0, 255.0) as u8;
    }

    pub(crate) fn forget_calibrations(&mut self, gone: impl Fn(RowIndex) -> bool) {
        self.calibrations.retain(|((row, _), _)| !gone(*row));
    }

    pub(crate) fn engine_or_new(&mut self, model: ModelIndex) -> &mut Engine {
        let at = self.models.binary_search(&model).unwrap_or_else(|at| {
            self.engines.insert(at, Engine::new(model, Residency::Absent));
            self.models.insert(at, model);
            at
        });
        &mut self.engines[at]
    }

    pub(crate) fn take_report(&mut self, model: ModelIndex, report: &ModelReport, now: Time) {
        let engine = self.engine_or_new(model);
        (engine.bytes, engine.pinned) = (report.bytes, report.pinned);
        let ready = matches!(report.residency, Residency::Resident { .. });
        let begun = ready || report.residency == Residency::Loading;
        if !begun && engine.load.is_some_and(|load| now.since(load.since) < LOAD_GRACE) {
            return;
        }
        engine.residency = report.residency.clone();
        if ready || !begun {
            engine.load = None;
        }
    }

    /// Models that the last report did not name: gone, unless they have only just been ordered, or something runs.
    pub(crate) fn drop_unseen(&mut self, seen: &[ModelIndex], now: Time) {
        self.engines.retain_mut(|engine| {
            if seen.contains(&engine.model)
                || engine.load.is_some_and(|load| now.since(load.since) < LOAD_GRACE)
            {
                return true;
            }
            (engine.residency, engine.load) = (Residency::Absent, None);
            !engine.is_idle() || engine.load_again.is_some()
        });
        self.models = self.engines.iter().map(|engine| engine.model).collect();
    }

    /// Models that may be tried again now; tells when there are more.
    pub(crate) fn forgive_loads(&mut self, now: Time) -> Option<Time> {
        for engine in &mut self.engines {
            engine.load_again = engine.load_again.filter(|&at| at > now);
        }
        self.engines.iter().filter_map(|engine| engine.load_again).min()
    }
}
