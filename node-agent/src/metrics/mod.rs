//! `/metrics` of a node: what its engines do, what it draws, and whether it is connected.
//!
//! Everything has the labels `node`, `node_class` and `emulated`; models are told apart by name, the first of them. What is counted
//! is kept here; what is so or otherwise now is read when it is asked for, in `scrape`.

mod engines;
mod listen;
mod scrape;

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use dunlin_link::Link;
use dunlin_protocol::{Outcome, Usage};
use prometheus::{
    HistogramOpts, HistogramVec, IntCounter, IntCounterVec, Opts, Registry,
    process_collector::ProcessCollector,
};

use self::engines::Engines;
pub use self::listen::{ExposeError, Exposed};
use crate::{AgentOptions, attempt::End};

/// Models that are told apart.
const MAX_MODELS: usize = 64;

/// What comes after.
const OTHER: &str = "other";

/// From a file that the page cache has to a large one on an SD card.
const LOAD_SECONDS: &[f64] = &[0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0];

/// From a small prompt on a fast machine to a long one on a slow one.
const PHASE_SECONDS: &[f64] =
    &[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0];

/// What is counted.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    /// Of all.
    labels: HashMap<String, String>,
    attempts: IntCounterVec,
    tokens: IntCounterVec,
    phases: HistogramVec,
    loads: HistogramVec,
    evictions: IntCounter,
    connections: IntCounter,
    engines: Mutex<Engines>,
    /// To the scheduler, while there is one.
    link: Mutex<Option<Link>>,
    models: Mutex<BTreeSet<String>>,
}

impl Metrics {
    /// # Errors
    /// If a name is none, as a test sees to.
    pub(crate) fn new(node: &str, options: &AgentOptions) -> Result<Self, prometheus::Error> {
        let labels = HashMap::from([
            ("node".to_owned(), node.to_owned()),
            ("node_class".to_owned(), options.class.clone()),
            ("emulated".to_owned(), options.emulation.is_some().to_string()),
        ]);
        let registry = Registry::new_custom(None, Some(labels.clone()))?;
        registry.register(Box::new(ProcessCollector::for_self()))?;
        let counters = |name: &str, help: &str, labels: &[&str]| {
            let counters = IntCounterVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(counters.clone()))?;
            Ok::<_, prometheus::Error>(counters)
        };
        let counter = |name: &str, help: &str| {
            let counter = IntCounter::new(name, help)?;
            registry.register(Box::new(counter.clone()))?;
            Ok::<_, prometheus::Error>(counter)
        };
        let histograms = |name: &str, help: &str, labels: &[&str], buckets: &[f64]| {
            let options = HistogramOpts::new(name, help).buckets(buckets.to_vec());
            let histograms = HistogramVec::new(options, labels)?;
            registry.register(Box::new(histograms.clone()))?;
            Ok::<_, prometheus::Error>(histograms)
        };
        let metrics = Self {
            attempts: counters(
                "dunlin_agent_attempts_total",
                "Attempts that ended on this node, by how; refused ones were not begun.",
                &["outcome"],
            )?,
            tokens: counters(
                "dunlin_engine_tokens_total",
                "Tokens by kind: prompt (computed), cached (found in the prefix cache), output, forced.",
                &["model", "kind"],
            )?,
            phases: histograms(
                "dunlin_engine_phase_seconds",
                "What an attempt took on this node, by phase: queue, prefill, decode.",
                &["model", "phase"],
                PHASE_SECONDS,
            )?,
            loads: histograms(
                "dunlin_model_load_seconds",
                "Loading a model into memory.",
                &["model"],
                LOAD_SECONDS,
            )?,
            evictions: counter(
                "dunlin_model_evictions_total",
                "Models that had to leave memory for others.",
            )?,
            connections: counter(
                "dunlin_link_connections_total",
                "Connections with a scheduler that were made; more than one where some were lost.",
            )?,
            engines: Mutex::new(Engines::new(&registry)?),
            link: Mutex::default(),
            models: Mutex::default(),
            labels,
            registry,
        };
        // What has not happened yet is 0, and not unknown.
        for outcome in ["done", "failed", "cancelled", "expired", "handed-over", "refused"] {
            metrics.attempts.with_label_values(&[outcome]);
        }
        Ok(metrics)
    }

    /// An attempt on a model came to its end.
    pub(crate) fn ended(&self, model: &str, end: &End) {
        let (outcome, usage) = match end {
            End::Refused(_) => ("refused", None),
            End::Ended(ended) => (name(&ended.outcome), Some(&ended.usage)),
        };
        self.attempts.with_label_values(&[outcome]).inc();
        if let Some(usage) = usage {
            self.took(&self.model(model), usage);
        }
    }

    fn took(&self, model: &str, usage: &Usage) {
        for (kind, count) in [
            ("prompt", usage.prompt_tokens),
            ("cached", usage.cached_tokens),
            ("output", usage.output_tokens),
            ("forced", usage.forced_tokens),
        ] {
            self.tokens.with_label_values(&[model, kind]).inc_by(count.into());
        }
        let phase = |name: &str, us: u64| {
            self.phases.with_label_values(&[model, name]).observe(us as f64 / 1e6);
        };
        phase("queue", usage.queue_us);
        if usage.ttft_us > 0 {
            phase("prefill", usage.ttft_us.saturating_sub(usage.queue_us + usage.load_us));
            phase("decode", usage.total_us.saturating_sub(usage.ttft_us));
        }
    }

    pub(crate) fn loaded(&self, model: &str, took: Duration) {
        self.loads.with_label_values(&[&*self.model(model)]).observe(took.as_secs_f64());
    }

    pub(crate) fn evicted(&self, models: usize) {
        self.evictions.inc_by(models as u64);
    }

    pub(crate) fn connected(&self, link: &Link) {
        self.connections.inc();
        *lock(&self.link) = Some(link.clone());
    }

    pub(crate) fn disconnected(&self) {
        *lock(&self.link) = None;
    }

    /// The first of them by their names.
    fn model(&self, name: &str) -> String {
        let mut known = lock(&self.models);
        if !known.contains(name) {
            if known.len() >= MAX_MODELS {
                return OTHER.to_owned();
            }
            known.insert(name.to_owned());
        }
        name.to_owned()
    }
}

fn name(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Done { .. } => "done",
        Outcome::Failed(_) => "failed",
        Outcome::Cancelled => "cancelled",
        Outcome::Expired => "expired",
        Outcome::HandedOver => "handed-over",
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
