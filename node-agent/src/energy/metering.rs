//! The meter of a node at work: settles the ledger ten times a second, and says what each attempt took.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use dunlin_engine_handle::Share;
use dunlin_meters::{Activity, DEFAULT_PERIOD, Description, Feed, Sampler, Source, WindowError};
use dunlin_protocol::{AttemptId, Energy, EnergyScope, EnergySource, limits::MAX_TEXT};

use super::{
    idle::IdleWatts,
    ledger::{Joules, Ledger, Totals, Work},
};

/// How long the end of an attempt waits for a sample of a sensor that is fast enough.
const HASTE: Duration = Duration::from_millis(5);

/// Sensors with a new value at least as often are asked at the end of an attempt.
const FAST: Duration = Duration::from_millis(50);

/// The meter of a node, if it has one, and whose joules they are.
#[derive(Debug)]
pub(crate) struct Metering {
    sampler: Option<Sampler>,
    /// Where the samples come from elsewhere.
    feed: Option<Feed>,
    /// For a declared meter to go by.
    activity: Activity,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    ledger: Ledger<AttemptId>,
    works: BTreeMap<AttemptId, Work>,
    /// Attempts that ran while the meter showed nothing: their joules are not known.
    unmetered: BTreeMap<AttemptId, ()>,
    settled: Option<Instant>,
    /// The last fault that was told.
    fault: Option<String>,
}

impl Metering {
    /// Without a meter.
    pub(crate) fn none() -> Self {
        Self::of(None, None, Activity::default(), None)
    }

    /// By the first meter that works; `idle_w`: where it is known beforehand.
    pub(crate) fn start(sampler: Sampler, activity: Activity, idle_w: Option<f64>) -> Self {
        Self::of(Some(sampler), None, activity, idle_w)
    }

    /// Samples are pushed by [`Self::show`].
    pub(crate) fn fed(description: Description) -> Self {
        let (feed, sampler) = Sampler::fed(description, DEFAULT_PERIOD);
        Self::of(Some(sampler), Some(feed), Activity::default(), None)
    }

    fn of(sampler: Option<Sampler>, feed: Option<Feed>, activity: Activity, idle_w: Option<f64>) -> Self {
        let state = State {
            ledger: Ledger::new(IdleWatts::declared(idle_w)),
            works: BTreeMap::new(),
            unmetered: BTreeMap::new(),
            settled: None,
            fault: None,
        };
        Self { sampler, feed, activity, state: Mutex::new(state) }
    }

    /// Takes a sample that came from elsewhere.
    pub(crate) fn show(&self, joules: f64) {
        if let Some(feed) = &self.feed {
            feed.push(dunlin_meters::Reading::now(dunlin_meters::Value::Joules(joules)));
        }
    }

    /// Drawn now, at the board's input; `None` where that is not known.
    pub(crate) fn board_watts(&self) -> Option<f64> {
        let sampler = self.sampler.as_ref()?;
        sampler.description().is_comparable().then(|| sampler.watts())?
    }

    pub(crate) fn totals(&self) -> Totals {
        self.lock().ledger.totals()
    }

    /// For ever: every period what was drawn goes to whom it belongs.
    pub(crate) async fn run(&self) {
        let Some(sampler) = &self.sampler else { return std::future::pending().await };
        let mut tick = tokio::time::interval(sampler.period());
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            self.settle(sampler);
        }
    }

    /// An attempt begins.
    pub(crate) fn begin(&self, attempt: AttemptId) {
        if self.sampler.is_some() {
            let mut state = self.lock();
            state.ledger.open(attempt);
            state.works.insert(attempt, Work::default());
        }
    }

    /// What engines did for it so far.
    pub(crate) fn note(&self, attempt: AttemptId, share: Share) {
        if let Some(work) = self.lock().works.get_mut(&attempt) {
            *work = seconds(share);
        }
    }

    /// It has ended. `None`: nothing is known of its joules.
    pub(crate) async fn end(&self, attempt: AttemptId, share: Share) -> Option<Energy> {
        let sampler = self.sampler.as_ref()?;
        self.note(attempt, share);
        let ended = Instant::now();
        let description = sampler.description();
        if self.feed.is_none() && description.refresh <= FAST {
            sampler.hurry();
            while sampler.span().is_none_or(|(_, newest)| newest < ended) && ended.elapsed() < HASTE {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
        self.settle(sampler);
        let mut state = self.lock();
        state.works.remove(&attempt);
        let joules = state.ledger.close(attempt, seconds(share));
        let unmetered = state.unmetered.remove(&attempt).is_some();
        joules.filter(|_| !unmetered).map(|joules| energy(&joules, &description))
    }

    /// It ended before anything ran.
    pub(crate) fn drop_account(&self, attempt: AttemptId) {
        let mut state = self.lock();
        state.works.remove(&attempt);
        state.unmetered.remove(&attempt);
        state.ledger.close(attempt, Work::default());
    }

    /// The mode has changed: what was learned of watts is not true any more.
    pub(crate) fn mode_changed(&self) {
        self.lock().ledger.forget_watts();
    }

    /// Up to the last sample.
    fn settle(&self, sampler: &Sampler) {
        let Some((oldest, newest)) = sampler.span() else {
            return self.tell_fault(sampler.fault());
        };
        let mut state = self.lock();
        let from = state.settled.unwrap_or(oldest);
        if newest <= from {
            drop(state);
            return self.tell_fault(sampler.fault());
        }
        state.settled = Some(newest);
        let works: Vec<(AttemptId, Work)> = state.works.iter().map(|(id, work)| (*id, *work)).collect();
        match sampler.window_now(from, newest) {
            Ok(window) => {
                let seconds = window.duration().as_secs_f64();
                let busy = state.ledger.settle(window.joules, seconds, works);
                self.activity.set(0.0, busy.prefill / seconds, busy.decode / seconds);
            }
            Err(WindowError::Empty) => {}
            Err(error) => {
                let running: Vec<AttemptId> = works.iter().map(|(id, _)| *id).collect();
                state.unmetered.extend(running.into_iter().map(|id| (id, ())));
                state.ledger.skip(works);
                drop(state);
                self.tell_fault(Some(error.to_string()));
            }
        }
    }

    /// Once for each change.
    fn tell_fault(&self, fault: Option<String>) {
        let mut state = self.lock();
        if state.fault != fault {
            if let Some(fault) = &fault {
                tracing::warn!(fault, "the meter shows nothing");
            }
            state.fault = fault;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn seconds(share: Share) -> Work {
    Work { prefill: share.prefill_us as f64 / 1e6, decode: share.decode_us as f64 / 1e6 }
}

fn energy(joules: &Joules, of: &Description) -> Energy {
    let millijoules = |joules: f64| (joules * 1e3).round() as u64;
    let mut correction = of.correction.as_ref().map(|by| by.name.clone()).unwrap_or_default();
    correction.truncate(correction.floor_char_boundary(MAX_TEXT));
    Energy {
        total_millijoules: millijoules(joules.total()),
        marginal_millijoules: millijoules(joules.marginal()),
        prefill_millijoules: Some(millijoules(joules.prefill)),
        decode_millijoules: Some(millijoules(joules.decode)),
        scope: scope(of.corrected_scope()),
        source: source(of.source),
        correction,
    }
}

fn scope(scope: dunlin_costs::Scope) -> EnergyScope {
    use dunlin_costs::Scope;
    match scope {
        Scope::BoardInput => EnergyScope::BoardInput,
        Scope::PmicRails => EnergyScope::PmicRails,
        Scope::CpuGpuRail => EnergyScope::CpuGpuRail,
        Scope::Package => EnergyScope::Package,
        Scope::Accelerator => EnergyScope::Accelerator,
    }
}

fn source(source: Source) -> EnergySource {
    match source {
        Source::RailSensor => EnergySource::RailSensor,
        Source::EnergyCounter => EnergySource::EnergyCounter,
        Source::BatteryGauge => EnergySource::BatteryGauge,
        Source::ExternalMeter => EnergySource::ExternalMeter,
        Source::Declared => EnergySource::Modelled,
        Source::Emulated => EnergySource::Emulated,
    }
}
