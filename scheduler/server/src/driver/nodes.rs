//! Nodes: who is connected, what it said last, and what it is told.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

use dunlin_link::{Close, Link};
use dunlin_protocol::{
    Command, CommandId, Feature, Health, Inventory, JoinedNode, NodeId, NodeState, Order, Report, ToNode,
    ToScheduler,
};
use dunlin_scheduler_core::{self as core, Fenced, Input, NodeEvent};
use tokio::{
    sync::mpsc::{self, error::TrySendError},
    time::Instant,
};

use super::{
    ConnectionId, Driver, convert,
    hold::{self, Hold},
    plan::Countdown,
};

/// A node as its last connection left it.
#[derive(Debug)]
pub(super) struct Connected {
    pub(super) connection: ConnectionId,
    pub(super) link: Link,
    orders: mpsc::Sender<ToNode>,
    pub(super) inventory: Inventory,
    pub(super) is_connected: bool,
    reported: Instant,
    pub(super) next_command: u64,
    /// What both ends can do beyond the version.
    pub(super) features: Vec<Feature>,
    /// What it does meanwhile gets it nothing new.
    pub(super) hold: Option<Hold>,
    /// When it was measured last without being asked for.
    pub(super) measured: Option<Instant>,
}

impl Connected {
    pub(super) fn new(
        connection: ConnectionId,
        link: Link,
        orders: mpsc::Sender<ToNode>,
        features: Vec<Feature>,
        inventory: Inventory,
    ) -> Self {
        let reported = Instant::now();
        Self {
            connection,
            link,
            orders,
            inventory,
            is_connected: true,
            reported,
            next_command: 0,
            features,
            hold: None,
            measured: None,
        }
    }
}

impl Driver {
    pub(super) fn on_joined(&mut self, name: &NodeId, node: Connected) {
        if let Some(before) = self.nodes.get(name)
            && before.is_connected
            && before.connection != node.connection
        {
            before.link.close(Close::Replaced, "the node has connected anew");
        }
        self.release(name, Err(hold::lost(name)));
        let held: Vec<_> = node.inventory.attempts.iter().map(|held| held.attempt).collect();
        let (connection, link) = (node.connection, node.link.clone());
        let (is_cordoned, incarnation) = (node.inventory.cordoned, node.inventory.incarnation);
        let learned = self.rows.learn(&node.inventory);
        self.names.node(name);
        let measured = self.nodes.get(name).and_then(|before| before.measured);
        self.nodes.insert(name.clone(), Connected { measured, ..node });
        if learned {
            self.tell_rows();
        }
        self.tell_aliases();
        let Some(inventory) = self.core_inventory(name) else { return };
        self.tell_core(name, connection, NodeEvent::Joined(Box::new(inventory)));
        // What people said of it outlives the scheduler that they said it to.
        if let (true, Some(node)) = (is_cordoned, self.names.known(name)) {
            self.handle(Input::Cordon(node));
        }
        self.parked_has_joined(name, incarnation);
        // What went on meanwhile is listened to again.
        for attempt in held {
            self.attach(attempt, connection, link.clone());
        }
        tracing::info!(node = %name, "joined");
    }

    pub(super) fn on_node(&mut self, name: &NodeId, connection: ConnectionId, message: ToScheduler) {
        match message {
            ToScheduler::Inventory(inventory) => {
                let Some(node) = self.current(name, connection) else { return };
                node.inventory = *inventory;
                let inventory = node.inventory.clone();
                if self.rows.learn(&inventory) {
                    self.tell_rows();
                }
                self.tell_aliases();
                self.report(name, connection);
            }
            ToScheduler::Report(report) => {
                let Some(node) = self.current(name, connection) else { return };
                node.inventory.state = *report;
                node.reported = Instant::now();
                self.report(name, connection);
            }
            ToScheduler::Done { id, result } => {
                if let Err(failure) = &result {
                    tracing::warn!(node = %name, order = id.0, %failure, "an order was not followed");
                }
                let Some(node) = self.current(name, connection) else { return };
                if node.hold.as_ref().is_some_and(|hold| hold.command == id) {
                    self.release(name, result);
                }
            }
            ToScheduler::Profiling { id, said } => {
                let Some(node) = self.current(name, connection) else { return };
                if let Some(hold) = node.hold.as_ref().filter(|hold| hold.command == id) {
                    hold.tell(*said);
                }
            }
            ToScheduler::Rows(rows) => {
                let Some(node) = self.current(name, connection) else { return };
                let inventory = node.inventory.clone();
                match self.rows.add_of(&inventory, &rows.toml) {
                    // What it holds may be of another load point now.
                    Ok(true) => {
                        tracing::info!(node = %name, "rows that were measured");
                        self.tell_rows();
                        self.report(name, connection);
                    }
                    Ok(false) => {}
                    Err(error) => tracing::warn!(node = %name, %error, "cost rows are not taken"),
                }
            }
            ToScheduler::Leaving { within_ms } => {
                let within = before_the_end(Duration::from_millis(within_ms));
                self.tell_core(name, connection, NodeEvent::Leaving { within });
            }
            // Answered where the stream is.
            ToScheduler::Renew(_) => {}
        }
    }

    fn current(&mut self, name: &NodeId, connection: ConnectionId) -> Option<&mut Connected> {
        self.nodes.get_mut(name).filter(|node| node.connection == connection)
    }

    fn report(&mut self, name: &NodeId, connection: ConnectionId) {
        let Some(inventory) = self.core_inventory(name) else { return };
        self.tell_core(name, connection, NodeEvent::Report(Box::new(inventory.report)));
    }

    pub(super) fn tell_core(&mut self, name: &NodeId, connection: ConnectionId, event: NodeEvent) {
        let Some(of) = self.nodes.get(name).filter(|node| node.connection == connection) else { return };
        let incarnation = core::Incarnation(of.inventory.incarnation.0);
        let node = self.names.node(name);
        self.handle(Input::Node { node, incarnation, event });
    }

    /// The inventory as the core knows it; attempts that have ended and are held count as attempts.
    fn core_inventory(&self, name: &NodeId) -> Option<core::Inventory> {
        let node = self.nodes.get(name)?;
        let inventory = &node.inventory;
        let load = |model: &dunlin_protocol::ModelDigest| {
            let row = self.rows.load_point(inventory, convert::digest(*model));
            row.unwrap_or_else(|| core::LoadPoint {
                backend: convert::backend("cpu"),
                kv_type: convert::kv_type(""),
                context: 0,
            })
        };
        // Those of a scheduler before this one are not known here.
        let epoch = |attempt: dunlin_protocol::AttemptId| {
            let is_ours = self.records.contains_key(&attempt.invocation);
            core::Epoch(if is_ours { self.epoch.0 } else { 0 })
        };
        let mut report = convert::report(&inventory.state, &inventory.models, load, epoch);
        for held in &inventory.attempts {
            let attempt = convert::attempt(held.attempt);
            if report.attempts.iter().all(|known| known.attempt != attempt) {
                let (epoch, next_offset) = (epoch(held.attempt), held.offset);
                report.attempts.push(core::AttemptReport { attempt, epoch, next_offset });
            }
        }
        Some(convert::inventory(inventory, report))
    }

    pub(super) fn order(&mut self, node: core::NodeId, order: Order) {
        let Some(name) = self.names.name(node) else { return };
        let epoch = self.epoch;
        let Some(node) = self.nodes.get_mut(name) else { return };
        node.next_command += 1;
        let command = Command { id: CommandId(node.next_command), epoch, order };
        // A node that is gone is told everything when it comes back; one that does not listen is made to.
        if let Err(TrySendError::Full(_)) = node.orders.try_send(ToNode::Command(command)) {
            node.link.close(Close::Overloaded, "too many orders were not read");
        }
    }

    pub(super) fn fence(&mut self, node: core::NodeId, reason: Fenced) {
        let Some(name) = self.names.name(node) else { return };
        let is_meant = self.is_meant_to_be_gone(name);
        let Some(node) = self.nodes.get_mut(name) else { return };
        node.is_connected = false;
        if is_meant {
            tracing::info!(node = %name, ?reason, "it is off, as it should be");
        } else {
            tracing::warn!(node = %name, ?reason, "fenced");
        }
        if let Some(observer) = self.observer.as_ref().filter(|_| !is_meant) {
            observer.fenced(&node.inventory.class, convert::fenced(reason));
        }
        node.link.close(Close::Replaced, &format!("{reason:?}: join again"));
    }

    /// In the order of their names; those that are off are among them.
    pub(super) fn joined(&self) -> impl Iterator<Item = JoinedNode> {
        self.known()
            .into_iter()
            .map(|(name, (inventory, node))| self.joined_node(name, inventory, node, Countdown::Told))
    }

    /// What nodes hold, those included that were off when this scheduler began.
    pub(super) fn inventories(&self) -> impl Iterator<Item = &Inventory> {
        self.known().into_values().map(|(inventory, _)| inventory)
    }

    pub(super) fn known(&self) -> BTreeMap<&NodeId, (&Inventory, Option<&Connected>)> {
        let off = self.parked_inventories().map(|(name, inventory)| (name, (inventory, None)));
        let joined = self.nodes.iter().map(|(name, node)| (name, (&node.inventory, Some(node))));
        off.chain(joined).collect()
    }

    pub(super) fn joined_node(
        &self,
        name: &NodeId,
        inventory: &Inventory,
        node: Option<&Connected>,
        countdown: Countdown,
    ) -> JoinedNode {
        let view = self.names.known(name).and_then(|id| self.core.node(id));
        let state = self.parked_state(name).unwrap_or_else(|| match &view {
            Some(view) => convert::standing(view.standing, node.is_some_and(|node| node.is_connected)),
            None => NodeState::Lost,
        });
        let Inventory {
            class,
            emulated,
            labels,
            memory_bytes,
            state: report,
            models,
            engine_build,
            unconfined,
            ..
        } = inventory;
        let Report { free_memory_bytes, residents, health, .. } = report;
        // What was true when it was put off is no more.
        let is_off = self.is_off(name);
        let health =
            if is_off { Health { mode: health.mode.clone(), ..Health::default() } } else { health.clone() };
        let residents = if is_off { Vec::new() } else { residents.clone() };
        JoinedNode {
            name: name.clone(),
            class: class.clone(),
            state,
            emulated: *emulated,
            labels: labels.clone(),
            memory_bytes: *memory_bytes,
            free_memory_bytes: *free_memory_bytes,
            residents,
            models: models.len() as u32,
            running: view.as_ref().map_or(0, |view| view.in_flight as u32),
            health,
            seen_ms_ago: node.map(|node| node.reported.elapsed().as_millis() as u64),
            build: engine_build.clone(),
            unconfined: unconfined.clone(),
            stale: view.as_ref().map_or(0, |view| view.stale.len() as u32),
            plan: self.planned(name, countdown),
        }
    }
}

/// What a node does not end itself is to begin elsewhere before the node is gone.
fn before_the_end(within: Duration) -> Duration {
    within - (within / 4).min(Duration::from_secs(1))
}

pub(super) fn unix_millis() -> u64 {
    SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default().as_millis() as u64
}
