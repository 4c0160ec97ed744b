//! What is known, as JSON. Times are in milliseconds, energy in joules of the board's input, power in watts.

use dunlin_protocol::{
    Candidate, Decision, Energy, EnergySource, Explanation, ModelSummary, OperatingPoint, Placed,
    PredictedCosts, Resident, Usage,
};
use dunlin_scheduler::look::{Invocation, Look, Node};
use serde_json::{Map, Value, json};

/// The whole fleet.
pub(crate) fn fleet(look: &Look) -> Value {
    let mut document = summary(look);
    document["nodes"] = look.nodes.iter().map(node_with_age).collect();
    document["models"] = look.models.iter().map(model).collect();
    document
}

/// All of it but the nodes and the models.
pub(crate) fn summary(look: &Look) -> Value {
    let summary = &look.summary;
    json!({
        "fleet": summary.fleet.to_string(),
        "build": summary.build,
        "nodes_known": summary.nodes,
        "nodes_connected": summary.connected,
        "running": summary.running,
        "queued": summary.queued,
        "policies": look.policies,
        "default_policy": look.default_policy,
    })
}

fn node_with_age(of: &Node) -> Value {
    let mut document = node(of);
    document["seen_ms_ago"] = json!(of.joined.seen_ms_ago);
    document
}

/// What does not change by the passing of time alone.
pub(crate) fn node(node: &Node) -> Value {
    let joined = &node.joined;
    let labels: Map<String, Value> =
        joined.labels.iter().map(|label| (label.name.clone(), json!(label.value))).collect();
    let stored = node.stored.iter().map(|stored| {
        let resident = joined.residents.iter().find(|resident| resident.model == stored.digest);
        json!({
            "name": stored.name,
            "digest": stored.digest.to_string(),
            "quantization": stored.quantization,
            "bytes": stored.bytes,
            "pinned": stored.pinned,
            "resident": resident.map(self::resident),
        })
    });
    let health = &joined.health;
    let mut document = json!({
        "name": joined.name.to_string(),
        "class": joined.class,
        "state": joined.state,
        "emulated": joined.emulated,
        "mode": health.mode,
        "labels": labels,
        "memory": { "total_bytes": joined.memory_bytes, "free_bytes": joined.free_memory_bytes },
        "disk_free_bytes": node.disk_free_bytes,
        "slots": node.slots,
        "running": joined.running,
        "models": stored.collect::<Vec<_>>(),
        "health": {
            "thermal": health.thermal,
            "temperature_c": health.temperature.map(|tenths| f64::from(tenths) / 10.0),
            "on_battery": health.on_battery,
            "battery_percent": health.battery_percent,
            "watts": health.milliwatts.map(|milliwatts| f64::from(milliwatts) / 1000.0),
            "stalled_ms": health.stalled_ms,
        },
        "build": joined.build,
    });
    if let Some(plan) = &joined.plan {
        document["plan"] = json!(plan.document());
    }
    document
}

fn resident(resident: &Resident) -> Value {
    json!({
        "state": resident.state,
        "point": point(&resident.point),
        "slots": resident.slots,
        "running": resident.running,
        "queued": resident.queued,
        "memory_bytes": resident.memory_bytes,
        "cells": resident.cells,
        "used_cells": resident.used_cells,
    })
}

/// An alias and what stands behind it.
pub(crate) fn model(model: &ModelSummary) -> Value {
    let variants = model.variants.iter().map(|of| {
        json!({
            "name": of.variant.name,
            "digest": of.variant.model.to_string(),
            "bytes": of.variant.bytes,
            "quality": of.variant.quality.map(|thousandths| f64::from(thousandths) / 1000.0),
            "stored_on": of.stored,
            "resident_on": of.resident,
        })
    });
    json!({ "alias": model.alias, "variants": variants.collect::<Vec<_>>() })
}

pub(crate) fn point(point: &OperatingPoint) -> Value {
    json!({
        "mode": point.mode,
        "backend": point.backend,
        "kv_type": point.kv_type,
        "context": point.context,
        "prefill_threads": point.prefill_threads,
        "decode_threads": point.decode_threads,
    })
}

/// An invocation, without its age.
pub(crate) fn invocation(of: &Invocation) -> Value {
    let attempts = of.placed.iter().map(|at| {
        let mut document = placed(&at.placed);
        document["after_ms"] = json!(at.after_ms);
        document
    });
    let error = of.failure.as_ref();
    json!({
        "id": of.id.to_string(),
        "tenant": of.tenant,
        "pipeline": of.pipeline,
        "model": of.model,
        "policy": of.policy,
        "state": of.state.name(),
        "submitted_unix_ms": of.submitted_unix_ms,
        "first_token_ms": of.first_token_ms,
        "ended_ms": of.ended_ms,
        "tokens": of.tokens,
        "attempts": attempts.collect::<Vec<_>>(),
        "error": error.map(|failure| json!({ "code": failure.code, "message": failure.to_string() })),
        "usage": of.usage.as_ref().map(usage),
    })
}

/// A placement.
pub(crate) fn placed(placed: &Placed) -> Value {
    json!({
        "number": placed.attempt.number,
        "node": placed.node.to_string(),
        "point": point(&placed.point),
        "model": placed.model.map(|model| model.to_string()),
        "predicted": placed.predicted.as_ref().map(predicted),
    })
}

fn predicted(costs: &PredictedCosts) -> Value {
    json!({
        "queue_ms": ms(costs.queue_us),
        "load_ms": ms(costs.load_us),
        "ttft_ms": ms(costs.ttft_us),
        "ttft_q90_ms": ms(costs.ttft_q90_us),
        "tpot_ms": ms(costs.tpot_us),
        "tpot_q90_ms": ms(costs.tpot_q90_us),
        "total_ms": ms(costs.total_us),
        "marginal_joules": costs.marginal_millijoules.map(joules),
        "total_joules": costs.total_millijoules.map(joules),
        "assumed": costs.assumed,
        "extrapolated": costs.extrapolated,
    })
}

pub(crate) fn usage(usage: &Usage) -> Value {
    let mut document = json!({
        "node": usage.node.to_string(),
        "point": point(&usage.point),
        "model": usage.model.map(|model| model.to_string()),
        "emulated": usage.emulated,
        "generations": usage.generations,
        "prompt_tokens": usage.prompt_tokens,
        "cached_tokens": usage.cached_tokens,
        "output_tokens": usage.output_tokens,
        "forced_tokens": usage.forced_tokens,
        "scored_tokens": usage.scored_tokens,
        "queue_ms": ms(usage.queue_us),
        "load_ms": ms(usage.load_us),
        "ttft_ms": ms(usage.ttft_us),
        "tpot_p50_ms": ms(usage.tpot_p50_us),
        "tpot_p99_ms": ms(usage.tpot_p99_us),
        "total_ms": ms(usage.total_us),
    });
    // Not known is not nothing.
    if let Some(known) = &usage.energy {
        document["energy"] = energy(known);
    }
    document
}

/// (end-to-end - TTFT) / (n - 1), in microseconds; `None` without a token after the first.
pub(crate) fn tpot_us(usage: &Usage) -> Option<u64> {
    let further = u64::from(usage.output_tokens).checked_sub(1).filter(|further| *further > 0)?;
    (usage.ttft_us > 0).then(|| usage.total_us.saturating_sub(usage.ttft_us) / further)
}

/// `marginal` is what is there because of the request, of which `prefill` and `decode` are parts; `total` has its part of the
/// idle draw beside it.
pub(crate) fn energy(energy: &Energy) -> Value {
    let total = energy.total_millijoules;
    let mut document = json!({
        "total_joules": joules(total),
        "marginal_joules": joules(energy.marginal_millijoules),
        "scope": energy.scope,
        "source": energy.source,
        "provenance": provenance(energy.source),
        "correction": energy.correction,
    });
    let share = (total > 0).then(|| energy.marginal_millijoules as f64 / total as f64);
    for (name, value) in [
        ("prefill_joules", energy.prefill_millijoules.map(joules)),
        ("decode_joules", energy.decode_millijoules.map(joules)),
        ("marginal_share", share),
        ("error", energy.error_thousandths.map(|error| f64::from(error) / 1000.0)),
    ] {
        if let Some(value) = value {
            document[name] = value.into();
        }
    }
    document
}

/// How far joules may be believed.
pub(crate) fn provenance(source: EnergySource) -> &'static str {
    match source {
        EnergySource::Modelled => "declared",
        EnergySource::Emulated => "emulated",
        _ => "metered",
    }
}

/// Why it went where it went.
pub(crate) fn explanation(of: &Explanation) -> Value {
    json!({
        "objective": of.objective,
        "decisions": of.decisions.iter().map(decision).collect::<Vec<_>>(),
    })
}

fn decision(decision: &Decision) -> Value {
    let others = decision.others.iter().map(|of| json!({ "verdict": of.verdict, "count": of.count }));
    json!({
        "attempt": decision.attempt,
        "unix_ms": decision.unix_millis,
        "candidates": decision.candidates.iter().map(candidate).collect::<Vec<_>>(),
        "others": others.collect::<Vec<_>>(),
        "actual": decision.actual.as_ref().map(usage),
        "recomputed": decision.recomputed,
    })
}

fn candidate(of: &Candidate) -> Value {
    json!({
        "node": of.node.to_string(),
        "point": point(&of.point),
        "model": of.model.map(|model| model.to_string()),
        "variant": of.variant,
        "emulated": of.emulated,
        "chosen": of.chosen,
        "predicted": of.predicted.as_ref().map(predicted),
        "row": of.origin,
        "verdict": of.verdict,
    })
}

/// To the microsecond.
pub(crate) fn ms(micros: u64) -> f64 {
    micros as f64 / 1000.0
}

fn joules(millijoules: u64) -> f64 {
    millijoules as f64 / 1000.0
}
