//! Looks at the places that a request could go to.

use dunlin_costs::{Prediction, Work};

use super::{
    assess::{Assessment, CoTenant, Grounds, Guards, Verdict, assess},
    choose::{TIE, score},
    decision::MAX_CANDIDATES,
    group::{Group, GroupId},
    point::{Least, Point},
    question::Question,
    rows::RowIndex,
    site::{Site, idle_would_fit},
};
use crate::{
    ModelIndex, Objective,
    catalog::Variant,
    fleet::{Fleet, Slot},
};

/// Nodes of one group that are looked at, if those before are full or do not fit; besides those that hold a prefix.
pub const LOOKS: usize = 3;

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
    /// What 90 % stay below, in seconds.
    pub(crate) ttft_q90: f64,
    /// What it takes has been far from its row for long.
    pub(crate) stale: bool,
}

pub(crate) type Counts = [u32; Verdict::COUNT];

/// Reused from one decision to the next.
#[derive(Debug, Default)]
pub(crate) struct Survey {
    pub(crate) places: Vec<Spot>,
    pub(crate) counts: Counts,
    /// Groups to look at, the most promising first: what no place in it can be below, and of what variant.
    groups: Vec<(Least, usize, GroupId)>,
    /// Of each variant, who holds how much of the prompt, longest first.
    holders: Vec<(usize, Slot, u32)>,
    /// Nodes of the group that is being looked at.
    visited: Vec<Slot>,
    co_tenants: Vec<CoTenant>,
    /// The least score of a place that fits and is free.
    least: f64,
    /// Looks at groups that cannot win, too.
    thorough: bool,
}

/// What a survey is for.
struct Aim<'a> {
    fleet: &'a Fleet,
    question: &'a Question<'a>,
    guards: Guards,
    objective: Objective,
}

impl Survey {
    pub(crate) fn thorough() -> Self {
        Self { thorough: true, ..Self::default() }
    }

    pub(crate) fn take(&mut self, fleet: &Fleet, question: &Question<'_>, variants: &[Variant]) {
        let objective = question.request.terms.objective;
        let aim = Aim { fleet, question, guards: question.guards(), objective };
        self.places.clear();
        self.groups.clear();
        self.holders.clear();
        (self.counts, self.least) = ([0; Verdict::COUNT], f64::INFINITY);
        for (at, variant) in variants.iter().enumerate() {
            let Some(model) = fleet.catalog.index(&variant.model) else { continue };
            if question.model.is_none_or(|only| only == model) {
                self.find_groups(&aim, at, model);
            }
        }
        self.groups
            .sort_unstable_by(|a, b| a.0.score.total_cmp(&b.0.score).then((a.1, a.2).cmp(&(b.1, b.2))));
        let groups = std::mem::take(&mut self.groups);
        for &(least, at, group) in &groups {
            self.look_at(&aim, least, at, &variants[at], group);
        }
        self.groups = groups;
    }

    fn find_groups(&mut self, aim: &Aim<'_>, variant: usize, model: ModelIndex) {
        let Aim { fleet, question, objective, .. } = *aim;
        for prefix in question.prefixes().iter().rev() {
            let holders = fleet.holders(model, prefix.hash);
            self.holders.extend(holders.iter().map(|&slot| (variant, slot, prefix.tokens)));
        }
        let held =
            self.holders.iter().filter(|holder| holder.0 == variant).map(|&(_, _, tokens)| tokens).max();
        let work = question.work(held.unwrap_or(0));
        let mut members = 0;
        for (id, group) in fleet.groups.of_model(model).filter(|(_, group)| group.len() > 0) {
            members += group.len();
            self.groups.push((group.least(objective, &work, &fleet.least_factors), variant, id));
        }
        self.counts[Verdict::Unavailable as usize] += fleet.len().saturating_sub(members) as u32;
    }

    /// The least busy nodes of a group, and those that hold the beginning of the prompt.
    fn look_at(&mut self, aim: &Aim<'_>, least: Least, at: usize, variant: &Variant, id: GroupId) {
        let group = aim.fleet.groups.group(id);
        if self.is_large() && !self.thorough && self.is_outdone(aim, least) {
            self.counts[Verdict::Outdone as usize] += group.len() as u32;
            return;
        }
        self.visited.clear();
        let (mut looks, mut members) = (0, group.members());
        while looks < LOOKS
            && let Some(slot) = members.next()
        {
            looks += self.visit(aim, at, variant, id, slot);
        }
        if aim.objective != Objective::Latency {
            self.visit_busy(aim, at, variant, id);
        }
        for holder in 0..self.holders.len() {
            let (of, slot, _) = self.holders[holder];
            if of == at && !self.visited.contains(&slot) && aim.fleet.node(slot).is_in(id) {
                self.visit(aim, at, variant, id, slot);
            }
        }
        self.counts[Verdict::Alike as usize] += (group.len() - self.visited.len()) as u32;
    }

    /// The busiest with a slot: one more in a batch adds less than one that is alone.
    fn visit_busy(&mut self, aim: &Aim<'_>, at: usize, variant: &Variant, id: GroupId) {
        let group = aim.fleet.groups.group(id);
        let unseen = group.busiest().take(LOOKS).filter(|slot| !self.visited.contains(slot));
        let open = |slot: &Slot| Site::of(aim.fleet, aim.question, *slot, group.model()).open;
        if let Some(slot) = unseen.filter(|slot| aim.fleet.node(*slot).in_flight() > 0).find(open) {
            self.visit(aim, at, variant, id, slot);
        }
    }

    /// What is beyond a record need not be looked at if it cannot win; of a small fleet, the record shows all.
    const fn is_large(&self) -> bool {
        self.places.len() >= MAX_CANDIDATES
    }

    fn is_outdone(&self, aim: &Aim<'_>, least: Least) -> bool {
        let fits = self.least.is_finite();
        least.score > self.least * TIE || (fits && least.ttft > aim.guards.ttft)
    }

    /// Tells how many looks that was worth.
    fn visit(&mut self, aim: &Aim<'_>, at: usize, variant: &Variant, id: GroupId, slot: Slot) -> usize {
        let group = aim.fleet.groups.group(id);
        self.visited.push(slot);
        let site = Site::of(aim.fleet, aim.question, slot, group.model());
        if let Some(verdict) = site.refuses(aim.question) {
            self.counts[verdict as usize] += 1;
            return 0;
        }
        let holder = self.holders.iter().find(|&&(of, holder, _)| of == at && holder == slot);
        let cached = holder.map_or(0, |&(_, _, tokens)| tokens);
        let enters = self.assess_site(aim, variant, group, &site, cached);
        // Those behind one that is free and fits are as free, or less, and no quicker.
        if enters && self.is_large() { LOOKS } else { 1 }
    }

    /// Tells whether one of its operating points fits, and is free.
    fn assess_site(
        &mut self,
        aim: &Aim<'_>,
        variant: &Variant,
        group: &Group,
        site: &Site<'_>,
        cached: u32,
    ) -> bool {
        let mut enters = false;
        site.co_tenants(aim.fleet, aim.question.now, &mut self.co_tenants);
        let work = aim.question.work(cached);
        for point in site.points(&group.points) {
            if !site.has_memory(point) {
                self.counts[Verdict::NoMemory as usize] += 1;
                continue;
            }
            let calibration = site.node.calibration(point.row).unwrap_or(&aim.fleet.uncalibrated);
            let (slot, situation) = site.situation(point, calibration, aim.question, variant);
            let quality = point.quality.or(variant.quality);
            let co_tenants = &self.co_tenants;
            let grounds =
                Grounds { work: &work, situation: &situation, calibration, slot, quality, co_tenants };
            let assessment = assess(&point.steps, &grounds, &aim.guards);
            let worth_waiting =
                assessment.verdict.is_crowded() && idle_would_fit(point, &grounds, &aim.guards, site);
            let good = aim.guards.allow(quality);
            let stale = calibration.is_stale();
            let spot =
                Spot { good, worth_waiting, stale, ..Spot::of(site, point, variant, &work, &assessment) };
            if spot.open && spot.verdict == Verdict::Fits {
                enters = true;
                self.least = self.least.min(score(&spot, aim.objective));
            }
            self.places.push(spot);
        }
        enters
    }
}

impl Spot {
    fn of(site: &Site<'_>, point: &Point, variant: &Variant, work: &Work, found: &Assessment) -> Self {
        let Prediction { ttft, completion, joules, .. } = found.prediction;
        Self {
            slot: site.slot,
            model: site.model,
            row: point.row,
            bytes: variant.bytes,
            good: false,
            cached: work.cached_tokens,
            resident: site.is_loaded(),
            open: site.open,
            in_flight: site.in_flight as u16,
            verdict: found.verdict,
            excess: found.excess,
            worth_waiting: false,
            ttft: ttft.mean,
            completion: completion.mean,
            joules: joules.map_or(f64::INFINITY, |joules| joules.marginal),
            ttft_q90: ttft.q90,
            stale: false,
        }
    }
}
