//! `dunlin costs show`.

use std::path::PathBuf;

use dunlin_costs::{Row, Table as CostTable, Work};
use dunlin_tables::{Economy, Kind, Range, chart, page, plain, svg};
use serde_json::Value;

use super::selection::{
    CV, DISTURBED, Selection, Shape, TILDE, document_of, model, number, origin, point, seconds,
};
use crate::{
    arguments::Global,
    failure::Failure,
    table_file,
    terminal::{
        self,
        table::{Align, Cell, Table},
    },
};

/// Columns and lines of a picture in a terminal.
const PLAIN: (usize, usize) = (100, 18);

const HELP: &str = "\
Examples:
  dunlin costs show
  dunlin costs show --model llama-3.2-1b --plot tpot
  dunlin costs show --reference --html costs.html
  dunlin costs show --own --plot threads --svg threads.svg";

/// Show rows: what a request takes on each
#[derive(Debug, clap::Args)]
#[command(after_long_help = HELP)]
pub(crate) struct Show {
    #[command(flatten)]
    selection: Selection,
    #[command(flatten)]
    shape: Shape,
    #[command(flatten)]
    pictures: Pictures,
    /// One JSON document
    #[arg(long)]
    json: bool,
}

/// Pictures of rows.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Pictures")]
pub(crate) struct Pictures {
    /// Draw it here: time against joules (first token, further tokens), by threads, prompts against answers
    #[arg(long, value_name = "PICTURE")]
    plot: Option<Plot>,
    /// Write the picture of --plot (else that of further tokens) to this file, as SVG
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Write a page with all pictures to this file
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Plot {
    Ttft,
    Tpot,
    Threads,
    Phases,
}

impl Plot {
    const fn kind(self) -> Kind {
        match self {
            Self::Ttft => Kind::FrontTtft,
            Self::Tpot => Kind::FrontTpot,
            Self::Threads => Kind::Threads,
            Self::Phases => Kind::Phases,
        }
    }
}

impl Show {
    /// # Errors
    /// If there are no such rows, or a picture cannot be written.
    pub(crate) fn execute(&self, global: Global) -> anyhow::Result<()> {
        let (rows, work) = (self.selection.rows()?, self.shape.work());
        let written = self.pictures.write(&rows, work)?;
        if self.json {
            let document = |row: &Row| document_of(row, &Economy::of(row, work));
            return terminal::print_json(&rows.rows().map(document).collect::<Vec<Value>>());
        }
        terminal::print(table(rows.rows(), work))?;
        self.pictures.draw(&rows, work, None)?;
        if !global.quiet {
            terminal::tell(format_args!(
                "prompts of {} tokens, answers of {}; {TILDE}",
                work.prompt_tokens, work.output_tokens
            ));
            if rows.rows().any(|row| row.fit.cv_pct.is_some() || row.fit.prefill_cv_pct.is_some()) {
                terminal::tell(CV);
            }
            if rows.rows().any(|row| row.fit.disturbed.is_some()) {
                terminal::tell(format_args!("DISTURBED: part of the time in which {DISTURBED}"));
            }
            written.iter().for_each(|path| terminal::tell(format_args!("written: {}", path.display())));
        }
        Ok(())
    }
}

impl Pictures {
    /// # Errors
    /// If no row has what a picture shows, or a file cannot be written.
    pub(crate) fn write(&self, rows: &CostTable, work: Work) -> anyhow::Result<Vec<PathBuf>> {
        let mut written = Vec::new();
        if let Some(path) = &self.svg {
            let kind = self.plot.map_or(Kind::FrontTpot, Plot::kind);
            let chart = chart(kind, rows.rows(), work).ok_or_else(nothing)?;
            table_file::write_text(&svg(&chart), path)?;
            written.push(path.clone());
        }
        if let Some(path) = &self.html {
            table_file::write_text(&page("Cost rows", rows.rows(), work), path)?;
            written.push(path.clone());
        }
        Ok(written)
    }

    /// What was asked for, or else what is shown without being asked for.
    ///
    /// # Errors
    /// If no row has what the picture shows.
    pub(crate) fn draw(&self, rows: &CostTable, work: Work, otherwise: Option<Kind>) -> anyhow::Result<()> {
        let asked = self.plot.map(Plot::kind);
        let Some(kind) = asked.or(otherwise) else { return Ok(()) };
        match chart(kind, rows.rows(), work) {
            Some(chart) => terminal::print(format_args!("\n{}", plain(&chart, PLAIN.0, PLAIN.1))),
            None if asked.is_some() => Err(nothing().into()),
            None => Ok(()),
        }
    }
}

fn nothing() -> Failure {
    Failure::usage("none of these rows has what this picture shows")
        .hint("time against joules needs rows with watts; threads need rows of several thread counts")
}

pub(crate) fn table<'a>(rows: impl Iterator<Item = &'a Row>, work: Work) -> Table {
    let rows: Vec<&Row> = rows.collect();
    // Most rows know nothing of these.
    let extra: Vec<&Extra> =
        EXTRA.iter().filter(|(_, of)| rows.iter().any(|row| of(row).is_some())).collect();
    let columns = [
        ("MODEL", Align::Left),
        ("CLASS", Align::Left),
        ("POINT", Align::Left),
        ("TTFT", Align::Right),
        ("TPOT", Align::Right),
        ("ALL", Align::Right),
        ("J/IN", Align::Right),
        ("J/OUT", Align::Right),
        ("COLD LOAD", Align::Right),
        ("ROW", Align::Left),
    ];
    let (of_row, others) = (columns[9], &columns[..9]);
    let headings = extra.iter().map(|(heading, _)| (*heading, Align::Right));
    let mut table = Table::new(others.iter().copied().chain(headings).chain([of_row]));
    for row in rows {
        let [others @ .., of_row] = cells(row, work);
        let extra = extra.iter().map(|(_, of)| of(row).unwrap_or_else(|| "-".to_owned()).into());
        table.row(others.into_iter().chain(extra).chain([of_row]));
    }
    table
}

/// A column that is there only where a row has something in it.
type Extra = (&'static str, fn(&Row) -> Option<String>);

const EXTRA: [Extra; 6] = [
    ("CV", |row| percent(row.fit.cv_pct)),
    ("CV IN", |row| percent(row.fit.prefill_cv_pct)),
    ("CV OUT", |row| percent(row.fit.decode_cv_pct)),
    ("DISTURBED", |row| row.fit.disturbed.map(|part| format!("{:.0} %", 100.0 * part))),
    ("PERPLEXITY", |row| row.quality.perplexity.map(|of| format!("{of:.2}"))),
    ("ACCURACY", |row| row.quality.accuracy.map(|of| format!("{of:.3}"))),
];

fn percent(value: Option<f64>) -> Option<String> {
    value.map(|value| format!("{value:.1} %"))
}

fn cells(row: &Row, work: Work) -> [Cell; 10] {
    let economy = Economy::of(row, work);
    let joules = economy.joules.map_or(("-".to_owned(), "-".to_owned()), |of| {
        (number(of.per_input_token, 4), number(of.per_output_token, 3))
    });
    let cold = &row.load.cold_ms;
    let (low, high) = cold.range().unwrap_or((cold.nominal(), cold.nominal()));
    let load = Range { low: low / 1e3, nominal: cold.nominal() / 1e3, high: high / 1e3 };
    [
        model(row).into(),
        row.key.class.as_str().into(),
        point(row).into(),
        seconds(economy.ttft).into(),
        seconds(economy.tpot).into(),
        seconds(economy.completion).into(),
        joules.0.into(),
        joules.1.into(),
        if load.nominal > 0.0 { seconds(load) } else { "-".to_owned() }.into(),
        origin(row).into(),
    ]
}
