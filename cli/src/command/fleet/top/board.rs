//! Boards, as rows of a table.

use std::{cmp::Ordering, time::Duration};

use dunlin_protocol::{JoinedNode, NodePlan, Residency};

use super::{
    look::{Look, is_gone, is_off},
    screen::Column,
};
use crate::{command::fleet::nodes::plan, duration};

/// In the order in which they are shown. The last ones go first where there is no room.
pub(super) const COLUMNS: [Column<JoinedNode>; 10] = [
    Column { name: "NODE", width: 14, rank: 0, is_right: false, order: |a, b| a.name.cmp(&b.name) },
    Column { name: "CLASS", width: 16, rank: 5, is_right: false, order: |a, b| a.class.cmp(&b.class) },
    Column {
        name: "STATE",
        width: 13,
        rank: 1,
        is_right: false,
        order: |a, b| plan::standing(a).cmp(plan::standing(b)),
    },
    Column { name: "RUN", width: 5, rank: 2, is_right: true, order: |a, b| b.running.cmp(&a.running) },
    Column {
        name: "WATTS",
        width: 8,
        rank: 3,
        is_right: true,
        order: |a, b| b.health.milliwatts.cmp(&a.health.milliwatts),
    },
    Column {
        name: "TEMP",
        width: 7,
        rank: 6,
        is_right: true,
        order: |a, b| b.health.temperature.cmp(&a.health.temperature),
    },
    Column { name: "BATTERY", width: 9, rank: 8, is_right: true, order: battery_order },
    Column {
        name: "FREE",
        width: 8,
        rank: 7,
        is_right: true,
        order: |a, b| a.free_memory_bytes.cmp(&b.free_memory_bytes),
    },
    Column {
        name: "MODE",
        width: 13,
        rank: 9,
        is_right: false,
        order: |a, b| a.health.mode.cmp(&b.health.mode),
    },
    Column {
        name: "MODELS",
        width: 20,
        rank: 4,
        is_right: false,
        order: |a, b| b.residents.len().cmp(&a.residents.len()),
    },
];

/// The emptiest first; those without one last.
fn battery_order(a: &JoinedNode, b: &JoinedNode) -> Ordering {
    let key = |node: &JoinedNode| (node.health.battery_percent.is_none(), node.health.battery_percent);
    key(a).cmp(&key(b))
}

/// A cell for each column.
pub(super) fn cells(node: &JoinedNode, look: &Look) -> [String; 10] {
    let health = &node.health;
    let is_there = !is_gone(node.state) && !is_off(node);
    let known = |text: String| if is_there { text } else { String::new() };
    let emulated = if node.emulated { "~" } else { "" };
    [
        node.name.to_string(),
        format!("{emulated}{}", node.class),
        plan::standing(node).to_owned(),
        known(node.running.to_string()),
        known(health.milliwatts.map_or_else(|| "-".to_owned(), |mw| format!("{:.1} W", f64::from(mw) / 1e3))),
        known(
            health
                .temperature
                .map_or_else(|| "-".to_owned(), |tenths| format!("{:.0} °C", f64::from(tenths) / 10.0)),
        ),
        known(battery(node)),
        known(format!("{:.1} GB", node.free_memory_bytes as f64 / 1e9)),
        known(plan::mode(node, "hot")),
        known(models(node, look)),
    ]
}

fn battery(node: &JoinedNode) -> String {
    let Some(percent) = node.health.battery_percent else { return "-".to_owned() };
    // Down: it is being emptied.
    format!("{} {percent} %", if node.health.on_battery { "↓" } else { "↑" })
}

fn models(node: &JoinedNode, look: &Look) -> String {
    let names = node.residents.iter().map(|resident| {
        let loading = if resident.state == Residency::Loading { " ..." } else { "" };
        format!("{}{loading}", look.model(resident.model))
    });
    names.collect::<Vec<_>>().join(", ")
}

/// What is meant, and what each mode would take.
fn planned(of: &NodePlan) -> Vec<String> {
    let mut lines: Vec<String> = plan::says(of).map(|says| format!("plan: {says}")).collect();
    lines.extend(of.modes.iter().map(|mode| {
        let assumed = if mode.assumed { "~" } else { "" };
        let watts = mode.milliwatts.map_or_else(
            || "draws what nobody knows".to_owned(),
            |milliwatts| format!("draws {assumed}{:.2} W", milliwatts as f64 / 1e3),
        );
        let request = duration::show(Duration::from_millis(mode.request_ms));
        let slow = if mode.suffices { "" } else { ", too slow for what is asked" };
        format!("  in {} it {watts}, a request takes {request}{slow}", mode.mode)
    }));
    lines
}

/// All of it, as lines.
pub(super) fn details(node: &JoinedNode, look: &Look) -> Vec<String> {
    let emulated = if node.emulated { ", emulated: it does not exist" } else { "" };
    let seen = node.seen_ms_ago.map_or_else(
        || "never".to_owned(),
        |ms| format!("{} ago", duration::show(Duration::from_millis(ms))),
    );
    let mut lines = vec![
        format!("{} · {}{emulated} · {}", node.name, node.class, plan::standing(node)),
        format!("last report {seen} · build {}", node.build),
        format!(
            "memory {:.1} of {:.1} GB free · {} models on disk",
            node.free_memory_bytes as f64 / 1e9,
            node.memory_bytes as f64 / 1e9,
            node.models
        ),
        format!(
            "mode {} · {} · its own timer was {} ms late",
            plan::mode(node, "hot"),
            format!("{:?}", node.health.thermal).to_lowercase(),
            node.health.stalled_ms
        ),
    ];
    let labels: Vec<String> =
        node.labels.iter().map(|label| format!("{}={}", label.name, label.value)).collect();
    if !labels.is_empty() {
        lines.push(format!("labels {}", labels.join(", ")));
    }
    if !node.unconfined.is_empty() {
        lines.push(format!("its kernel does not confine pipelines: {}", node.unconfined));
    }
    lines.extend(node.plan.as_deref().into_iter().flat_map(planned));
    if let Some(drawn) = node.health.drawn {
        lines.push(format!(
            "since its start {:.1} kJ, {:.1} kJ of them for requests",
            drawn.millijoules as f64 / 1e6,
            drawn.requests_millijoules as f64 / 1e6
        ));
    }
    lines.push(String::new());
    if node.residents.is_empty() {
        lines.push("no model in memory".to_owned());
    }
    for of in &node.residents {
        lines.push(
            format!(
                "{} · {:?} · {} of {} slots run, {} wait · {} of {} cells · {:.2} GB",
                look.model(of.model),
                of.state,
                of.running,
                of.slots,
                of.queued,
                of.used_cells,
                of.cells,
                of.memory_bytes as f64 / 1e9
            )
            .to_lowercase(),
        );
    }
    let theirs = look.invocations.iter().filter(|invocation| {
        invocation.node.as_ref() == Some(&node.name) && super::look::is_live(invocation)
    });
    for invocation in theirs {
        lines.push(format!("runs {} of {} for {}", invocation.id, invocation.pipeline, invocation.tenant));
    }
    lines
}
