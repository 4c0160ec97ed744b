//! `./x bench`: what Dunlin promises of speed, measured.

mod cases;
mod engines;
mod guests;

use std::path::PathBuf;

use clap::Parser;
use dunlin_bench_stand::pairs;
use dunlin_gguf::synth::SynthShape;

use engines::{Setting, synthetic};

/// Measures what Dunlin promises of speed, in interleaved pairs: medians of the pairs, with the interval that holds
/// them with 95 % confidence.
#[derive(Debug, Parser)]
struct Arguments {
    /// Only the cases whose name contains this; --list names them.
    filter: Option<String>,
    /// Name the cases and what each is to reach.
    #[arg(long)]
    list: bool,
    /// Pairs per comparison.
    #[arg(long, default_value_t = 20)]
    pairs: usize,
    /// Threads of the engines.
    #[arg(long, default_value_t = 2)]
    threads: u32,
    /// llama.cpp's own benchmark, built from the same sources, to compare with.
    #[arg(long, value_name = "PROGRAM")]
    llama_bench: Option<PathBuf>,
    /// A model other than random weights of the shape of SmolLM2-135M in Q4_0.
    #[arg(long, value_name = "FILE")]
    model: Option<PathBuf>,
    /// The component that is compiled beside an engine.
    #[arg(long, value_name = "FILE", default_value = PYTHON_COMPONENT)]
    component: PathBuf,
    /// The model that is constrained.
    #[arg(long, value_name = "FILE", default_value = DEMO_MODEL)]
    demo_model: PathBuf,
    /// Constrained generations.
    #[arg(long, default_value_t = 10_000)]
    generations: usize,
}

/// Where they are for `./x`, which works from the root.
const PYTHON_COMPONENT: &str = "examples/hello-python/hello-python.wasm";
const DEMO_MODEL: &str = "models/demo/demo-small-q8_0.gguf";

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let chosen: Vec<_> = cases::ALL
        .iter()
        .filter(|case| arguments.filter.as_ref().is_none_or(|filter| case.name.contains(filter.as_str())))
        .collect();
    anyhow::ensure!(!chosen.is_empty(), "no case has this in its name; --list names them all");
    if arguments.list {
        chosen.iter().for_each(|case| println!("{}: {}", case.name, case.target));
        return Ok(());
    }
    let setting = setting(&arguments)?;
    println!("{} on {} threads, {} pairs", setting.model.display(), setting.threads, arguments.pairs);
    for case in chosen {
        print!("{} ({}): ", case.name, case.target);
        (case.run)(&arguments, &setting)?;
    }
    Ok(())
}

fn setting(arguments: &Arguments) -> anyhow::Result<Setting> {
    match &arguments.model {
        Some(model) => Setting::new(model.clone(), arguments.threads),
        None => synthetic(&SynthShape::SMOLLM2_135M, "smollm2-135m", arguments.threads),
    }
}
