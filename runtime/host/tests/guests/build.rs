//! Builds the guests with a cargo of its own, in a target directory of its own.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

const TARGET: &str = "wasm32-wasip2";

fn main() {
    // Found anew at every run: a target directory may be older than the checkout.
    let root = Path::new("../../../..");
    for watched in ["runtime/host/tests/guests/script", "guest", "wit"] {
        println!("cargo::rerun-if-changed={}", root.join(watched).display());
    }
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it"));
    let cargo = env::var_os("CARGO").expect("cargo sets it");
    let status = Command::new(cargo)
        .args(["build", "--release", "--locked", "--package", "dunlin-host-script", "--target", TARGET])
        .arg("--target-dir")
        .arg(&out)
        .current_dir(root)
        // Names are for backtraces; the lines of Rust are not worth three megabytes.
        .env("CARGO_PROFILE_RELEASE_DEBUG", "false")
        .env("CARGO_PROFILE_RELEASE_STRIP", "debuginfo")
        // What the outer cargo says to its compilers is not for these.
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .env_remove("RUSTC_WRAPPER")
        .env_remove("RUSTC_WORKSPACE_WRAPPER")
        .status()
        .expect("cargo runs");
    assert!(status.success(), "the guests were not built; is the target there? `rustup target add {TARGET}`");
    let script = out.join(TARGET).join("release/dunlin_host_script.wasm");
    println!("cargo::rustc-env=DUNLIN_HOST_SCRIPT={}", script.display());
}
