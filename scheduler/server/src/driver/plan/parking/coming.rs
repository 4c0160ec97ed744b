//! Nodes are gone, and come back, within their time or not.

use dunlin_protocol::{Answer, Failure, FailureCode, NodeId, Order};
use dunlin_scheduler_core::{Input, ParkLevel};
use tokio::{sync::oneshot, time::Instant};

use super::{
    super::{
        super::{Driver, hold::Waits},
        errand::ErrandError,
    },
    Call, Stage, answer,
};

/// A board may take so many times what its plan says to be gone, or to be back; then it is not.
const GRACE: u32 = 2;

impl Driver {
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

    /// Deadlines of those that go and come.
    pub(in crate::driver::plan) fn look_after_parked(&mut self, now: Instant) {
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
}
