//! Looks at the places that a request could go to.

use dunlin_costs::{Calibration, Load, Phase, Prediction, Row, Running, Situation, Work};

use super::{
    assess::{Assessment, CoTenant, Grounds, Guards, Verdict, assess},
    group::Group,
    question::Question,
    rows::RowIndex,
};
use crate::{
    ModelIndex, Time,
    catalog::Variant,
    fleet::{Engine, Fleet, Node, Residency, Slot},
};

/// Nodes of one group that are looked at, if those before are full or do not fit; besides those that hold a prefix.
pub const LOOKS: usize = 3;

/// A model that a node lacks is taken to arrive at this rate: a third of what gigabit Ethernet carries.
const FETCH_BYTES_PER_SEC: f64 = 40e6;

/// One place: a node and an operating point, for one variant.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Spot {
    pub(crate) slot: Slot,
    pub(crate) model: ModelIndex,
    pub(crate) row: RowIndex,
    /// Bytes of the variant.
    pub(crate) bytes: u64,
    /// Of the quality that was asked for.
    pub(crate) good: bool,
    pub(crate) cached: u32,
    pub(crate) resident: bool,
    /// It has a slot.
    pub(crate) open: bool,
    pub(crate) in_flight: u16,
    pub(crate) verdict: Verdict,
    pub(crate) excess: f64,
    /// The engine's being busy is all that is wrong: once it is less so, the request would fit in time.
    pub(crate) worth_waiting: bool,
    /// Means, in seconds and joules; infinite where joules are unknown.
    pub(crate) ttft: f64,
    pub(crate) completion: f64,
    pub(crate) joules: f64,
}

pub(crate) type Counts = [u32; Verdict::COUNT];

/// Reused from one decision to the next.
#[derive(Debug, Default)]
pub(crate) struct Survey {
    pub(crate) places: Vec<Spot>,
    pub(crate) counts: Counts,
    holders: Vec<(Slot, u32)>,
    co_tenants: Vec<CoTenant>,
}

/// What a node is to a request, whatever the operating point.
struct Site<'a> {
    slot: Slot,
    node: &'a Node,
    model: ModelIndex,
    engine: Option<&'a Engine>,
    open: bool,
    in_flight: usize,
}

impl Survey {
    pub(crate) fn take(&mut self, fleet: &Fleet, question: &Question<'_>, variants: &[Variant]) {
        self.places.clear();
        self.counts = [0; Verdict::COUNT];
        let guards = question.guards();
        for variant in variants {
            let Some(model) = fleet.catalog.index(&variant.model) else { continue };
            if question.model.is_none_or(|only| only == model) {
                self.look_for(fleet, question, &guards, variant, model);
            }
        }
    }

    fn look_for(
        &mut self,
        fleet: &Fleet,
        question: &Question<'_>,
        guards: &Guards,
        variant: &Variant,
        model: ModelIndex,
    ) {
        self.find_holders(fleet, question, model);
        let mut members = 0;
        for group in fleet.groups.of_model(model) {
            members += group.len();
            self.look_at(fleet, question, guards, variant, model, group);
        }
        self.counts[Verdict::Unavailable as usize] += fleet.len().saturating_sub(members) as u32;
    }

    /// The least busy nodes of a group, and those that hold the beginning of the prompt.
    fn look_at(
        &mut self,
        fleet: &Fleet,
        question: &Question<'_>,
        guards: &Guards,
        variant: &Variant,
        model: ModelIndex,
        group: &Group,
    ) {
        let mut looks = 0;
        for (visited, slot) in group.members().enumerate() {
            if looks >= LOOKS && self.holders.is_empty() {
                self.counts[Verdict::Alike as usize] += (group.len() - visited) as u32;
                return;
            }
            if looks >= LOOKS && !self.holders.iter().any(|(holder, _)| *holder == slot) {
                self.counts[Verdict::Alike as usize] += 1;
                continue;
            }
            let site = Site::of(fleet, question, slot, model);
            match site.refuses(question) {
                Some(verdict) => self.counts[verdict as usize] += 1,
                // Those behind one that is free and fits are as free, or less, and no quicker.
                None if self.assess_site(fleet, question, guards, variant, group, &site) => looks = LOOKS,
                None => looks += 1,
            }
        }
    }

    /// Longest first.
    fn find_holders(&mut self, fleet: &Fleet, question: &Question<'_>, model: ModelIndex) {
        self.holders.clear();
        for prefix in question.prefixes().iter().rev() {
            let holders = fleet.holders(model, prefix.hash);
            self.holders.extend(holders.iter().map(|&slot| (slot, prefix.tokens)));
        }
    }

    /// Tells whether one of its operating points fits, and is free.
    fn assess_site(
        &mut self,
        fleet: &Fleet,
        question: &Question<'_>,
        guards: &Guards,
        variant: &Variant,
        group: &Group,
        site: &Site<'_>,
    ) -> bool {
        let mut enters = false;
        site.co_tenants(fleet, question.now, &mut self.co_tenants);
        let work = question.work(Question::cached(&self.holders, site.slot));
        for &index in site.points(&group.rows) {
            let Some(row) = fleet.rows.row(index) else { continue };
            if !site.has_memory(row) {
                self.counts[Verdict::NoMemory as usize] += 1;
                continue;
            }
            let calibration = site.node.calibration(index).unwrap_or(&fleet.uncalibrated);
            let (slot, situation) = site.situation(row, calibration, question, variant);
            let quality = row.quality.accuracy.or(variant.quality);
            let co_tenants = &self.co_tenants;
            let grounds =
                Grounds { work: &work, situation: &situation, calibration, slot, quality, co_tenants };
            let assessment = assess(row, &grounds, guards);
            let worth_waiting =
                assessment.verdict.is_crowded() && idle_would_fit(row, &grounds, guards, site);
            let place = site.place(index, variant, &work, guards.allow(quality), &assessment);
            enters |= place.open && place.verdict == Verdict::Fits;
            self.places.push(Spot { worth_waiting, ..place });
        }
        enters
    }
}

impl<'a> Site<'a> {
    fn of(fleet: &'a Fleet, question: &Question<'_>, slot: Slot, model: ModelIndex) -> Self {
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
    fn refuses(&self, question: &Question<'_>) -> Option<Verdict> {
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
    fn points<'r>(&'r self, rows: &'r [RowIndex]) -> &'r [RowIndex] {
        match self.engine.and_then(|engine| engine.row.as_ref()) {
            Some(row) if rows.contains(row) => std::slice::from_ref(row),
            _ => rows,
        }
    }

    fn is_loaded(&self) -> bool {
        let residency = self.engine.map(|engine| &engine.residency);
        matches!(residency, Some(Residency::Resident { .. } | Residency::Loading))
    }

    fn has_memory(&self, row: &Row) -> bool {
        self.is_loaded() || bytes_to_load(row) <= self.node.reachable_bytes()
    }

    /// And the seconds until there is a slot.
    fn situation(
        &self,
        row: &Row,
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
            Residency::Loading => self.load_left(row, calibration, question.now),
            Residency::Absent => variant.bytes as f64 / FETCH_BYTES_PER_SEC,
            _ => 0.0,
        };
        let slot = if self.open { 0.0 } else { self.next_slot(row, calibration, running) };
        let neighbours = self.node.neighbours(self.model);
        (slot, Situation { queue: arrival + slot, load, reuse: question.reuse, running, neighbours })
    }

    /// Seconds until a load that was ordered is done, by the row; half of it where nobody knows when it began.
    fn load_left(&self, row: &Row, calibration: &Calibration, now: Time) -> f64 {
        let whole = row.load.cold_ms.nominal() / 1e3 * calibration.factor(Phase::Load);
        let load = self.engine.and_then(|engine| engine.load);
        load.map_or(whole / 2.0, |load| (whole - now.since(load.since).as_secs_f64()).max(0.0))
    }

    /// Seconds until one of the streams there ends, and those who wait for it already have had theirs.
    fn next_slot(&self, row: &Row, calibration: &Calibration, running: Running) -> f64 {
        let of_engine = self.engine.map_or(&[][..], |engine| &engine.streams);
        let streams = self.node.engines().iter().flat_map(|engine| &engine.streams);
        let full = self.in_flight >= self.node.slots as usize;
        let left = if full {
            streams.map(|stream| stream.tokens_left()).min()
        } else {
            of_engine.iter().map(|stream| stream.tokens_left()).min()
        };
        let step = row.steps().decode_step(running.sequences.max(1), running.context as f64);
        let awaited = f64::from(self.engine.map_or(0, |engine| engine.awaited));
        let turns = 1.0 + awaited / (self.in_flight.max(1) as f64);
        left.unwrap_or(0) as f64 * step * calibration.factor(Phase::Decode) * turns
    }

    /// Those with targets that the request would slow down: in the engine, and beside it if it would wake one more.
    fn co_tenants(&self, fleet: &Fleet, now: Time, co_tenants: &mut Vec<CoTenant>) {
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

    fn place(&self, row: RowIndex, variant: &Variant, work: &Work, good: bool, found: &Assessment) -> Spot {
        let Prediction { ttft, completion, joules, .. } = found.prediction;
        Spot {
            slot: self.slot,
            model: self.model,
            row,
            bytes: variant.bytes,
            good,
            cached: work.cached_tokens,
            resident: self.is_loaded(),
            open: self.open,
            in_flight: self.in_flight as u16,
            verdict: found.verdict,
            excess: found.excess,
            worth_waiting: false,
            ttft: ttft.mean,
            completion: completion.mean,
            joules: joules.map_or(f64::INFINITY, |joules| joules.marginal),
        }
    }
}

/// Whether the request would keep its targets alone, after a wait for the first of those who are there now.
fn idle_would_fit(row: &Row, grounds: &Grounds<'_>, guards: &Guards, site: &Site<'_>) -> bool {
    let running = grounds.situation.running;
    let left = site.next_slot(row, grounds.calibration, running);
    let queue = grounds.situation.queue.max(left);
    let situation = Situation { queue, running: Running::default(), ..*grounds.situation };
    let alone = Grounds { situation: &situation, co_tenants: &[], ..*grounds };
    assess(row, &alone, guards).verdict == Verdict::Fits
}

/// Weights, and a context of keys and values. Compute buffers are in what the node keeps in reserve.
pub(crate) fn bytes_to_load(row: &Row) -> u64 {
    row.memory.weights_bytes + row.memory.kv_bytes_per_token * u64::from(row.key.context)
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
    row: &Row,
) -> Basis {
    let site = Site::of(fleet, question, place.slot, place.model);
    let calibration = *site.node.calibration(place.row).unwrap_or(&fleet.uncalibrated);
    let mut co_tenants = Vec::new();
    site.co_tenants(fleet, question.now, &mut co_tenants);
    let (slot, situation) = site.situation(row, &calibration, question, variant);
    let (work, quality) = (question.work(place.cached), row.quality.accuracy.or(variant.quality));
    Basis { work, situation, calibration, slot, quality, co_tenants }
}

impl Basis {
    pub(crate) fn grounds(&self) -> Grounds<'_> {
        let Self { work, situation, calibration, slot, quality, co_tenants } = self;
        Grounds { work, situation, calibration, slot: *slot, quality: *quality, co_tenants }
    }
}
