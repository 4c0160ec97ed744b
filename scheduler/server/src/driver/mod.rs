//! The driver of the core: everything that happens comes here as an [`Event`], and what the core wants done is done.
//!
//! One task owns the core, the records of invocations and what is known of connections; whoever talks to the network has a
//! task of its own, and talks to this one by messages.

mod answers;
mod attempt;
mod convert;
mod event;
mod expect;
mod extras;
mod hold;
mod inbox;
mod log;
pub mod look;
mod names;
mod nodes;
mod plan;
mod records;
mod rows;
mod submit;
mod trace;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use dunlin_protocol::{
    Answer, Ask, AttemptId, Emission, Epoch, Failure, FailureCode, InvocationId, NodeId, OperatingPoint,
    Placed, Submit,
};
use dunlin_scheduler_core::{self as core, Decision, Input, Output, Time};
use dunlin_traces::Exporter;
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep_until},
};

use self::{
    attempt::Stream, expect::Expectations, inbox::Told, names::Names, nodes::Connected, plan::Planning,
    records::Records, rows::Rows,
};
pub(crate) use self::{
    event::{Catalogued, ConnectionId, Event},
    inbox::Events,
    log::{End, Log, Next},
};
use crate::policies::Policies;

/// Without anything to do, this task looks after itself so often.
const IDLE: Duration = Duration::from_secs(1);

/// All that is kept of an invocation beside what the core keeps.
#[derive(Debug)]
pub(crate) struct Record {
    submit: Submit,
    tenant: String,
    policy: String,
    /// The name by which the pipeline opens its model.
    alias: String,
    seed: u64,
    submitted: Instant,
    submitted_unix_ms: u64,
    /// The alias of the fleet that stands behind it.
    model: String,
    log: Arc<Log>,
    stream: Option<(AttemptId, Stream)>,
    decisions: Vec<(Box<Decision>, Instant)>,
    /// What attempts said at their ends, and when, by number.
    ended: BTreeMap<u32, (dunlin_protocol::Ended, Instant)>,
    last_failure: Option<Failure>,
    /// It was stopped, as it said too much.
    overflows: bool,
}

pub(crate) struct Driver {
    core: core::Scheduler,
    epoch: Epoch,
    build: String,
    fleet: dunlin_protocol::FleetId,
    /// Its own name: where what ran nowhere was.
    scheduler: NodeId,
    began: Instant,
    names: Names,
    rows: Rows,
    expectations: Expectations,
    policies: Arc<Policies>,
    planning: Planning,
    catalog: Catalogued,
    nodes: BTreeMap<NodeId, Connected>,
    records: Records,
    /// What the attempt said that the core is asked about.
    pending: Vec<Emission>,
    random: fastrand::Rng,
    /// When it is looked at stale rows again.
    next_look: Instant,
    observer: Option<Arc<dyn look::Observe>>,
    /// Where spans go.
    pub(crate) traces: Option<Exporter>,
    /// Counts what may be seen differently now.
    changed: watch::Sender<u64>,
    events: Events,
    inbox: mpsc::UnboundedReceiver<Told>,
}

impl Driver {
    pub(crate) fn new(
        epoch: Epoch,
        build: String,
        fleet: dunlin_protocol::FleetId,
        scheduler: NodeId,
        policies: Arc<Policies>,
        catalog: Catalogued,
    ) -> (Self, Events) {
        let (events, inbox) = Events::new();
        let mut random = fastrand::Rng::new();
        let config = core::Config { epoch: core::Epoch(epoch.0), seed: random.u64(..) };
        let mut driver = Self {
            core: core::Scheduler::new(config),
            epoch,
            build,
            fleet,
            scheduler,
            began: Instant::now(),
            names: Names::default(),
            rows: Rows::default(),
            expectations: Expectations::default(),
            policies,
            planning: Planning::new(Instant::now()),
            catalog: Catalogued::default(),
            nodes: BTreeMap::new(),
            records: Records::default(),
            pending: Vec::new(),
            random,
            next_look: Instant::now(),
            observer: None,
            traces: None,
            changed: watch::Sender::new(0),
            events: events.clone(),
            inbox,
        };
        driver.on_catalog(catalog);
        (driver, events)
    }

    /// Until nobody has anything to say any more.
    pub(crate) async fn run(mut self) {
        loop {
            let due = self.core.next_wakeup().map(|due| self.instant(due));
            let wake = due.unwrap_or_else(|| Instant::now() + IDLE).min(Instant::now() + IDLE);
            tokio::select! {
                event = self.inbox.recv() => match event {
                    Some(Told { event, room }) => {
                        let is_seen = event.is_seen();
                        self.on_event(event);
                        drop(room);
                        if is_seen {
                            self.shows();
                        }
                    }
                    None => return,
                },
                () = sleep_until(wake) => self.handle(Input::Tick),
            }
            self.measure_stale(Instant::now());
            self.plan(Instant::now());
            self.records.tidy(Instant::now());
        }
    }

    fn on_event(&mut self, event: Event) {
        match event {
            Event::NodeJoined { name, connection, link, orders, features, inventory } => {
                self.on_joined(&name, Connected::new(connection, link, orders, features, *inventory));
            }
            Event::NodeSaid { name, connection, message } => self.on_node(&name, connection, *message),
            Event::NodeHeard { name, connection } => {
                self.tell_core(&name, connection, core::NodeEvent::PacketSeen);
            }
            Event::NodeGone { name, connection } => {
                self.tell_core(&name, connection, core::NodeEvent::Disconnected);
                if let Some(node) = self.nodes.get_mut(&name).filter(|node| node.connection == connection) {
                    node.is_connected = false;
                    self.release(&name, Err(hold::lost(&name)));
                    self.parked_is_gone(&name);
                }
            }
            Event::Attempt { attempt, said } => self.on_attempt(attempt, *said),
            Event::AttemptLost { attempt, connection } => self.on_stream_lost(attempt, connection),
            Event::Submit { submit, tenant, reply } => {
                // Who asked and left wants it no more.
                let accepted = self.on_submit(*submit, tenant);
                if let Err(Ok(log)) = reply.send(accepted) {
                    self.handle(Input::Cancel(convert::invocation(log.id)));
                }
            }
            Event::Follow { invocation, tenant, reply } => {
                let record = self.records.get(&invocation);
                let own = record.filter(|record| tenant.is_none_or(|tenant| tenant == record.tenant));
                drop(reply.send(own.map(|record| record.log.clone())));
            }
            Event::Cancel(invocation) => self.handle(Input::Cancel(convert::invocation(invocation))),
            Event::Ask { ask, tenant, reply } => match *ask {
                Ask::Mode { node, mode } => self.change_mode(&node, mode, reply),
                Ask::Park { node, level } => self.park_by_hand(&node, level, reply),
                Ask::Wake { node } => self.wake(&node, Some(reply)),
                ask => drop(reply.send(self.answer(ask, tenant.as_deref()))),
            },
            Event::Profile { ask, reply } => self.profile(ask, reply),
            Event::EndProfile { node, reply } => self.end_profile(&node, &reply),
            Event::Catalog(catalog) => self.on_catalog(catalog),
            Event::Policies(policies) => self.policies = policies,
            Event::Plan(rules) => self.on_plan(rules),
            Event::Errand { name, call, result } => self.on_errand(&name, call, result),
            Event::Denied(name) => self.parked_is_denied(&name),
            Event::Look(reply) => drop(reply.send(self.look())),
            Event::Invocations { of, reply } => drop(reply.send(self.invocations(&of))),
            Event::Observe(observer) => self.observer = Some(observer),
            Event::Rows { toml, reply } => drop(reply.send(self.on_rows(&toml))),
        }
    }

    fn handle(&mut self, input: Input) {
        let now = self.now();
        self.core.handle(now, input);
        while let Some(output) = self.core.poll_output() {
            self.act(output);
        }
    }

    fn act(&mut self, output: Output) {
        match output {
            Output::Place(place) => self.on_place(&place),
            Output::CancelAttempt { node, attempt } => {
                let attempt = convert::attempt_of(attempt);
                let epoch = self.epoch;
                match self.stream(attempt) {
                    Some(stream) => stream.cancel(epoch),
                    // One that was given up: its node came back with it.
                    None => self.order(node, dunlin_protocol::Order::Cancel { attempt }),
                }
            }
            Output::Resend { attempt, from, .. } => {
                if let Some(stream) = self.stream(convert::attempt_of(attempt)) {
                    stream.again(from);
                }
            }
            Output::LoadModel { node, model } => {
                let model = convert::digest_of(model);
                self.order(node, dunlin_protocol::Order::Load { model, point: OperatingPoint::default() });
            }
            Output::Deliver { invocation, skip, length, .. } => {
                let skip = usize::try_from(skip).unwrap_or(usize::MAX);
                let length = usize::try_from(length).unwrap_or(usize::MAX);
                let fresh = std::mem::take(&mut self.pending).into_iter().skip(skip).take(length);
                self.deliver(convert::invocation_of(invocation), fresh);
            }
            Output::Ended { invocation, outcome, usage, .. } => {
                self.on_ended(convert::invocation_of(invocation), outcome, &usage);
            }
            Output::Fence { node, reason, .. } => self.fence(node, reason),
            // Ids are drawn at random from a large range.
            Output::Duplicate(invocation) => tracing::error!(%invocation, "the same id twice"),
            Output::Drained(node) => {
                if let Some(name) = self.names.name(node).cloned() {
                    tracing::info!(node = %name, "drained");
                    self.on_drained(&name);
                }
            }
            Output::Record(decision) => {
                self.note_decision(&decision);
                let id = convert::invocation_of(decision.attempt.invocation);
                self.records.decided(id, decision);
            }
            Output::Measured(measured) => tracing::trace!(?measured),
        }
    }

    fn on_catalog(&mut self, catalog: Catalogued) {
        self.catalog = catalog;
        self.tell_aliases();
    }

    /// Those of the catalog; and a model of a node has its own name, where the catalog has none like it.
    fn tell_aliases(&mut self) {
        let mut aliases: BTreeMap<&str, Vec<core::Variant>> = BTreeMap::new();
        for alias in &self.catalog.aliases {
            let variants = alias.variants.iter().map(|variant| core::Variant {
                model: convert::digest(variant.digest),
                bytes: variant.bytes,
                quality: variant.quality.map(|thousandths| f64::from(thousandths) / 1000.0),
            });
            aliases.insert(&alias.name, variants.collect());
        }
        let named: Vec<String> = aliases.keys().map(|name| (*name).to_owned()).collect();
        for stored in self.inventories().flat_map(|inventory| &inventory.models) {
            if stored.name.is_empty() || named.contains(&stored.name) {
                continue;
            }
            let variants = aliases.entry(&stored.name).or_default();
            let model = convert::digest(stored.digest);
            if variants.iter().all(|variant| variant.model != model) {
                variants.push(core::Variant { model, bytes: stored.bytes, quality: None });
            }
        }
        let aliases = aliases.into_iter().map(|(name, mut variants)| {
            variants.sort_by_key(|variant| std::cmp::Reverse(variant.bytes));
            let resident_on = self.resident_on(name);
            core::Alias { name: Arc::from(name), variants, resident_on }
        });
        let aliases: Vec<core::Alias> = aliases.collect();
        self.planning.aliases.clone_from(&aliases);
        self.handle(Input::CatalogChanged(aliases));
    }

    fn resident_on(&self, alias: &str) -> u32 {
        self.catalog.aliases.iter().find(|known| known.name == alias).map_or(0, |known| known.resident_on)
    }

    fn on_rows(&mut self, toml: &str) -> Answer {
        match self.rows.add(toml) {
            Ok(true) => {
                self.tell_rows();
                Answer::Done
            }
            Ok(false) => Answer::Done,
            Err(error) => Answer::Failed(Failure::new(FailureCode::Invalid, error.to_string())),
        }
    }

    fn tell_rows(&mut self) {
        let rows = rows::judged(self.rows.all());
        self.handle(Input::CostsChanged(rows));
    }

    /// What one invocation may say has a limit: its node has one too, but nodes may be of another mind.
    fn deliver(&mut self, invocation: InvocationId, emissions: impl Iterator<Item = Emission>) {
        if self.records.deliver(invocation, emissions) {
            tracing::warn!(%invocation, "it says too much, and is stopped");
            // The core is in the middle of something; it hears this in its turn.
            drop(self.events.send(Event::Cancel(invocation)));
        }
    }

    fn stream(&mut self, attempt: AttemptId) -> Option<&mut Stream> {
        let record = self.records.get_mut(&attempt.invocation)?;
        let (id, stream) = record.stream.as_mut()?;
        (*id == attempt).then_some(stream)
    }

    fn now(&self) -> Time {
        Time::ZERO + self.began.elapsed()
    }

    fn instant(&self, time: Time) -> Instant {
        self.began + time.since(Time::ZERO)
    }
}

/// Where an attempt runs, for whoever follows it.
fn placed(attempt: AttemptId, node: NodeId, place: &core::Place) -> Placed {
    Placed {
        attempt,
        node,
        point: convert::point_of(&place.point),
        model: Some(convert::digest_of(place.model)),
        predicted: Some(convert::predicted(&place.prediction)),
    }
}
