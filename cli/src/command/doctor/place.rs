//! What Dunlin brings with it, and where it keeps its files.

use std::path::Path;

use dunlin_gguf::{Bytes, Gguf};
use dunlin_worker_handle::Confinement;
use rustix::fs::Access;

use super::{Finding, graphics::asked};
use crate::{
    command::fleet::agent::{TRY_CONFINEMENT, WORKER},
    engine,
    folders::Folders,
    store::{Catalog, Owner},
};

/// Less than this is little.
const LITTLE_SPACE: u64 = 1 << 30;

/// The executable, and the instructions that its kernels use.
pub(super) fn engine() -> Vec<Finding> {
    let path = match engine::executable() {
        Ok(path) => path,
        Err(failure) => {
            return vec![Finding::missing("engine", failure.message, failure.hint.unwrap_or_default())];
        }
    };
    let version = asked(&path, "--version");
    let ours = concat!("dunlin-engine ", env!("CARGO_PKG_VERSION"));
    let found = format!("{version} in {}", path.display());
    let engine = match version.as_str() {
        "" => Finding::missing(
            "engine",
            format!("{} does not run", path.display()),
            "build it on this machine, or take the package for it",
        ),
        version if version != ours => {
            Finding::note("engine", found, format!("this command goes with {ours}; build both together"))
        }
        _ => Finding::ok("engine", found),
    };
    let backend = asked(&path, "--backend");
    let kernels = (!backend.is_empty()).then(|| Finding::ok("kernels", kernels(&backend)));
    [engine].into_iter().chain(kernels).collect()
}

/// What a worker of an agent could take from pipelines and engines on this kernel, tried in a process of its own.
pub(super) fn confinement() -> Finding {
    let said = std::env::current_exe().map(|own| asked(&own, &format!("{WORKER} {TRY_CONFINEMENT}")));
    let tried: Option<Confinement> = said.ok().and_then(|said| serde_json::from_str(&said).ok());
    match tried.as_ref().map(Confinement::gaps) {
        Some(None) => {
            Finding::ok("confinement", "pipelines on a node have no network, and no files but their own")
        }
        Some(Some(gaps)) => Finding::note(
            "confinement",
            format!("on a node, nothing keeps pipelines and engines from {gaps}"),
            "a kernel from 6.2 on with Landlock and seccomp does; until then run only pipelines that you trust",
        ),
        None => Finding::note(
            "confinement",
            "it could not be tried",
            "`dunlin agent` says at its start what holds",
        ),
    }
}

/// llama.cpp says `CPU : AVX2 = 1 | FMA = 1`.
fn kernels(backend: &str) -> String {
    backend.replace('\n', "; ").replace(" = 1", "").replace(" | ", ", ").replace(" : ", ": ")
}

pub(super) fn models(folders: &Folders) -> Vec<Finding> {
    let entries = Catalog::open(folders).entries();
    let (mut sound, mut findings) = ([0, 0], Vec::new());
    for entry in &entries {
        for variant in &entry.alias.variants {
            let name = format!("{}:{}", entry.alias.alias, variant.name);
            match Gguf::open(entry.folder.join(&variant.file)) {
                Ok(_) => sound[usize::from(entry.owner == Owner::You)] += 1,
                Err(error) => findings.push(Finding::note(
                    "models",
                    format!("{name}: {}", error.refusal),
                    match entry.owner {
                        Owner::You => format!("dunlin model rm {name}, or add it again with --replace"),
                        Owner::Dunlin => format!("{} came without it, or damaged", entry.folder.display()),
                    },
                )),
            }
        }
    }
    let [theirs, yours] = sound;
    let found = format!("{theirs} that came with Dunlin, {yours} of yours");
    findings.insert(
        0,
        match theirs + yours {
            0 => Finding::note("models", "none yet", "dunlin model add FILE|URL"),
            _ => Finding::ok("models", found),
        },
    );
    findings
}

pub(super) fn folders(folders: &Folders) -> Vec<Finding> {
    vec![
        folder("model folder", &folders.models(), "models cannot be added", "XDG_DATA_HOME"),
        folder("cache", &folders.compiled(), "pipelines are compiled anew each time", "XDG_CACHE_HOME"),
    ]
}

/// Whether files can be put there, and how many. Nothing is made for it.
fn folder(what: &'static str, path: &Path, otherwise: &str, variable: &str) -> Finding {
    let there = path.ancestors().find(|ancestor| ancestor.is_dir()).unwrap_or(Path::new("/"));
    if let Err(error) = rustix::fs::access(there, Access::WRITE_OK | Access::EXEC_OK) {
        let found = format!("{} cannot be written to ({error}): {otherwise}", there.display());
        return Finding::note(what, found, format!("{variable}=FOLDER puts it elsewhere"));
    }
    let free = rustix::fs::statvfs(there).map(|stat| stat.f_bavail.saturating_mul(stat.f_frsize));
    match free {
        Ok(free) if free < LITTLE_SPACE => Finding::note(
            what,
            format!("{}, with only {} free", path.display(), Bytes(free)),
            format!("free some, or {variable}=FOLDER puts it elsewhere"),
        ),
        Ok(free) => Finding::ok(what, format!("{}, {} free", path.display(), Bytes(free))),
        Err(_) => Finding::ok(what, path.display().to_string()),
    }
}
