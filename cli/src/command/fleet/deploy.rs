//! `dunlin deploy`.

use std::path::PathBuf;

use dunlin_host::{Inspection, LoadError};
use dunlin_protocol::{Answer, Ask, BlobDigest, ComponentDigest};
use serde_json::json;

use super::with_client;
use crate::{
    arguments::Global,
    explain,
    failure::Failure,
    terminal::{self, progress::Progress},
};

/// Give a pipeline to the fleet, under a name
#[derive(Debug, clap::Args)]
pub(crate) struct Deploy {
    /// The component
    file: PathBuf,
    /// What to call it [default: as the file is called]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    #[arg(long)]
    json: bool,
}

impl Deploy {
    /// # Errors
    /// If it is no component, or the scheduler does not take it.
    pub(crate) fn execute(&self, global: Global) -> anyhow::Result<()> {
        let path = &self.file;
        let bytes = std::fs::read(path)
            .map_err(|error| Failure::usage(format!("cannot read {}: {error}", path.display())))?;
        let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let name = self.name.clone().unwrap_or(stem);
        // What no node would run is not sent to any.
        let inspection = Inspection::of(&name, &bytes).map_err(|error| explain::not_loaded(&error))?;
        if let Some(refusal) = LoadError::inspected(&name, &inspection) {
            return Err(explain::not_loaded(&refusal).into());
        }
        let component = ComponentDigest(*blake3::hash(&bytes).as_bytes());
        let progress = Progress::new(global.quiet);
        let answer = with_client(async |client| {
            client.put(BlobDigest::from(component), path, &progress).await?;
            client.ask(Ask::Deploy { name: name.clone(), component }).await
        })?;
        anyhow::ensure!(answer == Answer::Done, "the scheduler answered with something else");
        if self.json {
            return terminal::print_json(&json!({ "name": name, "component": component.to_string() }));
        }
        terminal::tell(format_args!("deployed {name}; `dunlin invoke {name}` runs it"));
        Ok(())
    }
}
