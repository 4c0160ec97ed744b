//! What the shell can complete beyond options: models and pipelines by name.

use clap_complete::CompletionCandidate;
use dunlin_plugins::Plugin;

use crate::{folders::Folders, store::Catalog};

pub(crate) fn models() -> Vec<CompletionCandidate> {
    let Ok(folders) = Folders::find() else { return Vec::new() };
    Catalog::open(&folders).names().into_iter().map(CompletionCandidate::new).collect()
}

pub(crate) fn pipelines() -> Vec<CompletionCandidate> {
    let candidate = |plugin: &Plugin| CompletionCandidate::new(plugin.name).help(Some(plugin.summary.into()));
    dunlin_plugins::all().iter().map(candidate).collect()
}
