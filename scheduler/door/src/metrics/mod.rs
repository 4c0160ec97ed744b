//! `/metrics`: what became of invocations, counted as they end, and the fleet as it is when it is asked about.
//!
//! Names follow Prometheus, and OpenTelemetry's conventions for generative AI where there are any. Labels are bounded: of
//! each, the first values are told apart, and the rest are `other`.

mod families;
mod labels;
mod scrape;

use dunlin_protocol::{Energy, FailureCode, PredictedCosts, Usage};
use dunlin_scheduler::look::{FENCED, Finished, Observe, State};
use prometheus::{HistogramVec, Registry};

use self::{families::Families, labels::Labels};
use crate::document;
pub(crate) use scrape::metrics;

/// All of them.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    labels: Labels,
    of: Families,
}

/// One quantity of an answer, as it was and as it was said to be, and where each is counted.
struct Held<'a> {
    name: &'a str,
    actual: Option<f64>,
    predicted: Option<f64>,
    actuals: &'a HistogramVec,
    predictions: &'a HistogramVec,
}

impl Metrics {
    /// # Errors
    /// If a name is none, as a test sees to.
    pub(crate) fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let of = Families::register(&registry)?;
        // A counter that begins at its first increment hides it from `rate` and `increase`: it begins at nothing.
        for reason in REASONS {
            of.refusals.with_label_values(&[reason]);
        }
        Ok(Self { registry, labels: Labels::default(), of })
    }

    pub(crate) fn answered(&self, route: &str, method: &str, status: u16) {
        // Methods and statuses are few; routes are those of the router.
        let status = status.to_string();
        self.of.requests.with_label_values(&[route, method, &status]).inc();
    }

    pub(crate) fn connections(&self, open: usize) {
        self.of.connections.set(open as i64);
    }

    /// There are nodes of this class, of which none may ever be given up.
    fn knows(&self, class: &str) {
        let class = self.labels.class(class);
        for reason in FENCED {
            self.of.leases.with_label_values(&[class.as_str(), reason]);
        }
    }
}

impl Observe for Metrics {
    fn finished(&self, finished: &Finished<'_>) {
        let of = finished.invocation;
        let model = self.labels.model(&of.model);
        let pipeline = self.labels.pipeline(&of.pipeline);
        for end in State::ENDS {
            let count = u64::from(end == of.state);
            self.of.invocations.with_label_values(&[pipeline.as_str(), &model, end.name()]).inc_by(count);
        }
        for attempt in &finished.attempts {
            let class = self.labels.class(attempt.class);
            self.of.attempts.with_label_values(&[model.as_str(), &class, attempt.outcome]).inc();
        }
        let expired = (of.state == State::Expired).then_some("deadline");
        if let Some(reason) = of.failure.as_ref().map(|failure| reason(failure.code)).or(expired) {
            self.of.refusals.with_label_values(&[reason]).inc();
        }
        let Some(usage) = of.usage.as_ref().filter(|_| of.state == State::Done) else { return };
        let class = self.labels.class(finished.class);
        let policy = self.labels.policy(&of.policy);
        let emulated = if usage.emulated { "true" } else { "false" };
        let labels = [model.as_str(), &class, &policy, emulated];
        for held in self.held(usage, finished.predicted.as_ref()) {
            held.count(&labels, &self.of.ratio);
        }
        let itl = self.of.itl.with_label_values(&labels);
        finished.gaps.iter().for_each(|gap| itl.observe(gap.as_secs_f64()));
        self.count_tokens(&model, &class, usage);
        match &usage.energy {
            Some(energy) => self.count_joules(&model, &class, energy),
            None => self.of.unmetered.inc_by(f64::from(usage.output_tokens)),
        }
    }

    fn fenced(&self, class: &str, reason: &'static str) {
        self.of.leases.with_label_values(&[&*self.labels.class(class), reason]).inc();
    }
}

impl Metrics {
    fn held<'a>(&'a self, usage: &Usage, predicted: Option<&PredictedCosts>) -> [Held<'a>; 6] {
        let Families { ttft, tpot, duration, queue, load, energy, predicted: said, .. } = &self.of;
        let seconds = |us: u64| us as f64 / 1e6;
        let held = |name, actual, costs: fn(&PredictedCosts) -> u64, actuals, predictions| Held {
            name,
            actual,
            predicted: predicted.map(|predicted| seconds(costs(predicted))),
            actuals,
            predictions,
        };
        // No load, no first token: there is no such time.
        let some = |us: u64| (us > 0).then(|| seconds(us));
        let joules = |millijoules: u64| millijoules as f64 / 1000.0;
        [
            held("queue", Some(seconds(usage.queue_us)), |costs| costs.queue_us, queue, &said.queue),
            held("load", some(usage.load_us), |costs| costs.load_us, load, &said.load),
            held("ttft", some(usage.ttft_us), |costs| costs.ttft_us, ttft, &said.ttft),
            held("tpot", document::tpot_us(usage).map(seconds), |costs| costs.tpot_us, tpot, &said.tpot),
            held("total", Some(seconds(usage.total_us)), |costs| costs.total_us, duration, &said.duration),
            Held {
                name: "joules",
                actual: usage.energy.as_ref().map(|energy| joules(energy.marginal_millijoules)),
                predicted: predicted.and_then(|costs| costs.marginal_millijoules).map(joules),
                actuals: energy,
                predictions: &said.energy,
            },
        ]
    }

    fn count_tokens(&self, model: &str, class: &str, usage: &Usage) {
        for (kind, count) in [
            ("prompt", usage.prompt_tokens),
            ("cached", usage.cached_tokens),
            ("output", usage.output_tokens),
            ("forced", usage.forced_tokens),
        ] {
            self.of.tokens.with_label_values(&[model, class, kind]).inc_by(count.into());
        }
    }

    fn count_joules(&self, model: &str, class: &str, energy: &Energy) {
        let source = serde_json::to_value(energy.source).unwrap_or_default();
        let source = source.as_str().unwrap_or("unknown");
        for (kind, millijoules) in [
            ("total", Some(energy.total_millijoules)),
            ("marginal", Some(energy.marginal_millijoules)),
            ("prefill", energy.prefill_millijoules),
            ("decode", energy.decode_millijoules),
        ] {
            if let Some(millijoules) = millijoules {
                let joules = self.of.joules.with_label_values(&[model, class, kind, source]);
                joules.inc_by(millijoules as f64 / 1000.0);
            }
        }
    }
}

impl Held<'_> {
    fn count(&self, labels: &[&str; 4], ratio: &HistogramVec) {
        let Self { name, actual, predicted, actuals, predictions } = self;
        actual.iter().for_each(|actual| actuals.with_label_values(labels).observe(*actual));
        predicted.iter().for_each(|predicted| predictions.with_label_values(labels).observe(*predicted));
        if let Some((actual, predicted)) = actual.zip(*predicted).filter(|(_, predicted)| *predicted > 0.0) {
            let [model, class, policy, emulated] = *labels;
            ratio.with_label_values(&[name, model, class, policy, emulated]).observe(actual / predicted);
        }
    }
}

/// All that [`reason`] says.
const REASONS: [&str; 15] = [
    "not_found",
    "overloaded",
    "no_fit",
    "quarantined",
    "unavailable",
    "memory",
    "load",
    "engine",
    "pipeline",
    "limit",
    "deadline",
    "invalid",
    "forbidden",
    "not_resumable",
    "other",
];

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
    fn all_names_can_be_registered() {
        Metrics::new().unwrap();
    }

    #[test]
    fn what_may_happen_is_counted_from_nothing() {
        use FailureCode as Code;

        let metrics = Metrics::new().unwrap();
        metrics.knows("pi5-8g");
        let said = |name: &str| {
            let families = metrics.registry.gather();
            let family = families.into_iter().find(|family| family.name() == name).unwrap();
            family.get_metric().iter().map(|of| of.get_counter().get_value()).collect::<Vec<_>>()
        };
        assert_eq!(said("dunlin_refusals_total"), [0.0; REASONS.len()]);
        assert_eq!(said("dunlin_leases_lost_total"), [0.0; FENCED.len()]);
        for code in [Code::NoFit, Code::Exhausted, Code::Unsupported, Code::NotResumable, Code::DiskFull] {
            assert!(REASONS.contains(&reason(code)), "{code:?}");
        }
    }
}
