//! Builds the guests with a cargo of its own, in a target directory of its own.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

/// Package, target, file, and the variable that names the file.
const GUESTS: [(&str, &str, &str, &str); 4] = [
    ("dunlin-host-script", "wasm32-wasip2", "dunlin_host_script.wasm", "DUNLIN_HOST_SCRIPT"),
    ("dunlin-host-component", "wasm32-wasip2", "dunlin_host_component.wasm", "DUNLIN_HOST_COMPONENT"),
    ("dunlin-host-fetch", "wasm32-wasip2", "dunlin_host_fetch.wasm", "DUNLIN_HOST_FETCH"),
    ("dunlin-host-ggml", "wasm32-wasip1", "dunlin_host_ggml.wasm", "DUNLIN_HOST_GGML"),
];

fn main() {
    // Found anew at every run: a target directory may be older than the checkout.
    let root = Path::new("../../../..");
    for watched in ["script", "component", "fetch", "ggml"] {
        println!("cargo::rerun-if-changed={watched}");
    }
    for watched in ["guest", "wit"] {
        println!("cargo::rerun-if-changed={}", root.join(watched).display());
    }
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it"));
    for (package, target, file, variable) in GUESTS {
        build(root, &out, package, target);
        println!("cargo::rustc-env={variable}={}", out.join(target).join("release").join(file).display());
    }
}

fn build(root: &Path, out: &Path, package: &str, target: &str) {
    let cargo = env::var_os("CARGO").expect("cargo sets it");
    let status = Command::new(cargo)
        .args(["build", "--release", "--locked", "--package", package, "--target", target])
        .arg("--target-dir")
        .arg(out)
        .current_dir(root)
        // Names are for backtraces; the lines of Rust are not worth three megabytes.
        .env("CARGO_PROFILE_RELEASE_DEBUG", "false")
        .env("CARGO_PROFILE_RELEASE_STRIP", "debuginfo")
        // What the outer cargo says to its compilers is not for these.
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .env_remove("RUSTFLAGS")
        .env_remove("RUSTC_WRAPPER")
        .env_remove("RUSTC_WORKSPACE_WRAPPER")
        .status()
        .expect("cargo runs");
    assert!(status.success(), "{package} was not built; is the target there? `rustup target add {target}`");
}
