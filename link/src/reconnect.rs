//! When to try again: jittered waits between attempts. Sans-IO: time is an argument, the caller connects.

use std::time::Duration;

/// Shortest wait after a failure.
pub const SHORTEST: Duration = Duration::from_millis(200);
/// Longest wait, however many attempts failed: a scheduler that comes back has its nodes within three seconds.
pub const LONGEST: Duration = Duration::from_secs(2);
/// Longest pause that a scheduler can ask for.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// A connection that lived this long counts as good: the next loss starts at the shortest wait.
const STEADY: Duration = Duration::from_secs(10);
/// How much longer than the last a wait may be.
const GROWTH: u32 = 3;

/// What the caller does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Connect now, and tell how it went.
    Connect,
    /// Nothing until this time.
    WaitUntil(Duration),
    /// Nothing until the attempt or the connection has ended.
    Idle,
}

/// The state of one member's connection to its scheduler. All times are monotonic.
///
/// Waits are drawn between [`SHORTEST`] and three times the wait before ("decorrelated jitter", Brooker,
/// *Exponential Backoff and Jitter*, AWS Architecture Blog 2015), so that a fleet that lost its scheduler does not come
/// back at one moment.
#[derive(Debug)]
pub struct Reconnect {
    state: State,
    wait: Duration,
    random: fastrand::Rng,
}

#[derive(Debug, Clone, Copy)]
enum State {
    Waiting { until: Duration },
    Connecting,
    Connected { since: Duration },
}

impl Reconnect {
    /// Connects at once; `seed` differs between members.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            state: State::Waiting { until: Duration::ZERO },
            wait: SHORTEST,
            random: fastrand::Rng::with_seed(seed),
        }
    }

    /// What to do at `now`. [`Next::Connect`] is said once per attempt.
    pub fn poll(&mut self, now: Duration) -> Next {
        match self.state {
            State::Waiting { until } if until <= now => {
                self.state = State::Connecting;
                Next::Connect
            }
            State::Waiting { until } => Next::WaitUntil(until),
            State::Connecting | State::Connected { .. } => Next::Idle,
        }
    }

    /// The attempt led to a connection.
    pub fn connected(&mut self, now: Duration) {
        self.state = State::Connected { since: now };
    }

    /// The attempt failed, or the connection is lost.
    pub fn lost(&mut self, now: Duration) {
        if let State::Connected { since } = self.state
            && now.saturating_sub(since) >= STEADY
        {
            self.wait = SHORTEST;
        }
        let longest = (self.wait * GROWTH).min(LONGEST);
        self.wait = SHORTEST + (longest - SHORTEST).mul_f64(self.random.f64());
        self.state = State::Waiting { until: now + self.wait };
    }

    /// The scheduler asked to be left alone for `pause`, with its refusal; jitter comes on top.
    pub fn told_to_wait(&mut self, now: Duration, pause: Duration) {
        self.lost(now);
        self.state = State::Waiting { until: now + pause.min(LONGEST_PAUSE) + self.wait };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Waits in ms after each of `failures` failed attempts.
    fn waits(seed: u64, failures: usize) -> Vec<u128> {
        let mut reconnect = Reconnect::new(seed);
        let mut now = Duration::ZERO;
        let mut waits = Vec::new();
        for _ in 0..failures {
            assert_eq!(reconnect.poll(now), Next::Connect);
            assert_eq!(reconnect.poll(now), Next::Idle);
            reconnect.lost(now);
            let Next::WaitUntil(until) = reconnect.poll(now) else { panic!("no wait") };
            waits.push((until - now).as_millis());
            now = until;
        }
        waits
    }

    #[test]
    fn the_first_attempt_is_made_at_once_and_waits_stay_within_their_bounds() {
        for seed in 0..200 {
            let waits = waits(seed, 20);
            assert!(waits[0] <= SHORTEST.as_millis() * u128::from(GROWTH), "{waits:?}");
            for wait in waits {
                assert!((SHORTEST.as_millis()..=LONGEST.as_millis()).contains(&wait), "{wait}");
            }
        }
    }

    #[test]
    fn a_fleet_does_not_come_back_at_one_moment() {
        let mut firsts: Vec<_> = (0..100).map(|seed| waits(seed, 1)[0]).collect();
        firsts.sort_unstable();
        firsts.dedup();
        assert!(firsts.len() > 75, "{} moments", firsts.len());
    }

    #[test]
    fn only_a_steady_connection_forgets_the_failures() {
        let after = |lived: Duration| {
            let mut reconnect = Reconnect::new(7);
            reconnect.wait = LONGEST;
            reconnect.connected(Duration::ZERO);
            reconnect.lost(lived);
            reconnect.wait
        };
        assert!(after(STEADY) <= SHORTEST * GROWTH);
        assert!(after(STEADY - Duration::from_millis(1)) > SHORTEST * GROWTH);
    }

    #[test]
    fn a_pause_asked_for_is_kept() {
        let mut reconnect = Reconnect::new(1);
        assert_eq!(reconnect.poll(Duration::ZERO), Next::Connect);
        reconnect.told_to_wait(Duration::ZERO, Duration::from_secs(4));
        let Next::WaitUntil(until) = reconnect.poll(Duration::ZERO) else { panic!("no wait") };
        assert!(until >= Duration::from_secs(4) + SHORTEST);
    }
}
