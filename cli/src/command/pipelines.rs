//! `dunlin pipelines`.

use crate::{pipelines::FIRST_PARTY, terminal};

/// List the pipelines that are part of this command
#[derive(Debug, clap::Args)]
pub(crate) struct Pipelines {}

impl Pipelines {
    /// # Errors
    /// If the reader of the output went away.
    pub(crate) fn execute(&self) -> anyhow::Result<()> {
        for pipeline in FIRST_PARTY {
            terminal::print(pipeline.name)?;
        }
        Ok(())
    }
}
