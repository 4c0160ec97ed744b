//! `dunlin new`.

use std::path::PathBuf;

use crate::{
    arguments::Global,
    project::{self, Language},
    terminal::{self, style},
};

const HELP: &str = "\
Examples:
  dunlin new haiku
  dunlin new ~/pipelines/log-reader --lang python

The project has a small pipeline that streams, a test, and the interface of pipelines. `dunlin build` makes a component of it \
and installs the compiler that the language needs; `dunlin run` runs it.";

/// Begin a pipeline of your own
#[derive(Debug, clap::Args)]
#[command(after_long_help = HELP)]
pub(crate) struct New {
    /// Its folder, which is made, and by that its name
    #[arg(value_name = "NAME|FOLDER")]
    folder: PathBuf,
    /// What it is written in
    #[arg(long, short, value_name = "LANGUAGE", default_value = "rust")]
    lang: Language,
}

impl New {
    /// # Errors
    /// If the folder is not empty, or is not called as a pipeline can be.
    pub(crate) fn execute(&self, global: Global) -> anyhow::Result<()> {
        let project = project::create(&self.folder, self.lang)?;
        if !global.quiet {
            let name = style::NAME;
            let folder = self.folder.display();
            terminal::tell(format_args!(
                "made {name}{folder}{name:#}: its pipeline is {}, its README says the rest; next\n  cd {folder} && dunlin build && echo \"some text\" | dunlin run {}.wasm",
                self.lang.main_file(),
                project.name,
            ));
        }
        Ok(())
    }
}
