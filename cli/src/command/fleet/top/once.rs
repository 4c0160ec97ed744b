//! `dunlin top --once`.

use std::time::Duration;

use dunlin_protocol::ListedInvocation;
use serde_json::{Value, json};

use super::{
    board, feed, invocations,
    look::{Look, Rates},
    screen::Column,
};
use crate::{
    command::fleet::{nodes, with_client},
    terminal::{
        self,
        table::{Align, Table},
    },
};

/// # Errors
/// If the scheduler does not answer.
pub(super) fn execute(json: bool) -> anyhow::Result<()> {
    let look = with_client(async |client| feed::look(client).await)?;
    if json {
        return terminal::print_json(&document(&look));
    }
    let fleet = &look.fleet;
    let (watts, known) = look.watts();
    let drawn = if known > 0 {
        format!(", {watts:.1} W on {}", terminal::counted(known, "board"))
    } else {
        String::new()
    };
    let counts = [(look.resting().0, "rest"), (look.changing(), "change mode")];
    let told = counts.into_iter().filter(|(count, _)| *count > 0);
    let told: String = told.map(|(count, does)| format!(", {count} {does}")).collect();
    terminal::print(format_args!(
        "{} of {} connected{told}, {} running, {} waiting{drawn}",
        fleet.connected,
        terminal::counted(look.nodes.len(), "board"),
        fleet.running,
        fleet.queued
    ))?;
    if !look.nodes.is_empty() {
        let rows = look.nodes.iter().map(|node| board::cells(node, &look));
        terminal::print(format_args!("\n{}", table(&board::COLUMNS, rows)))?;
    }
    if !look.invocations.is_empty() {
        let rates = Rates::default();
        let rows = look.invocations.iter().map(|of| invocations::cells(of, &rates, Duration::ZERO));
        terminal::print(format_args!("\n{}", table(&invocations::COLUMNS, rows)))?;
    }
    Ok(())
}

fn table<T>(columns: &[Column<T>], rows: impl Iterator<Item = [String; 10]>) -> Table {
    let align = |column: &Column<T>| if column.is_right { Align::Right } else { Align::Left };
    let mut table = Table::new(columns.iter().map(|column| (column.name, align(column))));
    rows.for_each(|row| table.row(row.map(Into::into)));
    table
}

fn document(look: &Look) -> Value {
    let fleet = &look.fleet;
    let (watts, known) = look.watts();
    json!({
        "fleet": fleet.fleet.to_string(),
        "build": fleet.build,
        "boards": look.nodes.len(),
        "connected": fleet.connected,
        "resting": look.resting().0,
        "changing_mode": look.changing(),
        "running": fleet.running,
        "queued": fleet.queued,
        "watts": (known > 0).then_some(watts),
        "boards_with_watts": known,
        "nodes": look.nodes.iter().map(nodes::document).collect::<Vec<_>>(),
        "invocations": look.invocations.iter().map(invocation).collect::<Vec<_>>(),
    })
}

fn invocation(of: &ListedInvocation) -> Value {
    json!({
        "id": of.id.to_string(),
        "tenant": of.tenant,
        "pipeline": of.pipeline,
        "model": of.model,
        "policy": of.policy,
        "state": of.state,
        "submitted_unix_ms": of.submitted_unix_ms,
        "age_ms": of.age_ms,
        "node": of.node.as_ref().map(ToString::to_string),
        "attempts": of.attempts,
        "tokens": of.tokens,
        "first_token_ms": of.first_token_ms,
        "ended_ms": of.ended_ms,
        "failure": of.failure.as_ref().map(ToString::to_string),
        "energy": of.energy,
        "emulated": of.emulated,
    })
}
