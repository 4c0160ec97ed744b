//! How often a model is asked for: what a load is worth, and when to come back.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use crate::Time;

/// A model that was loaded is taken to stay for so long.
const STAY_SECS: f64 = 120.0;

/// More requests than this are not counted on.
const MAX_REUSE: f64 = 64.0;

/// Weight of the newest interval.
const GAIN: f64 = 0.1;

/// The mean interval between events.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Interval {
    last: Option<Time>,
    mean_secs: Option<f64>,
}

impl Interval {
    pub(crate) fn event(&mut self, now: Time) {
        if let Some(last) = self.last {
            let interval = now.since(last).as_secs_f64();
            let mean = self.mean_secs.unwrap_or(interval);
            self.mean_secs = Some(mean + GAIN * (interval - mean));
        }
        self.last = Some(now);
    }

    /// Until `events` more of them, if they go on as they did; `None` if that is not known.
    pub(crate) fn until(&self, events: usize) -> Option<Duration> {
        self.mean_secs.map(|mean| crate::time::from_secs(mean * events as f64))
    }
}

#[derive(Debug, Default)]
pub(crate) struct Demand {
    requests: BTreeMap<Arc<str>, Interval>,
}

impl Demand {
    pub(crate) fn request(&mut self, model: &Arc<str>, now: Time) {
        match self.requests.get_mut(model) {
            Some(interval) => interval.event(now),
            None => self.requests.entry(model.clone()).or_default().event(now),
        }
    }

    pub(crate) fn keep(&mut self, known: impl Fn(&str) -> bool) {
        self.requests.retain(|model, _| known(model));
    }

    /// Requests that will share a load, this one included.
    pub(crate) fn reuse(&self, model: &str, now: Time) -> f64 {
        let interval = self.requests.get(model).and_then(|interval| {
            // An interval that is still open may be longer than all before.
            let open = now.since(interval.last?).as_secs_f64();
            Some(interval.mean_secs?.max(open).max(1e-3))
        });
        interval.map_or(1.0, |interval| (STAY_SECS / interval).clamp(1.0, MAX_REUSE))
    }
}
