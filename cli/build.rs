//! Reads the versions of wasmtime and of the llama.cpp bindings out of the lock file, for `dunlin --version`, says in
//! which tree the command was built, for the models that are there, and embeds what `dunlin new` writes.

use std::{
    env,
    fmt::Write,
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

const LOCK: &str = "../Cargo.lock";

/// Folders, from the root of the tree, whose files are embedded.
const EMBEDDED: [&str; 6] =
    ["examples/hello-c", "examples/hello-js", "examples/hello-python", "examples/hello-rust", "guest", "wit"];

/// What builds and tests leave behind in them.
const LEFT_BEHIND: [&str; 7] =
    ["__pycache__", ".pytest_cache", "Cargo.lock", "dunlin", "node_modules", "target", ".wasm"];

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
    let tree = Path::new(&package).ancestors().nth(1).unwrap_or(Path::new(""));
    println!("cargo::rerun-if-changed={}/cli/build.rs", tree.display());
    println!("cargo::rustc-env=DUNLIN_TREE={}", tree.display());
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default());
    fs::write(out.join("templates.rs"), templates(tree)).expect("cargo's folder can be written");
}

fn version<'a>(lock: &'a str, package: &str) -> Option<&'a str> {
    let (_, rest) = lock.split_once(&format!("name = \"{package}\"\nversion = \""))?;
    Some(rest.split_once('"')?.0)
}

/// The source of a list of embedded files.
fn templates(tree: &Path) -> String {
    let mut files = Vec::new();
    for folder in EMBEDDED {
        println!("cargo::rerun-if-changed={}", tree.join(folder).display());
        gather(&tree.join(folder), &mut files);
    }
    println!("cargo::rerun-if-changed={}", tree.join("Cargo.toml").display());
    files.sort();
    let mut source = "pub(crate) const EMBEDDED: &[Embedded] = &[\n".to_owned();
    for file in &files {
        let path = file.strip_prefix(tree).unwrap_or(file);
        let mode = fs::metadata(file).map_or(0, |metadata| metadata.permissions().mode());
        entry(&mut source, &path.to_string_lossy(), file, mode & 0o100 != 0);
    }
    entry(&mut source, "workspace/Cargo.toml", &tree.join("Cargo.toml"), false);
    source + "];\n"
}

fn entry(source: &mut String, path: &str, file: &Path, is_executable: bool) {
    writeln!(
        source,
        "    Embedded {{ path: {path:?}, content: include_str!({file:?}), is_executable: {is_executable} }},"
    )
    .expect("a string can be written");
}

fn gather(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let is_left_behind =
            LEFT_BEHIND.iter().any(|left| name == *left || left.starts_with('.') && name.ends_with(left));
        match entry.file_type() {
            _ if is_left_behind => {}
            Ok(kind) if kind.is_dir() => gather(&entry.path(), files),
            Ok(kind) if kind.is_file() => files.push(entry.path()),
            _ => {}
        }
    }
}
