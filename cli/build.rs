//! Reads the versions of wasmtime and of the llama.cpp bindings out of the lock file, for `dunlin --version`.

use std::fs;

const LOCK: &str = "../Cargo.lock";

fn main() {
    println!("cargo::rerun-if-changed={LOCK}");
    let lock = fs::read_to_string(LOCK).unwrap_or_default();
    for (variable, package) in
        [("DUNLIN_WASMTIME_VERSION", "wasmtime"), ("DUNLIN_LLAMA_VERSION", "llama-cpp-sys-2")]
    {
        println!("cargo::rustc-env={variable}={}", version(&lock, package).unwrap_or("(unknown)"));
    }
}

fn version<'a>(lock: &'a str, package: &str) -> Option<&'a str> {
    let (_, rest) = lock.split_once(&format!("name = \"{package}\"\nversion = \""))?;
    Some(rest.split_once('"')?.0)
}
