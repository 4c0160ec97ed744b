//! A report, for people and for programs.

use std::time::Duration;

use dunlin_load::{Endpoint, Estimate, Plan, Quantiles, Report, plan::Source};
use serde_json::{Value, json};

use super::{Bench, pace};
use crate::{
    duration,
    terminal::{
        self, style,
        table::{Align, Cell, Table},
    },
};

/// What was measured, and how.
pub(super) fn facts(plan: &Plan, endpoint: &Endpoint) -> Vec<(&'static str, String)> {
    let mut facts = vec![
        ("server", endpoint.base.clone()),
        ("model", endpoint.model.clone()),
        ("API", endpoint.api.name().to_owned()),
        ("load", pace(plan)),
    ];
    match &plan.work {
        Source::MadeUp { prompt_tokens, output_tokens } => {
            let measured = if plan.ruler.is_measured { "" } else { " (by an assumed length of words)" };
            facts.push(("prompts", format!("{prompt_tokens} tokens{measured}")));
            facts.push(("answers", format!("at most {output_tokens} tokens")));
        }
        Source::Trace(trace) => facts.push(("trace", terminal::counted(trace.entries().len(), "request"))),
    }
    facts.push(("seed", plan.seed.to_string()));
    facts
}

pub(super) fn document(bench: &Bench, plan: &Plan, endpoint: &Endpoint, report: &Report) -> Value {
    let load: serde_json::Map<String, Value> =
        facts(plan, endpoint).into_iter().map(|(name, value)| (name.to_lowercase(), value.into())).collect();
    let mut document = json!({ "load": load, "open_loop": plan.is_open(), "warmup": bench.warmup });
    if let (Value::Object(into), Ok(Value::Object(report))) = (&mut document, serde_json::to_value(report)) {
        into.extend(report);
    }
    document
}

pub(super) fn print(facts: &[(&str, String)], report: &Report, quiet: bool) -> anyhow::Result<()> {
    let faint = style::FAINT;
    let said: Vec<String> =
        facts.iter().map(|(name, value)| format!("{faint}{name}{faint:#} {value}")).collect();
    terminal::print(said.join(" · "))?;
    terminal::print(outcome(report))?;
    let times = times(report);
    if report.good > 0 {
        terminal::print(format_args!("\n{times}\n"))?;
    }
    for line in lines(report) {
        terminal::print(line)?;
    }
    let bad = style::BAD;
    for of in &report.failures {
        let wait =
            of.retry_after_s.map(|wait| format!(" (asked to wait up to {wait} s)")).unwrap_or_default();
        terminal::print(format_args!("{bad}{} x {}{bad:#}{wait}: {}", of.count, of.kind, of.example))?;
    }
    if !quiet {
        let note = style::NOTE;
        report.notes.iter().for_each(|text| terminal::tell(format_args!("{note}note{note:#}: {text}")));
    }
    Ok(())
}

fn outcome(report: &Report) -> String {
    let mut text = format!(
        "{} in {}: {}",
        terminal::counted(report.offered, "request"),
        duration::show(Duration::from_secs_f64(report.seconds)),
        terminal::counted(report.good, "whole answer")
    );
    if report.failed > 0 {
        text += &format!(", {} failed", report.failed);
    }
    if report.was_stopped {
        text += &format!("; stopped, with {} under way", report.cut_off);
    }
    text
}

fn times(report: &Report) -> Table {
    let right = |name| (name, Align::Right);
    let mut table = Table::new([
        ("", Align::Left),
        right("MEAN"),
        right("p50"),
        ("", Align::Left),
        right("p90"),
        right("p95"),
        right("p99"),
        ("", Align::Left),
        right("MAX"),
    ]);
    let server = report.server.as_ref();
    let lag = if report.lag.is_much() { report.lag.send_ms } else { None };
    for (name, of) in [
        ("TTFT", report.ttft_ms),
        ("TPOT", report.tpot_ms),
        ("ITL", report.itl_ms),
        ("whole answer", report.whole_ms),
        ("server: queue", server.and_then(|of| of.queue_ms)),
        ("server: load", server.and_then(|of| of.load_ms)),
        ("server: prefill", server.and_then(|of| of.prefill_ms)),
        ("server: decode", server.and_then(|of| of.decode_ms)),
        ("client: lag", lag),
    ] {
        if let Some(of) = of {
            table.row(row(name, &of));
        }
    }
    table
}

fn row(name: &str, of: &Quantiles) -> [Cell; 9] {
    let interval =
        |of: Estimate| Cell::styled(format!("[{}, {}]", time(of.low), time(of.high)), style::FAINT);
    [
        name.into(),
        time(of.mean).into(),
        time(of.p50.value).into(),
        interval(of.p50),
        time(of.p90.value).into(),
        time(of.p95.value).into(),
        time(of.p99.value).into(),
        interval(of.p99),
        time(of.max).into(),
    ]
}

fn time(ms: f64) -> String {
    duration::show(Duration::from_secs_f64(ms / 1e3))
}

fn lines(report: &Report) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(slo) = report.slo {
        let target = |name: &str, ms: Option<f64>| ms.map(|ms| format!("{name} <= {}", time(ms)));
        let targets: Vec<String> =
            [target("TTFT", slo.ttft_ms), target("TPOT", slo.tpot_ms)].into_iter().flatten().collect();
        lines.push(format!(
            "goodput      {:.2} requests/s; {:.1} % of those offered keep {}",
            slo.goodput_per_s,
            slo.share * 100.0,
            targets.join(" and ")
        ));
    }
    let prompt =
        report.prompt_tokens_per_s.map(|rate| format!(", {rate:.1} prompt tokens/s")).unwrap_or_default();
    lines.push(format!(
        "throughput   {:.2} answers/s, {:.1} output tokens/s{prompt}; at most {} at once",
        report.good_per_s, report.output_tokens_per_s, report.most_in_flight
    ));
    let tokens = report.tokens;
    lines.push(format!(
        "tokens       {} in, {} out by the server's count in {} of {} answers; {} pieces",
        tokens.prompt, tokens.output, tokens.told, report.good, tokens.pieces
    ));
    if let Some(energy) = &report.energy {
        let sources: Vec<&str> = energy.sources.iter().map(String::as_str).collect();
        let per_token = energy
            .joules_per_output_token
            .map(|joules| format!(", {joules:.3} J/output token"))
            .unwrap_or_default();
        lines.push(format!(
            "energy       {:.2} J/request{per_token}, told by the server for {} of {} answers ({})",
            energy.joules_per_request,
            energy.requests,
            report.good,
            sources.join(", ")
        ));
    }
    if report.nodes.len() > 1 {
        let nodes: Vec<String> = report.nodes.iter().map(|(node, count)| format!("{node} {count}")).collect();
        lines.push(format!("answered by  {}", nodes.join(", ")));
    }
    lines
}
