//! A short look at a model that was loaded and of which nothing was measured here, while nobody asks for anything.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use dunlin_costs::Method;
use dunlin_engine_handle::{ModelInfo, Threads};
use dunlin_meters::DEFAULT_PERIOD;
use dunlin_profiler::{Cell, Measured, Sample, State, is_enough, rows};
use dunlin_protocol::ModelDigest;
use dunlin_worker_handle::{Finding, Measure, Probe};
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

use super::{metered, moments};
use crate::{
    Probing,
    costs::{OwnCosts, OwnRows},
    node::Node,
    residents::id,
};

/// So long nobody has asked for anything: what the board draws meanwhile is its idle draw.
const QUIET: Duration = Duration::from_millis(500);

/// A look takes no longer, but for its first prompt and its first answer.
const LIMIT: Duration = Duration::from_secs(5);

/// A model that never comes to a row in so many looks is left alone.
const MAX_LOOKS: u32 = 20;

/// A look that others disturbed comes again after a rest: of so long, twice as long each time, but no longer than this.
const FIRST_REST: Duration = Duration::from_mins(1);
const LONGEST_REST: Duration = Duration::from_hours(1);

/// Models in all modes and threads that are remembered; of more, the first are looked at again.
const MAX_REMEMBERED: usize = 256;

/// What rows differ in on one node.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Point {
    model: ModelDigest,
    mode: String,
    prefill: u32,
    decode: u32,
}

/// What was found so far.
#[derive(Debug, Default)]
struct Look {
    samples: Vec<Sample>,
    looks: u32,
    is_over: bool,
    /// Of the row that was kept, if others disturbed its look.
    disturbed: Option<f64>,
    /// How often that was so.
    disturbances: u32,
    /// Not before this.
    due: Option<Instant>,
}

impl Look {
    /// What came of a look: whether it is better than what was found before. One that was disturbed is not trusted for good.
    fn heard(&mut self, disturbed: Option<f64>, now: Instant) -> bool {
        let is_better = match (disturbed, self.disturbed) {
            (Some(now), Some(before)) => now < before,
            _ => true,
        };
        if is_better {
            self.disturbed = disturbed;
        }
        if disturbed.is_some() && self.is_over {
            let rest = FIRST_REST * 2u32.saturating_pow(self.disturbances);
            self.due = Some(now + rest.min(LONGEST_REST));
            self.disturbances += 1;
            self.is_over = false;
            self.samples.clear();
        }
        is_better
    }

    fn may_begin(&self, now: Instant) -> bool {
        !self.is_over && self.looks < MAX_LOOKS && self.due.is_none_or(|due| due <= now)
    }
}

/// For ever: looks at each model that is loaded and has no measured row, once nothing runs. A request ends a look at once;
/// the next one goes on from there.
pub(crate) async fn probe_what_is_loaded(node: &Arc<Node>) {
    let has_rows_of_class = node.options.emulation.is_some() && node.options.probe != Probing::Always;
    if node.options.probe == Probing::Never || has_rows_of_class {
        return std::future::pending().await;
    }
    let (mut costs, mut own) = (OwnCosts::of(&node.options), OwnRows::default());
    let mut status = node.worker.watch();
    let (mut news, mut arrivals) = (node.news.subscribe(), node.bench.arrivals.subscribe());
    let mut looks: BTreeMap<Point, Look> = BTreeMap::new();
    loop {
        status.mark_unchanged();
        news.mark_unchanged();
        arrivals.mark_unchanged();
        let point = if node.is_quiet() {
            if let Some(Ok(rows)) = costs.changed() {
                own = rows;
            }
            node.unmeasured(&looks, &own)
        } else {
            None
        };
        let Some(point) = point else {
            let now = Instant::now();
            let due = looks.values().filter_map(|look| look.due).filter(|due| *due > now).min();
            let waited = tokio::select! {
                changed = status.changed() => changed,
                changed = news.changed() => changed,
                () = sleep_until(due.unwrap_or(now)), if due.is_some() => Ok(()),
            };
            if waited.is_err() {
                return std::future::pending().await;
            }
            continue;
        };
        let since = Instant::now();
        tokio::select! {
            _ = arrivals.changed() => {}
            () = tokio::time::sleep(QUIET) => {
                if looks.len() >= MAX_REMEMBERED {
                    looks.pop_first();
                }
                let look = looks.entry(point.clone()).or_default();
                node.look_at(&point, look, since, &mut arrivals).await;
            }
        }
    }
}

impl Node {
    /// Nothing runs, waits, or is about to.
    fn is_quiet(&self) -> bool {
        self.running().is_empty() && !self.is_draining() && !self.bench.is_engaged()
    }

    /// A model that could be looked at now.
    fn unmeasured(&self, looks: &BTreeMap<Point, Look>, own: &OwnRows) -> Option<Point> {
        let now = Instant::now();
        let may_begin = |point: &Point| looks.get(point).is_none_or(|look| look.may_begin(now));
        let loaded =
            self.residents.list().into_iter().filter(|resident| self.residents.is_loaded(&resident.model));
        let mut points = loaded.map(|resident| Point {
            model: resident.model,
            mode: self.mode(),
            prefill: u32::from(resident.point.prefill_threads),
            decode: u32::from(resident.point.decode_threads),
        });
        let is_known = |point: &Point| {
            let model = dunlin_costs::ModelDigest::new(point.model.0);
            // A look that was broken off after its row goes on.
            let is_under_way = looks.get(point).is_some_and(|look| look.looks > 0);
            !is_under_way && own.has(&model, &point.mode, (point.prefill, point.decode))
        };
        points.find(|point| may_begin(point) && !is_known(point))
    }

    async fn look_at(
        &self,
        point: &Point,
        look: &mut Look,
        quiet_since: Instant,
        arrivals: &mut watch::Receiver<u64>,
    ) {
        look.looks += 1;
        let (Some(model), Ok(_engaged)) = (self.model(&point.model), self.bench.engaged.try_lock()) else {
            return;
        };
        let idle = (quiet_since, Instant::now());
        let threads = Threads { prefill: point.prefill, decode: point.decode };
        let probe = Probe {
            model: id(&point.model),
            threads,
            limit_ms: LIMIT.as_millis() as u64,
            known: look.samples.clone(),
        };
        self.metering.note_change();
        let mut measuring = self.worker.measure(Measure::Probe(probe));
        let (mut info, mut windows) = (None::<Box<ModelInfo>>, Vec::new());
        let ended = loop {
            let finding = tokio::select! {
                biased;
                _ = arrivals.changed() => break None,
                finding = measuring.next() => finding,
            };
            match finding {
                Some(Finding::Model(model)) => info = Some(model),
                Some(Finding::Sample { sample, window }) => {
                    look.samples.push(*sample);
                    windows.push(window.map(moments));
                }
                Some(Finding::Ended(result)) => break Some(result),
                // The rest is of profiles.
                Some(_) => {}
                None => break Some(Err("the worker is gone".to_owned())),
            }
        };
        // Before anything else: somebody waits for the engine.
        drop(measuring);
        self.metering.note_change();
        let joules = self.metering.joules();
        let first = look.samples.len() - windows.len();
        for (sample, window) in look.samples[first..].iter_mut().zip(windows) {
            *sample = metered(*sample, window, &joules).await;
        }
        match ended {
            Some(Ok(())) => look.is_over = true,
            Some(Err(error)) => tracing::debug!(model = model.name, error, "a probe failed"),
            None => tracing::debug!(model = model.name, "a probe made way for a request"),
        }
        let (Some(info), true) = (info, is_enough(&look.samples)) else { return };
        let mut state = State::new("probe", 0);
        state.samples.clone_from(&look.samples);
        state.samples.push(self.load_of(&point.model));
        if (idle.1 - idle.0) >= 3 * DEFAULT_PERIOD {
            let measured = Measured { seconds: (idle.1 - idle.0).as_secs_f64(), ..Measured::default() };
            let sample = Sample { cell: Cell::Idle, measured, spoilt: None, warm_up: false };
            state.samples.push(metered(sample, Some(idle), &joules).await);
        }
        let subject = self.subject(&model, &info, threads, Method::Probe);
        let outcome = rows(&subject, &state, &joules);
        let disturbed = outcome.rows.iter().filter_map(|row| row.fit.disturbed).reduce(f64::max);
        if let Some(part) = disturbed {
            tracing::info!(model = model.name, part, "others disturbed a probe: it is looked again later");
        }
        if !look.heard(disturbed, Instant::now()) {
            return;
        }
        match self.keep_rows(&outcome.rows) {
            Ok(()) => tracing::info!(model = model.name, runs = state.samples.len(), "probed"),
            Err(error) => {
                look.is_over = true;
                tracing::warn!(error, "what a probe found is not kept");
            }
        }
    }

    /// What the load that is behind it took: of a file that may have been in the page cache, or not.
    fn load_of(&self, model: &ModelDigest) -> Sample {
        let seconds = self.residents.reload(model).as_secs_f64();
        let measured = Measured { seconds, ..Measured::default() };
        Sample { cell: Cell::Load { cold: false }, measured, spoilt: None, warm_up: false }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disturbed_look_comes_again_and_the_least_disturbed_row_stays() {
        let now = Instant::now();
        let minutes = |minutes| now + Duration::from_mins(minutes);
        let mut look = Look::default();
        let mut ends = |disturbed, at| {
            look.looks += 1;
            look.is_over = true;
            let is_kept = look.heard(disturbed, at);
            let due = (0..200).find(|minute| look.may_begin(at + Duration::from_mins(*minute)));
            (is_kept, due)
        };
        assert_eq!(ends(Some(0.5), minutes(0)), (true, Some(1)));
        assert_eq!(ends(Some(0.7), minutes(1)), (false, Some(2)), "worse than what is there");
        assert_eq!(ends(Some(0.2), minutes(3)), (true, Some(4)));
        assert_eq!(ends(None, minutes(7)), (true, None));
        assert!(look.samples.is_empty() && look.disturbed.is_none());
    }

    #[test]
    fn a_look_that_is_always_disturbed_is_given_up() {
        let (mut now, mut look) = (Instant::now(), Look::default());
        while look.may_begin(now) {
            look.looks += 1;
            look.is_over = true;
            look.heard(Some(0.5), now);
            now += LONGEST_REST;
        }
        assert_eq!(look.looks, MAX_LOOKS);
    }
}
