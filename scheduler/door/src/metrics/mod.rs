//! `/metrics`: what became of invocations, counted as they end, and the fleet as it is when it is asked about.
//!
//! Names follow Prometheus, and OpenTelemetry's conventions for generative AI where there are any. Labels are bounded: of
//! each, the first values are told apart, and the rest are `other`.

mod labels;
mod scrape;

use dunlin_protocol::{Energy, FailureCode};
use dunlin_scheduler::look::{Finished, Observe, State};
use prometheus::{Counter, CounterVec, HistogramOpts, HistogramVec, IntCounterVec, IntGauge, Opts, Registry};

use self::labels::Labels;
pub(crate) use scrape::metrics;

/// What every histogram of an invocation is told apart by.
const OF_INVOCATION: [&str; 4] = ["model", "node_class", "policy", "emulated"];

/// From a token on a fast machine to a long answer on a slow one.
const SECONDS: &[f64] =
    &[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0];
const SECONDS_PER_TOKEN: &[f64] =
    &[0.001, 0.0025, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0];
/// Actual over predicted.
const RATIO: &[f64] = &[0.25, 0.5, 0.75, 0.9, 0.95, 1.0, 1.05, 1.1, 1.25, 1.5, 2.0, 4.0];

/// All of them.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    labels: Labels,
    ttft: HistogramVec,
    tpot: HistogramVec,
    duration: HistogramVec,
    queue: HistogramVec,
    load: HistogramVec,
    predicted_ttft: HistogramVec,
    predicted_tpot: HistogramVec,
    /// By what was predicted.
    ratio: HistogramVec,
    tokens: IntCounterVec,
    joules: CounterVec,
    invocations: IntCounterVec,
    attempts: IntCounterVec,
    refusals: IntCounterVec,
    requests: IntCounterVec,
    pub(crate) connections: IntGauge,
    unmetered: Counter,
}

impl Metrics {
    /// # Errors
    /// If a name is none, as a test sees to.
    pub(crate) fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let histogram = |name: &str, help: &str, labels: &[&str], buckets: &[f64]| {
            let options = HistogramOpts::new(name, help).buckets(buckets.to_vec());
            let histogram = HistogramVec::new(options, labels)?;
            registry.register(Box::new(histogram.clone()))?;
            Ok::<_, prometheus::Error>(histogram)
        };
        let counter = |name: &str, help: &str, labels: &[&str]| {
            let counter = IntCounterVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(counter.clone()))?;
            Ok::<_, prometheus::Error>(counter)
        };
        let joules = CounterVec::new(
            Opts::new(
                "dunlin_energy_joules_total",
                "Joules of answers, of the scope of the sensor, by kind: total or marginal.",
            ),
            &["model", "node_class", "kind", "source"],
        )?;
        registry.register(Box::new(joules.clone()))?;
        let connections = IntGauge::new("dunlin_http_connections", "Connections of HTTP that are open.")?;
        registry.register(Box::new(connections.clone()))?;
        let unmetered =
            Counter::new("dunlin_unmetered_tokens_total", "Output tokens of which no joules are known.")?;
        registry.register(Box::new(unmetered.clone()))?;
        let mut of_ratio = vec!["quantity"];
        of_ratio.extend(OF_INVOCATION);
        Ok(Self {
            labels: Labels::default(),
            ttft: histogram(
                "gen_ai_server_time_to_first_token_seconds",
                "From the arrival of a request to its first token, queue and load included.",
                &OF_INVOCATION,
                SECONDS,
            )?,
            tpot: histogram(
                "gen_ai_server_time_per_output_token_seconds",
                "Time per token after the first, the mean of an answer.",
                &OF_INVOCATION,
                SECONDS_PER_TOKEN,
            )?,
            duration: histogram(
                "gen_ai_server_request_duration_seconds",
                "From the arrival of a request to its end.",
                &OF_INVOCATION,
                SECONDS,
            )?,
            queue: histogram(
                "dunlin_queue_seconds",
                "Waiting for a place, loads aside.",
                &OF_INVOCATION,
                SECONDS,
            )?,
            load: histogram(
                "dunlin_load_seconds",
                "Loading the model for a request.",
                &OF_INVOCATION,
                SECONDS,
            )?,
            predicted_ttft: histogram(
                "dunlin_predicted_time_to_first_token_seconds",
                "What was predicted where the request was placed.",
                &OF_INVOCATION,
                SECONDS,
            )?,
            predicted_tpot: histogram(
                "dunlin_predicted_time_per_output_token_seconds",
                "What was predicted where the request was placed.",
                &OF_INVOCATION,
                SECONDS_PER_TOKEN,
            )?,
            ratio: histogram(
                "dunlin_actual_to_predicted_ratio",
                "What an answer took over what was predicted: ttft, tpot, total, joules.",
                &of_ratio,
                RATIO,
            )?,
            tokens: counter(
                "dunlin_tokens_total",
                "Tokens by kind: prompt (computed), cached, output, forced.",
                &["model", "node_class", "kind"],
            )?,
            joules,
            invocations: counter(
                "dunlin_invocations_total",
                "Invocations that came to an end, by how.",
                &["pipeline", "model", "outcome"],
            )?,
            attempts: counter(
                "dunlin_attempts_total",
                "Placements; more than one each where something failed.",
                &["model"],
            )?,
            refusals: counter(
                "dunlin_refusals_total",
                "Invocations that were refused or failed, by reason.",
                &["reason"],
            )?,
            requests: counter(
                "dunlin_http_requests_total",
                "Answers of HTTP, by route and status.",
                &["route", "method", "status"],
            )?,
            connections,
            unmetered,
            registry,
        })
    }

    pub(crate) fn answered(&self, route: &str, method: &str, status: u16) {
        // Methods and statuses are few; routes are those of the router.
        let status = status.to_string();
        self.requests.with_label_values(&[route, method, &status]).inc();
    }
}

impl Observe for Metrics {
    fn finished(&self, finished: &Finished<'_>) {
        let of = finished.invocation;
        let model = self.labels.model(&of.model);
        let pipeline = self.labels.pipeline(&of.pipeline);
        self.invocations.with_label_values(&[pipeline.as_str(), &model, of.state.name()]).inc();
        self.attempts.with_label_values(&[model.as_str()]).inc_by(of.placed.len() as u64);
        if let Some(failure) = &of.failure {
            self.refusals.with_label_values(&[reason(failure.code)]).inc();
        }
        let Some(usage) = of.usage.as_ref().filter(|_| of.state == State::Done) else { return };
        let class = self.labels.class(finished.class);
        let policy = self.labels.policy(&of.policy);
        let emulated = if usage.emulated { "true" } else { "false" };
        let labels = [model.as_str(), &class, &policy, emulated];
        let seconds = |us: u64| us as f64 / 1e6;
        let mut pairs = vec![("total", usage.total_us, finished.predicted.map(|costs| costs.total_us))];
        self.duration.with_label_values(&labels).observe(seconds(usage.total_us));
        self.queue.with_label_values(&labels).observe(seconds(usage.queue_us));
        if usage.load_us > 0 {
            self.load.with_label_values(&labels).observe(seconds(usage.load_us));
        }
        if usage.ttft_us > 0 {
            self.ttft.with_label_values(&labels).observe(seconds(usage.ttft_us));
            pairs.push(("ttft", usage.ttft_us, finished.predicted.map(|costs| costs.ttft_us)));
        }
        if let Some(tpot) = document::tpot_us(usage) {
            self.tpot.with_label_values(&labels).observe(seconds(tpot));
            pairs.push(("tpot", tpot, finished.predicted.map(|costs| costs.tpot_us)));
        }
        if let Some(costs) = finished.predicted {
            self.predicted_ttft.with_label_values(&labels).observe(seconds(costs.ttft_us));
            self.predicted_tpot.with_label_values(&labels).observe(seconds(costs.tpot_us));
            let energy = usage.energy.as_ref().zip(costs.marginal_millijoules);
            pairs.extend(
                energy.map(|(energy, predicted)| ("joules", energy.marginal_millijoules, Some(predicted))),
            );
        }
        for (quantity, actual, predicted) in pairs {
            if let Some(predicted) = predicted.filter(|predicted| *predicted > 0) {
                let labels = [quantity, labels[0], labels[1], labels[2], labels[3]];
                self.ratio.with_label_values(&labels).observe(actual as f64 / predicted as f64);
            }
        }
        for (kind, count) in [
            ("prompt", usage.prompt_tokens),
            ("cached", usage.cached_tokens),
            ("output", usage.output_tokens),
            ("forced", usage.forced_tokens),
        ] {
            self.tokens.with_label_values(&[model.as_str(), &class, kind]).inc_by(count.into());
        }
        match &usage.energy {
            Some(energy) => self.count_joules(&model, &class, energy),
            None => self.unmetered.inc_by(f64::from(usage.output_tokens)),
        }
    }
}

impl Metrics {
    fn count_joules(&self, model: &str, class: &str, energy: &Energy) {
        let source = serde_json::to_value(energy.source).unwrap_or_default();
        let source = source.as_str().unwrap_or("unknown");
        for (kind, millijoules) in
            [("total", energy.total_millijoules), ("marginal", energy.marginal_millijoules)]
        {
            self.joules.with_label_values(&[model, class, kind, source]).inc_by(millijoules as f64 / 1000.0);
        }
    }
}

fn reason(code: FailureCode) -> &'static str {
    use FailureCode as Code;
    match code {
        Code::NotFound => "not_found",
        Code::Overloaded => "overloaded",
        Code::NoFit => "no_fit",
        Code::Quarantined => "quarantined",
        Code::Unavailable => "unavailable",
        Code::Memory => "memory",
        Code::Load => "load",
        Code::Engine => "engine",
        Code::Pipeline => "pipeline",
        Code::Exhausted => "limit",
        Code::Deadline => "deadline",
        Code::Invalid | Code::Malformed | Code::Unsupported => "invalid",
        Code::Forbidden => "forbidden",
        Code::NotResumable => "not_resumable",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_names_can_be_registered_and_time_per_token_is_of_further_tokens() {
        Metrics::new().unwrap();
        assert_eq!(tpot_us(1000, 11_000, 11), Some(1000));
        assert_eq!((tpot_us(1000, 11_000, 1), tpot_us(0, 11_000, 5)), (None, None));
    }
}
