//! Why an invocation went where it went, as a table.

use std::time::Duration;

use dunlin_protocol::{Candidate, Decision, Explanation, OperatingPoint, PredictedCosts, Usage};
use serde_json::{Value, json};

use super::energy;
use crate::{
    duration,
    terminal::{
        self, style,
        table::{Align, Cell, Table},
    },
};

/// # Errors
/// If the reader went away.
pub(crate) fn show(explanation: &Explanation) -> anyhow::Result<()> {
    terminal::print(text(explanation))
}

/// The same, with colours.
pub(crate) fn text(explanation: &Explanation) -> String {
    let faint = style::FAINT;
    let mut lines = vec![format!(
        "invocation {} of {}: {}; policy {}, objective {}",
        explanation.invocation,
        explanation.pipeline,
        explanation.state,
        explanation.policy,
        explanation.objective
    )];
    for decision in &explanation.decisions {
        lines.push(match decision.attempt {
            Some(attempt) => format!("\nattempt {attempt}"),
            None => "\nnow, while it waits".to_owned(),
        });
        lines.push(table(decision).to_string());
        for others in &decision.others {
            lines.push(format!("{faint}{:>6} more: {}{faint:#}", others.count, others.verdict));
        }
        if let Some(actual) = &decision.actual {
            let predicted = decision.candidates.iter().find(|of| of.chosen).and_then(|of| of.predicted);
            lines.push(compared(predicted.as_ref(), actual));
        }
        if decision.recomputed == Some(false) {
            lines.push(
                "a second computation from what was recorded chose another place: a bug of Dunlin".to_owned(),
            );
        }
    }
    lines.join("\n")
}

fn table(decision: &Decision) -> Table {
    let mut table = Table::new([
        ("", Align::Left),
        ("NODE", Align::Left),
        ("POINT", Align::Left),
        ("MODEL", Align::Left),
        ("ROW", Align::Left),
        ("TTFT", Align::Right),
        ("q90", Align::Right),
        ("TPOT", Align::Right),
        ("q90", Align::Right),
        ("ALL", Align::Right),
        ("J", Align::Right),
        ("VERDICT", Align::Left),
    ]);
    for candidate in &decision.candidates {
        table.row(row(candidate));
    }
    table
}

fn row(candidate: &Candidate) -> [Cell; 12] {
    let predicted = candidate.predicted.unwrap_or_default();
    let node = candidate.node.to_string();
    let node = if candidate.emulated { format!("{node} (emulated)") } else { node };
    let mark = if candidate.chosen { "*" } else { "" };
    let joules = predicted.marginal_millijoules.map_or_else(|| "-".to_owned(), energy::joules);
    let name = if candidate.chosen { Cell::styled(node, style::NAME) } else { node.into() };
    [
        mark.into(),
        name,
        point(&candidate.point).into(),
        candidate.variant.clone().into(),
        candidate.origin.clone().into(),
        micros(predicted.ttft_us).into(),
        micros(predicted.ttft_q90_us).into(),
        micros(predicted.tpot_us).into(),
        micros(predicted.tpot_q90_us).into(),
        micros(predicted.total_us).into(),
        joules.into(),
        verdict(candidate, &predicted).into(),
    ]
}

fn verdict(candidate: &Candidate, predicted: &PredictedCosts) -> String {
    let mut verdict = candidate.verdict.clone();
    for (is_so, note) in [(predicted.assumed, "assumed"), (predicted.extrapolated, "extrapolated")] {
        if is_so {
            verdict += &format!(" ({note})");
        }
    }
    verdict
}

pub(crate) fn point(point: &OperatingPoint) -> String {
    format!("{} {}/{}", point.mode, point.prefill_threads, point.decode_threads)
}

/// Predicted against actual.
fn compared(predicted: Option<&PredictedCosts>, actual: &Usage) -> String {
    let against = |name: &str, predicted: Option<u64>, actual: u64| match (predicted, actual) {
        (_, 0) => String::new(),
        (Some(predicted), actual) => {
            format!(" · {name} {} of {} predicted", micros(actual), micros(predicted))
        }
        (None, actual) => format!(" · {name} {}", micros(actual)),
    };
    let emulated = if actual.emulated { ", emulated" } else { "" };
    let joules = actual.energy.as_ref().map(|energy| {
        format!(" · {}", energy::compared(energy, predicted.and_then(|of| of.marginal_millijoules)))
    });
    format!(
        "ran on {}{emulated}: {} + {} cached prompt tokens, {} output tokens{}{}{}{}",
        actual.node,
        actual.prompt_tokens,
        actual.cached_tokens,
        actual.output_tokens,
        against("TTFT", predicted.map(|of| of.ttft_us), actual.ttft_us),
        against("TPOT", predicted.map(|of| of.tpot_us), actual.tpot_p50_us),
        against("in all", predicted.map(|of| of.total_us), actual.total_us),
        joules.unwrap_or_default(),
    )
}

pub(crate) fn micros(us: u64) -> String {
    if us == 0 { "-".to_owned() } else { duration::show(Duration::from_micros(us)) }
}

/// The same for programs.
pub(crate) fn document(explanation: &Explanation) -> Value {
    let decisions: Vec<Value> = explanation.decisions.iter().map(decision).collect();
    json!({
        "invocation": explanation.invocation.to_string(),
        "pipeline": explanation.pipeline,
        "policy": explanation.policy,
        "objective": explanation.objective,
        "state": explanation.state,
        "decisions": decisions,
    })
}

fn decision(decision: &Decision) -> Value {
    let candidates: Vec<Value> = decision
        .candidates
        .iter()
        .map(|candidate| {
            json!({
                "node": candidate.node.to_string(),
                "point": candidate.point,
                "model": candidate.model.map(|model| model.to_string()),
                "variant": candidate.variant,
                "emulated": candidate.emulated,
                "chosen": candidate.chosen,
                "predicted": candidate.predicted,
                "row": candidate.origin,
                "verdict": candidate.verdict,
            })
        })
        .collect();
    let others: Vec<Value> =
        decision.others.iter().map(|of| json!({ "verdict": of.verdict, "count": of.count })).collect();
    json!({
        "attempt": decision.attempt,
        "unix_millis": decision.unix_millis,
        "candidates": candidates,
        "others": others,
        "actual": decision.actual.as_ref().map(usage),
        "recomputed": decision.recomputed,
    })
}

/// What an attempt took, for programs: times in microseconds, joules in thousandths.
pub(crate) fn usage(usage: &Usage) -> Value {
    json!({
        "node": usage.node.to_string(),
        "point": usage.point,
        "model": usage.model.map(|model| model.to_string()),
        "emulated": usage.emulated,
        "generations": usage.generations,
        "prompt_tokens": usage.prompt_tokens,
        "cached_tokens": usage.cached_tokens,
        "output_tokens": usage.output_tokens,
        "forced_tokens": usage.forced_tokens,
        "scored_tokens": usage.scored_tokens,
        "queue_us": usage.queue_us,
        "load_us": usage.load_us,
        "ttft_us": usage.ttft_us,
        "tpot_p50_us": usage.tpot_p50_us,
        "tpot_p99_us": usage.tpot_p99_us,
        "total_us": usage.total_us,
        "energy": usage.energy,
    })
}
