//! A thread that reads one meter, evenly.

use std::{
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use crate::{Description, Meter, Reading, Trace, Window, WindowError};

/// How long [`Sampler::window`] waits for a sample past its end, at least.
const PATIENCE: Duration = Duration::from_millis(250);

/// Reads a meter at an even pace for as long as a clone of it is held, and keeps the last samples.
#[derive(Debug, Clone)]
pub struct Sampler {
    shared: Arc<Shared>,
    /// Ends the thread when the last clone is dropped.
    _held: Arc<Held>,
}

#[derive(Debug)]
struct Shared {
    period: Duration,
    state: Mutex<State>,
    /// A sample came, or the end.
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    trace: Trace,
    /// Why the last reading failed.
    fault: Option<String>,
    ended: bool,
    /// A sample is wanted now.
    hurried: bool,
}

#[derive(Debug)]
struct Held(Arc<Shared>);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.lock().ended = true;
        self.0.changed.notify_all();
    }
}

impl Sampler {
    /// The first reading is taken at once, by the new thread.
    ///
    /// # Errors
    /// If there can be no thread.
    pub fn start(mut meter: Box<dyn Meter>, period: Duration) -> std::io::Result<Self> {
        let sampler = Self::new(meter.description().clone(), period);
        let shared = sampler.shared.clone();
        thread::Builder::new().name("meter".to_owned()).spawn(move || shared.sample(&mut *meter))?;
        Ok(sampler)
    }

    /// Without a thread: samples are fed by who has them.
    pub fn fed(description: Description, period: Duration) -> (Feed, Self) {
        let sampler = Self::new(description, period);
        (Feed(sampler.shared.clone()), sampler)
    }

    fn new(description: Description, period: Duration) -> Self {
        let state = State { trace: Trace::new(description), fault: None, ended: false, hurried: false };
        let shared = Arc::new(Shared { period, state: Mutex::new(state), changed: Condvar::new() });
        Self { _held: Arc::new(Held(shared.clone())), shared }
    }

    pub fn description(&self) -> Description {
        self.shared.lock().trace.description().clone()
    }

    pub fn period(&self) -> Duration {
        self.shared.period
    }

    /// Watts now, at the board's input where that is known.
    pub fn watts(&self) -> Option<f64> {
        self.shared.lock().trace.watts()
    }

    /// Why the last reading failed, if it did.
    pub fn fault(&self) -> Option<String> {
        self.shared.lock().fault.clone()
    }

    /// The moments of the oldest and the last sample.
    pub fn span(&self) -> Option<(Instant, Instant)> {
        self.shared.lock().trace.span()
    }

    /// Asks for a sample now, ahead of its time.
    pub fn hurry(&self) {
        self.shared.lock().hurried = true;
        self.shared.changed.notify_all();
    }

    /// See [`Trace::note_change`].
    pub fn note_change(&self, at: Instant) {
        self.shared.lock().trace.note_change(at);
    }

    /// Joules between two moments. Waits for a sample past `to`: three periods past that moment at most.
    ///
    /// # Errors
    /// [`WindowError`], with the fault of the meter if it has one.
    pub fn window(&self, from: Instant, to: Instant) -> Result<Window, WindowError> {
        let until = to + (3 * self.shared.period).max(PATIENCE);
        let mut state = self.shared.lock();
        while state.trace.span().is_none_or(|(_, newest)| newest < to) && !state.ended {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            state = self.shared.wait(state, left);
        }
        state.window(from, to)
    }

    /// As [`Self::window`], of what is there already.
    ///
    /// # Errors
    /// [`WindowError`].
    pub fn window_now(&self, from: Instant, to: Instant) -> Result<Window, WindowError> {
        self.shared.lock().window(from, to)
    }
}

impl State {
    fn window(&self, from: Instant, to: Instant) -> Result<Window, WindowError> {
        let why = || self.fault.clone();
        self.trace.window(from, to).map_err(|error| match error {
            WindowError::NoSamples { .. } => WindowError::NoSamples { fault: why() },
            WindowError::NotYet { missing, .. } => WindowError::NotYet { missing, fault: why() },
            WindowError::Gap { pause, .. } => WindowError::Gap { pause, fault: why() },
            other => other,
        })
    }
}

/// Brings samples to a [`Sampler`] that has no thread.
#[derive(Debug, Clone)]
pub struct Feed(Arc<Shared>);

impl Feed {
    pub fn push(&self, reading: Reading) {
        self.0.take(Ok(reading));
    }

    /// There is no reading.
    pub fn fail(&self, why: &str) {
        self.0.take(Err(why.to_owned()));
    }
}

impl Shared {
    fn sample(&self, meter: &mut dyn Meter) {
        let mut due = Instant::now();
        loop {
            self.take(meter.read().map_err(|error| error.to_string()));
            let now = Instant::now();
            // One that came ahead of its time changes nothing; one that was late does not hurry.
            if due <= now {
                due = (due + self.period).max(now + self.period / 2);
            }
            if !self.sleep_until(due) {
                return;
            }
        }
    }

    fn take(&self, reading: Result<Reading, String>) {
        let mut state = self.lock();
        match reading {
            Ok(reading) => {
                state.trace.push(reading);
                state.fault = None;
            }
            Err(fault) => state.fault = Some(fault),
        }
        drop(state);
        self.changed.notify_all();
    }

    /// False when nobody wants samples any more.
    fn sleep_until(&self, due: Instant) -> bool {
        let mut state = self.lock();
        while !state.ended {
            let left = due.saturating_duration_since(Instant::now());
            if left.is_zero() || std::mem::take(&mut state.hurried) {
                return true;
            }
            state = self.wait(state, left);
        }
        false
    }

    fn wait<'a>(&'a self, state: MutexGuard<'a, State>, most: Duration) -> MutexGuard<'a, State> {
        self.changed.wait_timeout(state, most).unwrap_or_else(PoisonError::into_inner).0
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use dunlin_costs::{Figure, Scope};

    use super::*;
    use crate::{ReadError, Source, Value};

    fn description() -> Description {
        Description {
            name: "test".to_owned(),
            source: Source::RailSensor,
            scope: Scope::BoardInput,
            sees: String::new(),
            correction: None,
            error: Figure::known(0.0),
            refresh: Duration::from_millis(1),
            place: "/dev/test".into(),
        }
    }

    /// 5 W; tells of its end.
    #[derive(Debug)]
    struct Steady(Description, mpsc::Sender<()>, u32);

    impl Meter for Steady {
        fn description(&self) -> &Description {
            &self.0
        }

        fn read(&mut self) -> Result<Reading, ReadError> {
            self.2 += 1;
            if self.2.is_multiple_of(3) {
                return Err(ReadError::Nothing("a loose contact".to_owned()));
            }
            Ok(Reading::now(Value::Watts(5.0)))
        }
    }

    impl Drop for Steady {
        fn drop(&mut self) {
            // Of a test that is over.
            self.1.send(()).unwrap_or_default();
        }
    }

    #[test]
    fn a_window_waits_for_its_end_and_the_thread_ends_with_the_last_handle() {
        let (ended, end) = mpsc::channel();
        let meter = Box::new(Steady(description(), ended, 0));
        let sampler = Sampler::start(meter, Duration::from_millis(1)).unwrap();
        let first = loop {
            if let Some((first, _)) = sampler.span() {
                break first;
            }
            thread::yield_now();
        };
        let window = sampler.clone().window(first, first + Duration::from_millis(20)).unwrap();
        assert!((window.joules - 0.1).abs() < 1e-9, "{window:?}");
        drop(sampler);
        end.recv_timeout(Duration::from_secs(30)).unwrap();
    }

    #[test]
    fn why_there_is_nothing_is_said() {
        let (feed, sampler) = Sampler::fed(description(), Duration::from_millis(1));
        let now = Instant::now();
        feed.fail("unplugged");
        let error = sampler.window_now(now, now + Duration::from_millis(1)).unwrap_err();
        assert_eq!(error.to_string(), "the meter has shown nothing yet: unplugged");
        feed.push(Reading { at: now, value: Value::Watts(1.0) });
        assert_eq!((sampler.watts(), sampler.fault()), (Some(1.0), None));
        feed.fail("unplugged");
        let error = sampler.window_now(now, now + Duration::from_millis(2)).unwrap_err();
        assert_eq!(error.to_string(), "the window ends 2 ms after the last sample: unplugged");
    }
}
