//! A node, as one request sees it: what it would meet there.

use dunlin_costs::{Calibration, Load, Phase, Running, Situation, Work};

use super::{
    assess::{CoTenant, Grounds, Guards, Verdict, assess},
    point::Point,
    question::Question,
    survey::Spot,
};
use crate::{
    ModelIndex, Time,
    catalog::Variant,
    fleet::{Engine, Fleet, Node, Residency, Slot},
};

/// A model that a node lacks is taken to arrive at this rate: a third of what gigabit Ethernet carries.
const FETCH_BYTES_PER_SEC: f64 = 40e6;

/// What a node is to a request, whatever the operating point.
pub(crate) struct Site<'a> {
    pub(crate) slot: Slot,
    pub(crate) node: &'a Node,
    pub(crate) model: ModelIndex,
    engine: Option<&'a Engine>,
    pub(crate) open: bool,
    pub(crate) in_flight: usize,
}

impl<'a> Site<'a> {
    pub(crate) fn of(fleet: &'a Fleet, question: &Question<'_>, slot: Slot, model: ModelIndex) -> Self {
        let node = fleet.node(slot);
        let engine = node.engine(model);
        let in_flight = node.in_flight();
        let sequences = match engine.map(|engine| &engine.residency) {
            Some(&Residency::Resident { sequences, .. }) => sequences,
            _ => node.sequences,
        };
        let streams = engine.map_or(0, |engine| engine.streams.len());
        let apart = question.suspect || engine.is_some_and(Engine::has_suspect);
        let open = in_flight < node.slots as usize && streams < sequences as usize && !(apart && streams > 0);
        Self { slot, node, model, engine, open, in_flight }
    }

    /// Why the node is out of the question.
    pub(crate) fn refuses(&self, question: &Question<'_>) -> Option<Verdict> {
        let request = question.request;
        if !self.node.passes(&request.terms.nodes) {
            Some(Verdict::FilteredOut)
        } else if !self.node.grants.cover(request.grants) {
            Some(Verdict::NotGranted)
        } else if question.avoids(self.node) {
            Some(Verdict::Avoided)
        } else if self.engine.and_then(|engine| engine.load_again).is_some_and(|at| question.now < at) {
            Some(Verdict::LoadFailed)
        } else {
            None
        }
    }

    /// An engine that runs something keeps the operating point that it has.
    pub(crate) fn points<'p>(&self, points: &'p [Point]) -> &'p [Point] {
        let running = self.engine.and_then(|engine| engine.row);
        match points.iter().position(|point| Some(point.row) == running) {
            Some(at) => &points[at..=at],
            None => points,
        }
    }

    pub(crate) fn is_loaded(&self) -> bool {
        let residency = self.engine.map(|engine| &engine.residency);
        matches!(residency, Some(Residency::Resident { .. } | Residency::Loading))
    }

    pub(crate) fn has_memory(&self, point: &Point) -> bool {
        self.is_loaded() || point.bytes_to_load <= self.node.reachable_bytes()
    }

    /// And the seconds until there is a slot.
    pub(crate) fn situation(
        &self,
        point: &Point,
        calibration: &Calibration,
        question: &Question<'_>,
        variant: &Variant,
    ) -> (f64, Situation) {
        let running = self.engine.map(Engine::running).unwrap_or_default();
        let residency = self.engine.map_or(&Residency::Absent, |engine| &engine.residency);
        let load = match residency {
            Residency::Resident { .. } | Residency::Loading => Load::Resident,
            Residency::OnDisk { cached: true } => Load::Warm,
            Residency::OnDisk { cached: false } | Residency::Absent => Load::Cold,
        };
        let arrival = match residency {
            Residency::Loading => self.load_left(point, calibration, question.now),
            Residency::Absent => variant.bytes as f64 / FETCH_BYTES_PER_SEC,
            _ => 0.0,
        };
        let slot = if self.open { 0.0 } else { self.next_slot(point, calibration, running) };
        let neighbours = self.node.neighbours(self.model);
        (slot, Situation { queue: arrival + slot, load, reuse: question.reuse, running, neighbours })
    }

    /// Seconds until a load that was ordered is done, by the row; half of it where nobody knows when it began.
    fn load_left(&self, point: &Point, calibration: &Calibration, now: Time) -> f64 {
        let whole = point.load_time(Load::Cold) * calibration.factor(Phase::Load);
        let load = self.engine.and_then(|engine| engine.load);
        load.map_or(whole / 2.0, |load| (whole - now.since(load.since).as_secs_f64()).max(0.0))
    }

    /// Seconds until one of the streams there ends, and those who wait for it already have had theirs.
    fn next_slot(&self, point: &Point, calibration: &Calibration, running: Running) -> f64 {
        let of_engine = self.engine.map_or(&[][..], |engine| &engine.streams);
        let streams = self.node.engines().iter().flat_map(|engine| &engine.streams);
        let full = self.in_flight >= self.node.slots as usize;
        let left = if full {
            streams.map(|stream| stream.tokens_left()).min()
        } else {
            of_engine.iter().map(|stream| stream.tokens_left()).min()
        };
        let step = point.steps.decode_step(running.sequences.max(1), running.context as f64);
        let awaited = f64::from(self.engine.map_or(0, |engine| engine.awaited));
        let turns = 1.0 + awaited / (self.in_flight.max(1) as f64);
        left.unwrap_or(0) as f64 * step * calibration.factor(Phase::Decode) * turns
    }

    /// Those with targets that the request would slow down: in the engine, and beside it if it would wake one more.
    pub(crate) fn co_tenants(&self, fleet: &Fleet, now: Time, co_tenants: &mut Vec<CoTenant>) {
        co_tenants.clear();
        if !self.node.is_guarded() {
            return;
        }
        let wakes = self.engine.is_none_or(Engine::is_idle);
        for engine in self.node.engines() {
            if engine.model == self.model || wakes {
                self.of_engine(fleet, engine, now, co_tenants);
            }
        }
    }

    fn of_engine(&self, fleet: &Fleet, engine: &Engine, now: Time, co_tenants: &mut Vec<CoTenant>) {
        if !engine.streams.iter().any(|stream| stream.has_target()) {
            return;
        }
        let Some((index, row)) = engine.row.and_then(|index| Some((index, fleet.rows.row(index)?))) else {
            return;
        };
        let factor = self.node.calibration(index).map_or(1.0, |of_row| of_row.factor(Phase::Decode));
        let contention = row.decode.contention.nominal();
        let neighbours = f64::from(self.node.neighbours(engine.model));
        let slowdown = 1.0 + contention * neighbours;
        let pace = factor * slowdown * row.tpot(&engine.running());
        let beside = (engine.model != self.model).then(|| 1.0 + contention / slowdown);
        co_tenants.extend(engine.streams.iter().filter(|stream| stream.has_target()).map(|stream| {
            let deadline = stream.deadline.map_or(f64::INFINITY, |at| at.since(now).as_secs_f64());
            CoTenant { left: f64::from(stream.output_left), tpot: stream.tpot, deadline, pace, beside }
        }));
    }
}

/// Whether the request would keep its targets alone, after a wait for the first of those who are there now.
pub(crate) fn idle_would_fit(point: &Point, grounds: &Grounds<'_>, guards: &Guards, site: &Site<'_>) -> bool {
    let running = grounds.situation.running;
    let left = site.next_slot(point, grounds.calibration, running);
    let queue = grounds.situation.queue.max(left);
    let situation = Situation { queue, running: Running::default(), ..*grounds.situation };
    let alone = Grounds { situation: &situation, co_tenants: &[], ..*grounds };
    assess(&point.steps, &alone, guards).verdict == Verdict::Fits
}

/// What the assessment of a place rested on.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Basis {
    pub(crate) work: Work,
    pub(crate) situation: Situation,
    pub(crate) calibration: Calibration,
    pub(crate) slot: f64,
    pub(crate) quality: Option<f64>,
    pub(crate) co_tenants: Vec<CoTenant>,
}

/// Finds it once more, for the record.
pub(crate) fn basis_of(
    fleet: &Fleet,
    question: &Question<'_>,
    variant: &Variant,
    place: &Spot,
    point: &Point,
) -> Basis {
    let site = Site::of(fleet, question, place.slot, place.model);
    let calibration = *site.node.calibration(place.row).unwrap_or(&fleet.uncalibrated);
    let mut co_tenants = Vec::new();
    site.co_tenants(fleet, question.now, &mut co_tenants);
    let (slot, situation) = site.situation(point, &calibration, question, variant);
    let (work, quality) = (question.work(place.cached), point.quality.or(variant.quality));
    Basis { work, situation, calibration, slot, quality, co_tenants }
}

impl Basis {
    pub(crate) fn grounds(&self) -> Grounds<'_> {
        let Self { work, situation, calibration, slot, quality, co_tenants } = self;
        Grounds { work, situation, calibration, slot: *slot, quality: *quality, co_tenants }
    }
}
