//! What the scheduler plans of nodes.

use std::time::Duration;

use dunlin_protocol::{JoinedNode, NodePlan, NodeState, ParkLevel, ParkStage, Parked, PlannedMode, Thermal};

use crate::{
    duration,
    terminal::{
        self, style,
        table::{Align, Cell, Table},
    },
};

/// A row for each mode that a node may be in.
pub(super) fn table(nodes: &[JoinedNode]) -> Option<Table> {
    let mut table = Table::new([
        ("NODE", Align::Left),
        ("MODE", Align::Left),
        ("", Align::Left),
        ("DRAWS", Align::Right),
        ("AT WORK", Align::Right),
        ("A REQUEST", Align::Right),
        ("OF ITS TARGETS", Align::Right),
    ]);
    let mut is_empty = true;
    for (node, plan) in nodes.iter().filter_map(|node| Some((node, node.plan.as_deref()?))) {
        for of in &plan.modes {
            is_empty = false;
            table.row(row(node, plan, of));
        }
    }
    (!is_empty).then_some(table)
}

fn row(node: &JoinedNode, plan: &NodePlan, of: &PlannedMode) -> [Cell; 7] {
    let note = if of.mode == node.health.mode {
        "now"
    } else if plan.mode.as_ref() == Some(&of.mode) {
        "wished"
    } else {
        ""
    };
    let assumed = if of.assumed { "~" } else { "" };
    let watts = |milliwatts: u64| format!("{assumed}{:.2} W", milliwatts as f64 / 1e3);
    let percent = |thousandths: u64| format!("{:.0} %", thousandths as f64 / 10.0);
    [
        Cell::styled(node.name.to_string(), style::NAME),
        of.mode.clone().into(),
        note.into(),
        of.milliwatts.map_or_else(|| "-".to_owned(), watts).into(),
        percent(of.busy).into(),
        duration::show(Duration::from_millis(of.request_ms)).into(),
        if of.strain == 0 { "-".to_owned() } else { percent(of.strain) }.into(),
    ]
}

/// What is meant, where something is.
pub(crate) fn says(plan: &NodePlan) -> impl Iterator<Item = String> {
    let words = [plan.parked.map(rests), changes(plan), Some(plan.says.clone()), plan.failure.clone()];
    words.into_iter().flatten().filter(|says| !says.is_empty())
}

pub(super) fn tell(nodes: &[JoinedNode]) {
    for (node, plan) in nodes.iter().filter_map(|node| Some((node, node.plan.as_deref()?))) {
        says(plan).for_each(|says| terminal::tell(format_args!("plan: {}: {says}", node.name)));
    }
}

fn rests(parked: Parked) -> String {
    let how = match parked.level {
        ParkLevel::Off => "it is off",
        ParkLevel::LowMode => "it rests in its lowest mode",
        ParkLevel::Unload | ParkLevel::Unknown => "it rests",
    };
    let back = duration::show(Duration::from_millis(parked.wake_ms));
    match parked.stage {
        // Schedulers of before say it so.
        _ if parked.wakes => format!("it was parked, and is on its way back, which takes {back}"),
        ParkStage::Goes if parked.level == ParkLevel::Off => {
            "it goes to rest: once what runs there has ended, it is put off".to_owned()
        }
        ParkStage::Goes => "it goes to rest".to_owned(),
        _ => format!("{how}, and comes back within {back} when it is needed, or by `dunlin wake`"),
    }
}

/// Into which mode, by whomever; rest aside.
fn changes(plan: &NodePlan) -> Option<String> {
    let mode = plan.changes_to.as_ref().filter(|_| plan.parked.is_none())?;
    Some(format!("it changes to {mode}"))
}

/// Its state in a word or two, with what it is on its way to.
pub(crate) fn standing(node: &JoinedNode) -> &'static str {
    let plan = node.plan.as_deref();
    match (node.state, plan.and_then(|plan| plan.parked)) {
        (NodeState::Parked, Some(Parked { level: ParkLevel::Off, .. })) => "off",
        (NodeState::Draining, Some(Parked { stage: ParkStage::Goes, .. })) => "goes to rest",
        (NodeState::Draining | NodeState::Cordoned, None)
            if plan.is_some_and(|plan| plan.changes_to.is_some()) =>
        {
            "changes mode"
        }
        (state, _) => super::state(state),
    }
}

/// The mode that it is in, and the one that it is about to be in.
pub(crate) fn mode(node: &JoinedNode, throttled: &str) -> String {
    let now = match node.health.thermal {
        Thermal::Throttled => format!("{} {throttled}", node.health.mode),
        _ => node.health.mode.clone(),
    };
    match node.plan.as_deref().and_then(|plan| plan.changes_to.as_ref()) {
        Some(then) if *then != node.health.mode => format!("{now} → {then}"),
        _ => now,
    }
}
