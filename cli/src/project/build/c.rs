//! C: clang as it comes with zig, and a component made of its module.

use std::{fs, path::PathBuf, process::Command};

use wasi_preview1_component_adapter_provider::WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER;
use wit_component::ComponentEncoder;

use super::{made, tool};
use crate::{
    failure::{Exit, Failure},
    project::{
        Project,
        shipped::{self, WORLD},
        toolchain::{ZIG, python},
    },
    terminal::progress::Progress,
};

/// Of the stack, zig would reserve 16 MiB.
const FLAGS: [&str; 7] = [
    "-target",
    "wasm32-wasi",
    "-mexec-model=reactor",
    "-Wl,-z,stack-size=262144",
    "-std=c11",
    "-Os",
    "-Wall",
];

/// What a C library that wants files, a terminal or the time asks for; in a component it becomes WASI 0.2.
const PREVIEW_1: &str = "wasi_snapshot_preview1";

pub(super) fn build(project: &Project, progress: &Progress) -> Result<Vec<u8>, Failure> {
    let zig = ZIG.ensure(progress)?;
    let folder = tempfile::tempdir().map_err(|error| Failure::new(Exit::Failed, error.to_string()))?;
    let module = folder.path().join("module.wasm");
    let bindings = project.folder.join(shipped::FOLDER).join("bindings");
    let mut clang = Command::new(python(&zig));
    clang.args(["-m", "ziglang", "cc"]).args(FLAGS).arg("-I").arg(&bindings).args(sources(project)?);
    clang.arg(bindings.join(format!("{WORLD}.c"))).arg(bindings.join(format!("{WORLD}_component_type.o")));
    clang.arg("-o").arg(&module).current_dir(&project.folder);
    for cache in ["ZIG_GLOBAL_CACHE_DIR", "ZIG_LOCAL_CACHE_DIR"] {
        clang.env(cache, zig.join("cache"));
    }
    tool("clang", &mut clang).run("building with clang", progress)?;
    component(&made(&module)?)
}

/// The C files of the project's folder, by name.
fn sources(project: &Project) -> Result<Vec<PathBuf>, Failure> {
    let entries = fs::read_dir(&project.folder)
        .map_err(|error| Failure::new(Exit::Failed, format!("{}: {error}", project.folder.display())))?;
    let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "c"));
    files.sort();
    Ok(files)
}

fn component(module: &[u8]) -> Result<Vec<u8>, Failure> {
    let encode = || {
        let mut encoder = ComponentEncoder::default();
        encoder.validate(true).module(module)?;
        if module.windows(PREVIEW_1.len()).any(|bytes| bytes == PREVIEW_1.as_bytes()) {
            encoder.adapter(PREVIEW_1, WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER)?;
        }
        encoder.encode()
    };
    encode().map_err(|error: anyhow::Error| {
        Failure::new(Exit::Component, format!("no component can be made of the module: {error:#}"))
            .hint("functions that the interface asks for are declared in dunlin/bindings/pipeline.h")
    })
}
