//! What is planned of a node, in words and for programs.

use std::time::Duration;

use dunlin_protocol::{NodeId, NodePlan, PlannedMode, Saving, limits::MAX_POINTS};
use dunlin_scheduler_core::{Gain, ModeWaits, ModeWish, Time};

use super::{
    super::{Driver, nodes::unix_millis},
    modes::{Costed, Modes},
};

/// Whether words count down to what stands beside them as a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::driver) enum Countdown {
    Told,
    /// For whoever is told of each change: by the passing of time alone there is none.
    Untold,
}

impl Driver {
    /// `None` where nothing is planned of it.
    pub(in crate::driver) fn planned(&self, name: &NodeId, countdown: Countdown) -> Option<Box<NodePlan>> {
        let planning = &self.planning;
        let id = self.names.known(name)?;
        let (parked, now) = (self.told_parked(name), self.now());
        let changes_to = self.nodes.get(name).and_then(|node| node.hold.as_ref()?.mode.clone());
        let unparked = planning.parks.failure(id, now).map(|(again, why)| (why.to_owned(), again));
        if planning.rules.modes.is_none() && parked.is_none() && unparked.is_none() && changes_to.is_none() {
            return None;
        }
        let modes = planning.seen.get(name);
        let wish = planning.modes.wish(id);
        let untaken = planning.modes.failure(id, now);
        let untaken = untaken.map(|(mode, again, why)| (format!("{mode} was not taken: {why}"), again));
        let failure = unparked.or(untaken);
        let left = |until: Time| match countdown {
            Countdown::Told => format!(" in {}", span(until.since(now))),
            Countdown::Untold => " later".to_owned(),
        };
        let assumed = wish.is_some_and(|wish| self.rests_on_assumed(name, wish, modes));
        Some(Box::new(NodePlan {
            says: wish.map(|wish| wished(wish, assumed, left)).unwrap_or_default(),
            mode: wish.map(|wish| wish.mode.to_string()),
            wished_unix_seconds: wish.map(|wish| self.unix_seconds(wish.since)),
            due_unix_seconds: wish.and_then(due).map(|due| self.unix_seconds(due)),
            saves: wish.and_then(|wish| saving(wish, assumed)),
            changes_to,
            rate: modes.map_or(0, |modes| thousandths(modes.rate * 3600.0)),
            modes: modes
                .map(|modes| modes.choices.iter().take(MAX_POINTS).map(planned).collect())
                .unwrap_or_default(),
            parked,
            barred_unix_seconds: failure.as_ref().map(|(_, again)| self.unix_seconds(*again)),
            failure: failure.map(|(why, again)| match countdown {
                Countdown::Told => format!("{why}; again{}", left(again)),
                Countdown::Untold => why,
            }),
        }))
    }

    /// Of the mode of now, or of the one that is wished for.
    fn rests_on_assumed(&self, name: &NodeId, wish: &ModeWish, modes: Option<&Modes>) -> bool {
        let now = self.nodes.get(name).map(|node| node.inventory.state.health.mode.as_str());
        modes.is_some_and(|modes| {
            modes.choices.iter().any(|of| {
                let mode = of.choice.mode.as_str();
                of.assumed && (mode == wish.mode.as_str() || Some(mode) == now)
            })
        })
    }

    fn unix_seconds(&self, at: Time) -> u64 {
        let (now, millis) = (self.now(), |span: Duration| span.as_millis() as u64);
        (unix_millis() + millis(at.since(now))).saturating_sub(millis(now.since(at))) / 1000
    }
}

const fn due(wish: &ModeWish) -> Option<Time> {
    match wish.waits {
        Some(ModeWaits::Rests { until }) => Some(until),
        _ => None,
    }
}

fn saving(wish: &ModeWish, assumed: bool) -> Option<Saving> {
    let Gain::Saves { part, watts, .. } = wish.gain else { return None };
    Some(Saving {
        part: thousandths(part),
        of: wish.gain.saved()?.to_owned(),
        milliwatts_now: watts.map(|(now, _)| thousandths(now)),
        milliwatts_then: watts.map(|(_, then)| thousandths(then)),
        assumed,
    })
}

fn wished(wish: &ModeWish, assumed: bool, left: impl Fn(Time) -> String) -> String {
    let waits = match wish.waits {
        Some(ModeWaits::Rounds { of }) => format!("{} of {of} rounds say so", wish.rounds),
        Some(ModeWaits::Rests { until }) => format!("it has changed of late, and may again{}", left(until)),
        Some(ModeWaits::Others) => "it waits, as others change".to_owned(),
        Some(ModeWaits::Needed) => "it waits, as no other node has in memory what it has".to_owned(),
        Some(ModeWaits::Away) => "it waits until the node takes work".to_owned(),
        None => "now".to_owned(),
    };
    let by = if assumed { ", by assumed figures" } else { "" };
    format!("{} {}{by}; {waits}", wish.mode, wish.gain)
}

fn planned(of: &Costed) -> PlannedMode {
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

fn thousandths(value: f64) -> u64 {
    (value.clamp(0.0, 1e9) * 1e3).round() as u64
}

fn span(left: Duration) -> String {
    match left.as_secs() {
        seconds @ ..120 => format!("{seconds} s"),
        seconds => format!("{} min", seconds.div_ceil(60)),
    }
}
