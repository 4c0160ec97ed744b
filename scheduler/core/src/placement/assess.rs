//! What a request would take at one place, and whether that is within what was asked.
//!
//! Everything here is a function of [`Grounds`] and [`Guards`]: what is recorded of a decision, and recomputed to explain
//! it.

use dunlin_costs::{Calibration, Prediction, Situation, Steps, Work};
use serde::{Deserialize, Serialize};

use crate::{Targets, Time};

/// What a prediction for one place rests on, besides its cost row.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Grounds<'a> {
    pub(crate) work: &'a Work,
    pub(crate) situation: &'a Situation,
    pub(crate) calibration: &'a Calibration,
    /// Seconds until there is a slot, which are a part of the situation's queue.
    pub(crate) slot: f64,
    pub(crate) quality: Option<f64>,
    pub(crate) co_tenants: &'a [CoTenant],
}

/// A stream with targets that would share the node.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CoTenant {
    /// Tokens that it still has to generate.
    pub left: f64,
    /// Its targets in seconds, or infinity: between tokens, and from now to its last.
    pub tpot: f64,
    pub deadline: f64,
    /// Seconds between its tokens now, in the mean.
    pub pace: f64,
    /// By what that is multiplied if it is beside and not in the engine: one more model works on the node.
    pub beside: Option<f64>,
}

/// Targets as seconds from now, or infinity.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Guards {
    pub ttft: f64,
    pub tpot: f64,
    pub deadline: f64,
    pub joules_per_token: f64,
    pub min_quality: f64,
    /// Longest wait for a slot.
    pub wait: f64,
}

/// What was found of a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// It keeps every target, and is not the best that does.
    Fits,
    Chosen,
    /// It keeps every target but `min_quality`.
    BelowQuality,
    LateFirstToken,
    SlowTokens,
    LateEnd,
    TooManyJoules,
    /// Its cost row has no power, and joules are limited.
    UnknownJoules,
    /// It would make others there miss their targets.
    PushesOthers,
    /// It has no slot, and none will be free soon.
    NoSlot,
    /// The model does not fit beside what has to stay in memory.
    NoMemory,
    /// The node could not load the model a moment ago.
    LoadFailed,
    /// The node does not pass the policy's filter.
    FilteredOut,
    /// The node does not grant what the request needs.
    NotGranted,
    /// An attempt of the request failed there.
    Avoided,
    /// Like those of its group that were looked at, and no less busy.
    Alike,
    /// Its like cannot do as well as what was found, by what their rows say.
    Outdone,
    /// Cordoned, draining, out of touch, or without a cost row for the model.
    Unavailable,
}

impl Verdict {
    pub const COUNT: usize = Self::Unavailable as usize + 1;

    /// A target was missed, and nothing else is wrong.
    pub(crate) const fn is_missed_target(self) -> bool {
        use Verdict::{LateEnd, LateFirstToken, SlowTokens, TooManyJoules, UnknownJoules};
        matches!(self, LateFirstToken | SlowTokens | LateEnd | TooManyJoules | UnknownJoules)
    }

    /// It might be otherwise if the engine had less to do.
    pub(crate) const fn is_crowded(self) -> bool {
        matches!(self, Self::SlowTokens | Self::LateEnd | Self::PushesOthers)
    }
}

/// A prediction, and what it comes to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Assessment {
    pub(crate) prediction: Prediction,
    pub(crate) verdict: Verdict,
    /// By which part the worst missed target is missed.
    pub(crate) excess: f64,
}

pub(crate) fn assess(steps: &Steps, grounds: &Grounds<'_>, guards: &Guards) -> Assessment {
    let prediction = steps.predict(grounds.work, grounds.situation, grounds.calibration);
    let tokens = f64::from(grounds.work.prompt_tokens) + f64::from(grounds.work.output_tokens);
    let per_token = prediction.joules.map(|joules| joules.marginal_q90 / tokens.max(1.0));
    let mut worst = (0.0, Verdict::Fits);
    let mut guard = |value: f64, limit: f64, verdict| {
        let excess = value / limit - 1.0;
        if excess > worst.0 {
            worst = (excess, verdict);
        }
    };
    guard(prediction.ttft.q90, guards.ttft, Verdict::LateFirstToken);
    guard(prediction.completion.q90, guards.deadline, Verdict::LateEnd);
    if grounds.work.output_tokens > 1 {
        guard(prediction.tpot.q90, guards.tpot, Verdict::SlowTokens);
    }
    if guards.joules_per_token.is_finite() {
        match per_token {
            Some(per_token) => guard(per_token, guards.joules_per_token, Verdict::TooManyJoules),
            None => guard(f64::INFINITY, 1.0, Verdict::UnknownJoules),
        }
    }
    let (excess, missed) = worst;
    let pushes = || grounds.co_tenants.iter().any(|other| other.is_pushed(&prediction));
    let verdict = if grounds.slot > guards.wait {
        Verdict::NoSlot
    } else if pushes() {
        Verdict::PushesOthers
    } else if missed == Verdict::Fits && !guards.allow(grounds.quality) {
        Verdict::BelowQuality
    } else {
        missed
    };
    Assessment { prediction, verdict, excess }
}

impl CoTenant {
    /// Whether it keeps a target now that it would miss with the request beside it.
    fn is_pushed(&self, with: &Prediction) -> bool {
        let margin = with.tpot.q90 / with.tpot.mean;
        let before = self.pace * margin;
        let after = match self.beside {
            Some(slowdown) => before * slowdown,
            None => self.shared_pace(with),
        };
        let pushed = |before: f64, after: f64, limit: f64| before <= limit && after > limit;
        pushed(before, after, self.tpot) || pushed(before * self.left, after * self.left, self.deadline)
    }

    /// Over the tokens that it has left: slow while the prompt is read, then as the newcomer's own.
    fn shared_pace(&self, with: &Prediction) -> f64 {
        let reading = if with.reading_step.mean > 0.0 { with.reading / with.reading_step.mean } else { 0.0 };
        let during = reading.min(self.left);
        let tokens = self.left.max(1.0);
        (during * with.reading_step.q90 + (tokens - during).max(0.0) * with.tpot.q90) / tokens
    }
}

impl Guards {
    /// A quality that nobody measured is none.
    pub(crate) fn allow(&self, quality: Option<f64>) -> bool {
        quality.unwrap_or(0.0) >= self.min_quality
    }

    /// `submitted` was when the request came; one that is `resumed` has had its first token.
    pub(crate) fn new(targets: &Targets, submitted: Time, now: Time, resumed: bool, wait: f64) -> Self {
        let elapsed = now.since(submitted).as_secs_f64();
        // What is overdue has no time left, but some: excesses stay comparable.
        let left = |target: f64| (target - elapsed).max(1e-3);
        Self {
            ttft: targets.ttft.filter(|_| !resumed).map_or(f64::INFINITY, |ttft| left(ttft.as_secs_f64())),
            tpot: targets.tpot.map_or(f64::INFINITY, |tpot| tpot.as_secs_f64().max(1e-6)),
            deadline: targets.deadline.map_or(f64::INFINITY, |deadline| left(deadline.as_secs_f64())),
            joules_per_token: targets.joules_per_token.map_or(f64::INFINITY, |joules| joules.max(1e-9)),
            min_quality: targets.min_quality.unwrap_or(0.0),
            wait,
        }
    }
}
