//! `./x bench costs`: how well cost rows predict what the engine of this machine takes, on requests that no row was made of,
//! beside two ways to predict without a row; how soon a calibration follows a node that changes; whether two profiles agree;
//! and what a meter costs.
//!
//! The engine is the real one, on random weights of a real shape. Emulated boards have no part in this.

mod agreement;
mod figure;
mod judge;
mod metering;
mod mix;
mod samples;
mod stand;

use std::{path::PathBuf, time::Duration};

use clap::Parser;
use dunlin_gguf::synth::SynthShape;
use dunlin_profiler::Depth;

use crate::{
    figure::Figure,
    judge::{Judged, judge, recovery},
    stand::{Extent, Stand},
};

/// Measures how well cost rows predict, and what a meter costs.
#[derive(Debug, Parser)]
struct Arguments {
    /// What is measured [default: all]
    #[arg(value_enum)]
    cases: Vec<Case>,
    /// Threads of both phases, one operating point for each number
    #[arg(long, value_delimiter = ',', default_value = "1,2")]
    threads: Vec<u16>,
    /// Shapes of models
    #[arg(long, value_delimiter = ',', default_value = "smollm2-135m")]
    shapes: Vec<String>,
    /// Requests of the held-out mix, for each point; few of them only show that it works
    #[arg(long, default_value_t = 60)]
    requests: usize,
    /// How thorough the profile is: quick, standard, full
    #[arg(long, default_value = "standard", value_parser = depth)]
    depth: Depth,
    /// Seconds of the profile, for each shape; 900 for qwen2.5-0.5b on two slow cores
    #[arg(long, default_value_t = 300)]
    budget: u64,
    /// Pairs of answers, with a meter that is read and without, for each shape
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(6..=10_000))]
    pairs: u32,
    /// Where the draws come from
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Also append each request of the mix, with what it met, what was predicted and what it took to this file, a JSON object a line
    #[arg(long, value_name = "FILE")]
    samples: Option<PathBuf>,
    /// One JSON list on stdout
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Case {
    /// Predictions of held-out requests, and calibration
    Predictions,
    /// A second profile finds what a first one said
    Agreement,
    /// Decoding beside a meter that is read ten times a second
    Metering,
}

fn depth(text: &str) -> Result<Depth, String> {
    match text {
        "quick" => Ok(Depth::Quick),
        "standard" => Ok(Depth::Standard),
        "full" => Ok(Depth::Full),
        _ => Err("there are quick, standard and full".to_owned()),
    }
}

impl Arguments {
    fn extent(&self, seed: u64) -> Extent<'_> {
        Extent { threads: &self.threads, depth: self.depth, budget: Duration::from_secs(self.budget), seed }
    }

    fn wants(&self, case: Case) -> bool {
        self.cases.is_empty() || self.cases.contains(&case)
    }
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Runtime::new()?;
    let mut figures = Vec::new();
    for shape in &arguments.shapes {
        let shape: SynthShape = shape.parse().map_err(anyhow::Error::msg)?;
        let of_shape = runtime.block_on(measure(&arguments, &shape))?;
        if !arguments.json {
            println!("\n{}", shape.name);
            of_shape.iter().for_each(Figure::print);
        }
        figures.extend(of_shape);
    }
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&figures)?);
    }
    Ok(())
}

async fn measure(arguments: &Arguments, shape: &SynthShape) -> anyhow::Result<Vec<Figure>> {
    let stand = Stand::new(shape)?;
    let mut figures = if arguments.wants(Case::Predictions) {
        predictions(arguments, shape, &stand).await?
    } else {
        Vec::new()
    };
    if arguments.wants(Case::Agreement) {
        let [first, second] = [0, 1].map(|more| arguments.extent(arguments.seed.wrapping_add(more)));
        figures.push(agreement::measure(&stand, &first, &second).await?);
    }
    if arguments.wants(Case::Metering) {
        let threads = arguments.threads.iter().copied().max().unwrap_or(1);
        figures.push(metering::measure(&stand, threads, arguments.pairs).await?);
    }
    Ok(figures)
}

async fn predictions(
    arguments: &Arguments,
    shape: &SynthShape,
    stand: &Stand,
) -> anyhow::Result<Vec<Figure>> {
    let rows = stand.profile(&arguments.extent(arguments.seed)).await?.rows;
    let mut figures = Vec::new();
    for &threads in &arguments.threads {
        let Some(row) =
            rows.iter().find(|row| row.key.prefill_threads == threads && row.key.decode_threads == threads)
        else {
            anyhow::bail!("the profile has no row of {threads} threads: give it a larger --budget");
        };
        let name = format!("{}, {threads} threads", shape.name);
        let requests = mix::draw(arguments.requests, arguments.seed);
        let seen = stand.run(threads, &requests).await?;
        let repeats = stand.run(threads, &mix::identical(arguments.requests)).await?;
        if let Some(path) = &arguments.samples {
            samples::write(path, shape.name, threads, row, &seen)?;
        }
        let judged = judge(row, &seen, &repeats);
        figures.extend(report(&name, &judged));
    }
    let threads = arguments.threads.iter().copied().max().unwrap_or(1);
    if let Some(row) =
        rows.iter().find(|row| row.key.prefill_threads == threads && row.key.decode_threads == threads)
    {
        let most = arguments.requests;
        let before = stand.run(threads, &mix::alike(most.min(20))).await?;
        let after = stand.slowed(threads, &mix::alike((2 * most).min(40))).await?;
        figures.extend(recovery(row, &before, &after));
    }
    Ok(figures)
}

/// What is asked is of the calibrated row, as a fleet predicts; the others are for comparison.
fn report(name: &str, judged: &Judged) -> Vec<Figure> {
    let mut figures = Vec::new();
    for (what, limit, of) in [("TPOT", 5.0, &judged.tpot), ("TTFT", 10.0, &judged.ttft)] {
        let limit = f64::max(limit, 1.5 * of.repeatability);
        figures.push(
            Figure::at_most(format!("{name}: {what}, median error"), limit, of.calibrated.median, "%").note(
                format!(
                    "repeatability of identical requests {:.1} %; row alone {:.1} %, one rate {:.1} %, moving average {:.1} %",
                    of.repeatability, of.row.median, of.rate.median, of.average.median
                ),
            ),
        );
        figures.push(
            Figure::at_most(format!("{name}: {what}, p90 of the error"), 25.0, of.calibrated.p90, "%").note(
                format!(
                    "row alone {:.1} %, one rate {:.1} %, moving average {:.1} %",
                    of.row.p90, of.rate.p90, of.average.p90
                ),
            ),
        );
        figures.push(Figure::within(
            format!("{name}: {what}, below its 90 % quantile"),
            [85.0, 95.0],
            of.covered,
            "%",
        ));
    }
    figures
}
