//! What was measured, for people.

use std::time::Duration;

use dunlin_engine_handle::OperatorKind;
use dunlin_profiler::{Doing, Judgement, Operators, PhaseShares, PhaseUse, Profile as Outcome};

use crate::{
    arguments::Global,
    duration, meters,
    terminal::{
        self,
        table::{Align, Table},
    },
};

/// Columns of a bar that stands for all.
const BAR: f64 = 40.0;
/// Operators that are shown by name.
const NAMED: usize = 6;
/// 95 % of a normal distribution are within so many standard errors.
const NORMAL_95: f64 = 1.96;

/// What was measured, and what there is to say of it.
pub(super) fn show(outcome: &Outcome, global: Global) -> anyhow::Result<()> {
    terminal::print(cells(outcome))?;
    if outcome.phases.iter().any(is_known) {
        terminal::print(format_args!("\n{}", phases(&outcome.phases)))?;
    }
    if let Some(quality) = quality(outcome) {
        terminal::print(format_args!("\n{quality}"))?;
    }
    if let Some(of) = &outcome.operators {
        terminal::print(format_args!("\n{}", operators(of)))?;
    }
    if global.quiet {
        return Ok(());
    }
    if let Some((meter, scope)) = outcome.meter.as_ref().zip(outcome.joules_of) {
        let scope = meters::scope(scope);
        terminal::tell(format_args!("note: joules are those of the {scope}, idle draw included, by {meter}"));
    }
    for note in &outcome.notes {
        terminal::tell(format_args!("note: {note}"));
    }
    if let Some(of) = &outcome.operators {
        terminal::tell(format_args!(
            "note: each operator was computed by itself, which made prompts {:.2} and answers {:.2} times as long; {:.1} us are taken \
             off each",
            of.prefill.stretched, of.decode.stretched, of.overhead_us
        ));
    }
    Ok(())
}

fn cells(outcome: &Outcome) -> Table {
    let mut table = Table::new([
        ("WHAT", Align::Left),
        ("MEDIAN", Align::Right),
        ("FROM", Align::Right),
        ("TO", Align::Right),
        ("CV", Align::Right),
        ("RUNS", Align::Right),
        ("J/TOKEN", Align::Right),
    ]);
    let seconds = |value: f64| duration::show(Duration::from_secs_f64(value));
    for of in &outcome.cells {
        let s = &of.seconds;
        table.row(
            [
                of.cell.to_string(),
                seconds(s.median),
                seconds(s.low),
                seconds(s.high),
                if s.runs > 1 { format!("{:.1} %", s.cv_pct) } else { "-".to_owned() },
                s.runs.to_string(),
                shown(of.joules_per_token, 3, ""),
            ]
            .map(Into::into),
        );
    }
    table
}

const fn is_known(of: &PhaseUse) -> bool {
    of.memory.is_some() || of.cores.is_some()
}

fn phases(phases: &[PhaseUse]) -> Table {
    let mut table = Table::new([
        ("PHASE", Align::Left),
        ("PEAK MEMORY", Align::Right),
        ("CORES", Align::Right),
        ("SWITCHES/S", Align::Right),
        ("CACHE MISSES/TOKEN", Align::Right),
        ("MISSED", Align::Right),
        ("INSTR/CYCLE", Align::Right),
    ]);
    for of in phases {
        let name = match of.phase {
            Doing::Load => "load",
            Doing::Prefill => "prompts",
            Doing::Decode => "answers",
        };
        table.row(
            [
                name.to_owned(),
                shown(of.memory.map(|bytes| bytes as f64 / 1e6), 1, " MB"),
                shown(of.cores, 2, ""),
                shown(of.switches, 0, ""),
                shown(of.cache_misses_per_token, 0, ""),
                shown(of.cache_miss_pct, 1, " %"),
                shown(of.instructions_per_cycle, 2, ""),
            ]
            .map(Into::into),
        );
    }
    table
}

fn quality(outcome: &Outcome) -> Option<Table> {
    let quality = &outcome.quality;
    if quality.perplexity.is_none() && quality.accuracy.is_none() {
        return None;
    }
    let mut table = Table::new([
        ("QUALITY", Align::Left),
        ("VALUE", Align::Right),
        ("FROM", Align::Right),
        ("TO", Align::Right),
        ("JUDGED", Align::Right),
        ("OF", Align::Left),
    ]);
    let mut row = |name: &str, of: &Judgement, unit: &str, (least, most): (f64, f64)| {
        let slack = NORMAL_95 * of.error;
        let chance = of.chance.map_or_else(String::new, |chance| format!("; by chance {chance:.3}"));
        table.row(
            [
                name.to_owned(),
                format!("{:.4}", of.value),
                format!("{:.4}", (of.value - slack).max(least)),
                format!("{:.4}", (of.value + slack).min(most)),
                format!("{} of {} {unit}", of.done, of.total),
                format!("{}{chance}", of.of),
            ]
            .map(Into::into),
        );
    };
    if let Some(of) = &quality.perplexity {
        row("perplexity", of, "windows", (1.0, f64::INFINITY));
    }
    if let Some(of) = &quality.accuracy {
        row("accuracy", of, "questions", (0.0, 1.0));
    }
    Some(table)
}

fn operators(of: &Operators) -> String {
    let phase = |title: String, shares: &PhaseShares| {
        let mut table =
            Table::new([(title.as_str(), Align::Left), ("SHARE", Align::Right), ("", Align::Left)]);
        for of in &shares.kinds {
            let bar = "=".repeat((BAR * of.share).round() as usize);
            table.row([kind(of.of).to_owned(), format!("{:.1} %", 100.0 * of.share), bar].map(Into::into));
        }
        let named = shares.operators.iter().take(NAMED);
        let named: Vec<String> =
            named.map(|of| format!("{} {:.1} %", of.of.to_lowercase(), 100.0 * of.share)).collect();
        format!("{}\n  by name: {}", table.to_string().trim_end(), named.join(", "))
    };
    let Operators { threads, prompt, depth, prefill, decode, .. } = of;
    let read = phase(format!("PROMPT OF {prompt}, {threads} THREADS"), prefill);
    let wrote = phase(format!("ANSWER AT DEPTH {depth}"), decode);
    format!("{read}\n\n{wrote}")
}

const fn kind(kind: OperatorKind) -> &'static str {
    match kind {
        OperatorKind::MatrixProduct => "matrix products",
        OperatorKind::Attention => "attention",
        OperatorKind::Norm => "norms",
        OperatorKind::ElementWise => "element by element",
        OperatorKind::Copy => "rows and copies",
        OperatorKind::Other => "other",
    }
}

fn shown(value: Option<f64>, places: usize, unit: &str) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.places$}{unit}"))
}
