//! `dunlin build`.

use std::{path::PathBuf, time::Instant};

use crate::{
    arguments::Global,
    command::check,
    duration,
    project::{self, Project},
    terminal::{self, progress::Progress},
};

const HELP: &str = "\
Examples:
  dunlin build
  dunlin run \"$(dunlin build haiku --quiet)\" --text \"autumn\"

The component is NAME.wasm in the project's folder; its path is printed. Rust takes cargo and the target wasm32-wasip2; the \
compilers for Python (componentize-py), JavaScript (componentize-js) and C (clang, of ziglang) come from the registries of \
Python and Node and are kept for all projects in $XDG_CACHE_HOME/dunlin/toolchains. The folder dunlin/ of the project is \
written anew for this version of Dunlin.";

/// Make a component of a pipeline's sources
#[derive(Debug, clap::Args)]
#[command(after_long_help = HELP)]
pub(crate) struct Build {
    /// The folder of the project, or one within it
    #[arg(default_value = ".", hide_default_value = true)]
    folder: PathBuf,
}

impl Build {
    /// # Errors
    /// If a tool is missing, or the sources do not compile; if what comes out is no pipeline for this host.
    pub(crate) fn execute(&self, global: Global) -> anyhow::Result<()> {
        let began = Instant::now();
        let project = Project::find(&self.folder)?;
        project::build(&project, &Progress::new(global.quiet))?;
        let component = project.component();
        let inspected = check::inspect(&component)?;
        if let Some(failure) = check::refusal(&component, &inspected) {
            return Err(failure.into());
        }
        if !global.quiet {
            terminal::tell(format_args!(
                "built {} in {}: {} kB; `dunlin run` runs it, {} tests it",
                project.name,
                duration::show(began.elapsed()),
                inspected.bytes / 1000,
                project.language.test_command(),
            ));
        }
        terminal::print(component.display())
    }
}
