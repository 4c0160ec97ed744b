//! What samples come to.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use serde::Serialize;

use crate::{plan::Plan, quantile::Quantiles, run::Outcome, sample::Sample};

/// From this on a request was sent late.
const LATE: Duration = Duration::from_millis(5);
/// From these on the client is said to have been late: parts of the requests, and its timers at p99.
const LATE_SHARE: f64 = 0.01;
const LATE_BEATS_MS: f64 = 20.0;
/// Requests from which on a 99th percentile is more than the worst few.
const ENOUGH_FOR_P99: usize = 100;

/// What a request should keep.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Slo {
    pub ttft: Option<Duration>,
    pub tpot: Option<Duration>,
}

impl Slo {
    pub fn is_some(&self) -> bool {
        self.ttft.is_some() || self.tpot.is_some()
    }

    /// A request of one token has no TPOT, and keeps any.
    fn is_kept_by(&self, sample: &Sample) -> bool {
        let keeps = |limit: Option<Duration>, value: Option<Duration>| match (limit, value) {
            (Some(limit), Some(value)) => value <= limit,
            _ => true,
        };
        sample.is_good() && keeps(self.ttft, sample.ttft()) && keeps(self.tpot, sample.tpot())
    }
}

/// Times in milliseconds. Failed requests are in the counts, not in the times.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    pub began_unix_ms: i64,
    /// Of requests that were sent, or should have been.
    pub offered: usize,
    pub good: usize,
    pub failed: usize,
    /// Under way when the run was stopped: in no other figure.
    pub cut_off: usize,
    pub was_stopped: bool,
    pub seconds: f64,
    pub offered_per_s: f64,
    pub good_per_s: f64,
    pub output_tokens_per_s: f64,
    pub prompt_tokens_per_s: Option<f64>,
    pub most_in_flight: usize,
    /// From when the request should have been sent.
    pub ttft_ms: Option<Quantiles>,
    pub tpot_ms: Option<Quantiles>,
    /// Between two pieces with a token.
    pub itl_ms: Option<Quantiles>,
    /// To the end of the answer.
    pub whole_ms: Option<Quantiles>,
    /// From when it was sent: how the two differ is the client's doing.
    pub sent_ttft_ms: Option<Quantiles>,
    pub slo: Option<Attainment>,
    pub failures: Vec<Failures>,
    pub tokens: Tokens,
    pub server: Option<ServerSide>,
    pub energy: Option<Energy>,
    /// Answers by node, where the server says.
    pub nodes: BTreeMap<String, usize>,
    pub lag: Lag,
    /// What has to be known to read it.
    pub notes: Vec<String>,
}

/// Who kept the targets.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Attainment {
    pub ttft_ms: Option<f64>,
    pub tpot_ms: Option<f64>,
    pub kept: usize,
    /// Of all that were offered: one that failed has not kept them.
    pub share: f64,
    pub goodput_per_s: f64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Failures {
    pub kind: String,
    pub count: usize,
    pub example: String,
    /// The longest wait that the server asked for.
    pub retry_after_s: Option<u64>,
}

/// Of whole answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Tokens {
    pub prompt: u64,
    pub output: u64,
    /// Pieces with a token, as they came.
    pub pieces: u64,
    /// Answers of which the server told its own count.
    pub told: usize,
    /// And of those, where it is another than that of the pieces.
    pub differ: usize,
}

/// By the server's clock.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ServerSide {
    pub queue_ms: Option<Quantiles>,
    pub load_ms: Option<Quantiles>,
    pub prefill_ms: Option<Quantiles>,
    pub decode_ms: Option<Quantiles>,
    pub ttft_ms: Option<Quantiles>,
}

/// Joules that the server told.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Energy {
    /// Of which it did.
    pub requests: usize,
    pub total_joules: Option<f64>,
    pub marginal_joules: Option<f64>,
    pub joules_per_request: f64,
    pub joules_per_output_token: Option<f64>,
    pub sources: BTreeSet<String>,
    /// Of boards that do not exist.
    pub emulated: usize,
}

/// How late this process was: what it adds to all times.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Lag {
    pub send_ms: Option<Quantiles>,
    /// Part of the requests that were sent more than 5 ms late.
    pub late_share: f64,
    /// Of a timer that ticks every 10 ms.
    pub timer_ms: Option<Quantiles>,
}

impl Lag {
    pub fn is_much(&self) -> bool {
        self.late_share > LATE_SHARE || self.timer_ms.is_some_and(|late| late.p99.value > LATE_BEATS_MS)
    }
}

impl Report {
    pub fn of(plan: &Plan, outcome: &Outcome, slo: Slo) -> Self {
        let samples = &outcome.samples;
        let good: Vec<&Sample> = samples.iter().filter(|sample| sample.is_good()).collect();
        let seconds = outcome.took.as_secs_f64();
        let per_s = |count: f64| if seconds > 0.0 { count / seconds } else { 0.0 };
        let times = |of: fn(&Sample) -> Option<Duration>| {
            Quantiles::of(good.iter().filter_map(|sample| of(sample).map(ms)).collect(), plan.seed)
        };
        let tokens = Tokens::of(&good);
        let mut report = Self {
            began_unix_ms: outcome.began_unix_ms,
            offered: samples.len(),
            good: good.len(),
            failed: samples.len() - good.len(),
            cut_off: outcome.cut_off,
            was_stopped: outcome.was_stopped,
            seconds,
            offered_per_s: per_s(samples.len() as f64),
            good_per_s: per_s(good.len() as f64),
            output_tokens_per_s: per_s(tokens.output as f64),
            prompt_tokens_per_s: (tokens.prompt > 0).then(|| per_s(tokens.prompt as f64)),
            most_in_flight: most_in_flight(samples),
            ttft_ms: times(Sample::ttft),
            tpot_ms: times(Sample::tpot),
            itl_ms: Quantiles::of(good.iter().flat_map(|sample| sample.gaps().map(ms)).collect(), plan.seed),
            whole_ms: times(|sample| Some(sample.whole())),
            sent_ttft_ms: times(|sample| sample.ttft().map(|ttft| ttft.saturating_sub(sample.lag()))),
            slo: slo.is_some().then(|| Attainment::of(slo, samples, seconds)),
            failures: failures(samples),
            tokens,
            server: ServerSide::of(&good, plan.seed),
            energy: Energy::of(&good),
            nodes: nodes(&good),
            lag: Lag::of(outcome, plan.seed),
            notes: Vec::new(),
        };
        report.notes = notes(plan, &report);
        report
    }
}

pub(crate) fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

fn most_in_flight(samples: &[Sample]) -> usize {
    let sent = samples.iter().filter(|sample| sample.end > sample.sent);
    let mut changes: Vec<(Duration, i64)> =
        sent.flat_map(|sample| [(sample.sent, 1), (sample.end, -1)]).collect();
    // Ends first: who begins when another ends takes its place.
    changes.sort_unstable();
    let (mut now, mut most) = (0_i64, 0);
    for (_, change) in changes {
        now += change;
        most = most.max(now);
    }
    most.unsigned_abs() as usize
}

fn failures(samples: &[Sample]) -> Vec<Failures> {
    let mut kinds = BTreeMap::<String, Failures>::new();
    for fault in samples.iter().filter_map(|sample| sample.fault.as_ref()) {
        let of = kinds.entry(fault.kind()).or_insert_with_key(|kind| Failures {
            kind: kind.clone(),
            count: 0,
            example: fault.to_string(),
            retry_after_s: None,
        });
        of.count += 1;
        of.retry_after_s = of.retry_after_s.max(fault.retry_after().map(|wait| wait.as_secs()));
    }
    let mut failures: Vec<Failures> = kinds.into_values().collect();
    failures.sort_by_key(|of| std::cmp::Reverse(of.count));
    failures
}

fn nodes(good: &[&Sample]) -> BTreeMap<String, usize> {
    let mut nodes = BTreeMap::new();
    for node in good.iter().filter_map(|sample| sample.node.clone()) {
        *nodes.entry(node).or_default() += 1;
    }
    nodes
}

impl Attainment {
    fn of(slo: Slo, samples: &[Sample], seconds: f64) -> Self {
        let kept = samples.iter().filter(|sample| slo.is_kept_by(sample)).count();
        Self {
            ttft_ms: slo.ttft.map(ms),
            tpot_ms: slo.tpot.map(ms),
            kept,
            share: if samples.is_empty() { 0.0 } else { kept as f64 / samples.len() as f64 },
            goodput_per_s: if seconds > 0.0 { kept as f64 / seconds } else { 0.0 },
        }
    }
}

impl Tokens {
    fn of(good: &[&Sample]) -> Self {
        let mut tokens = Self::default();
        for sample in good {
            tokens.output += sample.output_tokens();
            tokens.pieces += sample.piece_count;
            if let Some(usage) = sample.usage {
                tokens.prompt += usage.prompt_tokens;
                tokens.told += 1;
                tokens.differ += usize::from(usage.completion_tokens != sample.piece_count);
            }
        }
        tokens
    }
}

impl ServerSide {
    fn of(good: &[&Sample], seed: u64) -> Option<Self> {
        let times: Vec<_> = good.iter().filter_map(|sample| sample.times).collect();
        let of = |value: fn(&crate::ServerTimes) -> Option<f64>| {
            Quantiles::of(times.iter().filter_map(value).collect(), seed)
        };
        let side = Self {
            queue_ms: of(|times| times.queue_ms),
            load_ms: of(|times| times.load_ms),
            prefill_ms: of(|times| times.prefill_ms),
            decode_ms: of(|times| times.decode_ms),
            ttft_ms: of(|times| times.ttft_ms),
        };
        let knows_any = side.queue_ms.or(side.prefill_ms).or(side.ttft_ms).is_some();
        knows_any.then_some(side)
    }
}

impl Energy {
    fn of(good: &[&Sample]) -> Option<Self> {
        let told: Vec<_> =
            good.iter().filter_map(|sample| Some((*sample, sample.joules.as_ref()?))).collect();
        let sum = |of: fn(&crate::Joules) -> Option<f64>| {
            told.iter().map(|(_, joules)| of(joules)).sum::<Option<f64>>()
        };
        let (total, marginal) = (sum(|joules| joules.total), sum(|joules| joules.marginal));
        let joules = marginal.or(total).filter(|_| !told.is_empty())?;
        let tokens: u64 = told.iter().map(|(sample, _)| sample.output_tokens()).sum();
        Some(Self {
            requests: told.len(),
            total_joules: total,
            marginal_joules: marginal,
            joules_per_request: joules / told.len() as f64,
            joules_per_output_token: (tokens > 0).then(|| joules / tokens as f64),
            sources: told.iter().filter_map(|(_, joules)| joules.source.clone()).collect(),
            emulated: told.iter().filter(|(sample, _)| sample.is_emulated).count(),
        })
    }
}

impl Lag {
    fn of(outcome: &Outcome, seed: u64) -> Self {
        let samples = &outcome.samples;
        let late = samples.iter().filter(|sample| sample.lag() > LATE).count();
        Self {
            send_ms: Quantiles::of(samples.iter().map(|sample| ms(sample.lag())).collect(), seed),
            late_share: if samples.is_empty() { 0.0 } else { late as f64 / samples.len() as f64 },
            timer_ms: Quantiles::of(outcome.beats.iter().copied().map(ms).collect(), seed),
        }
    }
}

fn notes(plan: &Plan, report: &Report) -> Vec<String> {
    let mut notes = Vec::new();
    if !plan.is_open() {
        notes.push(
            "closed loop: the server sets the pace, so waiting that an open loop would show is not seen"
                .to_owned(),
        );
    }
    if report.lag.is_much() {
        let timers = report.lag.timer_ms.map_or(0.0, |late| late.p99.value);
        notes.push(format!(
            "this client was late itself: {:.1} % of requests were sent more than 5 ms late, its timers were up to {timers:.0} ms \
             late (p99); the times are in part its own",
            report.lag.late_share * 100.0
        ));
    }
    if report.good > 0 && report.good < ENOUGH_FOR_P99 {
        notes.push(format!("p99 of {} answers is little more than the slowest", report.good));
    }
    let tokens = report.tokens;
    if report.good > 0 && tokens.told == 0 {
        notes.push("the server did not count its tokens: pieces of the stream stand for them".to_owned());
    } else if tokens.pieces > 0 && tokens.output > tokens.pieces + tokens.pieces / 20 {
        notes.push(format!(
            "a piece of the stream has {:.1} tokens on average: ITL is of pieces",
            tokens.output as f64 / tokens.pieces as f64
        ));
    }
    if let Some(energy) = &report.energy
        && energy.emulated > 0
    {
        notes.push(format!(
            "{} of {} answers are of emulated boards: their times and joules are those of a model",
            energy.emulated, report.good
        ));
    }
    notes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Fault, Joules, Usage,
        plan::{Pace, Ruler, Source},
    };

    fn at(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// Sent `lag` late at 1 s times its number; a first token after `ttft`, then nine more each `tpot`.
    fn sample(number: usize, lag: u64, ttft: u64, tpot: u64) -> Sample {
        let intended = 1000 * number as u64;
        let mut sample = Sample::new(number, at(intended), at(intended + lag));
        sample.pieces = (0..10).map(|piece| at(intended + ttft + piece * tpot)).collect();
        (sample.piece_count, sample.end) = (10, at(intended + ttft + 9 * tpot));
        sample.usage = Some(Usage { prompt_tokens: 100, completion_tokens: 10 });
        sample
    }

    fn report(samples: Vec<Sample>, slo: Slo) -> Report {
        let work =
            Source::MadeUp { prompt_tokens: "9".parse().unwrap(), output_tokens: "9".parse().unwrap() };
        let pace = Pace::Poisson { rate: 1.0 };
        let plan = Plan { pace, work, requests: None, duration: None, seed: 1, ruler: Ruler::default() };
        let took = samples.iter().map(|sample| sample.end).max().unwrap_or_default();
        let outcome = Outcome {
            samples,
            cut_off: 0,
            was_stopped: false,
            took,
            began_unix_ms: 0,
            beats: vec![at(1); 100],
        };
        Report::of(&plan, &outcome, slo)
    }

    fn failed(number: usize, fault: Fault) -> Sample {
        Sample { fault: Some(fault), ..sample(number, 0, 1, 1) }
    }

    #[test]
    fn times_are_those_of_good_answers() {
        let samples = vec![sample(0, 0, 200, 50), sample(1, 0, 300, 30), failed(2, Fault::Cut)];
        let report = report(samples, Slo::default());
        assert_eq!((report.offered, report.good, report.failed), (3, 2, 1));
        let p50 = |of: Option<Quantiles>| of.unwrap().p50.value;
        assert_eq!((p50(report.ttft_ms), p50(report.tpot_ms), p50(report.itl_ms)), (250.0, 40.0, 40.0));
        assert_eq!((report.tokens.output, report.tokens.prompt, report.tokens.differ), (20, 200, 0));
        assert_eq!(report.slo, None);
        assert_eq!(report.seconds, 2.01);
    }

    #[test]
    fn goodput_counts_what_failed_as_missed() {
        let slo = Slo { ttft: Some(at(250)), tpot: Some(at(40)) };
        let samples = vec![
            sample(0, 0, 200, 40),
            sample(1, 0, 251, 40),
            sample(2, 0, 200, 41),
            failed(3, Fault::Timeout(at(9))),
        ];
        let found = report(samples, slo).slo.unwrap();
        assert_eq!((found.kept, found.share), (1, 0.25));
        assert!((found.goodput_per_s - 1.0 / 3.01).abs() < 0.01, "{found:?}");
    }

    #[test]
    fn a_late_client_says_so() {
        let on_time = report((0..50).map(|number| sample(number, 2, 100, 10)).collect(), Slo::default());
        assert!(!on_time.lag.is_much() && on_time.notes.len() == 1, "{:?}", on_time.notes);
        let late = report((0..50).map(|number| sample(number, 60, 100, 10)).collect(), Slo::default());
        assert_eq!(late.lag.late_share, 1.0);
        assert!(late.notes[0].contains("late itself: 100.0 %"), "{:?}", late.notes);
        // What it adds is in the TTFT, and can be seen.
        assert_eq!(late.ttft_ms.unwrap().p50.value - late.sent_ttft_ms.unwrap().p50.value, 60.0);
    }

    #[test]
    fn failures_are_counted_by_kind() {
        let busy = |seconds| Fault::Status {
            status: 429,
            said: "slow down".to_owned(),
            retry_after: Some(Duration::from_secs(seconds)),
        };
        let samples = vec![failed(0, Fault::Cut), failed(1, busy(3)), failed(2, busy(9))];
        let report = report(samples, Slo::default());
        let found: Vec<_> =
            report.failures.iter().map(|of| (of.kind.as_str(), of.count, of.retry_after_s)).collect();
        assert_eq!(found, [("status 429", 2, Some(9)), ("cut off", 1, None)]);
        assert_eq!(report.failures[0].example, "status 429: slow down");
        assert_eq!((report.ttft_ms, report.energy), (None, None));
    }

    #[test]
    fn joules_are_those_that_were_told() {
        let told = |number, marginal| Sample {
            joules: Some(Joules {
                marginal: Some(marginal),
                total: Some(2.0 * marginal),
                ..Joules::default()
            }),
            is_emulated: true,
            ..sample(number, 0, 100, 10)
        };
        let report = report(vec![told(0, 5.0), told(1, 7.0), sample(2, 0, 100, 10)], Slo::default());
        let energy = report.energy.unwrap();
        assert_eq!(
            (energy.requests, energy.marginal_joules, energy.total_joules),
            (2, Some(12.0), Some(24.0))
        );
        assert_eq!((energy.joules_per_request, energy.joules_per_output_token), (6.0, Some(0.6)));
        assert!(report.notes.iter().any(|note| note.starts_with("2 of 3 answers are of emulated")));
    }

    #[test]
    fn those_in_flight_are_counted() {
        assert_eq!(most_in_flight(&[sample(0, 0, 2500, 1), sample(1, 0, 900, 1), sample(2, 0, 10, 1)]), 2);
        assert_eq!(most_in_flight(&[]), 0);
    }
}
