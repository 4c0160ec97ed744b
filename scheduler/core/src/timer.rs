//! What the scheduler waits for.

use std::collections::{BTreeMap, BTreeSet};

use crate::{InvocationId, NodeId, Time};

/// At one moment they go off in this order: what ends things before what starts them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Timer {
    /// A node's lease may be over.
    Lease(NodeId),
    /// A draining node has had its time: what still runs there is handed over.
    Handover(NodeId),
    /// A node may be tried again with a model that it could not load.
    LoadAgain(NodeId),
    /// An invocation has used up its time.
    Expiry(InvocationId),
    /// An attempt may have stalled.
    Stall(InvocationId),
    /// What an attempt was asked to send again is overdue.
    Gap(InvocationId),
    /// An invocation that failed may be placed again.
    Backoff(InvocationId),
    /// A round of placing was cut short: it goes on.
    Round,
    /// The scheduler looks after itself: was it away, does the queue move?
    Pulse,
}

/// Each timer is set at most once.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    order: BTreeSet<(Time, Timer)>,
    set: BTreeMap<Timer, Time>,
}

impl Timers {
    pub(crate) fn set(&mut self, timer: Timer, at: Time) {
        if let Some(before) = self.set.insert(timer, at) {
            self.order.remove(&(before, timer));
        }
        self.order.insert((at, timer));
    }

    pub(crate) fn set_unless_set(&mut self, timer: Timer, at: Time) {
        if !self.set.contains_key(&timer) {
            self.set(timer, at);
        }
    }

    pub(crate) fn stop(&mut self, timer: Timer) {
        if let Some(at) = self.set.remove(&timer) {
            self.order.remove(&(at, timer));
        }
    }

    pub(crate) fn stop_all_of(&mut self, invocation: InvocationId) {
        for timer in [Timer::Expiry, Timer::Stall, Timer::Gap, Timer::Backoff] {
            self.stop(timer(invocation));
        }
    }

    pub(crate) fn next(&self) -> Option<Time> {
        self.order.first().map(|&(at, _)| at)
    }

    /// Takes one that is due.
    pub(crate) fn take_due(&mut self, now: Time) -> Option<Timer> {
        let &(at, timer) = self.order.first()?;
        if at > now {
            return None;
        }
        self.stop(timer);
        Some(timer)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_timer_is_set_once_and_goes_off_in_order() {
        let at = |s| Time::since_epoch(Duration::from_secs(s));
        let mut timers = Timers::default();
        timers.set(Timer::Pulse, at(1));
        timers.set(Timer::Lease(NodeId(2)), at(5));
        timers.set(Timer::Lease(NodeId(1)), at(2));
        timers.set(Timer::Lease(NodeId(2)), at(2));
        timers.set(Timer::Expiry(InvocationId(1)), at(2));
        timers.stop_all_of(InvocationId(1));
        assert_eq!(timers.next(), Some(at(1)));
        let due = std::iter::from_fn(|| timers.take_due(at(2))).collect::<Vec<_>>();
        assert_eq!(due, [Timer::Pulse, Timer::Lease(NodeId(1)), Timer::Lease(NodeId(2))]);
        assert_eq!(timers.next(), None);
    }
}
