//! The state machine: inputs in, outputs out. What it does is in files by occasion.

mod dispatch;
mod ending;
mod learn;
mod members;
mod progress;
mod residency;
mod submit;
#[cfg(test)]
mod tests;
mod view;

pub use members::{LOAD_AGAIN, MAX_DRAIN};
pub use submit::{MAX_INVOCATIONS, MAX_WAIT};
pub use view::{InvocationView, Load, Stage};

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use fastrand::Rng;

use crate::{
    Epoch, FleetPolicy, Input, InvocationId, NodeId, Output, Standing, Time,
    demand::{Demand, Interval},
    fleet::Fleet,
    invocation::Invocation,
    placement::Survey,
    quarantine::Quarantine,
    queue::{Lane, Pass, Queue, Ticket},
    retry::RetryBudget,
    timer::{Timer, Timers},
};

/// The scheduler looks after itself and its queue this often.
const PULSE: Duration = Duration::from_millis(250);

/// A scheduler whose own timer is later than this was away: leases are extended by as much.
pub const LATE: Duration = Duration::from_millis(500);

/// What does not change while a scheduler lives.
#[derive(Debug, Clone, Copy)]
pub struct Config {
    /// Of this scheduler's term: orders carry it, and what nodes say of other terms is not of our attempts.
    pub epoch: Epoch,
    /// Of all randomness: the same inputs at the same times with the same seed give the same outputs.
    pub seed: u64,
}

/// The scheduler, sans IO. Call [`Self::handle`] for everything that happens, and at the latest when
/// [`Self::next_wakeup`] says; after each, take the outputs until there are none.
#[derive(Debug)]
pub struct Scheduler {
    config: Config,
    now: Time,
    invocations: BTreeMap<InvocationId, Invocation>,
    queue: Queue,
    fleet: Fleet,
    /// What people said of nodes: it outlasts connections and incarnations.
    standings: BTreeMap<NodeId, Standing>,
    quarantine: Quarantine,
    retries: RetryBudget,
    demand: Demand,
    placements: Interval,
    timers: Timers,
    /// What has come and was not tried yet.
    arrivals: VecDeque<Ticket>,
    /// Models for which a place may have come free, and the round that goes over such.
    dirty: BTreeSet<Lane>,
    pass: Pass,
    outputs: VecDeque<Output>,
    survey: Survey,
    rng: Rng,
    next_decision: u64,
}

impl Scheduler {
    pub fn new(config: Config) -> Self {
        Self {
            config,
            now: Time::ZERO,
            invocations: BTreeMap::new(),
            queue: Queue::default(),
            fleet: Fleet::default(),
            standings: BTreeMap::new(),
            quarantine: Quarantine::default(),
            retries: RetryBudget::default(),
            demand: Demand::default(),
            placements: Interval::default(),
            timers: Timers::default(),
            arrivals: VecDeque::new(),
            dirty: BTreeSet::new(),
            pass: Pass::default(),
            outputs: VecDeque::new(),
            survey: Survey::default(),
            rng: Rng::with_seed(config.seed),
            next_decision: 0,
        }
    }

    /// Something happened at `now`. Time that runs backwards stands still.
    pub fn handle(&mut self, now: Time, input: Input) {
        let before = self.now;
        self.now = before.max(now);
        self.forgive_absence(before);
        match input {
            Input::Submit(request) => self.submit(*request),
            Input::Cancel(invocation) => self.cancel(invocation),
            Input::Node { node, incarnation, event } => self.node_event(node, incarnation, event),
            Input::Cordon(node) => self.stand(node, Some(Standing::Cordoned), Duration::ZERO),
            Input::Drain { node, within } => self.stand(node, Some(Standing::Draining), within),
            Input::Uncordon(node) => self.stand(node, None, Duration::ZERO),
            Input::CatalogChanged(aliases) => self.catalog_changed(aliases),
            Input::CostsChanged(rows) => self.costs_changed(rows),
            Input::PolicyChanged(FleetPolicy { shares }) => self.queue.share_out(shares),
            Input::Tick => {}
        }
        while let Some(timer) = self.timers.take_due(self.now) {
            self.fire(timer);
        }
        self.dispatch();
    }

    /// The next thing to do. Orders to one node are to reach it in their order.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`Self::handle`] is to be called if nothing happens before.
    pub fn next_wakeup(&self) -> Option<Time> {
        self.timers.next()
    }

    fn fire(&mut self, timer: Timer) {
        match timer {
            Timer::Lease(node) => self.check_lease(node),
            Timer::Handover(node) => self.hand_over(node),
            Timer::LoadAgain(node) => self.load_again(node),
            Timer::Expiry(invocation) => self.expire(invocation),
            Timer::Stall(invocation) => self.check_stall(invocation),
            Timer::Gap(invocation) => self.check_gap(invocation),
            Timer::Backoff(invocation) => self.enqueue(invocation),
            // Whatever happens, placing goes on afterwards.
            Timer::Round => {}
            Timer::Pulse => self.pulse(),
        }
    }

    fn pulse(&mut self) {
        self.quarantine.forget_old(self.now);
        self.dirty.extend(self.queue.lanes().cloned());
        self.look_after_models();
        self.keep_pulse();
    }

    /// The pulse goes while there is somebody to be late for.
    fn keep_pulse(&mut self) {
        if self.fleet.len() > 0 || self.queue.len() > 0 {
            self.timers.set_unless_set(Timer::Pulse, self.now + PULSE);
        }
    }

    /// If nobody called when it was time, the whole scheduler was away, at most since the last call. What nodes said
    /// meanwhile is still unread: its own absence is not held against them.
    fn forgive_absence(&mut self, before: Time) {
        if self.timers.next().is_none_or(|due| self.now - due <= LATE) {
            return;
        }
        let absence = self.now - before;
        tracing::debug!(?absence, "the scheduler was away");
        self.fleet.nodes_mut().for_each(|node| node.lease.extend(absence, self.now));
        for invocation in self.invocations.values_mut() {
            if let Some(attempt) = invocation.attempt_mut() {
                attempt.last_progress = (attempt.last_progress + absence).min(self.now);
            }
        }
    }
}
