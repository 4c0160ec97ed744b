//! Nodes on their way to rest and back: where each is, and what has to be true in the end.

mod coming;
mod going;

use std::time::Duration;

use dunlin_protocol::{
    Answer, Failure, FailureCode, Incarnation, Inventory, NodeId, NodeState, ParkStage, Parked,
};
use dunlin_scheduler_core::{Errand, Input, ParkLevel, ParkRest};
use tokio::{sync::oneshot, time::Instant};

use super::{
    super::{Driver, Event, convert, hold, nodes::unix_millis},
    errand, reason,
};

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
    /// One that was parked by a scheduler before this one.
    pub(super) const fn resting(
        level: ParkLevel,
        inventory: Box<Inventory>,
        since_unix_seconds: u64,
    ) -> Self {
        let stage = Stage::Rests;
        Self { level, stage, since_unix_seconds, frees: true, replies: Vec::new(), inventory }
    }

    pub(super) const fn since(&self) -> u64 {
        self.since_unix_seconds
    }

    /// Can be woken for whoever waits: what an operator has cordoned would not serve them.
    pub(super) fn rest(&self) -> ParkRest {
        match self.stage {
            Stage::Rests if !self.frees => ParkRest::Shut,
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

    fn told_stage(&self) -> ParkStage {
        match self.state() {
            NodeState::Parked => ParkStage::Rests,
            NodeState::Wakes => ParkStage::Wakes,
            _ => ParkStage::Goes,
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

    fn call(&self, name: &NodeId, call: Call, errand: &Errand) {
        let (command, name, events) = (errand.arguments(name.as_str()), name.clone(), self.events.clone());
        tracing::info!(node = %name, ?call, ?command, "a command of the operator");
        tokio::spawn(async move {
            let result = errand::run(command, errand::PATIENCE).await;
            // Without a driver there is nothing to tell.
            drop(events.send(Event::Errand { name, call, result }));
        });
    }

    /// It has taken the mode that it was told, or not.
    pub(in crate::driver) fn heard_of_park(&mut self, name: &NodeId, result: &Result<(), Failure>) {
        let Some(parking) = self.planning.parked.get(name) else { return };
        match (&parking.stage, result) {
            (Stage::GoesLow, Ok(())) => {
                self.evict_all(name);
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

    /// Nobody wakes it any more: it would not be let in.
    pub(in crate::driver) fn parked_is_denied(&mut self, name: &NodeId) {
        let Some(mut parking) = self.planning.parked.remove(name) else { return };
        tracing::info!(node = %name, "was denied, and is not parked any more");
        let text = format!("{name} was denied meanwhile");
        parking.answer(&Err(Failure::new(FailureCode::Forbidden, text)));
        self.keep_parked(name);
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

    fn enter(&mut self, name: &NodeId, stage: Stage) {
        if let Some(parking) = self.planning.parked.get_mut(name) {
            parking.stage = stage;
        }
        self.shows();
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
        self.keep_parked(name);
        self.shows();
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
        self.shows();
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
        self.shows();
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
            stage: parking.told_stage(),
        })
    }
}

fn answer(reply: Option<oneshot::Sender<Answer>>, answer: Answer) {
    if let Some(reply) = reply {
        // Who is gone does not wait.
        drop(reply.send(answer));
    }
}
