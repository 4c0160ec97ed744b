//! Nodes go to rest.

use std::time::Duration;

use dunlin_protocol::{Answer, Failure, FailureCode, ModelDigest, NodeId, Order, Residency};
use dunlin_scheduler_core::{Input, ParkLevel, Standing};
use tokio::sync::oneshot;

use super::{
    super::super::{Driver, hold::Waits, nodes::unix_millis},
    Call, Parking, Stage, answer,
};

/// What runs on a node that is parked may take so long to end there; then it goes on elsewhere.
const DRAIN: Duration = Duration::from_secs(30);

impl Driver {
    pub(in crate::driver) fn park_by_hand(
        &mut self,
        name: &NodeId,
        level: Option<dunlin_protocol::ParkLevel>,
        reply: oneshot::Sender<Answer>,
    ) {
        if !self.nodes.contains_key(name) && !self.planning.parked.contains_key(name) {
            return drop(reply.send(Answer::Failed(self.no_node(name))));
        }
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

    /// Begins it. Whoever asked hears of it in the end.
    pub(in crate::driver::plan) fn park(
        &mut self,
        name: &NodeId,
        level: ParkLevel,
        reply: Option<oneshot::Sender<Answer>>,
    ) {
        let refuse = |reply, failure| answer(reply, Answer::Failed(failure));
        if let Some(parking) = self.planning.parked.get(name) {
            let text = match parking.stage {
                Stage::Rests => format!("{name} is parked already"),
                _ => format!("{name} is on its way to rest, or back"),
            };
            return refuse(reply, Failure::new(FailureCode::Conflict, text));
        }
        let (Some(id), Some(node)) = (self.names.known(name), self.nodes.get(name)) else {
            let failure = self.no_node(name);
            return refuse(reply, failure);
        };
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

    pub(super) fn evict_all(&mut self, name: &NodeId) {
        let (models, id) = (self.evictable(name), self.names.known(name));
        let Some(id) = id else { return };
        models.into_iter().for_each(|model| self.order(id, Order::Evict { model }));
    }

    fn evictable(&self, name: &NodeId) -> Vec<ModelDigest> {
        let Some(node) = self.nodes.get(name) else { return Vec::new() };
        let inventory = &node.inventory;
        let is_pinned =
            |of: &ModelDigest| inventory.models.iter().any(|model| model.digest == *of && model.pinned);
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
}
