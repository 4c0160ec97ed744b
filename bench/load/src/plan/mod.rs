//! What is sent, and when.

mod lengths;
mod trace;
mod words;

use std::{sync::Arc, time::Duration};

use fastrand::Rng;

pub use lengths::Lengths;
pub use trace::{Entry, Trace, TraceError};
pub use words::Ruler;
pub(crate) use words::of_words;

use crate::MAX_REQUESTS;

/// Streams of chance, so that lengths stay the same when the rate changes.
const ARRIVALS: u64 = 0x9e37_79b9_7f4a_7c15;

/// A load. The same seed makes the same one.
#[derive(Debug, Clone)]
pub struct Plan {
    pub pace: Pace,
    pub work: Source,
    /// Requests in all; those of a trace are as many as it has.
    pub requests: Option<usize>,
    /// No request begins later.
    pub duration: Option<Duration>,
    pub seed: u64,
    /// How long words are in tokens, for prompts that are made up.
    pub ruler: Ruler,
}

/// When requests are sent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Pace {
    /// So many a second, whatever becomes of them; gaps are drawn from an exponential distribution.
    Poisson { rate: f64 },
    /// The same with equal gaps.
    Constant { rate: f64 },
    /// When the trace says; at twice the speed in half the time.
    Trace { speed: f64 },
    /// So many at once: the next when one has ended.
    Closed { concurrency: usize },
}

/// What requests ask.
#[derive(Debug, Clone)]
pub enum Source {
    MadeUp { prompt_tokens: Lengths, output_tokens: Lengths },
    Trace(Arc<Trace>),
}

/// One request.
#[derive(Debug, Clone, PartialEq)]
pub struct Planned {
    pub number: usize,
    /// Since the load began. `None`: as soon as there is room, in a closed loop.
    pub at: Option<Duration>,
    pub prompt: String,
    pub max_tokens: u64,
}

impl Plan {
    /// Whether the plan says when requests are sent, and not the server.
    pub fn is_open(&self) -> bool {
        !matches!(self.pace, Pace::Closed { .. })
    }

    /// Whether prompts are made up, for which the length of words has to be known.
    pub fn needs_words(&self) -> bool {
        match &self.work {
            Source::MadeUp { .. } => true,
            Source::Trace(trace) => trace.entries().iter().any(|entry| entry.prompt.is_none()),
        }
    }

    /// How many there are, where that is known before.
    pub fn count(&self) -> Option<usize> {
        let of_trace = match &self.work {
            Source::Trace(trace) => Some(trace.entries().len()),
            Source::MadeUp { .. } => None,
        };
        [of_trace, self.requests].into_iter().flatten().min()
    }

    /// Each in the order of its time.
    pub fn requests(&self) -> impl Iterator<Item = Planned> + Send + use<> {
        let plan = self.clone();
        let mut arrivals = Rng::with_seed(plan.seed ^ ARRIVALS);
        let mut at = Duration::ZERO;
        let count = plan.count().unwrap_or(MAX_REQUESTS).min(MAX_REQUESTS);
        (0..count).map_while(move |number| {
            at = plan.next(number, at, &mut arrivals);
            if plan.is_open() && plan.duration.is_some_and(|limit| at >= limit) {
                return None;
            }
            Some(plan.planned(number, at))
        })
    }

    fn next(&self, number: usize, before: Duration, arrivals: &mut Rng) -> Duration {
        let gap = match self.pace {
            // The first one also comes by chance.
            Pace::Poisson { rate } => -(1.0 - arrivals.f64()).ln() / rate,
            Pace::Constant { rate } => return Duration::from_secs_f64(number as f64 / rate),
            Pace::Closed { .. } => return Duration::ZERO,
            Pace::Trace { speed } => {
                let Source::Trace(trace) = &self.work else { return before };
                return trace.entries()[number].at.div_f64(speed);
            }
        };
        before + Duration::from_secs_f64(gap)
    }

    fn planned(&self, number: usize, at: Duration) -> Planned {
        // Its own stream: what one request asks does not depend on how many came before.
        let mut rng = Rng::with_seed(self.seed.wrapping_add(number as u64));
        let (prompt, max_tokens) = match &self.work {
            Source::MadeUp { prompt_tokens, output_tokens } => {
                let tokens = prompt_tokens.draw(&mut rng);
                (self.ruler.prompt(tokens, &mut rng), output_tokens.draw(&mut rng))
            }
            Source::Trace(trace) => {
                let entry = &trace.entries()[number];
                let prompt =
                    entry.prompt.clone().unwrap_or_else(|| self.ruler.prompt(entry.prompt_tokens, &mut rng));
                (prompt, entry.max_tokens)
            }
        };
        Planned { number, at: self.is_open().then_some(at), prompt, max_tokens }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(pace: Pace) -> Plan {
        let work =
            Source::MadeUp { prompt_tokens: "20..40".parse().unwrap(), output_tokens: "8".parse().unwrap() };
        Plan { pace, work, requests: Some(2000), duration: None, seed: 7, ruler: Ruler::default() }
    }

    #[test]
    fn poisson_arrivals_have_their_rate_and_their_spread() {
        let times: Vec<f64> =
            plan(Pace::Poisson { rate: 10.0 }).requests().map(|of| of.at.unwrap().as_secs_f64()).collect();
        let rate = times.len() as f64 / times.last().unwrap();
        assert!((9.5..10.5).contains(&rate), "{rate}");
        let gaps: Vec<f64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
        // Of an exponential distribution the deviation is the mean.
        assert!((0.93..1.07).contains(&(variance.sqrt() / mean)), "{}", variance.sqrt() / mean);
    }

    #[test]
    fn constant_arrivals_do_not_drift_and_end_in_time() {
        let mut plan = plan(Pace::Constant { rate: 3.0 });
        plan.duration = Some(Duration::from_secs(10));
        let requests: Vec<Planned> = plan.requests().collect();
        assert_eq!(requests.len(), 30);
        assert_eq!(requests[29].at, Some(Duration::from_secs_f64(29.0 / 3.0)));
    }

    #[test]
    fn a_seed_is_a_load() {
        let of = |seed: u64, pace: Pace| {
            let mut plan = plan(pace);
            (plan.seed, plan.requests) = (seed, Some(5));
            plan.requests().collect::<Vec<_>>()
        };
        let poisson = Pace::Poisson { rate: 1.0 };
        assert_eq!(of(1, poisson), of(1, poisson));
        assert_ne!(of(1, poisson), of(2, poisson));
        let prompts = |planned: Vec<Planned>| planned.into_iter().map(|of| of.prompt).collect::<Vec<_>>();
        assert_eq!(prompts(of(1, poisson)), prompts(of(1, Pace::Closed { concurrency: 2 })));
    }
}
