//! Writes a model of random weights: `cargo run -p dunlin-gguf --example synth -- qwen2.5-0.5b Q4_K_M out.gguf [seed]`.

use std::env;
use std::path::Path;
use std::process::ExitCode;

use dunlin_gguf::synth::{Mix, Progress, SynthShape, synth};

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(sentence) => {
            eprintln!("{sentence}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[String]) -> Result<(), String> {
    let [shape, mix, path, seed @ ..] = arguments else {
        return Err("usage: synth SHAPE MIX PATH [SEED]".into());
    };
    let seed = seed.first().map_or(Ok(1), |seed| seed.parse().map_err(|_| format!("{seed:?} is no seed")))?;
    let report = |done: Progress| eprint!("\r{} of {} MB", done.written / 1_000_000, done.total / 1_000_000);
    synth(&shape.parse::<SynthShape>()?, mix.parse::<Mix>()?, seed, Path::new(path), report)
        .map_err(|error| error.to_string())?;
    eprintln!();
    Ok(())
}
