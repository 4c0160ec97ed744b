//! What the shell can complete beyond options: models and pipelines by name.

use clap_complete::CompletionCandidate;

use crate::{folders::Folders, pipelines::FIRST_PARTY, store::Catalog};

pub(crate) fn models() -> Vec<CompletionCandidate> {
    let Ok(folders) = Folders::find() else { return Vec::new() };
    Catalog::open(&folders).names().into_iter().map(CompletionCandidate::new).collect()
}

pub(crate) fn pipelines() -> Vec<CompletionCandidate> {
    FIRST_PARTY.iter().map(|pipeline| CompletionCandidate::new(pipeline.name)).collect()
}
