//! The meter of a node at work: settles the ledger ten times a second, and says what each attempt took.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use dunlin_engine_handle::Share;
use dunlin_meters::{
    DEFAULT_PERIOD, Declared, Description, EDGE_SHARE, Feed, Reading, Sampler, Value, WindowError,
};
use dunlin_protocol::{AttemptId, Drawn, Energy};

use super::{
    book::Book,
    ledger::{Joules, Work},
    told,
};

/// How long the end of an attempt waits for a sample of a sensor that is fast enough.
const HASTE: Duration = Duration::from_millis(5);

/// A sample that was fed is of the end that follows within this.
const FED: Duration = Duration::from_millis(20);

/// Sensors with a new value at least as often are asked at the end of an attempt.
const FAST: Duration = Duration::from_millis(50);

/// The meter of a node, if it has one, and whose joules they are.
#[derive(Debug)]
pub(crate) struct Metering {
    by: By,
    state: Mutex<State>,
}

#[derive(Debug)]
enum By {
    Nothing,
    /// With a `feed`, samples come from elsewhere.
    Samples {
        sampler: Sampler,
        feed: Option<Feed>,
    },
    /// No sensor: the joules are those that were declared for the work.
    Declared {
        watts: Declared,
        description: Box<Description>,
    },
}

#[derive(Debug)]
struct State {
    book: Book<AttemptId>,
    running: BTreeMap<AttemptId, Running>,
    /// What a fed meter showed last.
    shown: Option<f64>,
    /// The last fault that was told.
    fault: Option<String>,
}

#[derive(Debug)]
struct Running {
    since: Instant,
    /// The meter showed nothing for a while: its joules are not known.
    is_unmetered: bool,
}

/// What meters a node.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Sensor {
    pub(crate) name: String,
    pub(crate) source: &'static str,
    pub(crate) scope: &'static str,
    /// Drawn now, in its scope.
    pub(crate) watts: Option<f64>,
    /// Why it shows nothing.
    pub(crate) fault: Option<String>,
}

/// What an attempt takes is booked on it. Dropped, it is closed without a word.
#[derive(Debug)]
pub(crate) struct Account<'a> {
    metering: &'a Metering,
    attempt: AttemptId,
}

impl Metering {
    /// Without a meter.
    pub(crate) fn none() -> Self {
        Self::of(By::Nothing)
    }

    pub(crate) fn sampled(sampler: Sampler) -> Self {
        Self::of(By::Samples { sampler, feed: None })
    }

    /// Samples are pushed by [`Self::show`].
    pub(crate) fn fed(description: Description) -> Self {
        let (feed, sampler) = Sampler::fed(description, DEFAULT_PERIOD);
        Self::of(By::Samples { sampler, feed: Some(feed) })
    }

    pub(crate) fn declared(watts: Declared, description: Description) -> Self {
        Self::of(By::Declared { watts, description: Box::new(description) })
    }

    fn of(by: By) -> Self {
        let state = State { book: Book::new(), running: BTreeMap::new(), shown: None, fault: None };
        Self { by, state: Mutex::new(state) }
    }

    /// For whoever measures: windows of the same meter.
    pub(crate) fn joules(&self) -> dunlin_profiler::Joules {
        match &self.by {
            By::Nothing => dunlin_profiler::Joules::Unknown,
            By::Samples { sampler, .. } => dunlin_profiler::Joules::Metered(sampler.clone()),
            By::Declared { watts, .. } => dunlin_profiler::Joules::Declared(*watts),
        }
    }

    /// Takes a sample that came from elsewhere: joules since any moment.
    pub(crate) fn show(&self, joules: f64) {
        let By::Samples { feed: Some(feed), .. } = &self.by else { return };
        if self.lock().shown.replace(joules) != Some(joules) {
            feed.push(Reading::now(Value::Joules(joules)));
        }
    }

    /// Drawn now, at the board's input; `None` where that is not measured.
    pub(crate) fn board_watts(&self) -> Option<f64> {
        let By::Samples { sampler, .. } = &self.by else { return None };
        sampler.description().is_comparable().then(|| sampler.watts())?
    }

    /// All that was metered since the start; `None` where nothing was.
    pub(crate) fn drawn(&self) -> Option<Drawn> {
        let totals = self.lock().book.totals();
        (totals.metered > 0.0).then(|| told::drawn(&totals))
    }

    /// What meters, for metrics; `None` where nothing does.
    pub(crate) fn sensor(&self) -> Option<Sensor> {
        let (description, watts, fault) = match &self.by {
            By::Nothing => return None,
            By::Declared { description, .. } => ((**description).clone(), None, None),
            By::Samples { sampler, .. } => (sampler.description(), sampler.watts(), sampler.fault()),
        };
        let (source, scope) = told::names(&description);
        Some(Sensor { name: description.name, source, scope, watts, fault })
    }

    /// What was learned of watts is not true any more.
    pub(crate) fn mode_changed(&self) {
        self.lock().book.forget_watts();
    }

    /// For ever: every period what was drawn goes to whom it belongs. `loads` tells whether a model is being loaded.
    pub(crate) async fn run(&self, loads: impl Fn() -> bool) {
        let By::Samples { sampler, .. } = &self.by else { return std::future::pending().await };
        let mut tick = tokio::time::interval(sampler.period());
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut loading = false;
        loop {
            tick.tick().await;
            // Of an interval that is over: what loads now, or did, is in it.
            let now = loads();
            let loaded = std::mem::replace(&mut loading, now) || now;
            self.lock().book.loads(loaded);
            self.settle(sampler);
        }
    }

    /// The board begins to do something else, or stops.
    pub(crate) fn note_change(&self) {
        self.changes_at(Instant::now());
    }

    fn changes_at(&self, moment: Instant) {
        if let By::Samples { sampler, .. } = &self.by {
            sampler.note_change(moment);
        }
    }

    /// An attempt begins to use engines.
    pub(crate) fn begin(&self, attempt: AttemptId) -> Account<'_> {
        if let By::Samples { sampler, feed } = &self.by {
            // What was fed when a model was loaded ends what the load drew.
            let (mut state, since) = (self.lock(), moment(sampler, feed.is_some()));
            if state.running.is_empty() {
                sampler.note_change(since);
            }
            state.book.open(attempt, since);
            state.running.insert(attempt, Running { since, is_unmetered: false });
        }
        Account { metering: self, attempt }
    }

    fn note(&self, attempt: AttemptId, share: Share) {
        let mut state = self.lock();
        state.book.note(attempt, work(share), Instant::now());
    }

    async fn end(&self, attempt: AttemptId, share: Share) -> Option<Energy> {
        match &self.by {
            By::Nothing => None,
            By::Declared { watts, description } => {
                Some(told::energy(&declared(watts, work(share)), description, description.error.nominal()))
            }
            By::Samples { sampler, feed } => {
                let ended = moment(sampler, feed.is_some());
                self.ends(attempt, work(share), ended);
                if feed.is_none() && sampler.description().refresh <= FAST {
                    hurry(sampler, ended).await;
                }
                self.settle(sampler);
                let (running, joules) = self.close(attempt, work(share))?;
                let error = error(sampler, running.since);
                let joules = joules.filter(|_| !running.is_unmetered)?;
                Some(told::energy(&joules, &sampler.description(), error))
            }
        }
    }

    fn ends(&self, attempt: AttemptId, work: Work, ended: Instant) {
        let mut state = self.lock();
        if state.running.len() == 1 && state.running.contains_key(&attempt) {
            self.changes_at(ended);
        }
        state.book.end(attempt, work, ended);
    }

    fn close(&self, attempt: AttemptId, work: Work) -> Option<(Running, Option<Joules>)> {
        let mut state = self.lock();
        let running = state.running.remove(&attempt)?;
        state.book.end(attempt, work, Instant::now());
        let joules = state.book.close(attempt, work);
        Some((running, joules))
    }

    /// As far as there are samples.
    fn settle(&self, sampler: &Sampler) {
        let fault = match sampler.span() {
            None => sampler.fault(),
            Some(span) => {
                let window = |from, to| match sampler.window_now(from, to) {
                    Ok(window) => Ok(window.joules),
                    Err(WindowError::Empty) => Ok(0.0),
                    Err(error) => Err(error.to_string()),
                };
                let mut state = self.lock();
                let settled = state.book.settle(span, window);
                if settled.is_err() {
                    state.running.values_mut().for_each(|running| running.is_unmetered = true);
                }
                settled.err().or_else(|| sampler.fault())
            }
        };
        self.tell_fault(fault);
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

    /// As [`Self::run`] does it; tells up to when.
    #[cfg(test)]
    pub(super) fn settle_now(&self) -> Option<Instant> {
        let By::Samples { sampler, .. } = &self.by else { return None };
        self.settle(sampler);
        sampler.span().map(|(_, newest)| newest)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Account<'_> {
    /// What engines did for it so far.
    pub(crate) fn note(&self, share: Share) {
        self.metering.note(self.attempt, share);
    }

    /// It has ended; `share` is all that engines did for it. `None`: nothing is known of its joules.
    pub(crate) async fn end(self, share: Share) -> Option<Energy> {
        self.metering.end(self.attempt, share).await
    }
}

impl Drop for Account<'_> {
    fn drop(&mut self) {
        self.metering.close(self.attempt, Work::default());
    }
}

/// Now. What is fed comes just before the end that it is of: then that is the moment.
fn moment(sampler: &Sampler, is_fed: bool) -> Instant {
    let now = Instant::now();
    match sampler.span() {
        Some((_, newest)) if is_fed && now.saturating_duration_since(newest) < FED => newest,
        _ => now,
    }
}

/// Waits for a sample of the end, for a little.
async fn hurry(sampler: &Sampler, ended: Instant) {
    sampler.hurry();
    while sampler.span().is_none_or(|(_, newest)| newest < ended) && ended.elapsed() < HASTE {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Of an attempt: that of the meter, and what may have happened between samples at its ends.
fn error(sampler: &Sampler, since: Instant) -> f64 {
    let window = sampler.span().map(|(_, newest)| sampler.window_now(since, newest));
    match window {
        Some(Ok(window)) => window.error,
        _ => sampler.description().error.nominal() + EDGE_SHARE,
    }
}

fn work(share: Share) -> Work {
    Work { prefill: share.prefill_us as f64 / 1e6, decode: share.decode_us as f64 / 1e6 }
}

fn declared(watts: &Declared, work: Work) -> Joules {
    let above = |watts_then: f64| (watts_then - watts.idle_w).max(0.0);
    Joules {
        prefill: above(watts.prefill_w) * work.prefill,
        decode: above(watts.decode_w) * work.decode,
        idle: watts.idle_w * (work.prefill + work.decode),
    }
}
