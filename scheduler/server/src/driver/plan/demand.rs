//! What nodes were asked for of late.

use std::{collections::BTreeMap, time::Duration};

use dunlin_costs::{ModelDigest, Prediction, Work};
use dunlin_protocol::NodeId;
use dunlin_scheduler_core::Targets;
use tokio::time::Instant;

/// What was asked for counts half after this.
const HALF_LIFE: Duration = Duration::from_mins(5);

/// Weight of the newest request, for how long prompts and answers usually are.
const GAIN: f64 = 0.1;

/// Nodes and models whose demand is remembered; of more, what is asked for is not counted.
const MAX_ASKED: usize = 65_536;

/// A request in so long is none.
const LEAST_RATE: f64 = 1.0 / 3600.0;

/// Requests by node and model.
#[derive(Debug, Default)]
pub(super) struct Demands {
    asked: BTreeMap<(NodeId, ModelDigest), Asked>,
}

/// Requests of one model on one node, as they are now.
#[derive(Debug, Clone, Copy)]
pub(super) struct Demand {
    pub(super) model: ModelDigest,
    /// Requests a second.
    pub(super) rate: f64,
    pub(super) work: Work,
    pub(super) strictest: Strictest,
}

/// The strictest of some targets, in seconds; infinite where there is none.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Strictest {
    ttft: f64,
    tpot: f64,
    deadline: f64,
}

impl Strictest {
    pub(super) const NONE: Self = Self { ttft: f64::INFINITY, tpot: f64::INFINITY, deadline: f64::INFINITY };

    pub(super) fn of(targets: &Targets) -> Self {
        let seconds =
            |target: Option<Duration>| target.map_or(f64::INFINITY, |target| target.as_secs_f64().max(1e-6));
        Self { ttft: seconds(targets.ttft), tpot: seconds(targets.tpot), deadline: seconds(targets.deadline) }
    }

    fn and(self, other: Self) -> Self {
        Self {
            ttft: self.ttft.min(other.ttft),
            tpot: self.tpot.min(other.tpot),
            deadline: self.deadline.min(other.deadline),
        }
    }

    /// The largest part of a target that nine of ten requests take.
    pub(super) fn strain(&self, prediction: &Prediction) -> f64 {
        let parts = [
            prediction.ttft.q90 / self.ttft,
            prediction.tpot.q90 / self.tpot,
            prediction.completion.q90 / self.deadline,
        ];
        parts.into_iter().fold(0.0, f64::max)
    }
}

#[derive(Debug, Clone, Copy)]
struct Asked {
    /// Requests, each halved for every [`HALF_LIFE`] since.
    weight: f64,
    at: Instant,
    prompt: f64,
    cached: f64,
    output: f64,
    /// Of this half-life and of the one before.
    strictest: [Strictest; 2],
    turned: Instant,
}

impl Demands {
    /// A request has ended there.
    pub(super) fn note(
        &mut self,
        node: &NodeId,
        model: ModelDigest,
        work: &Work,
        targets: &Targets,
        now: Instant,
    ) {
        let key = (node.clone(), model);
        if self.asked.len() >= MAX_ASKED && !self.asked.contains_key(&key) {
            return;
        }
        self.asked.entry(key).or_insert_with(|| Asked::new(work, now)).take(
            work,
            Strictest::of(targets),
            now,
        );
    }

    /// What a node is asked for now; nothing of what is hardly ever.
    pub(super) fn of(&self, node: &NodeId, now: Instant) -> Vec<Demand> {
        let (least, most) = (ModelDigest::new([0; 32]), ModelDigest::new([0xff; 32]));
        let of_node = self.asked.range((node.clone(), least)..=(node.clone(), most));
        let demand = |((_, model), asked): (&(NodeId, ModelDigest), &Asked)| asked.demand(*model, now);
        of_node.map(demand).filter(|demand| demand.rate > LEAST_RATE).collect()
    }

    /// What is forgotten makes room.
    pub(super) fn tidy(&mut self, now: Instant) {
        self.asked.retain(|_, asked| asked.rate(now) > LEAST_RATE);
    }
}

impl Asked {
    fn new(work: &Work, now: Instant) -> Self {
        Self {
            weight: 0.0,
            at: now,
            prompt: work.prompt_tokens.into(),
            cached: work.cached_tokens.into(),
            output: work.output_tokens.into(),
            strictest: [Strictest::NONE; 2],
            turned: now,
        }
    }

    fn take(&mut self, work: &Work, targets: Strictest, now: Instant) {
        (self.weight, self.at) = (self.faded(now) + 1.0, now);
        for (mean, new) in [
            (&mut self.prompt, work.prompt_tokens),
            (&mut self.cached, work.cached_tokens),
            (&mut self.output, work.output_tokens),
        ] {
            *mean += GAIN * (f64::from(new) - *mean);
        }
        if now.saturating_duration_since(self.turned) > HALF_LIFE {
            self.strictest = [Strictest::NONE, self.strictest[0]];
            self.turned = now;
        }
        self.strictest[0] = self.strictest[0].and(targets);
    }

    fn faded(&self, now: Instant) -> f64 {
        let since = now.saturating_duration_since(self.at).as_secs_f64();
        self.weight * (-since / HALF_LIFE.as_secs_f64()).exp2()
    }

    /// A steady rate has this weight in the long run: rate x half-life / ln 2.
    fn rate(&self, now: Instant) -> f64 {
        self.faded(now) * std::f64::consts::LN_2 / HALF_LIFE.as_secs_f64()
    }

    fn demand(&self, model: ModelDigest, now: Instant) -> Demand {
        let work = Work {
            prompt_tokens: self.prompt.round() as u32,
            cached_tokens: self.cached.round() as u32,
            output_tokens: self.output.round() as u32,
        };
        Demand { model, rate: self.rate(now), work, strictest: self.strictest[0].and(self.strictest[1]) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn rates_come_and_fade() {
        let (node, other): (NodeId, NodeId) = ("ada".parse().unwrap(), "bob".parse().unwrap());
        let model = ModelDigest::new([7; 32]);
        let work = Work { prompt_tokens: 100, cached_tokens: 20, output_tokens: 50 };
        let targets = |ms: u64| Targets { tpot: Some(Duration::from_millis(ms)), ..Targets::default() };
        let (mut demands, began) = (Demands::default(), Instant::now());
        // Every ten seconds for an hour; the last twenty minutes are in no hurry.
        for request in 0..360u64 {
            let now = began + Duration::from_secs(10 * request);
            let ms = if request < 240 { 50 } else { 500 };
            demands.note(&node, model, &work, &targets(ms), now);
        }
        let end = began + Duration::from_mins(60);
        let [demand] = demands.of(&node, end)[..] else { panic!() };
        assert!((demand.rate - 0.1).abs() < 0.003, "{demand:?}");
        assert_eq!((demand.work, demand.strictest.tpot), (work, 0.5));
        assert!(demands.of(&other, end).is_empty());
        let later = demands.of(&node, end + HALF_LIFE)[0];
        assert!((later.rate - 0.05).abs() < 0.002, "{later:?}");
        assert!(demands.of(&node, end + 10 * HALF_LIFE).is_empty());
        demands.tidy(end + 10 * HALF_LIFE);
        assert!(demands.asked.is_empty());
    }
}
