//! What is planned of a node, in words and for programs.

use std::time::Duration;

use dunlin_protocol::{NodeId, NodePlan, PlannedMode, limits::MAX_POINTS};
use dunlin_scheduler_core::{ModeWaits, ModeWish, Time};

use super::{super::Driver, modes::Costed};

impl Driver {
    /// `None` where nothing is planned of it.
    pub(in crate::driver) fn planned(&self, name: &NodeId) -> Option<Box<NodePlan>> {
        let planning = &self.planning;
        let id = self.names.known(name)?;
        let (parked, now) = (self.told_parked(name), self.now());
        let unparked = planning.parks.failure(id, now);
        if planning.rules.modes.is_none() && parked.is_none() && unparked.is_none() {
            return None;
        }
        let modes = planning.seen.get(name);
        let wish = planning.modes.wish(id);
        let failure = planning.modes.failure(id, now).map(|(mode, again, why)| {
            format!("{mode} was not taken: {why}; again in {}", span(again.since(now)))
        });
        let unparked = unparked.map(|(again, why)| format!("{why}; again in {}", span(again.since(now))));
        Some(Box::new(NodePlan {
            says: wish.map(|wish| wished(wish, now)).unwrap_or_default(),
            mode: wish.map(|wish| wish.mode.to_string()),
            rate: modes.map_or(0, |modes| (modes.rate * 3600.0 * 1e3).round() as u64),
            modes: modes
                .map(|modes| modes.choices.iter().take(MAX_POINTS).map(planned).collect())
                .unwrap_or_default(),
            parked,
            failure: unparked.or(failure),
        }))
    }
}

fn wished(wish: &ModeWish, now: Time) -> String {
    let waits = match wish.waits {
        Some(ModeWaits::Rounds { of }) => format!("{} of {of} rounds say so", wish.rounds),
        Some(ModeWaits::Rests { until }) => {
            format!("it has changed of late, and may again in {}", span(until.since(now)))
        }
        Some(ModeWaits::Others) => "it waits, as others change".to_owned(),
        Some(ModeWaits::Needed) => "it waits, as no other node has in memory what it has".to_owned(),
        Some(ModeWaits::Away) => "it waits until the node takes work".to_owned(),
        None => "now".to_owned(),
    };
    format!("{} {}; {waits}", wish.mode, wish.gain)
}

fn planned(of: &Costed) -> PlannedMode {
    let thousandths = |value: f64| (value.clamp(0.0, 1e9) * 1e3).round() as u64;
    let choice = &of.choice;
    PlannedMode {
        mode: choice.mode.to_string(),
        milliwatts: choice.watts.map(thousandths),
        busy: thousandths(choice.busy),
        request_ms: thousandths(choice.seconds),
        strain: thousandths(choice.strain),
        suffices: choice.suffices(),
        assumed: of.assumed,
    }
}

fn span(left: Duration) -> String {
    match left.as_secs() {
        seconds @ ..120 => format!("{seconds} s"),
        seconds => format!("{} min", seconds.div_ceil(60)),
    }
}
