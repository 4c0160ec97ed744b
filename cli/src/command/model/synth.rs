//! `dunlin model synth`.

use std::path::PathBuf;

use dunlin_gguf::{
    Bytes,
    synth::{Mix, SynthShape, synth},
};

use serde_json::json;

use crate::{
    arguments::Global,
    failure::Failure,
    terminal::{self, progress::Progress},
};

const HELP: &str = "\
Examples:
  dunlin model synth smollm2-135m
  dunlin model synth qwen2.5-0.5b --quant Q4_K_M -o qwen.gguf
  dunlin run chat --model qwen.gguf --text \"Hello\"

Shapes: tiny, and those of SmolLM2-135M, Qwen2.5-0.5B and Llama-3.2-1B. Such a model loads, tokenizes and computes like the real \
one, at the same speed, and says nothing that means anything. The same seed gives the same file.";

/// Make up a model: a real shape with random weights, for measuring speed
#[derive(Debug, clap::Args)]
#[command(after_long_help = HELP)]
pub(crate) struct Synth {
    #[arg(value_name = "SHAPE", value_parser = shapes())]
    shape: String,
    /// How the weights are stored
    #[arg(long, value_name = "TYPE", default_value = "Q8_0", ignore_case = true, value_parser = Mix::ALL.map(Mix::name))]
    quant: String,
    /// Where the draws of the weights come from
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// The file [default: SHAPE-TYPE.gguf]
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Write over a file that is there
    #[arg(long)]
    force: bool,
    /// One JSON document
    #[arg(long)]
    json: bool,
}

fn shapes() -> Vec<&'static str> {
    SynthShape::PRESETS.into_iter().map(|shape| shape.name).collect()
}

impl Synth {
    /// # Errors
    /// If the file is there, or cannot be written.
    pub(crate) fn execute(&self, global: Global) -> anyhow::Result<()> {
        let shape: SynthShape = self.shape.parse().map_err(Failure::usage)?;
        let mix: Mix = self.quant.parse().map_err(Failure::usage)?;
        let default = || format!("{}-{}.gguf", shape.name, mix.name().to_lowercase()).into();
        let path = self.output.clone().unwrap_or_else(default);
        if path.exists() && !self.force {
            let message = format!("{} is there already", path.display());
            return Err(Failure::usage(message)
                .hint("--force writes over it, --output FILE elsewhere")
                .into());
        }
        let progress = Progress::new(global.quiet);
        let mut bar = None;
        let mut total = 0;
        synth(&shape, mix, self.seed, &path, |done| {
            total = done.total;
            bar.get_or_insert_with(|| progress.bytes("writing", Some(done.total))).set_position(done.written);
        })?;
        drop(bar);
        if self.json {
            return terminal::print_json(&json!({ "file": path, "bytes": total }));
        }
        terminal::print(format_args!("{} ({} of random weights)", path.display(), Bytes(total)))?;
        if !global.quiet {
            terminal::tell(format_args!("try: dunlin run chat --model {} --text Hello", shown(&path)));
        }
        Ok(())
    }
}

/// With a slash, so that it is taken for a file.
fn shown(path: &std::path::Path) -> String {
    let text = path.display().to_string();
    if text.contains('/') || text.ends_with(".gguf") { text } else { format!("./{text}") }
}
