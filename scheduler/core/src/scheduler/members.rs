//! Nodes join, report, fall silent, and leave.

use std::{sync::Arc, time::Duration};

use dunlin_costs::{ModelDigest, Row};

use super::{Scheduler, ending::Tell};
use crate::{
    Alias, AttemptId, AttemptReport, Failure, Fenced, Incarnation, Inventory, NodeEvent, NodeId, Output,
    Report, Standing,
    attempt::{MISSED_GRACE, MISSED_REPORTS},
    fleet::{MAX_ATTEMPTS_PER_NODE, MAX_NODES, Residency, Slot},
    invocation::State,
    timer::Timer,
};

/// What runs on a draining node may end there for so long at most, then it is handed over.
pub const MAX_DRAIN: Duration = Duration::from_hours(24);

/// A node that could not load a model is not asked to again for so long.
pub const LOAD_AGAIN: Duration = Duration::from_secs(30);

impl Scheduler {
    pub(super) fn node_event(&mut self, id: NodeId, incarnation: Incarnation, event: NodeEvent) {
        if let NodeEvent::Joined(inventory) = event {
            return self.joined(id, incarnation, &inventory);
        }
        let slot = self.fleet.slot(id).filter(|&slot| self.fleet.node(slot).incarnation == incarnation);
        let Some(slot) = slot else { return self.stranger(id, incarnation, &event) };
        if !matches!(event, NodeEvent::Disconnected) {
            self.fleet.node_mut(slot).lease.hear(self.now);
        }
        match event {
            NodeEvent::Joined(_) | NodeEvent::PacketSeen => {}
            NodeEvent::Report(report) => self.reported(slot, &report),
            NodeEvent::Disconnected => self.connect(slot, false),
            NodeEvent::Leaving { within } => self.drain(slot, within),
            NodeEvent::AttemptStarted(attempt) => self.attempt_started(id, attempt),
            NodeEvent::AttemptProgress(progress) => self.attempt_progress(id, &progress),
            NodeEvent::AttemptEnded { attempt, epoch, ended } => {
                self.attempt_ended(id, attempt, epoch, ended)
            }
            NodeEvent::ModelLoaded { model, point, sequences, bytes } => {
                self.model_loaded(slot, &model, Residency::Resident { point, sequences }, bytes);
            }
            NodeEvent::ModelFailed { model } => self.model_failed(slot, &model),
        }
    }

    /// Something from a node that is not there, or is by now another: only what claims to matter is answered.
    fn stranger(&mut self, node: NodeId, incarnation: Incarnation, event: &NodeEvent) {
        let known = self.fleet.by_id(node).map(|node| node.incarnation);
        let reason = match known {
            // Its own `Joined` is still to come.
            Some(known) if known < incarnation => return,
            Some(_) => Fenced::Superseded,
            None => Fenced::Unknown,
        };
        if !matches!(event, NodeEvent::PacketSeen | NodeEvent::Disconnected) {
            self.outputs.push_back(Output::Fence { node, incarnation, reason });
        }
    }

    fn joined(&mut self, id: NodeId, incarnation: Incarnation, inventory: &Inventory) {
        if let Some(slot) = self.fleet.slot(id) {
            let known = self.fleet.node(slot).incarnation;
            if known > incarnation {
                let reason = Fenced::Superseded;
                return self.outputs.push_back(Output::Fence { node: id, incarnation, reason });
            }
            if known == incarnation {
                return self.rejoined(slot, inventory);
            }
            self.lost(slot, Fenced::Superseded);
        }
        let Some(slot) = self.fleet.join(id, incarnation, inventory, self.now) else {
            let reason = Fenced::NoRoom;
            return self.outputs.push_back(Output::Fence { node: id, incarnation, reason });
        };
        tracing::debug!(node = %id, %incarnation, "joined");
        if let Some(&standing) = self.standings.get(&id) {
            self.fleet.node_mut(slot).standing = standing;
            self.fleet.file(slot);
        }
        self.timers.set(Timer::Lease(id), self.fleet.node(slot).lease.end());
        self.keep_pulse();
        self.reconcile(slot, &inventory.report.attempts, true);
        self.wake_lanes_of(slot);
    }

    /// It was away for less than its lease: what it runs goes on.
    fn rejoined(&mut self, slot: Slot, inventory: &Inventory) {
        self.fleet.readmit(slot, inventory);
        self.fleet.report(slot, &inventory.report, self.now);
        self.reconcile(slot, &inventory.report.attempts, true);
        self.wake_lanes_of(slot);
    }

    fn reported(&mut self, slot: Slot, report: &Report) {
        self.fleet.report(slot, report, self.now);
        self.reconcile(slot, &report.attempts, false);
        self.wake_lanes_of(slot);
    }

    /// What the node says it runs, against what it should. With a new connection, streams begin anew: each is asked for
    /// from the offset that is next, and what the node does not name never reached it or is gone.
    fn reconcile(&mut self, slot: Slot, listed: &[AttemptReport], rejoined: bool) {
        let node = self.fleet.node(slot).id;
        let expected: Vec<AttemptId> = self.fleet.node(slot).attempts().collect();
        let listed = &listed[..listed.len().min(MAX_ATTEMPTS_PER_NODE)];
        for report in listed {
            let current = expected.contains(&report.attempt);
            if !current && report.epoch == self.config.epoch {
                self.stop_stale(node, report.attempt);
            } else if current && rejoined {
                let delivered = self.invocations.get(&report.attempt.invocation).map_or(0, |of| of.delivered);
                // One that still reads its prompt has nothing to say again.
                if report.next_offset > delivered {
                    self.ask_again(report.attempt, delivered);
                }
            }
        }
        for attempt in expected {
            let named = listed.iter().any(|report| report.attempt == attempt);
            self.miss(attempt, named, rejoined);
        }
    }

    fn miss(&mut self, id: AttemptId, named: bool, rejoined: bool) {
        let now = self.now;
        let Some(invocation) = self.invocations.get_mut(&id.invocation) else { return };
        let Some(attempt) = invocation.attempt_mut() else { return };
        if named || attempt.ended.is_some() {
            attempt.missed_reports = 0;
        } else if rejoined {
            self.lose(id.invocation, Tell::Node);
        } else if now.since(attempt.placed) >= MISSED_GRACE {
            attempt.missed_reports += 1;
            if attempt.missed_reports >= MISSED_REPORTS {
                self.fail(id.invocation, Failure::Vanished, Tell::Node);
            }
        }
    }

    fn connect(&mut self, slot: Slot, connected: bool) {
        self.fleet.node_mut(slot).connected = connected;
        self.fleet.file(slot);
    }

    pub(super) fn check_lease(&mut self, id: NodeId) {
        let Some(slot) = self.fleet.slot(id) else { return };
        let lease = self.fleet.node(slot).lease;
        match lease.lapse(self.now) {
            Some(lapse) => self.lost(slot, Fenced::Lapsed(lapse)),
            None => self.timers.set(Timer::Lease(id), lease.end()),
        }
    }

    /// The node counts as gone, and whatever runs there with it.
    fn lost(&mut self, slot: Slot, reason: Fenced) {
        for invocation in self.invocations.values_mut() {
            if let State::Queued { awaits, .. } = &mut invocation.state {
                *awaits = awaits.filter(|(awaited, _)| *awaited != slot);
            }
        }
        let node = self.fleet.remove(slot);
        tracing::debug!(node = %node.id, ?reason, "lost");
        self.timers.stop(Timer::Lease(node.id));
        self.timers.stop(Timer::Handover(node.id));
        self.timers.stop(Timer::LoadAgain(node.id));
        self.outputs.push_back(Output::Fence { node: node.id, incarnation: node.incarnation, reason });
        for attempt in node.attempts() {
            self.lose(attempt.invocation, Tell::Nobody);
        }
    }

    /// What a person wants of a node, whether or not it is there.
    pub(super) fn stand(&mut self, id: NodeId, standing: Option<Standing>, within: Duration) {
        match standing {
            Some(standing) if self.standings.len() < MAX_NODES || self.standings.contains_key(&id) => {
                self.standings.insert(id, standing);
            }
            Some(_) => {}
            None => {
                self.standings.remove(&id);
            }
        }
        let Some(slot) = self.fleet.slot(id) else { return };
        self.timers.stop(Timer::Handover(id));
        if standing == Some(Standing::Draining) {
            return self.drain(slot, within);
        }
        self.fleet.node_mut(slot).standing = standing.unwrap_or(Standing::Ready);
        self.fleet.file(slot);
        self.wake_lanes_of(slot);
    }

    fn drain(&mut self, slot: Slot, within: Duration) {
        let node = self.fleet.node_mut(slot);
        node.standing = Standing::Draining;
        let (id, idle) = (node.id, node.in_flight() == 0);
        self.fleet.file(slot);
        if idle {
            self.outputs.push_back(Output::Drained(id));
        } else {
            self.timers.set(Timer::Handover(id), self.now + within.min(MAX_DRAIN));
        }
    }

    pub(super) fn hand_over(&mut self, id: NodeId) {
        let Some(node) = self.fleet.by_id(id) else { return };
        let attempts: Vec<AttemptId> = node.attempts().collect();
        for attempt in attempts {
            self.lose(attempt.invocation, Tell::Node);
        }
    }

    fn model_loaded(&mut self, slot: Slot, model: &ModelDigest, residency: Residency, bytes: u64) {
        let Some(model) = self.fleet.catalog.index(model) else { return };
        if let Some(load) = self.fleet.loaded(slot, model, residency, bytes)
            && let Some(expected) = load.expected
        {
            self.learn_load(slot, model, load.since, expected);
        }
        self.wake_lanes_of(slot);
    }

    fn model_failed(&mut self, slot: Slot, model: &ModelDigest) {
        let Some(model) = self.fleet.catalog.index(model) else { return };
        self.fleet.load_failed(slot, model, self.now + LOAD_AGAIN);
        self.timers.set_unless_set(Timer::LoadAgain(self.fleet.node(slot).id), self.now + LOAD_AGAIN);
    }

    pub(super) fn load_again(&mut self, id: NodeId) {
        let (now, Some(slot)) = (self.now, self.fleet.slot(id)) else { return };
        if let Some(next) = self.fleet.node_mut(slot).forgive_loads(now) {
            self.timers.set(Timer::LoadAgain(id), next);
        }
        self.wake_lanes_of(slot);
    }

    pub(super) fn catalog_changed(&mut self, aliases: Vec<Alias>) {
        self.fleet.replace_catalog(aliases);
        let catalog = &self.fleet.catalog;
        self.demand.keep(|model| catalog.alias(model).is_some());
        self.dirty.extend(self.queue.lanes().cloned());
    }

    pub(super) fn costs_changed(&mut self, rows: Vec<Arc<Row>>) {
        self.fleet.replace_rows(rows);
        self.dirty.extend(self.queue.lanes().cloned());
    }
}
