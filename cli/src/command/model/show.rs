//! `dunlin model show`.

use clap_complete::engine::ArgValueCandidates;
use dunlin_gguf::{Bytes, Gguf};
use serde_json::json;

use super::memory::Verdict;
use crate::{
    completion,
    failure::{Exit, Failure},
    folders::Folders,
    store::Catalog,
    terminal,
};

/// Show what a model is, and what it takes here
#[derive(Debug, clap::Args)]
pub(crate) struct Show {
    /// An alias, or a GGUF file
    #[arg(add = ArgValueCandidates::new(completion::models))]
    model: String,
    /// Weigh it with this context in tokens [default: what the model was trained on, at most 4096]
    #[arg(long, value_name = "TOKENS")]
    context: Option<u32>,
    /// One JSON document, with all metadata of the file
    #[arg(long)]
    json: bool,
}

impl Show {
    /// # Errors
    /// If there is no such model, or its file is refused.
    pub(crate) fn execute(&self) -> anyhow::Result<()> {
        let model = Catalog::open(&Folders::find()?).find(&self.model)?;
        let gguf = Gguf::open(&model.path).map_err(|error| Failure::new(Exit::Model, error.to_string()))?;
        let verdict = Verdict::of(gguf.model(), self.context);
        if self.json {
            return terminal::print_json(&json!({
                "name": model.name,
                "variant": model.variant,
                "files": gguf.parts().iter().map(|part| &part.path).collect::<Vec<_>>(),
                "sha256": model.sha256,
                "model": gguf.model(),
                "memory": verdict,
                "fits": verdict.fits(),
            }));
        }
        let line = |label: &str, text: String| terminal::print(format_args!("{label:<14} {text}"));
        if let Some(variant) = &model.variant {
            let alias = model.name.split(':').next().unwrap_or_default();
            line("alias", format!("{alias}:{variant}"))?;
        }
        for part in gguf.parts() {
            line("file", format!("{} ({})", part.path.display(), Bytes(part.length)))?;
        }
        if let Some(sha256) = &model.sha256 {
            line("sha256", sha256.clone())?;
        }
        terminal::print(gguf.model().to_string().trim_end())?;
        line("here", verdict.sentence())?;
        Ok(())
    }
}
