//! Which rows, of what work, and how their numbers are written.

use std::{path::PathBuf, time::Duration};

use dunlin_costs::{Row, Table, Work, document};
use dunlin_tables::{Economy, Range, reference};
use serde_json::{Value, json};

use crate::{duration, failure::Failure, folders::Folders, table_file};

/// Which rows.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Rows")]
pub(crate) struct Selection {
    /// Rows of this file [default: those measured on this machine, and the shipped ones of published boards]
    #[arg(long, value_name = "FILE", conflicts_with_all = ["reference", "own"])]
    table: Option<PathBuf>,
    /// Only the shipped rows of published boards
    #[arg(long, conflicts_with = "own")]
    reference: bool,
    /// Only the rows of this machine
    #[arg(long)]
    own: bool,
    /// Only this class of boards
    #[arg(long, value_name = "CLASS")]
    class: Option<String>,
    /// Only this model, by its name or the start of its digest
    #[arg(long, short, value_name = "MODEL")]
    model: Option<String>,
    /// Only this mode: a governor, a power mode
    #[arg(long, value_name = "MODE")]
    mode: Option<String>,
}

/// A request.
#[derive(Debug, Clone, Copy, clap::Args)]
#[command(next_help_heading = "Work")]
pub(crate) struct Shape {
    /// Tokens of the prompt
    #[arg(long, value_name = "TOKENS", default_value_t = 512, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    prompt_tokens: u32,
    /// Tokens of the answer
    #[arg(long, value_name = "TOKENS", default_value_t = 128, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    output_tokens: u32,
}

impl Shape {
    pub(crate) const fn work(self) -> Work {
        Work { prompt_tokens: self.prompt_tokens, cached_tokens: 0, output_tokens: self.output_tokens }
    }
}

impl Selection {
    /// At least one row.
    ///
    /// # Errors
    /// If the table cannot be read, or nothing in it is asked for.
    pub(crate) fn rows(&self) -> anyhow::Result<Table> {
        let table = self.all()?;
        let fits = |row: &&Row| self.fits(row);
        let found: Table = table.rows().filter(fits).cloned().collect();
        if found.is_empty() { Err(self.nothing(&table).into()) } else { Ok(found) }
    }

    fn all(&self) -> anyhow::Result<Table> {
        if let Some(path) = &self.table {
            if !path.exists() {
                return Err(Failure::usage(format!("there is no file {}", path.display())).into());
            }
            return table_file::read(path);
        }
        let mut table = Table::default();
        if !self.reference {
            table.merge(table_file::read(&Folders::find()?.costs())?);
        }
        if !self.own {
            table.merge(reference()?);
        }
        Ok(table)
    }

    fn fits(&self, row: &Row) -> bool {
        let is = |wanted: Option<&String>, found: &str| {
            wanted.is_none_or(|wanted| wanted.eq_ignore_ascii_case(found))
        };
        let digest = |wanted: &String| wanted.len() >= 6 && row.key.model.to_string().starts_with(&**wanted);
        is(self.class.as_ref(), row.key.class.as_str())
            && is(self.mode.as_ref(), row.key.mode.as_str())
            && (is(self.model.as_ref(), &row.name) || self.model.as_ref().is_some_and(digest))
    }

    fn nothing(&self, table: &Table) -> Failure {
        type Part<'a> = (&'a str, Option<&'a String>, fn(&Row) -> String);
        if table.is_empty() {
            return Failure::usage("there are no cost rows").hint("dunlin profile measures some");
        }
        let parts: [Part<'_>; 3] = [
            ("class", self.class.as_ref(), |row| row.key.class.to_string()),
            ("model", self.model.as_ref(), |row| row.name.clone()),
            ("mode", self.mode.as_ref(), |row| row.key.mode.to_string()),
        ];
        for (what, wanted, of) in parts {
            let Some(wanted) = wanted else { continue };
            let mut known: Vec<String> = table.rows().map(of).collect();
            known.sort_unstable();
            known.dedup();
            if !known.iter().any(|name| name.eq_ignore_ascii_case(wanted)) {
                let known: Vec<&str> = known.iter().map(String::as_str).collect();
                return Failure::usage(document::unknown(what, wanted, &known));
            }
        }
        Failure::usage("no row is of all that is asked for").hint("leave out --class, --model or --mode")
    }
}

/// As in `25W 4/4`.
pub(crate) fn point(row: &Row) -> String {
    format!("{} {}/{}", row.key.mode, row.key.prefill_threads, row.key.decode_threads)
}

pub(crate) fn model(row: &Row) -> String {
    format!("{} {}", row.name, row.key.quantisation).trim_end().to_owned()
}

/// As in `imported A`.
pub(crate) fn origin(row: &Row) -> String {
    let grade = row.provenance.grade.map_or_else(String::new, |grade| format!(" {grade:?}"));
    format!("{}{grade}", row.provenance.origin)
}

/// With a tilde where it rests on an assumed range.
pub(crate) fn seconds(range: Range) -> String {
    about(range, &duration::show(Duration::from_secs_f64(range.nominal.clamp(0.0, 1e9))))
}

pub(crate) fn number(range: Range, places: usize) -> String {
    about(range, &format!("{:.places$}", range.nominal))
}

fn about(range: Range, text: &str) -> String {
    if range.is_wide() { format!("~{text}") } else { text.to_owned() }
}

/// A row and what it comes to, for programs.
pub(crate) fn document_of(row: &Row, economy: &Economy) -> Value {
    json!({
        "name": row.name,
        "key": row.key,
        "provenance": row.provenance,
        "memory": row.memory,
        "quality": row.quality,
        "fit": row.fit,
        "economy": economy,
    })
}

/// What the columns of spread mean, for people.
pub(crate) const CV: &str = "CV: spread of repeats, and over prompt lengths (in) and depths (out) of the time of a token, by its mean";

/// What disturbed rows are, for people, and what helps.
pub(crate) const DISTURBED: &str =
    "others kept the engine from a processor: measure again on a quiet board, by dunlin profile --again";

/// What a tilde means, for people.
pub(crate) const TILDE: &str =
    "~ rests on an assumed range; joules are those at the board's input, idle draw included";
