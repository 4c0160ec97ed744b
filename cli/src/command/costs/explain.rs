//! `dunlin costs explain`.

use dunlin_costs::{Calibration, Figure, Prediction, Row, Situation, Work};
use dunlin_tables::{Economy, grade_means};
use serde_json::{Value, json};

use super::selection::{DISTURBED, Selection, Shape, document_of, model, number, point, seconds};
use crate::{
    failure::Failure,
    terminal::{
        self, style,
        table::{Align, Table},
    },
};

/// Rows that are explained at once.
const MAX_EXPLAINED: usize = 3;

const HELP: &str = "\
Examples:
  dunlin costs explain --class orin-nano-8g --model llama-3.2-1b --mode MAXN
  dunlin costs explain --own --model demo --decode-threads 2";

/// Say how a prediction comes about: each term of the step model, what it rests on, and what is only assumed
#[derive(Debug, clap::Args)]
#[command(after_long_help = HELP)]
pub(crate) struct Explain {
    #[command(flatten)]
    selection: Selection,
    /// Only rows that answer by so many threads
    #[arg(long, value_name = "N", help_heading = "Rows")]
    decode_threads: Option<u16>,
    #[command(flatten)]
    shape: Shape,
    /// One JSON document
    #[arg(long)]
    json: bool,
}

impl Explain {
    /// # Errors
    /// If there are no such rows, or too many.
    pub(crate) fn execute(&self) -> anyhow::Result<()> {
        let (table, work) = (self.selection.rows()?, self.shape.work());
        let threads = |row: &&Row| self.decode_threads.is_none_or(|wanted| wanted == row.key.decode_threads);
        let rows: Vec<&Row> = table.rows().filter(threads).collect();
        if rows.is_empty() || rows.len() > MAX_EXPLAINED {
            let message = format!("{} rows are meant, 1 to {MAX_EXPLAINED} can be explained", rows.len());
            let hint =
                "narrow it by --class, --model, --mode and --decode-threads; dunlin costs show lists them";
            return Err(Failure::usage(message).hint(hint).into());
        }
        if self.json {
            return terminal::print_json(&rows.iter().map(|row| document(row, work)).collect::<Vec<_>>());
        }
        rows.iter().try_for_each(|row| explain(row, work))
    }
}

fn explain(row: &Row, work: Work) -> anyhow::Result<()> {
    let (heading, faint) = (style::HEADING, style::FAINT);
    let key = &row.key;
    terminal::print(format_args!(
        "{heading}{} on {}, {}{heading:#} · {} · {} · context {}",
        model(row),
        key.class,
        point(row),
        key.firmware,
        key.runtime,
        key.context
    ))?;
    let provenance = &row.provenance;
    let grade =
        provenance.grade.map_or_else(String::new, |of| format!(", grade {of:?}: {}", grade_means(of)));
    terminal::print(format_args!("{}{grade}\n{faint}{}{faint:#}\n", provenance.basis(), provenance.source))?;
    let economy = Economy::of(row, work);
    terminal::print(format_args!("TTFT  {} = {}", seconds(economy.ttft), reading(row, work)))?;
    terminal::print(format_args!("TPOT  {} = {}", seconds(economy.tpot), answering(row, work)))?;
    match economy.joules {
        Some(joules) => terminal::print(format_args!(
            "J     {} in all = {} J a prompt token, {} J an output token{}",
            number(joules.per_run, 2),
            number(joules.per_input_token, 4),
            number(joules.per_output_token, 3),
            correction(row)
        ))?,
        None => terminal::print("J     not known: the row has no watts that rank")?,
    }
    beside(row)?;
    let predicted = predicted(row, work);
    terminal::print(format_args!(
        "nine requests in ten take no longer than {} to the first token, {} a token{}\n",
        duration(predicted.ttft.q90),
        duration(predicted.tpot.q90),
        fit(row)
    ))?;
    if predicted.flags.extrapolated {
        let longest = row.prefill.measured[1];
        terminal::print(format_args!(
            "extrapolated: nothing beyond prompts of {longest} tokens was measured\n"
        ))?;
    }
    let mut table = Table::new([
        ("ASSUMED", Align::Left),
        ("VALUE", Align::Right),
        ("LOW", Align::Right),
        ("HIGH", Align::Right),
        ("RESTS ON", Align::Left),
    ]);
    let assumed = assumed(row);
    for (name, figure, (low, high)) in &assumed {
        let shown = |value: f64| format!("{value:.4}").trim_end_matches('0').trim_end_matches('.').to_owned();
        let source = figure.source().unwrap_or(&provenance.source).to_owned();
        table.row([
            (*name).into(),
            shown(figure.nominal()).into(),
            shown(*low).into(),
            shown(*high).into(),
            source.into(),
        ]);
    }
    if assumed.is_empty() {
        terminal::print("nothing of it is assumed\n")
    } else {
        terminal::print(format_args!("{table}\n"))
    }
}

/// What has no part in times and joules.
fn beside(row: &Row) -> anyhow::Result<()> {
    let quality = &row.quality;
    let of = |source: &Option<String>| source.as_ref().map_or_else(String::new, |of| format!(" ({of})"));
    if let Some(accuracy) = quality.accuracy {
        terminal::print(format_args!("right  {accuracy:.4} of the answers{}", of(&quality.accuracy_of)))?;
    }
    if let Some(perplexity) = quality.perplexity {
        terminal::print(format_args!("perplexity  {perplexity:.4}{}", of(&quality.perplexity_of)))?;
    }
    if let Some(disturbed) = row.fit.disturbed {
        let part = 100.0 * disturbed;
        terminal::print(format_args!("disturbed  in {part:.0} % of the time {DISTURBED}"))?;
    }
    let memory = &row.memory;
    let mb = |bytes: u64| bytes as f64 / 1e6;
    if memory.decode_peak_bytes > 0 {
        terminal::print(format_args!(
            "memory  at most {:.1} MB in the load, {:.1} in prompts, {:.1} in answers",
            mb(memory.load_peak_bytes),
            mb(memory.prefill_peak_bytes),
            mb(memory.decode_peak_bytes)
        ))?;
    }
    Ok(())
}

fn predicted(row: &Row, work: Work) -> Prediction {
    row.predict(&work, &Situation::default(), &Calibration::default())
}

fn duration(seconds: f64) -> String {
    crate::duration::show(std::time::Duration::from_secs_f64(seconds.clamp(0.0, 1e9)))
}

/// `p0 + p1 n + p2 n^2`, in numbers.
fn reading(row: &Row, work: Work) -> String {
    let (prefill, n) = (&row.prefill, f64::from(work.prompt_tokens));
    let [p0, p1, p2] =
        [&prefill.p0_ms, &prefill.p1_ms_per_token, &prefill.p2_ms_per_token2].map(Figure::nominal);
    format!("{p0:.1} ms + {p1:.4} ms x {n} tokens + {p2:.3e} ms x {n}^2")
}

/// `d(1) + d1 k`, in numbers: k is the mean depth of the answer.
fn answering(row: &Row, work: Work) -> String {
    let decode = &row.decode;
    let alone = decode.batch_ms.first().map_or(0.0, Figure::nominal);
    let further = f64::from(work.output_tokens.saturating_sub(2)) / 2.0;
    let depth = f64::from(work.prompt_tokens) + further;
    let d1 = decode.depth_ms_per_token.nominal();
    format!("{alone:.2} ms + {d1:.5} ms x {depth:.0} tokens of context")
}

fn correction(row: &Row) -> String {
    let Some(power) = &row.power else { return String::new() };
    match &power.correction {
        Some(correction) => format!(" (sensor: {:?}, corrected: {})", power.scope, correction.name),
        None => format!(" (sensor: {:?})", power.scope),
    }
}

fn fit(row: &Row) -> String {
    let fit = &row.fit;
    match (fit.prefill_mape_pct, fit.decode_mape_pct) {
        (Some(reads), Some(decodes)) => {
            format!("; the fit misses its samples by {reads:.2} % (prompts) and {decodes:.2} % (answers)")
        }
        _ => String::new(),
    }
}

/// Everything of a row that is a range.
fn assumed(row: &Row) -> Vec<(&'static str, &Figure, (f64, f64))> {
    const BATCH: [&str; 8] = [
        "decode step, 1",
        "decode step, 2",
        "decode step, 4",
        "decode step, 8",
        "decode step, 16",
        "decode step, 32",
        "decode step, 64",
        "decode step, 128",
    ];
    let (prefill, decode) = (&row.prefill, &row.decode);
    let mut figures = vec![
        ("load from the disk, ms", &row.load.cold_ms),
        ("load from memory, ms", &row.load.warm_ms),
        ("p0, ms", &prefill.p0_ms),
        ("p1, ms a token", &prefill.p1_ms_per_token),
        ("p2, ms a token^2", &prefill.p2_ms_per_token2),
        ("d1, ms a token", &decode.depth_ms_per_token),
        ("beside another model, part", &decode.contention),
    ];
    figures.extend(BATCH.into_iter().zip(&decode.batch_ms));
    if let Some(power) = &row.power {
        figures.extend([
            ("idle, W", &power.idle_w),
            ("load, W", &power.load_w),
            ("prompts, W", &power.prefill_w),
            ("answers, W", &power.decode_w),
        ]);
        if let Some(correction) = &power.correction {
            figures.extend([
                ("correction, factor", &correction.factor),
                ("correction, W", &correction.offset_w),
            ]);
        }
    }
    figures.into_iter().filter_map(|(name, figure)| Some((name, figure, figure.range()?))).collect()
}

fn document(row: &Row, work: Work) -> Value {
    let assumed: Vec<Value> = assumed(row)
        .into_iter()
        .map(|(name, figure, (low, high))| {
            json!({ "what": name, "nominal": figure.nominal(), "low": low, "high": high, "source": figure.source() })
        })
        .collect();
    let mut document = document_of(row, &Economy::of(row, work));
    document["prediction"] = json!(predicted(row, work));
    document["terms"] = json!({ "ttft": reading(row, work), "tpot": answering(row, work) });
    document["assumed"] = json!(assumed);
    document
}
