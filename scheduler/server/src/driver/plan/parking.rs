//! Nodes on their way to rest and back: what is ordered, what is run, and what has to be true in the end.

use std::time::Duration;

use dunlin_protocol::{
    Answer, Failure, FailureCode, Incarnation, Inventory, NodeId, NodeState, Order, Parked, Residency,
};
use dunlin_scheduler_core::{Errand, Input, ParkLevel, ParkRest, Standing};
use tokio::{sync::oneshot, time::Instant};

use super::{
    super::{
        Driver, Event, convert,
        hold::{self, Waits},
        nodes::unix_millis,
    },
    errand::{self, ErrandError},
    reason,
};

/// What runs on a node that is parked may take so long to end there; then it goes on elsewhere.
const DRAIN: Duration = Duration::from_secs(30);

/// A board may take so many times what its plan says to be gone, or to be back; then it is not.
const GRACE: u32 = 2;

/// What a change of mode takes, as far as a plan is concerned.
const MODE_DELAY: Duration = Duration::from_secs(5);

/// A node that is parked, or on its way there or back.
#[derive(Debug)]
pub(in crate::driver) struct Parking {
    pub(super) level: ParkLevel,
    stage: Stage,
    since_unix_seconds: u64,
    /// It takes work again afterwards; one that an operator has cordoned stays so.
    frees: bool,
    replies: Vec<oneshot::Sender<Answer>>,
    /// As it was: what it could serve, and the mode that it goes back to.
    pub(super) inventory: Box<Inventory>,
}

#[derive(Debug, Clone, PartialEq)]
enum Stage {
    /// What runs there ends.
    Drains,
    /// It is told to be in its lowest mode.
    GoesLow,
    /// Its command runs.
    PutOff,
    /// It was put off, as far as the command knows, and has to be gone by then.
    Goes {
        by: Instant,
        complaint: Option<String>,
    },
    Rests,
    /// The command that wakes it runs.
    Called,
    /// It has to be back by then.
    Comes {
        by: Instant,
    },
    /// It is told to be in its mode of before.
    Rises,
}

/// Which command of the operator has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Call {
    Off,
    Wake,
}

impl Parking {
    /// One that was put off by a scheduler before this one.
    pub(super) const fn off(inventory: Box<Inventory>, since_unix_seconds: u64) -> Self {
        let (level, stage) = (ParkLevel::Off, Stage::Rests);
        Self { level, stage, since_unix_seconds, frees: true, replies: Vec::new(), inventory }
    }

    pub(super) const fn since(&self) -> u64 {
        self.since_unix_seconds
    }

    /// Can be woken for whoever waits: what an operator has cordoned would not serve them.
    pub(super) fn rest(&self) -> ParkRest {
        match self.stage {
            Stage::Rests if !self.frees => ParkRest::Changes,
            Stage::Rests => ParkRest::Parked(self.level),
            Stage::Called | Stage::Comes { .. } | Stage::Rises => ParkRest::Wakes,
            _ => ParkRest::Changes,
        }
    }

    fn state(&self) -> NodeState {
        match self.stage {
            Stage::Rests => NodeState::Parked,
            Stage::Called | Stage::Comes { .. } | Stage::Rises => NodeState::Wakes,
            _ => NodeState::Draining,
        }
    }

    fn answer(&mut self, result: &Result<(), Failure>) {
        for reply in self.replies.drain(..) {
            // Who is gone does not wait.
            drop(reply.send(match result {
                Ok(()) => Answer::Done,
                Err(failure) => Answer::Failed(failure.clone()),
            }));
        }
    }
}

impl Driver {
    pub(in crate::driver) fn park_by_hand(
        &mut self,
        name: &NodeId,
        level: Option<dunlin_protocol::ParkLevel>,
        reply: oneshot::Sender<Answer>,
    ) {
        let level = match level.map(|level| self.asked_level(name, level)).transpose() {
            Ok(level) => level.unwrap_or_else(|| self.usual_level(name)),
            Err(failure) => return drop(reply.send(Answer::Failed(failure))),
        };
        self.park(name, level, Some(reply));
    }

    fn asked_level(&self, name: &NodeId, level: dunlin_protocol::ParkLevel) -> Result<ParkLevel, Failure> {
        match level {
            dunlin_protocol::ParkLevel::Unload => Ok(ParkLevel::Unload),
            dunlin_protocol::ParkLevel::LowMode => Ok(ParkLevel::LowMode),
            dunlin_protocol::ParkLevel::Off if self.errands(name).is_some() => Ok(ParkLevel::Off),
            dunlin_protocol::ParkLevel::Off => {
                let text = format!(
                    "there are no commands that put {name} off and wake it: write them into the file of \
                     `dunlin scheduler --plan`, in a table [[board]]"
                );
                Err(Failure::new(FailureCode::Unsupported, text))
            }
            dunlin_protocol::ParkLevel::Unknown => {
                let text = "this scheduler does not know such a rest: upgrade it";
                Err(Failure::new(FailureCode::Unsupported, text))
            }
        }
    }

    /// As the plan would.
    pub(super) fn usual_level(&self, name: &NodeId) -> ParkLevel {
        let rules = &self.planning.rules;
        rules.parking.map_or(ParkLevel::Unload, |parking| rules.depth(name.as_str(), parking.level))
    }

    fn errands(&self, name: &NodeId) -> Option<(Errand, Errand)> {
        self.planning.rules.board(name.as_str())?.off.clone()
    }

    /// What going to rest and coming back take.
    pub(super) fn delays(&self, name: &NodeId, level: ParkLevel) -> (Duration, Duration) {
        match (level, self.errands(name)) {
            (ParkLevel::Off, Some((off, wake))) => (off.delay, wake.delay),
            (ParkLevel::Unload, _) => (Duration::ZERO, Duration::ZERO),
            _ => (MODE_DELAY, MODE_DELAY),
        }
    }

    /// Begins it. Whoever asked hears of it in the end.
    pub(super) fn park(&mut self, name: &NodeId, level: ParkLevel, reply: Option<oneshot::Sender<Answer>>) {
        let refuse = |reply, failure| answer(reply, Answer::Failed(failure));
        let (Some(id), Some(node)) = (self.names.known(name), self.nodes.get(name)) else {
            let failure = self.no_node(name);
            return refuse(reply, failure);
        };
        if let Some(parking) = self.planning.parked.get(name) {
            let text = match parking.stage {
                Stage::Rests => format!("{name} is parked already"),
                _ => format!("{name} is on its way to rest, or back"),
            };
            return refuse(reply, Failure::new(FailureCode::Conflict, text));
        }
        if node.hold.is_some() || !node.is_connected {
            let text = format!("{name} is not connected, or busy: it changes its mode, or is measured");
            return refuse(reply, Failure::new(FailureCode::Conflict, text).retry_after_ms(5000));
        }
        if level == ParkLevel::Unload {
            return self.unload(name, reply.map_or(Waits::Plan, Waits::Answer));
        }
        let frees = self.core.node(id).is_some_and(|view| view.standing == Standing::Ready);
        let stage = if level == ParkLevel::Off { Stage::Drains } else { Stage::GoesLow };
        let parking = Parking {
            level,
            stage,
            since_unix_seconds: unix_millis() / 1000,
            frees,
            replies: reply.into_iter().collect(),
            inventory: Box::new(node.inventory.clone()),
        };
        tracing::info!(node = %name, ?level, "is parked");
        let lowest = self.lowest_mode(name);
        self.planning.parked.insert(name.clone(), parking);
        self.handle(Input::Drain { node: id, within: DRAIN });
        if level == ParkLevel::LowMode {
            self.hold(name, Input::Cordon, Order::Mode { mode: lowest }, Waits::Park);
        }
    }

    /// Models that may go, do; it takes work as before.
    fn unload(&mut self, name: &NodeId, waits: Waits) {
        let mut models = self.evictable(name);
        let Some(last) = models.pop() else { return waits.end(Ok(())) };
        tracing::info!(node = %name, models = models.len() + 1, "its models leave its memory");
        if let Some(id) = self.names.known(name) {
            models.into_iter().for_each(|model| self.order(id, Order::Evict { model }));
        }
        self.hold(name, Input::Cordon, Order::Evict { model: last }, waits);
    }

    fn evictable(&self, name: &NodeId) -> Vec<dunlin_protocol::ModelDigest> {
        let Some(node) = self.nodes.get(name) else { return Vec::new() };
        let inventory = &node.inventory;
        let is_pinned = |of: &dunlin_protocol::ModelDigest| {
            inventory.models.iter().any(|model| model.digest == *of && model.pinned)
        };
        let residents = inventory.state.residents.iter().filter(|of| of.state == Residency::Ready);
        residents.map(|of| of.model).filter(|of| !is_pinned(of)).collect()
    }

    /// Nothing runs there any more.
    pub(in crate::driver) fn on_drained(&mut self, name: &NodeId) {
        let drains = self.planning.parked.get(name).is_some_and(|parking| parking.stage == Stage::Drains);
        if !drains {
            return;
        }
        match self.errands(name) {
            Some((off, _)) => {
                self.enter(name, Stage::PutOff);
                self.keep_parked(name);
                self.call(name, Call::Off, &off);
            }
            // The plan was changed meanwhile.
            None => {
                let text = format!("the plan has no command any more that puts {name} off");
                self.stays(name, &Failure::new(FailureCode::Unsupported, text));
            }
        }
    }

    fn call(&self, name: &NodeId, call: Call, errand: &Errand) {
        let (command, name, events) = (errand.arguments(name.as_str()), name.clone(), self.events.clone());
        tracing::info!(node = %name, ?call, ?command, "a command of the operator");
        tokio::spawn(async move {
            let result = errand::run(command, errand::PATIENCE).await;
            // Without a driver there is nothing to tell.
            drop(events.send(Event::Errand { name, call, result }));
        });
    }

    pub(in crate::driver) fn on_errand(
        &mut self,
        name: &NodeId,
        call: Call,
        result: Result<(), ErrandError>,
    ) {
        let Some(parking) = self.planning.parked.get(name) else { return };
        let (off, wake) = self.delays(name, ParkLevel::Off);
        match (call, &parking.stage, result) {
            // A board that goes down may take the connection of its command with it: whether it is gone is what counts.
            (Call::Off, Stage::PutOff, result) => {
                let complaint = result.err().map(|error| error.to_string());
                self.enter(name, Stage::Goes { by: Instant::now() + off, complaint });
            }
            (Call::Wake, Stage::Called, Ok(())) => {
                self.enter(name, Stage::Comes { by: Instant::now() + GRACE * wake });
            }
            (Call::Wake, Stage::Called, Err(error)) => {
                self.sleeps_on(name, &Failure::new(FailureCode::Unavailable, format!("{name}: {error}")));
            }
            _ => {}
        }
    }

    /// Begins it. Whoever asked hears of it once the node is back; at once if it is awake.
    pub(in crate::driver) fn wake(&mut self, name: &NodeId, reply: Option<oneshot::Sender<Answer>>) {
        let Some(parking) = self.planning.parked.get_mut(name) else {
            let answer = match self.nodes.get(name) {
                Some(node) if node.is_connected => Answer::Done,
                Some(_) => {
                    let text =
                        format!("{name} was not parked: it is lost, and comes back by itself if it can");
                    Answer::Failed(Failure::new(FailureCode::Conflict, text))
                }
                None => Answer::Failed(self.no_node(name)),
            };
            return self::answer(reply, answer);
        };
        match parking.stage {
            Stage::Called | Stage::Comes { .. } | Stage::Rises => return parking.replies.extend(reply),
            Stage::Rests => parking.replies.extend(reply),
            _ => {
                let text = format!("{name} is on its way to rest: wake it once it is there");
                let failure = Failure::new(FailureCode::Conflict, text).retry_after_ms(5000);
                return answer(reply, Answer::Failed(failure));
            }
        }
        let (level, mode) = (parking.level, parking.inventory.state.health.mode.clone());
        match (level, self.errands(name)) {
            (ParkLevel::Off, Some((_, wake))) => {
                self.enter(name, Stage::Called);
                self.call(name, Call::Wake, &wake);
            }
            (ParkLevel::Off, None) => {
                let text = format!(
                    "the plan has no command any more that wakes {name}: write it, or press its button; it joins by itself"
                );
                self.sleeps_on(name, &Failure::new(FailureCode::Unsupported, text));
            }
            _ if self.nodes.get(name).is_none_or(|node| !node.is_connected || node.hold.is_some()) => {
                let text = format!("{name} is not connected, or busy: it comes back by itself if it can");
                self.sleeps_on(name, &Failure::new(FailureCode::Unavailable, text));
            }
            _ => {
                self.enter(name, Stage::Rises);
                self.hold(name, Input::Cordon, Order::Mode { mode }, Waits::Park);
            }
        }
    }

    /// It has taken the mode that it was told, or not.
    pub(in crate::driver) fn heard_of_park(&mut self, name: &NodeId, result: &Result<(), Failure>) {
        let Some(parking) = self.planning.parked.get(name) else { return };
        match (&parking.stage, result) {
            (Stage::GoesLow, Ok(())) => {
                let models = self.evictable(name);
                if let Some(id) = self.names.known(name) {
                    models.into_iter().for_each(|model| self.order(id, Order::Evict { model }));
                }
                self.rests(name);
            }
            (Stage::GoesLow, Err(failure)) => self.stays(name, failure),
            // It takes work in whatever mode it is in.
            (Stage::Rises, result) => {
                let result = result.clone();
                self.is_awake(name, &result);
            }
            _ => {}
        }
    }

    /// Its connection is gone. One that was to go is where it should be, once its time has passed.
    pub(in crate::driver) fn is_meant_to_be_gone(&self, name: &NodeId) -> bool {
        self.planning
            .parked
            .get(name)
            .is_some_and(|parking| parking.level == ParkLevel::Off && !matches!(parking.stage, Stage::Drains))
    }

    /// Its connection is gone. One that was not to go yet is not parked any more.
    pub(in crate::driver) fn parked_is_gone(&mut self, name: &NodeId) {
        if self.planning.parked.get(name).is_some_and(|parking| parking.stage == Stage::Drains) {
            self.stays(name, &hold::lost(name));
        }
    }

    /// An operator says whether it is to take work, which holds once it is awake; `false`: it is not parked.
    pub(in crate::driver) fn stands_when_awake(&mut self, name: &NodeId, frees: bool) -> bool {
        let parked = self.planning.parked.get_mut(name);
        parked.map(|parking| parking.frees = frees).is_some()
    }

    /// It has joined: nobody who is here is off.
    pub(in crate::driver) fn parked_has_joined(&mut self, name: &NodeId, incarnation: Incarnation) {
        let Some(parking) = self.planning.parked.get(name) else { return };
        let is_same = parking.inventory.incarnation == incarnation;
        match (&parking.stage, parking.level) {
            // A connection that was lost for a moment wakes nobody.
            (Stage::Rests, ParkLevel::LowMode) if is_same => {}
            (Stage::Drains | Stage::PutOff | Stage::Goes { .. }, _) if is_same => {}
            _ => self.is_awake(name, &Ok(())),
        }
    }

    /// Deadlines of those that go and come.
    pub(super) fn look_after_parked(&mut self, now: Instant) {
        let overdue = self.planning.parked.iter().filter_map(|(name, parking)| match &parking.stage {
            Stage::Goes { by, .. } | Stage::Comes { by } if *by <= now => Some(name.clone()),
            _ => None,
        });
        for name in overdue.collect::<Vec<_>>() {
            let is_connected = self.nodes.get(&name).is_some_and(|node| node.is_connected);
            let Some(stage) = self.planning.parked.get(&name).map(|parking| parking.stage.clone()) else {
                continue;
            };
            let (off, wake) = self.delays(&name, ParkLevel::Off);
            match stage {
                Stage::Goes { .. } if !is_connected => self.rests(&name),
                Stage::Goes { complaint: Some(complaint), .. } => {
                    self.stays(
                        &name,
                        &Failure::new(FailureCode::Unavailable, format!("{name} is not off: {complaint}")),
                    );
                }
                // It may take its time.
                Stage::Goes { by, .. } if now < by + (GRACE - 1) * off => {}
                Stage::Goes { .. } => {
                    let text = format!(
                        "{name} is still connected {} s after its command: is it the right one?",
                        (GRACE * off).as_secs_f64()
                    );
                    self.stays(&name, &Failure::new(FailureCode::Unavailable, text));
                }
                _ => {
                    let text = format!(
                        "{name} has not joined within {} s after its command (wake_delay_s is {})",
                        (GRACE * wake).as_secs_f64(),
                        wake.as_secs_f64()
                    );
                    self.sleeps_on(&name, &Failure::new(FailureCode::Unavailable, text));
                }
            }
        }
    }

    fn enter(&mut self, name: &NodeId, stage: Stage) {
        if let Some(parking) = self.planning.parked.get_mut(name) {
            parking.stage = stage;
        }
    }

    /// It is where it should be.
    fn rests(&mut self, name: &NodeId) {
        if let Some(id) = self.names.known(name) {
            self.planning.parks.succeeded(id);
        }
        let Some(parking) = self.planning.parked.get_mut(name) else { return };
        tracing::info!(node = %name, level = ?parking.level, "rests");
        parking.stage = Stage::Rests;
        parking.since_unix_seconds = unix_millis() / 1000;
        parking.answer(&Ok(()));
    }

    /// It could not be parked: it works on.
    fn stays(&mut self, name: &NodeId, failure: &Failure) {
        self.is_awake(name, &Err(failure.clone()));
    }

    /// It could not be woken: another may be.
    fn sleeps_on(&mut self, name: &NodeId, failure: &Failure) {
        tracing::warn!(node = %name, %failure, "not woken");
        let now = self.now();
        if let Some(id) = self.names.known(name) {
            self.planning.parks.failed(id, reason(&failure.text), now);
        }
        if let Some(parking) = self.planning.parked.get_mut(name) {
            parking.stage = Stage::Rests;
            parking.answer(&Err(failure.clone()));
        }
    }

    /// It takes work again.
    fn is_awake(&mut self, name: &NodeId, result: &Result<(), Failure>) {
        let Some(mut parking) = self.planning.parked.remove(name) else { return };
        let now = self.now();
        if let Some(id) = self.names.known(name) {
            match result {
                Ok(()) => self.planning.parks.succeeded(id),
                Err(failure) => {
                    tracing::warn!(node = %name, %failure, "not parked, or not as it was before");
                    self.planning.parks.failed(id, reason(&failure.text), now);
                }
            }
            if parking.frees {
                self.handle(Input::Uncordon(id));
            }
        }
        tracing::info!(node = %name, "is awake");
        self.planning.worked.insert(name.clone(), now);
        parking.answer(result);
        self.keep_parked(name);
    }

    pub(in crate::driver) fn parked_inventories(&self) -> impl Iterator<Item = (&NodeId, &Inventory)> {
        self.planning.parked.iter().map(|(name, parking)| (name, &*parking.inventory))
    }

    /// As it is shown.
    pub(in crate::driver) fn parked_state(&self, name: &NodeId) -> Option<NodeState> {
        self.planning.parked.get(name).map(Parking::state)
    }

    pub(in crate::driver) fn is_off(&self, name: &NodeId) -> bool {
        self.planning
            .parked
            .get(name)
            .is_some_and(|parking| parking.level == ParkLevel::Off && parking.state() == NodeState::Parked)
    }

    pub(super) fn told_parked(&self, name: &NodeId) -> Option<Parked> {
        let parking = self.planning.parked.get(name)?;
        let (_, wake) = self.delays(name, parking.level);
        Some(Parked {
            level: convert::park_level(parking.level),
            unix_seconds: parking.since_unix_seconds,
            wakes: parking.rest() == ParkRest::Wakes,
            wake_ms: wake.as_millis() as u64,
        })
    }
}

fn answer(reply: Option<oneshot::Sender<Answer>>, answer: Answer) {
    if let Some(reply) = reply {
        // Who is gone does not wait.
        drop(reply.send(answer));
    }
}
