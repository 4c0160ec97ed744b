//! The plan of a scheduler: a file of its operator, on the scheduler's own machine, as it names commands that are run there.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use dunlin_costs::DocumentError;
use dunlin_scheduler_core::PlanRules;
use thiserror::Error;

use crate::{
    driver::{Event, Events},
    watched::Watched,
};

/// Why a plan cannot be used.
#[derive(Debug, Error)]
pub enum PlanError {
    #[error("cannot read the plan {}: {error}", path.display())]
    Read { path: PathBuf, error: io::Error },
    #[error("plan {}: {error}", path.display())]
    Document { path: PathBuf, error: DocumentError },
}

/// # Errors
/// [`PlanError`].
pub(crate) fn read(path: &Path) -> Result<PlanRules, PlanError> {
    let text =
        std::fs::read_to_string(path).map_err(|error| PlanError::Read { path: path.to_owned(), error })?;
    PlanRules::parse(&text).map_err(|error| PlanError::Document { path: path.to_owned(), error })
}

/// Reads the file again whenever it changes. A broken one leaves the old one in force, and says so.
pub(crate) async fn watch(path: PathBuf, events: Events) {
    let mut file = Watched::new(path);
    loop {
        let path = file.changed().await;
        match read(path) {
            Ok(rules) => {
                tracing::info!(plan = %path.display(), "read again, and in force");
                drop(events.send(Event::Plan(Arc::new(rules))));
            }
            Err(error) => tracing::warn!(%error, "the plan before stays in force"),
        }
    }
}
