//! Pipelines by name: those in this binary, and components in files.

use std::path::Path;

use dunlin_host::PipelineSource;

use crate::{failure::Failure, store::nearest};

/// A pipeline by what a person calls it: `classify`, `./mine.wasm`.
///
/// # Errors
/// If there is none, with a guess what was meant.
pub(crate) fn find(text: &str) -> Result<PipelineSource, Failure> {
    if let Some(found) = dunlin_plugins::find(text) {
        return Ok(PipelineSource::bytes(found.name, found.bytes));
    }
    let path = Path::new(text);
    if path.is_file() {
        return Ok(PipelineSource::file(path));
    }
    if path.is_dir() {
        return Err(Failure::usage(format!("{text} is a folder")).hint("name the .wasm file in it"));
    }
    if text.contains('/') || text.ends_with(".wasm") {
        return Err(Failure::usage(format!("there is no file {text}"))
            .hint("`dunlin pipelines` lists the pipelines that need no file"));
    }
    Err(unknown(text))
}

/// A name that none of the pipelines in this binary has.
pub(crate) fn unknown(text: &str) -> Failure {
    let names: Vec<String> = names().map(str::to_owned).collect();
    let hint = match nearest(text, &names) {
        Some(near) => format!("did you mean {near:?}?"),
        None => format!("there are {}; a component of your own is named by its path", names.join(", ")),
    };
    Failure::usage(format!("there is no pipeline {text:?}")).hint(hint)
}

pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    dunlin_plugins::all().iter().map(|plugin| plugin.name)
}
