//! What Prometheus is told when it asks.

use std::sync::Arc;

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use dunlin_protocol::{NodeState, Residency, Thermal};
use dunlin_scheduler::look::Look;
use http::{StatusCode, header};
use prometheus::{CounterVec, Encoder, GaugeVec, Opts, Registry, TextEncoder};

use crate::{
    desk::Desk,
    error::{Answered, ApiError},
};

/// Nodes that are told apart.
const MAX_NODES: usize = 1024;

pub(crate) async fn metrics(State(desk): State<Arc<Desk>>) -> Answered<Response> {
    let look = desk.front.look().await?;
    look.nodes.iter().for_each(|node| desk.metrics.knows(&node.joined.class));
    let mut families = desk.metrics.registry.gather();
    families.extend(fleet(&look, &desk.options.build).map_err(|error| broken(&error))?.gather());
    families.sort_by(|a, b| a.name().cmp(b.name()));
    let mut text = Vec::new();
    TextEncoder::new().encode(&families, &mut text).map_err(|error| broken(&error))?;
    Ok(([(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], text).into_response())
}

fn broken(error: &prometheus::Error) -> ApiError {
    ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "server_error", error.to_string())
}

/// The fleet as it is: made anew each time, so that a node that has left is gone from here too.
fn fleet(look: &Look, build: &str) -> Result<Registry, prometheus::Error> {
    let registry = Registry::new();
    let gauge = |name: &str, help: &str, labels: &[&str]| {
        let gauge = GaugeVec::new(Opts::new(name, help), labels)?;
        registry.register(Box::new(gauge.clone()))?;
        Ok::<_, prometheus::Error>(gauge)
    };
    gauge("dunlin_build_info", "The version of the scheduler.", &["version"])?
        .with_label_values(&[build])
        .set(1.0);
    let invocations =
        gauge("dunlin_live_invocations", "Invocations now, by state: running or queued.", &["state"])?;
    invocations.with_label_values(&["running"]).set(look.summary.running.into());
    invocations.with_label_values(&["queued"]).set(look.summary.queued.into());
    let nodes = gauge("dunlin_nodes", "Nodes by class and state.", &["node_class", "state", "emulated"])?;
    let resident = gauge("dunlin_model_resident_nodes", "Nodes that have a model in memory.", &["model"])?;
    let stored = gauge("dunlin_model_stored_nodes", "Nodes that have a model on disk.", &["model"])?;
    for model in look.models.iter().take(MAX_NODES) {
        let count =
            |of: fn(&dunlin_protocol::VariantSummary) -> u32| model.variants.iter().map(of).sum::<u32>();
        resident.with_label_values(&[model.alias.as_str()]).set(count(|variant| variant.resident).into());
        stored.with_label_values(&[model.alias.as_str()]).set(count(|variant| variant.stored).into());
    }
    let of_node = ["node", "node_class", "emulated"];
    let running = gauge("dunlin_node_running_attempts", "Attempts that a node runs.", &of_node)?;
    let free = gauge("dunlin_node_free_memory_bytes", "Memory of a node that is free.", &of_node)?;
    let power = gauge("dunlin_node_power_watts", "What a board draws, as its sensor says.", &of_node)?;
    let heat = gauge("dunlin_node_temperature_celsius", "The temperature of a board.", &of_node)?;
    let throttled = gauge("dunlin_node_throttled", "1 where a board is slowed down by its heat.", &of_node)?;
    let battery = gauge("dunlin_node_battery_ratio", "Charge of a board that has a battery.", &of_node)?;
    let used = gauge(
        "dunlin_node_kv_used_ratio",
        "Share of the cells of the KV cache that sequences use.",
        &of_node,
    )?;
    let batch = gauge(
        "dunlin_node_running_sequences",
        "Sequences that the engines of a node run at once.",
        &of_node,
    )?;
    let restarting =
        gauge("dunlin_node_restarting_engines", "Engines of a node that are being started again.", &of_node)?;
    let seen = gauge("dunlin_node_report_age_seconds", "Since the last report of a node.", &of_node)?;
    let up = gauge("dunlin_node_up", "1 where a node is connected and its lease holds.", &of_node)?;
    let drawn = CounterVec::new(
        Opts::new(
            "dunlin_node_energy_joules_total",
            "What the meter of a node showed since its agent started, by part: requests (above idle, for them) and idle (all the rest).",
        ),
        &["node", "node_class", "emulated", "part"],
    )?;
    registry.register(Box::new(drawn.clone()))?;
    for node in look.nodes.iter().take(MAX_NODES) {
        let joined = &node.joined;
        let emulated = if joined.emulated { "true" } else { "false" };
        let state = serde_json::to_value(joined.state).unwrap_or_default();
        let state = state.as_str().unwrap_or("unknown");
        nodes.with_label_values(&[joined.class.as_str(), state, emulated]).inc();
        let name = joined.name.to_string();
        let labels = [name.as_str(), &joined.class, emulated];
        let (health, residents) = (&joined.health, &joined.residents);
        let is_up = matches!(joined.state, NodeState::Ready | NodeState::Cordoned | NodeState::Draining);
        up.with_label_values(&labels).set(f64::from(u8::from(is_up)));
        if let Some(of) = &health.drawn {
            for (part, millijoules) in [("requests", of.requests_millijoules), ("idle", of.idle_millijoules)]
            {
                let labels = [name.as_str(), &joined.class, emulated, part];
                drawn.with_label_values(&labels).inc_by(millijoules as f64 / 1000.0);
            }
        }
        running.with_label_values(&labels).set(joined.running.into());
        free.with_label_values(&labels).set(joined.free_memory_bytes as f64);
        throttled.with_label_values(&labels).set(f64::from(u8::from(health.thermal == Thermal::Throttled)));
        let cells = residents.iter().map(|of| u64::from(of.cells)).sum::<u64>();
        let taken = residents.iter().map(|of| u64::from(of.used_cells)).sum::<u64>();
        used.with_label_values(&labels).set(if cells == 0 { 0.0 } else { taken as f64 / cells as f64 });
        batch.with_label_values(&labels).set(residents.iter().map(|of| f64::from(of.running)).sum());
        let again = residents.iter().filter(|of| of.state == Residency::Restarting).count();
        restarting.with_label_values(&labels).set(again as f64);
        for (gauge, value) in [
            (&power, health.milliwatts.map(|milliwatts| f64::from(milliwatts) / 1000.0)),
            (&heat, health.temperature.map(|tenths| f64::from(tenths) / 10.0)),
            (&battery, health.battery_percent.map(|percent| f64::from(percent) / 100.0)),
            (&seen, joined.seen_ms_ago.map(|ms| ms as f64 / 1000.0)),
        ] {
            if let Some(value) = value {
                gauge.with_label_values(&labels).set(value);
            }
        }
    }
    Ok(registry)
}
