//! Every metric that is counted, by name.

use prometheus::{
    Counter, CounterVec, HistogramOpts, HistogramVec, IntCounterVec, IntGauge, Opts, Registry,
    process_collector::ProcessCollector,
};

/// What every histogram of an invocation is told apart by.
pub(super) const OF_INVOCATION: [&str; 4] = ["model", "node_class", "policy", "emulated"];

/// From a token on a fast machine to a long answer on a slow one.
const SECONDS: &[f64] =
    &[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0];
const SECONDS_PER_TOKEN: &[f64] =
    &[0.001, 0.0025, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0];
/// From a word on a small model to a long answer on a slow board.
const JOULES: &[f64] =
    &[0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1000.0, 2500.0];
/// Actual over predicted.
const RATIO: &[f64] = &[0.25, 0.5, 0.75, 0.9, 0.95, 1.0, 1.05, 1.1, 1.25, 1.5, 2.0, 4.0];

#[derive(Debug)]
pub(super) struct Families {
    pub(super) ttft: HistogramVec,
    pub(super) tpot: HistogramVec,
    pub(super) itl: HistogramVec,
    pub(super) duration: HistogramVec,
    pub(super) queue: HistogramVec,
    pub(super) load: HistogramVec,
    pub(super) energy: HistogramVec,
    pub(super) predicted: Predicted,
    /// By what was predicted.
    pub(super) ratio: HistogramVec,
    pub(super) tokens: IntCounterVec,
    pub(super) joules: CounterVec,
    pub(super) invocations: IntCounterVec,
    pub(super) attempts: IntCounterVec,
    pub(super) refusals: IntCounterVec,
    pub(super) requests: IntCounterVec,
    pub(super) leases: IntCounterVec,
    pub(super) connections: IntGauge,
    pub(super) unmetered: Counter,
}

/// What was said where a request was placed.
#[derive(Debug)]
pub(super) struct Predicted {
    pub(super) ttft: HistogramVec,
    pub(super) tpot: HistogramVec,
    pub(super) duration: HistogramVec,
    pub(super) queue: HistogramVec,
    pub(super) load: HistogramVec,
    pub(super) energy: HistogramVec,
}

struct Maker<'a>(&'a Registry);

impl Maker<'_> {
    fn histogram(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
        buckets: &[f64],
    ) -> Result<HistogramVec, prometheus::Error> {
        let options = HistogramOpts::new(name, help).buckets(buckets.to_vec());
        let histogram = HistogramVec::new(options, labels)?;
        self.0.register(Box::new(histogram.clone()))?;
        Ok(histogram)
    }

    fn of_invocation(
        &self,
        name: &str,
        help: &str,
        buckets: &[f64],
    ) -> Result<HistogramVec, prometheus::Error> {
        self.histogram(name, help, &OF_INVOCATION, buckets)
    }

    fn counter(&self, name: &str, help: &str, labels: &[&str]) -> Result<IntCounterVec, prometheus::Error> {
        let counter = IntCounterVec::new(Opts::new(name, help), labels)?;
        self.0.register(Box::new(counter.clone()))?;
        Ok(counter)
    }
}

impl Families {
    /// # Errors
    /// If a name is none, as a test sees to.
    pub(super) fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        registry.register(Box::new(ProcessCollector::for_self()))?;
        let make = Maker(registry);
        let joules = CounterVec::new(
            Opts::new(
                "dunlin_energy_joules_total",
                "Joules of answers, in the scope of the sensor, by kind: total, marginal, and of the marginal ones prefill and decode.",
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
            ttft: make.of_invocation(
                "gen_ai_server_time_to_first_token_seconds",
                "From the arrival of a request to its first token, queue and load included.",
                SECONDS,
            )?,
            tpot: make.of_invocation(
                "gen_ai_server_time_per_output_token_seconds",
                "Time per token after the first, the mean of an answer.",
                SECONDS_PER_TOKEN,
            )?,
            itl: make.of_invocation(
                "dunlin_inter_token_latency_seconds",
                "Between one delivery of tokens and the next, as the scheduler sees it: what comes together counts once.",
                SECONDS_PER_TOKEN,
            )?,
            duration: make.of_invocation(
                "gen_ai_server_request_duration_seconds",
                "From the arrival of a request to its end.",
                SECONDS,
            )?,
            queue: make.of_invocation("dunlin_queue_seconds", "Waiting for a place, loads aside.", SECONDS)?,
            load: make.of_invocation("dunlin_load_seconds", "Loading the model for a request.", SECONDS)?,
            energy: make.of_invocation(
                "dunlin_energy_joules",
                "Joules of an answer above idle, where they are known.",
                JOULES,
            )?,
            predicted: Predicted::register(&make)?,
            ratio: make.histogram(
                "dunlin_actual_to_predicted_ratio",
                "What an answer took over what was predicted: queue, load, ttft, tpot, total, joules.",
                &of_ratio,
                RATIO,
            )?,
            tokens: make.counter(
                "dunlin_tokens_total",
                "Tokens by kind: prompt (computed), cached, output, forced.",
                &["model", "node_class", "kind"],
            )?,
            joules,
            invocations: make.counter(
                "dunlin_invocations_total",
                "Invocations that came to an end, by how.",
                &["pipeline", "model", "outcome"],
            )?,
            attempts: make.counter(
                "dunlin_attempts_total",
                "Placements by how they ended; more than one for an invocation where something failed.",
                &["model", "node_class", "outcome"],
            )?,
            refusals: make.counter(
                "dunlin_refusals_total",
                "Invocations that were refused or failed, by reason.",
                &["reason"],
            )?,
            requests: make.counter(
                "dunlin_http_requests_total",
                "Answers of HTTP, by route and status.",
                &["route", "method", "status"],
            )?,
            leases: make.counter(
                "dunlin_leases_lost_total",
                "Nodes that were given up, by why: silent, wedged, superseded, unknown, no room.",
                &["node_class", "reason"],
            )?,
            connections,
            unmetered,
        })
    }
}

impl Predicted {
    fn register(make: &Maker<'_>) -> Result<Self, prometheus::Error> {
        const HELP: &str = "What was predicted where the request was placed.";
        let seconds = |name: &str, buckets| make.of_invocation(name, HELP, buckets);
        Ok(Self {
            ttft: seconds("dunlin_predicted_time_to_first_token_seconds", SECONDS)?,
            tpot: seconds("dunlin_predicted_time_per_output_token_seconds", SECONDS_PER_TOKEN)?,
            duration: seconds("dunlin_predicted_request_duration_seconds", SECONDS)?,
            queue: seconds("dunlin_predicted_queue_seconds", SECONDS)?,
            load: seconds("dunlin_predicted_load_seconds", SECONDS)?,
            energy: seconds("dunlin_predicted_energy_joules", JOULES)?,
        })
    }
}
