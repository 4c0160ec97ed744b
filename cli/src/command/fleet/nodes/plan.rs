//! What the scheduler plans of nodes.

use std::time::Duration;

use dunlin_protocol::{JoinedNode, NodePlan, ParkLevel, Parked, PlannedMode};
use serde_json::{Value, json};

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
pub(super) fn tell(nodes: &[JoinedNode]) {
    for (node, plan) in nodes.iter().filter_map(|node| Some((node, node.plan.as_deref()?))) {
        for says in plan.parked.map(rests).iter().chain(Some(&plan.says)).chain(&plan.failure) {
            if !says.is_empty() {
                terminal::tell(format_args!("plan: {}: {says}", node.name));
            }
        }
    }
}

fn rests(parked: Parked) -> String {
    let how = match parked.level {
        ParkLevel::Off => "it is off",
        ParkLevel::LowMode => "it rests in its lowest mode",
        ParkLevel::Unload | ParkLevel::Unknown => "it rests",
    };
    let back = duration::show(Duration::from_millis(parked.wake_ms));
    if parked.wakes {
        format!("it was parked, and is on its way back, which takes {back}")
    } else {
        format!("{how}, and comes back within {back} when it is needed, or by `dunlin wake`")
    }
}

pub(super) fn document(node: &JoinedNode) -> Option<Value> {
    let plan = node.plan.as_deref()?;
    let watts = |milliwatts: u64| milliwatts as f64 / 1e3;
    let mode = |of: &PlannedMode| {
        json!({
            "mode": of.mode,
            "watts": of.milliwatts.map(watts),
            "watts_assumed": of.assumed,
            "at_work": of.busy as f64 / 1e3,
            "request_ms": of.request_ms,
            "of_targets": (of.strain > 0).then_some(of.strain as f64 / 1e3),
            "suffices": of.suffices,
        })
    };
    Some(json!({
        "says": (!plan.says.is_empty()).then_some(&plan.says),
        "wish": plan.mode,
        "requests_per_hour": plan.rate as f64 / 1e3,
        "modes": plan.modes.iter().map(mode).collect::<Vec<_>>(),
        "parked": plan.parked,
        "failure": plan.failure,
    }))
}
