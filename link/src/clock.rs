//! Time comes from outside: wall time that may be wrong, and time that only goes forward.

use std::{
    fmt::Debug,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant, SystemTime},
};

pub use rustls::pki_types::UnixTime;

/// Where a member reads the time.
pub trait Clock: Debug + Send + Sync + 'static {
    /// Since 1970-01-01 UTC, as the machine believes.
    fn wall(&self) -> Duration;
    /// Since some fixed moment; never goes back.
    fn monotonic(&self) -> Duration;
}

/// The clocks of the machine.
#[derive(Debug)]
pub struct SystemClock(Instant);

impl Default for SystemClock {
    fn default() -> Self {
        Self(Instant::now())
    }
}

impl Clock for SystemClock {
    fn wall(&self) -> Duration {
        SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default()
    }

    fn monotonic(&self) -> Duration {
        self.0.elapsed()
    }
}

/// Seconds since 1970-01-01 UTC by the clock of this machine, which may be wrong: what a hello tells.
pub fn unix_seconds() -> u64 {
    SystemClock::default().wall().as_secs()
}

/// A clock that stands still until it is told to move, for tests.
#[derive(Debug, Default)]
pub struct ManualClock(Mutex<Reading>);

#[derive(Debug, Default, Clone, Copy)]
struct Reading {
    wall: Duration,
    monotonic: Duration,
}

impl ManualClock {
    /// A clock that shows `wall` (since 1970-01-01 UTC).
    #[must_use]
    pub fn at(wall: Duration) -> Self {
        Self(Mutex::new(Reading { wall, monotonic: Duration::ZERO }))
    }

    /// Lets `by` pass.
    pub fn advance(&self, by: Duration) {
        let mut reading = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        reading.wall += by;
        reading.monotonic += by;
    }

    /// Sets wall time as an operator would, forward or back; no time passes.
    pub fn set(&self, wall: Duration) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).wall = wall;
    }

    fn reading(&self) -> Reading {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Clock for ManualClock {
    fn wall(&self) -> Duration {
        self.reading().wall
    }

    fn monotonic(&self) -> Duration {
        self.reading().monotonic
    }
}

/// A clock with a floor under it: a board without a battery for its clock wakes in 1970, but knows of a later time.
///
/// Only times that the fleet's authority signed raise the floor; a clock that once jumped ahead does not.
#[derive(Debug)]
pub struct FlooredClock {
    clock: Arc<dyn Clock>,
    floor: Mutex<Floor>,
}

#[derive(Debug, Clone, Copy)]
struct Floor {
    time: UnixTime,
    /// Monotonic time at which `time` was, at least.
    since: Duration,
}

impl FlooredClock {
    /// `floor`: what was persisted, or 1970.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>, floor: UnixTime) -> Self {
        let since = clock.monotonic();
        Self { clock, floor: Mutex::new(Floor { time: floor, since }) }
    }

    /// The time: of the clock, or of the floor and what has passed since where that is later.
    #[must_use]
    pub fn now(&self) -> UnixTime {
        self.floor().max(UnixTime::since_unix_epoch(self.clock.wall()))
    }

    /// The earliest that it can be. This is what to persist.
    #[must_use]
    pub fn floor(&self) -> UnixTime {
        let floor = *self.floor.lock().unwrap_or_else(PoisonError::into_inner);
        later(floor.time, self.clock.monotonic().saturating_sub(floor.since))
    }

    /// It is `time` now, or later.
    pub fn raise(&self, time: UnixTime) {
        if time > self.floor() {
            let floor = Floor { time, since: self.clock.monotonic() };
            *self.floor.lock().unwrap_or_else(PoisonError::into_inner) = floor;
        }
    }

    /// Time that only goes forward.
    #[must_use]
    pub fn monotonic(&self) -> Duration {
        self.clock.monotonic()
    }
}

/// `time` and `by` more.
#[must_use]
pub fn later(time: UnixTime, by: Duration) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(time.as_secs()).saturating_add(by))
}

/// From `start` to `end`, or nothing where `end` is not later.
#[must_use]
pub fn between(start: UnixTime, end: UnixTime) -> Duration {
    Duration::from_secs(end.as_secs().saturating_sub(start.as_secs()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(1_800_000_000);

    fn floored(wall: Duration, floor: Duration) -> (Arc<ManualClock>, FlooredClock) {
        let clock = Arc::new(ManualClock::at(wall));
        let floored = FlooredClock::new(clock.clone(), UnixTime::since_unix_epoch(floor));
        (clock, floored)
    }

    #[test]
    fn a_board_that_wakes_in_1970_goes_on_from_its_floor() {
        let (clock, floored) = floored(Duration::ZERO, NOW);
        assert_eq!(floored.now().as_secs(), NOW.as_secs());
        clock.advance(Duration::from_secs(60));
        assert_eq!(floored.now().as_secs(), NOW.as_secs() + 60);
        assert_eq!(floored.floor().as_secs(), NOW.as_secs() + 60);
    }

    #[test]
    fn a_clock_that_jumps_ahead_leaves_the_floor_where_it_is() {
        let (clock, floored) = floored(NOW, Duration::ZERO);
        clock.set(NOW * 2);
        assert_eq!(floored.now().as_secs(), NOW.as_secs() * 2);
        assert_eq!(floored.floor().as_secs(), 0);
        clock.set(NOW);
        assert_eq!(floored.now().as_secs(), NOW.as_secs());
    }

    #[test]
    fn the_floor_only_rises() {
        let (_, floored) = floored(Duration::ZERO, NOW);
        floored.raise(UnixTime::since_unix_epoch(NOW / 2));
        assert_eq!(floored.floor().as_secs(), NOW.as_secs());
        floored.raise(UnixTime::since_unix_epoch(NOW * 2));
        assert_eq!(floored.floor().as_secs(), NOW.as_secs() * 2);
    }
}
