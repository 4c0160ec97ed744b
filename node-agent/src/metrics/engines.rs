//! What engines count by themselves, summed up over their lives: a process that is started again counts from 0.

use std::collections::BTreeMap;

use dunlin_worker_handle::{ModelId, Vitals};
use prometheus::{IntCounterVec, Opts, Registry};

#[derive(Debug)]
pub(super) struct Engines {
    steps: IntCounterVec,
    evictions: IntCounterVec,
    restarts: IntCounterVec,
    last: BTreeMap<ModelId, Vitals>,
}

impl Engines {
    pub(super) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let counters = |name: &str, help: &str| {
            let counters = IntCounterVec::new(Opts::new(name, help), &["model"])?;
            registry.register(Box::new(counters.clone()))?;
            Ok::<_, prometheus::Error>(counters)
        };
        Ok(Self {
            steps: counters(
                "dunlin_engine_steps_total",
                "Steps of the engine, each of all sequences at once.",
            )?,
            evictions: counters(
                "dunlin_engine_prefix_evictions_total",
                "Kept prefixes that had to leave the KV cache.",
            )?,
            restarts: counters(
                "dunlin_engine_restarts_total",
                "Starts of an engine's process after the first: it had died.",
            )?,
            last: BTreeMap::new(),
        })
    }

    /// Counts what is new. `name` gives the label of a model.
    pub(super) fn count(&mut self, now: &BTreeMap<ModelId, Vitals>, name: impl Fn(&ModelId) -> String) {
        for (id, vitals) in now {
            let before = self.last.get(id).copied().unwrap_or_default();
            let is_same = before.starts == vitals.starts && before.pulse.steps <= vitals.pulse.steps;
            let pulse = if is_same { before.pulse } else { Default::default() };
            let name = name(id);
            let count = |counters: &IntCounterVec, by: u64| counters.with_label_values(&[&*name]).inc_by(by);
            count(&self.steps, vitals.pulse.steps - pulse.steps);
            count(&self.evictions, vitals.pulse.evictions.saturating_sub(pulse.evictions));
            count(&self.restarts, vitals.starts.saturating_sub(before.starts.max(1)).into());
        }
        self.last.clone_from(now);
    }
}

#[cfg(test)]
mod tests {
    use dunlin_engine_handle::Pulse;

    use super::*;

    #[test]
    fn an_engine_that_is_started_again_goes_on_counting() {
        let mut engines = Engines::new(&Registry::new()).unwrap();
        let mut see = |starts: u32, steps: u64, evictions: u64| {
            let pulse = Pulse { steps, evictions, ..Pulse::default() };
            let now = BTreeMap::from([(ModelId("m".into()), Vitals { pulse, starts })]);
            engines.count(&now, |id| id.0.clone());
            let counted = |of: &IntCounterVec| of.with_label_values(&["m"]).get();
            (counted(&engines.steps), counted(&engines.evictions), counted(&engines.restarts))
        };
        assert_eq!(see(1, 10, 1), (10, 1, 0));
        assert_eq!(see(1, 15, 1), (15, 1, 0));
        // It died twice in between.
        assert_eq!(see(3, 2, 0), (17, 1, 2));
        // Evicted, and loaded again.
        engines.count(&BTreeMap::new(), |id| id.0.clone());
        let mut again = |steps| {
            let vitals = Vitals { pulse: Pulse { steps, ..Pulse::default() }, starts: 1 };
            engines.count(&BTreeMap::from([(ModelId("m".into()), vitals)]), |id| id.0.clone());
            (engines.steps.with_label_values(&["m"]).get(), engines.restarts.with_label_values(&["m"]).get())
        };
        assert_eq!(again(4), (21, 2));
    }
}
