//! Python: componentize-py puts CPython and the modules of the project into a component.

use std::process::Command;

use super::{made, tool};
use crate::{
    failure::{Exit, Failure},
    project::{
        Project,
        shipped::{self, WORLD},
        toolchain::COMPONENTIZE_PY,
    },
    terminal::progress::Progress,
};

pub(super) fn build(project: &Project, progress: &Progress) -> Result<Vec<u8>, Failure> {
    let toolchain = COMPONENTIZE_PY.ensure(progress)?;
    let folder = tempfile::tempdir().map_err(|error| Failure::new(Exit::Failed, error.to_string()))?;
    let component = folder.path().join("component.wasm");
    let mut compiler = Command::new(toolchain.join("bin/componentize-py"));
    compiler
        .arg("--wit-path")
        .arg(project.folder.join(shipped::FOLDER).join("wit"))
        .args(["--world", WORLD, "componentize", "app", "--python-path", ".", "--output"])
        .arg(&component)
        .current_dir(&project.folder);
    tool("componentize-py", &mut compiler).run("building with componentize-py", progress)?;
    made(&component)
}
