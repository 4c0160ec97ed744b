//! Reads the versions of wasmtime and of the llama.cpp bindings out of the lock file, for `dunlin --version`, and says
//! in which tree the command was built, for the models that are there.

use std::{env, fs, path::Path};

const LOCK: &str = "../Cargo.lock";

fn main() {
    println!("cargo::rerun-if-changed={LOCK}");
    let lock = fs::read_to_string(LOCK).unwrap_or_default();
    for (variable, package) in
        [("DUNLIN_WASMTIME_VERSION", "wasmtime"), ("DUNLIN_LLAMA_VERSION", "llama-cpp-sys-2")]
    {
        println!("cargo::rustc-env={variable}={}", version(&lock, package).unwrap_or("(unknown)"));
    }
    // By its full name: a target directory may be older than the checkout, and this must then run again.
    let package = env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default();
    let tree = Path::new(&package).ancestors().nth(1).unwrap_or(Path::new("")).display();
    println!("cargo::rerun-if-changed={tree}/cli/build.rs");
    println!("cargo::rustc-env=DUNLIN_TREE={tree}");
}

fn version<'a>(lock: &'a str, package: &str) -> Option<&'a str> {
    let (_, rest) = lock.split_once(&format!("name = \"{package}\"\nversion = \""))?;
    Some(rest.split_once('"')?.0)
}
