//! `dunlin costs export`.

use std::path::PathBuf;

use dunlin_tables::{Form, export};

use super::selection::{Selection, Shape};
use crate::{
    arguments::Global,
    table_file,
    terminal::{self, counted},
};

const HELP: &str = "\
JSON and TOML hold all of a row; CSV all but what assumed ranges rest on; Markdown what the work comes to. The first three can be \
imported again.

Examples:
  dunlin costs export --own > costs.json
  dunlin costs export --reference --form csv -o reference.csv
  dunlin costs export --class orin-nano-8g --form markdown";

/// Write rows for other programs, or for a page
#[derive(Debug, clap::Args)]
#[command(after_long_help = HELP)]
pub(crate) struct Export {
    #[command(flatten)]
    selection: Selection,
    #[command(flatten)]
    shape: Shape,
    #[arg(long, value_name = "FORM", default_value = "json")]
    form: Written,
    /// The file [default: standard output]
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Written {
    Json,
    Csv,
    Markdown,
    Toml,
}

impl Export {
    /// # Errors
    /// If there are no such rows, or the file cannot be written.
    pub(crate) fn execute(&self, global: Global) -> anyhow::Result<()> {
        let rows = self.selection.rows()?;
        let form = match self.form {
            Written::Json => Form::Json,
            Written::Csv => Form::Csv,
            Written::Markdown => Form::Markdown,
            Written::Toml => Form::Toml,
        };
        let text = export(&rows, form, self.shape.work()).map_err(anyhow::Error::msg)?;
        let Some(path) = &self.output else { return terminal::print(text.trim_end()) };
        table_file::write_text(&text, path)?;
        if !global.quiet {
            terminal::tell(format_args!("{} in {}", counted(rows.len(), "row"), path.display()));
        }
        Ok(())
    }
}
