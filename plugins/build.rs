//! Builds the pipelines for WebAssembly with a cargo of its own, in a target directory that all builds of this package
//! share: for whatever machine and by whatever command it is built, they are the same and are compiled once.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio, exit},
};

const PLUGINS: [&str; 7] = ["chat", "classify", "complete", "embed", "extract", "summarize", "vote"];

const TARGET: &str = "wasm32-wasip2";

/// Beside the plugins, what they are made of; from the root of the workspace.
const SOURCES: [&str; 6] =
    ["Cargo.lock", "Cargo.toml", "guest", "plugins/generations", "plugins/parameters", "wit"];

/// Small, and fast enough: the work is done in the host.
const PROFILE: [(&str, &str); 7] = [
    ("CODEGEN_UNITS", "1"),
    ("DEBUG", "false"),
    ("INCREMENTAL", "false"),
    ("LTO", "fat"),
    ("OPT_LEVEL", "s"),
    ("PANIC", "abort"),
    ("STRIP", "symbols"),
];

/// What cargo, clippy or rust-analyzer say to the compiler of this build is not for that one.
const NOT_INHERITED: [&str; 6] = [
    "CARGO_BUILD_RUSTFLAGS",
    "CARGO_BUILD_TARGET",
    "CARGO_ENCODED_RUSTFLAGS",
    "RUSTC_WORKSPACE_WRAPPER",
    "RUSTC_WRAPPER",
    "RUSTFLAGS",
];

fn main() {
    let out = PathBuf::from(variable("OUT_DIR"));
    // Found anew at every run: a target directory may be older than the checkout.
    let root = Path::new("..");
    watch(root);
    if !has_target() {
        fail(&format!(
            "pipelines are compiled to WebAssembly, and the Rust target {TARGET} is missing: \
             `rustup target add {TARGET}`, or let ./x do it"
        ));
    }
    let target_dir = shared_target_dir(&out);
    for plugin in PLUGINS {
        let component = build(root, &target_dir, plugin);
        if let Err(error) = fs::copy(&component, out.join(format!("{plugin}.wasm"))) {
            fail(&format!("{} was built and cannot be copied: {error}", component.display()));
        }
    }
}

fn watch(root: &Path) {
    println!("cargo::rerun-if-changed=build.rs");
    for source in SOURCES {
        println!("cargo::rerun-if-changed={}", root.join(source).display());
    }
    for plugin in PLUGINS {
        for part in ["Cargo.toml", "src"] {
            println!("cargo::rerun-if-changed={}", root.join("plugins").join(plugin).join(part).display());
        }
    }
}

fn has_target() -> bool {
    let libraries = Command::new(variable("RUSTC"))
        .args(["--print", "target-libdir", "--target", TARGET])
        .stderr(Stdio::inherit())
        .output();
    libraries.is_ok_and(|output| Path::new(String::from_utf8_lossy(&output.stdout).trim()).is_dir())
}

/// In the target directory of the build that this is a part of, whatever its layout; else where scripts always may write.
fn shared_target_dir(out: &Path) -> PathBuf {
    let target = out.ancestors().find(|folder| folder.join("CACHEDIR.TAG").is_file());
    target.unwrap_or(out).join("dunlin-plugins")
}

fn build(root: &Path, target_dir: &Path, plugin: &str) -> PathBuf {
    let mut cargo = Command::new(variable("CARGO"));
    // The crate is a library for others too, and cargo optimizes across crates only what is a component alone.
    cargo.args(["rustc", "--lib", "--crate-type", "cdylib", "--release", "--locked", "--target", TARGET]);
    cargo.args(["--package", &format!("dunlin-plugin-{plugin}"), "--target-dir"]).arg(target_dir);
    cargo.current_dir(root).env("CARGO_BUILD_BUILD_DIR", target_dir);
    for (key, value) in PROFILE {
        cargo.env(format!("CARGO_PROFILE_RELEASE_{key}"), value);
    }
    for name in NOT_INHERITED {
        cargo.env_remove(name);
    }
    match cargo.status() {
        Ok(status) if status.success() => {}
        Ok(_) => fail(&format!("the pipeline {plugin:?} does not build for {TARGET}: see above")),
        Err(error) => fail(&format!("cargo does not start: {error}")),
    }
    target_dir.join(TARGET).join("release").join(format!("dunlin_plugin_{plugin}.wasm"))
}

fn variable(name: &str) -> String {
    env::var(name).unwrap_or_else(|_| fail(&format!("cargo did not set {name}")))
}

fn fail(why: &str) -> ! {
    println!("cargo::error={why}");
    exit(1)
}
