//! Pipelines by name: those in this binary, and components in files.

use std::path::Path;

use dunlin_host::PipelineSource;

use crate::{failure::Failure, store::nearest};

/// A pipeline that is part of this binary.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FirstParty {
    pub(crate) name: &'static str,
    pub(crate) component: &'static [u8],
}

/// All of them, in the order in which a newcomer meets them.
pub(crate) const FIRST_PARTY: &[FirstParty] = &[];

/// A pipeline by what a person calls it: `classify`, `./mine.wasm`.
///
/// # Errors
/// If there is none, with a guess what was meant.
pub(crate) fn find(text: &str) -> Result<PipelineSource, Failure> {
    if let Some(found) = FIRST_PARTY.iter().find(|pipeline| pipeline.name == text) {
        return Ok(PipelineSource::bytes(found.name, found.component));
    }
    let path = Path::new(text);
    if path.is_file() {
        return Ok(PipelineSource::file(path));
    }
    if path.is_dir() {
        return Err(Failure::usage(format!("{text} is a folder")).hint("name the .wasm file in it"));
    }
    if text.contains('/') || text.ends_with(".wasm") {
        return Err(Failure::usage(format!("there is no file {text}")));
    }
    let names: Vec<String> = FIRST_PARTY.iter().map(|pipeline| pipeline.name.to_owned()).collect();
    let hint = match nearest(text, &names) {
        Some(near) => format!("did you mean {near:?}?"),
        None => format!("there are {}; a component of your own is named by its path", names.join(", ")),
    };
    Err(Failure::usage(format!("there is no pipeline {text:?}")).hint(hint))
}
