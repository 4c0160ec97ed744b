//! `dunlin model check`.

use std::{path::PathBuf, time::Instant};

use dunlin_gguf::{Bytes, Gguf, Model};
use serde_json::json;

use super::memory::Verdict;
use crate::{
    duration,
    failure::{Exit, Failure},
    terminal::{self, style},
};

const HELP: &str = "\
The header is read, not the weights: that takes milliseconds whatever the size. A file that passes does not end llama.cpp, and a \
model that fits is let in by `dunlin run`.

Exit codes: 0 sound, and it fits; 3 the file is refused; 4 it is sound, but does not fit into the memory that is free here.";

/// Check a model file without loading it
#[derive(Debug, clap::Args)]
#[command(after_long_help = HELP)]
pub(crate) struct Check {
    /// A GGUF file; of a split model, any part
    file: PathBuf,
    /// Weigh it with this context in tokens [default: what the model was trained on, at most 4096]
    #[arg(long, value_name = "TOKENS")]
    context: Option<u32>,
    /// One JSON document
    #[arg(long)]
    json: bool,
}

impl Check {
    /// # Errors
    /// With what is wrong with the file.
    pub(crate) fn execute(&self) -> anyhow::Result<()> {
        let began = Instant::now();
        let checked = Gguf::open(&self.file);
        let took = began.elapsed();
        let opened = checked.map_err(|error| Failure::new(Exit::Model, error.to_string()));
        let verdict = opened.as_ref().map(|gguf| Verdict::of(gguf.model(), self.context));
        let failure = match &verdict {
            Err(failure) => Some((*failure).clone()),
            Ok(verdict) if !verdict.fits() => Some(
                Failure::new(
                    Exit::Memory,
                    format!("{} is sound, but {}", self.file.display(), verdict.sentence()),
                )
                .hint("--context N takes less; `dunlin doctor` shows what is free"),
            ),
            Ok(_) => None,
        };
        if self.json {
            terminal::print_json(&json!({
                "file": self.file,
                "model": opened.as_ref().ok().map(Gguf::model),
                "memory": verdict.as_ref().ok(),
                "fits": verdict.as_ref().ok().map(Verdict::fits),
                "checked_ms": took.as_secs_f64() * 1e3,
                "error": failure.as_ref().map(Failure::json),
            }))?;
        }
        if let Some(failure) = failure {
            return Err(failure.into());
        }
        if let (Ok(gguf), Ok(verdict), false) = (&opened, &verdict, self.json) {
            let (good, name) = (style::GOOD, summary(gguf.model()));
            terminal::print(format_args!(
                "{good}sound{good:#}: {name}, checked in {}",
                duration::show(took)
            ))?;
            terminal::print(format_args!("{good}fits{good:#}: {}", verdict.sentence()))?;
        }
        Ok(())
    }
}

/// `"SmolLM2 135M", llama, Q8_0, 144 MB`
pub(super) fn summary(model: &Model) -> String {
    let name = model.name.as_deref().map(|name| format!("\"{}\", ", name.escape_debug())).unwrap_or_default();
    format!("{name}{}, {}, {}", model.architecture, model.quantization, Bytes(model.weights.bytes))
}
