//! How many handshakes are begun: sans-IO, time is an argument.
//!
//! A handshake costs both ends a signature and more; a fleet that comes back after a restart, or a flood from addresses that
//! are not its sender's, must not starve the connections that there are.

use std::time::Duration;

/// How much is let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct GateLimits {
    /// Handshakes begun in a second, and at once after a pause.
    pub(crate) per_second: u32,
    /// Of those who have shown that their address is theirs, how many may wait for their turn.
    pub(crate) waiting: usize,
}

/// What to do with whoever knocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Begin the handshake.
    Admit,
    /// Have it show that its address is its own; it costs nothing to forget it.
    Retry,
    /// Keep it until its turn comes.
    Wait,
    Refuse,
}

/// A bucket of handshakes that fills with time.
#[derive(Debug)]
pub(crate) struct Gate {
    limits: GateLimits,
    /// How long the bucket has been filling since it was empty.
    filled: Duration,
    at: Duration,
}

impl Gate {
    /// Full at `now`.
    pub(crate) fn new(limits: GateLimits, now: Duration) -> Self {
        Self { limits, filled: Duration::from_secs(1), at: now }
    }

    /// Somebody knocks; `validated` if it has shown that its address is its own, `waiting` are before it.
    pub(crate) fn knock(&mut self, now: Duration, validated: bool, waiting: usize) -> Verdict {
        if waiting == 0 && self.take(now) {
            return Verdict::Admit;
        }
        match validated {
            false => Verdict::Retry,
            true if waiting < self.limits.waiting => Verdict::Wait,
            true => Verdict::Refuse,
        }
    }

    /// Whether a handshake may begin now; if so, it has.
    pub(crate) fn take(&mut self, now: Duration) -> bool {
        self.fill(now);
        let may = self.filled >= self.cost();
        if may {
            self.filled -= self.cost();
        }
        may
    }

    /// How long until the next may begin.
    pub(crate) fn next_in(&self) -> Duration {
        self.cost().saturating_sub(self.filled)
    }

    fn fill(&mut self, now: Duration) {
        let passed = now.saturating_sub(self.at);
        self.filled = (self.filled + passed).min(Duration::from_secs(1));
        self.at = now;
    }

    fn cost(&self) -> Duration {
        Duration::from_secs(1) / self.limits.per_second
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: GateLimits = GateLimits { per_second: 50, waiting: 3 };

    #[test]
    fn fifty_a_second_and_no_more() {
        let mut gate = Gate::new(LIMITS, Duration::ZERO);
        let admitted =
            |gate: &mut Gate, at: u64| (0..1_000).filter(|_| gate.take(Duration::from_millis(at))).count();
        assert_eq!(admitted(&mut gate, 0), 50);
        assert_eq!(admitted(&mut gate, 19), 0);
        assert_eq!(admitted(&mut gate, 20), 1);
        assert_eq!(admitted(&mut gate, 1_020), 50);
        assert_eq!(admitted(&mut gate, 60_000), 50);
        let trickle = (0..2_000).filter(|ms| gate.take(Duration::from_millis(60_000 + ms))).count();
        assert!((98..=100).contains(&trickle), "{trickle}");
    }

    #[test]
    fn strangers_are_sent_back_and_those_who_came_back_wait_their_turn() {
        let mut gate = Gate::new(LIMITS, Duration::ZERO);
        let now = Duration::from_millis(1);
        while gate.knock(now, false, 0) == Verdict::Admit {}
        assert_eq!(gate.knock(now, false, 0), Verdict::Retry);
        assert_eq!(gate.knock(now, true, 0), Verdict::Wait);
        assert_eq!(gate.knock(now, true, 2), Verdict::Wait);
        assert_eq!(gate.knock(now, true, 3), Verdict::Refuse);
        assert!(gate.next_in() <= Duration::from_millis(20));
        // Nobody overtakes those who wait.
        let later = Duration::from_millis(100);
        assert_eq!(gate.knock(later, true, 1), Verdict::Wait);
        assert!(gate.take(later));
    }
}
