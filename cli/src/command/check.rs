//! `dunlin check`.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context;
use dunlin_host::{Inspection, LoadError, Manifest, PipelineSource};
use serde_json::{Value, json};

use crate::{
    explain,
    failure::{Exit, Failure},
    project::Project,
    runtime::runtime,
    terminal::{self, style},
};

/// Say what a component imports, exports and asks for, and what this host lacks
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  dunlin check haiku.wasm
  dunlin check haiku --json | jq .imports

Nothing is compiled or run. The exit code is 0 if this host runs it, 7 if it does not.")]
pub(crate) struct Check {
    /// A component, or the folder of a project that was built
    #[arg(value_name = "FILE|FOLDER", default_value = ".", hide_default_value = true)]
    path: PathBuf,
    /// One JSON document on stdout
    #[arg(long)]
    json: bool,
}

impl Check {
    /// # Errors
    /// If this host does not run it, with why and what to do.
    pub(crate) fn execute(&self) -> anyhow::Result<()> {
        let path = self.component()?;
        let inspected = inspect(&path)?;
        let refusal = refusal(&path, &inspected);
        let manifest = runtime()?.block_on(PipelineSource::file(&path).manifest());
        let manifest = manifest.map_err(|error| explain::not_loaded(&error))?;
        if self.json {
            terminal::print_json(&document(&path, &inspected, manifest.as_ref(), refusal.as_ref()))?;
        } else {
            show(&inspected, manifest.as_ref())?;
        }
        match refusal {
            Some(refusal) => Err(refusal.into()),
            None => Ok(()),
        }
    }

    fn component(&self) -> Result<PathBuf, Failure> {
        if !self.path.is_dir() {
            return Ok(self.path.clone());
        }
        let component = Project::find(&self.path)?.component();
        if component.is_file() {
            return Ok(component);
        }
        Err(Failure::usage(format!("{} is not there", component.display())).hint("`dunlin build` makes it"))
    }
}

/// # Errors
/// If it cannot be read, or is no WebAssembly.
pub(crate) fn inspect(path: &Path) -> anyhow::Result<Inspection> {
    let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    Inspection::of(&name(path), &bytes).map_err(|error| explain::not_loaded(&error).into())
}

/// Why this host does not run it, if so.
pub(crate) fn refusal(path: &Path, inspected: &Inspection) -> Option<Failure> {
    let error = LoadError::inspected(name(path), inspected)?;
    let failure = explain::not_loaded(&error);
    Some(match inspected.made_for.as_deref() {
        Some(version) if version != Inspection::VERSION => Failure::new(Exit::Component, failure.message).hint(
            "`dunlin build` in its project builds it for this version; without a project, build it against the WIT of this version, which \
             `dunlin new` writes",
        ),
        _ => failure,
    })
}

fn name(path: &Path) -> String {
    path.file_stem().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}

fn show(inspected: &Inspection, manifest: Option<&Manifest>) -> anyhow::Result<()> {
    let (name, bad) = (style::NAME, style::BAD);
    let imports = inspected.imports.iter().map(|import| {
        let verdict = if import.is_offered { String::new() } else { format!("  {bad}not here{bad:#}") };
        format!("{name}{}{name:#}{verdict}", import.name)
    });
    list("imports", imports)?;
    list("exports", inspected.exports.iter().map(|export| format!("{name}{export}{name:#}")))?;
    asked(inspected).into_iter().try_for_each(|(what, asked)| list(what, [asked]))?;
    manifest.map_or(Ok(()), show_manifest)
}

/// What it asks to be granted, by its manifest.
fn show_manifest(manifest: &Manifest) -> anyhow::Result<()> {
    list("models", manifest.models.iter().cloned())?;
    list("requests", manifest.http.iter().map(|destination| format!("HTTP to {destination}")))?;
    list("environ.", manifest.environment.iter().cloned())?;
    list("public", manifest.public_prefixes.iter().map(|prefix| format!("{prefix:?}")))?;
    list("budget", manifest.budget.asked().into_iter().map(|(budget, asked)| format!("{budget} {asked}")))
}

/// What they are is said once.
fn list(what: &str, lines: impl IntoIterator<Item = String>) -> anyhow::Result<()> {
    let mut what = what;
    for line in lines {
        terminal::print(format_args!("{what:8}  {line}"))?;
        what = "";
    }
    Ok(())
}

fn asked(inspected: &Inspection) -> Vec<(&'static str, String)> {
    let version = inspected.made_for.as_deref().unwrap_or("(none)");
    vec![
        ("made for", format!("dunlin:llm {version}; this host runs {}", Inspection::VERSION)),
        ("memory", format!("{} KiB at first", inspected.memory_bytes >> 10)),
        ("size", format!("{} kB, of {} modules", inspected.bytes / 1000, inspected.modules)),
    ]
}

fn document(
    path: &Path,
    inspected: &Inspection,
    manifest: Option<&Manifest>,
    refusal: Option<&Failure>,
) -> Value {
    let import = |import: &dunlin_host::Import| json!({ "name": import.name, "offered": import.is_offered });
    json!({
        "file": path,
        "bytes": inspected.bytes,
        "made_for": inspected.made_for,
        "host_version": Inspection::VERSION,
        "imports": inspected.imports.iter().map(import).collect::<Vec<_>>(),
        "exports": inspected.exports,
        "modules": inspected.modules,
        "memory_bytes": inspected.memory_bytes,
        "table_elements": inspected.table_elements,
        "manifest": manifest.map(|manifest| json!({
            "models": manifest.models,
            "http": manifest.http.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "environment": manifest.environment,
            "public_prefixes": manifest.public_prefixes,
            "budget": manifest.budget.asked().into_iter().collect::<BTreeMap<_, _>>(),
        })),
        "runs_here": refusal.is_none(),
        "error": refusal.map(Failure::json),
    })
}
