//! Which of the places it is to be.

use std::cmp::{Ordering, Reverse};

use super::{
    assess::Verdict,
    question::Question,
    survey::{Spot, Survey},
};
use crate::{Objective, WhenNothingFits};

/// Scores that are within this share of the least are equal: what is at hand decides.
pub(super) const TIE: f64 = 1.05;

/// Indices of places.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Choice {
    /// There, now.
    Place(usize),
    /// There, or elsewhere, but not yet.
    Wait(Option<usize>),
    Nothing,
}

/// What the choice depends on, besides the places.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Manner {
    pub objective: Objective,
    pub when_nothing_fits: WhenNothingFits,
    /// It may wait for something better.
    pub patient: bool,
    /// It has been placed before: it is not turned away any more.
    pub begun: bool,
    /// Bytes of the smallest variant that is good enough.
    pub degrade_below: u64,
}

impl Manner {
    pub(crate) fn of(question: &Question<'_>, survey: &Survey) -> Self {
        let good = survey.places.iter().filter(|place| place.good).map(|place| place.bytes);
        let terms = &question.request.terms;
        Self {
            objective: terms.objective,
            when_nothing_fits: terms.when_nothing_fits,
            patient: question.is_patient(),
            begun: question.begun,
            degrade_below: good.min().unwrap_or(u64::MAX),
        }
    }
}

/// `order` names a place: node and row, for ties.
pub(crate) fn choose<O: Ord>(places: &[Spot], manner: Manner, order: impl Fn(&Spot) -> O) -> Choice {
    let score = |place: &Spot| score(place, manner.objective);
    let best =
        |among: &dyn Fn(&Spot) -> bool, score: &dyn Fn(&Spot) -> f64| best(places, among, score, &order);
    let enter = |at: usize| if places[at].open { Choice::Place(at) } else { Choice::Wait(Some(at)) };

    let fits = |place: &Spot| place.verdict == Verdict::Fits;
    if let Some(at) = best(&fits, &score) {
        if places[at].open {
            return Choice::Place(at);
        }
        let free = best(&|place| fits(place) && place.open, &score);
        let free = free.filter(|free| !is_worth_a_wait(&places[at], &places[*free], manner.objective));
        return free.map_or(Choice::Wait(Some(at)), Choice::Place);
    }
    if manner.patient && places.iter().any(|place| place.worth_waiting) {
        return Choice::Wait(None);
    }
    match manner.when_nothing_fits {
        WhenNothingFits::Queue if !manner.begun => return Choice::Wait(None),
        WhenNothingFits::Reject if !manner.begun => return Choice::Nothing,
        WhenNothingFits::Degrade => {
            let smaller =
                |place: &Spot| place.verdict == Verdict::BelowQuality && place.bytes < manner.degrade_below;
            if let Some(at) = best(&smaller, &score) {
                return enter(at);
            }
        }
        _ => {}
    }
    let acceptable = |place: &Spot| place.good || manner.when_nothing_fits == WhenNothingFits::Degrade;
    let missed = |place: &Spot| place.verdict.is_missed_target() && acceptable(place);
    let excess = |place: &Spot| place.excess;
    if let Some(at) = best(&missed, &excess) {
        return enter(at);
    }
    let forced = |place: &Spot| {
        place.verdict == Verdict::PushesOthers && place.open && acceptable(place) && !manner.patient
    };
    best(&forced, &excess).map_or(Choice::Wait(None), Choice::Place)
}

/// Whether to wait for a node although another one that fits is free. For an earlier first token only if that is sure: a wait that
/// is predicted from a stale row, or may well be longer than the whole way of the other, would leave nodes idle for nothing.
fn is_worth_a_wait(full: &Spot, free: &Spot, objective: Objective) -> bool {
    objective != Objective::Latency || (!full.stale && full.ttft_q90 < free.ttft_q90)
}

pub(super) fn score(place: &Spot, objective: Objective) -> f64 {
    match objective {
        Objective::Latency => place.ttft,
        Objective::Energy => place.joules,
        Objective::Balanced => place.joules * place.completion.max(f64::MIN_POSITIVE),
    }
}

/// The least by score. Ties go to what holds most of the prompt, then to what is resident, then to the earlier end, then
/// to the idler node, then by name: an order in which the first of all is the first of every subset that has it.
fn best<O: Ord>(
    places: &[Spot],
    among: &dyn Fn(&Spot) -> bool,
    score: &dyn Fn(&Spot) -> f64,
    order: &dyn Fn(&Spot) -> O,
) -> Option<usize> {
    let candidates = || places.iter().enumerate().filter(|(_, place)| among(place));
    let least = candidates().map(|(_, place)| score(place)).min_by(f64::total_cmp)?;
    let tied = candidates().filter(|(_, place)| score(place) <= least * TIE);
    let key = |place: &Spot| {
        let end = (place.completion.max(f64::MIN_POSITIVE).ln() / TIE.ln()).floor() as i64;
        (Reverse(place.cached), !place.resident, end, place.in_flight, order(place))
    };
    tied.min_by_key(|(_, place)| key(place)).map(|(at, _)| at)
}

/// What comes first in the record: what fits, then what misses by least; of equals, the better score.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Merit {
    misses: f64,
    score: f64,
}

impl Merit {
    pub(crate) fn cmp(&self, other: &Self) -> Ordering {
        self.misses.total_cmp(&other.misses).then_with(|| self.score.total_cmp(&other.score))
    }
}

pub(crate) fn merit(place: &Spot, objective: Objective) -> Merit {
    let misses = if place.verdict == Verdict::Fits { -1.0 } else { place.excess };
    Merit { misses, score: score(place, objective) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{catalog::ModelIndex, fleet::Slot, placement::RowIndex};

    /// One that fits; times in seconds.
    fn spot(slot: u32, open: bool, ttft: f64, ttft_q90: f64, stale: bool) -> Spot {
        Spot {
            slot: Slot(slot),
            model: ModelIndex::default(),
            row: RowIndex::default(),
            bytes: 1,
            good: true,
            cached: 0,
            resident: true,
            open,
            in_flight: 0,
            verdict: Verdict::Fits,
            excess: 0.0,
            worth_waiting: false,
            ttft,
            completion: ttft,
            joules: ttft,
            ttft_q90,
            stale,
        }
    }

    #[track_caller]
    fn check(objective: Objective, full: Spot, expected: Choice) {
        let manner = Manner {
            objective,
            when_nothing_fits: WhenNothingFits::BestEffort,
            patient: true,
            begun: false,
            degrade_below: u64::MAX,
        };
        let places = [full, spot(1, true, 0.05, 0.08, false)];
        assert_eq!(choose(&places, manner, |place| place.slot.0), expected);
    }

    #[test]
    fn a_wait_beside_a_free_node_has_to_be_sure() {
        let sure = spot(0, false, 0.025, 0.03, false);
        check(Objective::Latency, sure, Choice::Wait(Some(0)));
        check(Objective::Latency, Spot { ttft_q90: 21.0, ..sure }, Choice::Place(1));
        check(Objective::Latency, Spot { stale: true, ..sure }, Choice::Place(1));
        check(Objective::Latency, Spot { stale: true, open: true, ..sure }, Choice::Place(0));
        // Who wants few joules waits for them.
        check(Objective::Energy, Spot { ttft_q90: 21.0, ..sure }, Choice::Wait(Some(0)));
    }
}
