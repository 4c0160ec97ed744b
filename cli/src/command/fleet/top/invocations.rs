//! Invocations, as rows of a table: those that live first.

use std::time::Duration;

use dunlin_protocol::ListedInvocation;

use super::{
    look::{Rates, is_live},
    screen::Column,
};
use crate::duration;

pub(super) const COLUMNS: [Column<ListedInvocation>; 10] = [
    Column { name: "INVOCATION", width: 12, rank: 6, is_right: false, order: |a, b| a.id.cmp(&b.id) },
    Column {
        name: "PIPELINE",
        width: 11,
        rank: 1,
        is_right: false,
        order: |a, b| a.pipeline.cmp(&b.pipeline),
    },
    Column { name: "MODEL", width: 14, rank: 5, is_right: false, order: |a, b| a.model.cmp(&b.model) },
    Column { name: "STATE", width: 10, rank: 0, is_right: false, order: |a, b| a.state.cmp(&b.state) },
    Column { name: "NODE", width: 14, rank: 2, is_right: false, order: |a, b| a.node.cmp(&b.node) },
    Column { name: "AGE", width: 9, rank: 7, is_right: true, order: |a, b| a.age_ms.cmp(&b.age_ms) },
    Column {
        name: "TTFT",
        width: 9,
        rank: 4,
        is_right: true,
        order: |a, b| b.first_token_ms.cmp(&a.first_token_ms),
    },
    Column { name: "TOKENS", width: 7, rank: 3, is_right: true, order: |a, b| b.tokens.cmp(&a.tokens) },
    Column { name: "TOK/S", width: 7, rank: 8, is_right: true, order: |a, b| b.tokens.cmp(&a.tokens) },
    Column { name: "J", width: 8, rank: 9, is_right: true, order: |a, b| joules(b).total_cmp(&joules(a)) },
];

fn joules(invocation: &ListedInvocation) -> f64 {
    invocation.energy.as_ref().map_or(0.0, |energy| energy.marginal_millijoules as f64 / 1e3)
}

/// A cell for each column; `older` is the time since it was looked.
pub(super) fn cells(invocation: &ListedInvocation, rates: &Rates, older: Duration) -> [String; 10] {
    let time = |ms: u64| duration::show(Duration::from_millis(ms));
    let age = match invocation.ended_ms {
        Some(ended) => ended,
        None if is_live(invocation) => invocation.age_ms + older.as_millis() as u64,
        None => invocation.age_ms,
    };
    let moved = if invocation.attempts > 1 { format!(" ({})", invocation.attempts) } else { String::new() };
    let emulated = if invocation.emulated { "~" } else { "" };
    [
        invocation.id.to_string().chars().skip(16).collect(),
        invocation.pipeline.clone(),
        invocation.model.clone(),
        invocation.state.clone(),
        invocation.node.as_ref().map_or_else(|| "-".to_owned(), |node| format!("{node}{moved}")),
        time(age),
        invocation.first_token_ms.map_or_else(|| "-".to_owned(), time),
        invocation.tokens.to_string(),
        rates.of(invocation).map_or_else(|| "-".to_owned(), |rate| format!("{rate:.1}")),
        invocation
            .energy
            .as_ref()
            .map_or_else(|| "-".to_owned(), |_| format!("{emulated}{:.2}", joules(invocation))),
    ]
}
