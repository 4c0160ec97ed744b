//! The record of a decision: the best candidates with all that their predictions rest on, and counts of the rest.

use std::{sync::Arc, time::Duration};

use dunlin_costs::{Calibration, ModelDigest, Prediction, Row, Situation, Work};

use super::{
    assess::{CoTenant, Guards, Verdict, assess},
    choose::{Choice, Manner, Merit, choose, merit},
    point::Point,
    question::Question,
    site::{Basis, basis_of},
    survey::{Counts, Spot, Survey},
};
use crate::{
    AttemptId, DecisionId, NodeId, Request, Time,
    catalog::Variant,
    fleet::{Fleet, OperatingPoint},
};

/// Candidates that a decision keeps.
pub const MAX_CANDIDATES: usize = 16;

/// Why an invocation went where it went: `explain` needs nothing else.
#[derive(Debug, Clone)]
pub struct Decision {
    pub id: DecisionId,
    pub attempt: AttemptId,
    pub at: Time,
    /// Since the request was submitted.
    pub waited: Duration,
    pub request: Arc<Request>,
    /// The targets, as seconds from the decision.
    pub guards: Guards,
    pub manner: Manner,
    /// The best, the chosen one first.
    pub candidates: Vec<Candidate>,
    /// How many places were left out of `candidates`, by verdict.
    pub rest: Rest,
    /// Predictions that were made.
    pub predictions: u32,
}

/// A place that was looked at: a node, an operating point, a variant.
#[derive(Debug, Clone)]
pub struct Candidate {
    pub node: NodeId,
    pub row: Arc<Row>,
    pub verdict: Verdict,
    pub prediction: Prediction,
    pub(crate) basis: Basis,
    pub(crate) place: Spot,
}

/// Places, by verdict. Of [`Verdict::Alike`] and what is more remote, these are nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rest(Counts);

impl Rest {
    pub const fn of(&self, verdict: Verdict) -> u32 {
        self.0[verdict as usize]
    }

    pub fn total(&self) -> u32 {
        self.0.iter().sum()
    }
}

impl Candidate {
    pub fn model(&self) -> ModelDigest {
        self.row.key.model
    }

    pub fn point(&self) -> OperatingPoint {
        OperatingPoint::of(&self.row.key)
    }

    pub const fn work(&self) -> &Work {
        &self.basis.work
    }

    pub const fn situation(&self) -> &Situation {
        &self.basis.situation
    }

    pub const fn calibration(&self) -> &Calibration {
        &self.basis.calibration
    }

    pub fn co_tenants(&self) -> &[CoTenant] {
        &self.basis.co_tenants
    }

    /// Whether it had a slot.
    pub const fn is_open(&self) -> bool {
        self.place.open
    }

    /// By which part the worst of the missed targets is missed.
    pub const fn excess(&self) -> f64 {
        self.place.excess
    }

    /// The same from what was recorded.
    fn recomputed(&self, guards: &Guards) -> Self {
        let assessment = assess(self.row.steps(), &self.basis.grounds(), guards);
        let Prediction { ttft, completion, joules, .. } = assessment.prediction;
        let place = Spot {
            verdict: assessment.verdict,
            excess: assessment.excess,
            good: guards.allow(self.basis.quality),
            cached: self.basis.work.cached_tokens,
            ttft: ttft.mean,
            completion: completion.mean,
            joules: joules.map_or(f64::INFINITY, |joules| joules.marginal),
            ttft_q90: ttft.q90,
            ..self.place
        };
        Self { verdict: assessment.verdict, prediction: assessment.prediction, place, ..self.clone() }
    }
}

impl Decision {
    pub(crate) fn record(
        id: DecisionId,
        attempt: AttemptId,
        fleet: &Fleet,
        question: &Question<'_>,
        variants: &[Variant],
        survey: &mut Survey,
        choice: Choice,
    ) -> Self {
        let manner = Manner::of(question, survey);
        let guards = question.guards();
        let predictions = survey.places.len() as u32;
        let kept = keep(survey, manner, choice, |place| order(fleet, place));
        let rest = survey.counts;
        let candidates = kept.iter().filter_map(|place| candidate(fleet, question, variants, place, &guards));
        let mut candidates: Vec<Candidate> = candidates.collect();
        if let (Choice::Place(_), Some(first)) = (choice, candidates.first_mut()) {
            first.verdict = Verdict::Chosen;
        }
        let (request, waited) = (question.request.clone(), question.now - question.submitted);
        let at = question.now;
        Self { id, attempt, at, waited, request, guards, manner, candidates, rest: Rest(rest), predictions }
    }

    /// The one that was taken; `None` if none was.
    pub fn chosen(&self) -> Option<&Candidate> {
        self.candidates.first().filter(|candidate| candidate.verdict == Verdict::Chosen)
    }

    /// Predicts, judges and chooses once more, from what was recorded alone: the same, or the record is wrong.
    #[must_use]
    pub fn recomputed(&self) -> Self {
        let mut candidates: Vec<_> =
            self.candidates.iter().map(|candidate| candidate.recomputed(&self.guards)).collect();
        let places: Vec<Spot> = candidates.iter().map(|candidate| candidate.place).collect();
        let at = |place: &Spot| {
            let candidate = candidates
                .iter()
                .find(|candidate| candidate.place.slot == place.slot && candidate.place.row == place.row);
            candidate.map(|candidate| (candidate.node, place.row))
        };
        let choice = choose(&places, self.manner, at);
        if let (Choice::Place(chosen), true) = (choice, self.chosen().is_some()) {
            candidates[chosen].verdict = Verdict::Chosen;
        }
        Self { candidates, ..self.clone() }
    }
}

/// The name of a place, for ties.
pub(crate) fn order(fleet: &Fleet, place: &Spot) -> (NodeId, super::RowIndex) {
    (fleet.node(place.slot).id, place.row)
}

/// The best places, the chosen one first. The others are counted.
fn keep<O: Ord>(
    survey: &mut Survey,
    manner: Manner,
    choice: Choice,
    order: impl Fn(&Spot) -> O,
) -> Vec<Spot> {
    let chosen = match choice {
        Choice::Place(at) | Choice::Wait(Some(at)) => Some(survey.places.swap_remove(at)),
        _ => None,
    };
    let room = MAX_CANDIDATES - usize::from(chosen.is_some());
    let places = &survey.places;
    let mut merits: Vec<_> =
        (0_u32..).zip(places).map(|(at, place)| (merit(place, manner.objective), at)).collect();
    let name = |at: u32| order(&places[at as usize]);
    let by_merit = |a: &(Merit, u32), b: &(Merit, u32)| a.0.cmp(&b.0).then_with(|| name(a.1).cmp(&name(b.1)));
    if merits.len() > room {
        merits.select_nth_unstable_by(room, by_merit);
        for (_, at) in merits.drain(room..) {
            survey.counts[places[at as usize].verdict as usize] += 1;
        }
    }
    merits.sort_unstable_by(by_merit);
    chosen.into_iter().chain(merits.into_iter().map(|(_, at)| places[at as usize])).collect()
}

fn candidate(
    fleet: &Fleet,
    question: &Question<'_>,
    variants: &[Variant],
    place: &Spot,
    guards: &Guards,
) -> Option<Candidate> {
    let row = fleet.rows.row(place.row)?.clone();
    let variant = variants.iter().find(|variant| variant.model == row.key.model)?;
    let basis = basis_of(fleet, question, variant, place, &Point::of(place.row, &row));
    let assessment = assess(row.steps(), &basis.grounds(), guards);
    let node = fleet.node(place.slot).id;
    Some(Candidate {
        node,
        row,
        verdict: place.verdict,
        prediction: assessment.prediction,
        basis,
        place: *place,
    })
}
