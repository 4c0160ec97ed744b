//! Rust: cargo, for `wasm32-wasip2`.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

use super::{made, tool};
use crate::{
    failure::{Exit, Failure},
    project::Project,
    terminal::progress::Progress,
};

const TARGET: &str = "wasm32-wasip2";

const RUSTUP: &str = "Rust comes with rustup: https://rustup.rs";

pub(super) fn build(project: &Project, progress: &Progress) -> Result<Vec<u8>, Failure> {
    check_target(progress)?;
    let mut cargo = Command::new("cargo");
    cargo
        .args(["build", "--release", "--target", TARGET, "--message-format", "json-render-diagnostics"])
        .current_dir(&project.folder);
    let said = tool("cargo", &mut cargo).hint(RUSTUP).run("building with cargo", progress);
    // A failed build is no question of rustup.
    let said = said.map_err(|failure| Failure {
        hint: failure.hint.filter(|_| failure.message.ends_with("missing")),
        ..failure
    })?;
    let component = component(&String::from_utf8_lossy(&said)).ok_or_else(|| {
        Failure::new(Exit::Failed, "cargo made no component")
            .hint("in Cargo.toml: [lib] with crate-type = [\"cdylib\", \"rlib\"]")
    })?;
    made(&component)
}

fn check_target(progress: &Progress) -> Result<(), Failure> {
    let mut rustc = Command::new("rustc");
    rustc.args(["--print", "target-libdir", "--target", TARGET]);
    let folder = tool("rustc", &mut rustc).hint(RUSTUP).run("looking for Rust", progress)?;
    if Path::new(String::from_utf8_lossy(&folder).trim()).is_dir() {
        return Ok(());
    }
    Err(Failure::new(Exit::Failed, format!("the Rust target {TARGET} is missing"))
        .hint(format!("`rustup target add {TARGET}`")))
}

/// The last component of those that cargo tells of.
fn component(messages: &str) -> Option<PathBuf> {
    let files = |line: &str| {
        let message: Value = serde_json::from_str(line).ok()?;
        let names = message.get("filenames")?.as_array()?.clone();
        names
            .into_iter()
            .filter_map(|name| Some(name.as_str()?.to_owned()))
            .find(|name| name.ends_with(".wasm"))
    };
    messages.lines().filter_map(files).next_back().map(PathBuf::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_component_is_the_last_that_cargo_names() {
        let said = "{\"reason\":\"compiler-artifact\",\"filenames\":[\"/t/liba.rlib\"]}\n\
            {\"reason\":\"compiler-artifact\",\"filenames\":[\"/t/a.wasm\",\"/t/liba.rlib\"]}\n\
            {\"reason\":\"build-finished\",\"success\":true}\nnot json\n";
        assert_eq!(component(said), Some("/t/a.wasm".into()));
        assert_eq!(component(""), None);
    }
}
