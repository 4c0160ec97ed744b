//! Between what is on the wire and what the core knows.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use dunlin_costs::{Backend, KvType, Mode, Prediction, Thermal};
use dunlin_protocol::{
    self as wire, Energy, EnergyScope, Failure, FailureCode, Inventory, ModelDigest, NodeState, Outcome,
    PredictedCosts, Report, Residency, Usage,
};
use dunlin_scheduler_core::{
    self as core, AttemptEnd, Battery, Fault, Grants, LoadPoint, Metered, ModelReport, OperatingPoint,
    Standing, Verdict,
};

/// Sequences that an engine is loaded with where its node does not say.
const SEQUENCES: u16 = 32;

pub(crate) fn invocation(id: wire::InvocationId) -> core::InvocationId {
    core::InvocationId(id.0)
}

pub(crate) fn invocation_of(id: core::InvocationId) -> wire::InvocationId {
    wire::InvocationId(id.0)
}

pub(crate) fn attempt(id: wire::AttemptId) -> core::AttemptId {
    core::AttemptId { invocation: invocation(id.invocation), number: id.number }
}

pub(crate) fn attempt_of(id: core::AttemptId) -> wire::AttemptId {
    wire::AttemptId { invocation: invocation_of(id.invocation), number: id.number }
}

pub(crate) fn digest(model: ModelDigest) -> dunlin_costs::ModelDigest {
    dunlin_costs::ModelDigest::new(model.0)
}

pub(crate) fn digest_of(model: dunlin_costs::ModelDigest) -> ModelDigest {
    ModelDigest(*model.as_bytes())
}

pub(crate) fn backend(name: &str) -> Backend {
    match name {
        "cuda" => Backend::Cuda,
        "vulkan" => Backend::Vulkan,
        _ => Backend::Cpu,
    }
}

pub(crate) fn point_of(point: &OperatingPoint) -> wire::OperatingPoint {
    let backend = match point.load.backend {
        Backend::Cpu => "cpu",
        Backend::Cuda => "cuda",
        Backend::Vulkan => "vulkan",
    };
    wire::OperatingPoint {
        mode: point.mode.to_string(),
        backend: backend.to_owned(),
        kv_type: point.load.kv_type.to_string(),
        context: point.load.context,
        prefill_threads: point.prefill_threads,
        decode_threads: point.decode_threads,
    }
}

/// `load`: what a model is loaded with on this class of node, which its rows are of.
pub(crate) fn report(
    report: &Report,
    stored: &[wire::StoredModel],
    load: impl Fn(&ModelDigest) -> LoadPoint,
    epoch: impl Fn(wire::AttemptId) -> core::Epoch,
) -> core::Report {
    let model = |stored: &wire::StoredModel| {
        let resident = report.residents.iter().find(|resident| resident.model == stored.digest);
        let residency = match resident.map(|resident| resident.state) {
            Some(Residency::Ready) => core::Residency::Resident {
                point: load(&stored.digest),
                sequences: resident.map_or(SEQUENCES, |resident| resident.slots.max(1) as u16),
            },
            Some(_) => core::Residency::Loading,
            None => core::Residency::OnDisk { cached: stored.cached },
        };
        ModelReport {
            model: digest(stored.digest),
            residency,
            bytes: resident.map_or(stored.memory_bytes, |resident| resident.memory_bytes),
            pinned: stored.pinned,
            prefixes: None,
        }
    };
    let attempts = report.progress.iter().map(|progress| core::AttemptReport {
        attempt: attempt(progress.attempt),
        epoch: epoch(progress.attempt),
        next_offset: progress.offset,
    });
    core::Report {
        mode: Mode::new(&report.health.mode),
        thermal: match report.health.thermal {
            wire::Thermal::Cool => Thermal::Cool,
            wire::Thermal::Warm => Thermal::Warm,
            wire::Thermal::Throttled => Thermal::Throttled,
        },
        battery: report
            .health
            .battery_percent
            .map(|charge_pct| Battery { charge_pct, charging: !report.health.on_battery }),
        free_bytes: report.free_memory_bytes,
        models: stored.iter().map(model).collect(),
        attempts: attempts.collect(),
    }
}

pub(crate) fn inventory(inventory: &Inventory, report: core::Report) -> core::Inventory {
    let labels: BTreeMap<String, String> =
        inventory.labels.iter().map(|label| (label.name.clone(), label.value.clone())).collect();
    let allows = |is_allowed: bool, grant: Grants| if is_allowed { grant.0 } else { 0 };
    let granted = allows(inventory.allows.http, Grants::HTTP)
        | allows(inventory.allows.environment, Grants::ENVIRONMENT)
        | allows(inventory.allows.components, Grants::COMPONENTS);
    core::Inventory {
        class: inventory.class.as_str().into(),
        firmware: inventory.firmware.clone(),
        runtime: inventory.engine_build.clone(),
        labels: Arc::new(labels),
        grants: Grants(granted),
        slots: u16::try_from(inventory.slots).unwrap_or(u16::MAX),
        sequences: SEQUENCES,
        report,
    }
}

/// How an attempt ended, for the core.
pub(crate) fn ended(ended: &wire::Ended) -> AttemptEnd {
    let failure = match &ended.outcome {
        Outcome::Done { .. } => None,
        Outcome::Failed(failure) => Some(failed(failure.code)),
        // Whoever cancelled it knows.
        Outcome::Cancelled | Outcome::HandedOver => Some(core::Failure::Interrupted),
        Outcome::Expired => Some(core::Failure::Limit),
    };
    AttemptEnd { next_offset: ended.offset, metered: metered(&ended.usage), failure }
}

pub(crate) fn failed(code: FailureCode) -> core::Failure {
    match code {
        FailureCode::Engine => core::Failure::EngineDied,
        FailureCode::Overloaded | FailureCode::Memory => core::Failure::Busy,
        FailureCode::Unavailable | FailureCode::DiskFull | FailureCode::DigestMismatch => {
            core::Failure::LoadFailed
        }
        FailureCode::Internal | FailureCode::Unknown | FailureCode::StaleEpoch => core::Failure::Interrupted,
        FailureCode::NotFound => core::Failure::Vanished,
        FailureCode::Pipeline => core::Failure::Pipeline,
        FailureCode::Exhausted | FailureCode::Deadline | FailureCode::Cancelled => core::Failure::Limit,
        FailureCode::NotResumable => core::Failure::NotResumable,
        _ => core::Failure::Invalid,
    }
}

fn metered(usage: &Usage) -> Metered {
    Metered {
        prompt_tokens: usage.prompt_tokens + usage.cached_tokens,
        cached_tokens: usage.cached_tokens,
        output_tokens: usage.output_tokens,
        joules: usage.energy.as_ref().and_then(joules),
        joules_error: usage
            .energy
            .as_ref()
            .and_then(|of| of.error_thousandths)
            .map(|error| f64::from(error) / 1e3),
        emulated: usage.emulated,
    }
}

/// Marginal ones, in the only scope in which they can be held against predictions and against those of other nodes.
fn joules(energy: &Energy) -> Option<f64> {
    (energy.scope == EnergyScope::BoardInput).then(|| energy.marginal_millijoules as f64 / 1e3)
}

pub(crate) fn predicted(prediction: &Prediction) -> PredictedCosts {
    let us = |seconds: f64| (seconds.clamp(0.0, 1e9) * 1e6) as u64;
    let mj = |joules: f64| (joules.clamp(0.0, 1e12) * 1e3) as u64;
    let joules = prediction.joules.as_ref();
    PredictedCosts {
        queue_us: 0,
        load_us: 0,
        ttft_us: us(prediction.ttft.mean),
        ttft_q90_us: us(prediction.ttft.q90),
        tpot_us: us(prediction.tpot.mean),
        tpot_q90_us: us(prediction.tpot.q90),
        total_us: us(prediction.completion.mean),
        marginal_millijoules: joules.map(|joules| mj(joules.marginal)),
        total_millijoules: joules.map(|joules| mj(joules.total)),
        assumed: prediction.flags.assumed,
        extrapolated: prediction.flags.extrapolated,
    }
}

/// A verdict in words.
pub(crate) fn verdict(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Fits => "fits, and is not the best",
        Verdict::Chosen => "chosen",
        Verdict::BelowQuality => "below the quality that is asked",
        Verdict::LateFirstToken => "first token over its target",
        Verdict::SlowTokens => "time per token over its target",
        Verdict::LateEnd => "end over the deadline",
        Verdict::TooManyJoules => "joules per token over the target",
        Verdict::UnknownJoules => "joules not known",
        Verdict::PushesOthers => "would push others past their targets",
        Verdict::NoSlot => "no slot free",
        Verdict::NoMemory => "not enough memory",
        Verdict::LoadFailed => "failed to load it a moment ago",
        Verdict::FilteredOut => "left out by the policy",
        Verdict::NotGranted => "does not grant what is needed",
        Verdict::Avoided => "an attempt failed there",
        Verdict::Alike => "like others that were looked at, and no less busy",
        Verdict::Outdone => "cannot be better than others that were looked at",
        Verdict::Unavailable => "not available, or without a cost row",
    }
}

pub(crate) fn standing(standing: Standing, connected: bool) -> NodeState {
    match (standing, connected) {
        (_, false) => NodeState::Suspected,
        (Standing::Ready, true) => NodeState::Ready,
        (Standing::Cordoned, true) => NodeState::Cordoned,
        (Standing::Draining, true) => NodeState::Draining,
    }
}

/// Why an invocation failed, for whoever asked. `last`: what its last attempt said.
pub(crate) fn fault(fault: &Fault, last: Option<Failure>) -> Failure {
    match (fault, last) {
        (Fault::Quarantined, _) => Failure::new(FailureCode::Quarantined, fault.to_string()),
        (Fault::OutOfRetries(_), Some(last)) => {
            let text =
                format!("it was tried as often as requests are; the last attempt failed: {}", last.text);
            Failure::new(last.code, text)
        }
        (_, Some(last)) => last,
        (Fault::OutOfLosses, None) => Failure::new(FailureCode::Unavailable, fault.to_string()),
        (Fault::Attempt(core::Failure::Limit), None) => {
            Failure::new(FailureCode::Exhausted, fault.to_string())
        }
        (_, None) => Failure::new(FailureCode::Internal, fault.to_string()),
    }
}

pub(crate) fn refusal(refusal: &core::Refusal) -> Failure {
    use core::Refused;
    let code = match refusal.reason {
        Refused::UnknownModel(_) => FailureCode::NotFound,
        Refused::QueueFull(_) | Refused::TenantQueueFull(_) | Refused::TooMany(_) => FailureCode::Overloaded,
        Refused::NothingFits => FailureCode::NoFit,
        Refused::Quarantined => FailureCode::Quarantined,
    };
    let failure = Failure::new(code, refusal.reason.to_string());
    match refusal.retry_after {
        Some(after) => failure.retry_after_ms(after.as_millis() as u64),
        None => failure,
    }
}

pub(crate) fn targets(targets: &wire::Targets) -> core::Targets {
    let ms = |ms: Option<u64>| ms.map(Duration::from_millis);
    core::Targets {
        ttft: ms(targets.ttft_ms),
        tpot: ms(targets.tpot_ms),
        deadline: ms(targets.deadline_ms),
        joules_per_token: targets.millijoules_per_token.map(|mj| mj as f64 / 1000.0),
        min_quality: targets.min_quality.map(|share| f64::from(share) / 1000.0),
    }
}

pub(crate) const fn park_level(level: core::ParkLevel) -> wire::ParkLevel {
    match level {
        core::ParkLevel::Unload => wire::ParkLevel::Unload,
        core::ParkLevel::LowMode => wire::ParkLevel::LowMode,
        core::ParkLevel::Off => wire::ParkLevel::Off,
    }
}

pub(crate) fn kv_type(name: &str) -> KvType {
    KvType::new(if name.is_empty() { "f16" } else { name })
}
/// In a word, for metrics.
pub(super) const fn fenced(reason: core::Fenced) -> &'static str {
    match reason {
        core::Fenced::Superseded => "superseded",
        core::Fenced::Unknown => "unknown",
        core::Fenced::Lapsed(core::Lapse::Silent) => "silent",
        core::Fenced::Lapsed(core::Lapse::Wedged) => "wedged",
        core::Fenced::NoRoom => "no-room",
    }
}
