//! `dunlin costs compare`.

use std::collections::BTreeMap;

use dunlin_costs::{Row, Table as CostTable, Work, document::unknown};
use dunlin_tables::{Economy, Range};
use serde_json::{Value, json};

use super::selection::{Selection, Shape, document_of, model, number, point, seconds};
use crate::{
    failure::Failure,
    terminal::{
        self,
        table::{Align, Cell, Table},
    },
};

const HELP: &str = "\
Of each model that both have, the row with the fastest answer counts, unless a mode is named.

Examples:
  dunlin costs compare orin-nano-8g:25W orin-nano-8g:MAXN
  dunlin costs compare orin-nano-8g pi5-8g --prompt-tokens 2048 --output-tokens 64";

/// Compare two kinds of boards, or two modes of one, model by model
#[derive(Debug, clap::Args)]
#[command(after_long_help = HELP)]
pub(crate) struct Compare {
    #[arg(value_name = "CLASS[:MODE]")]
    one: String,
    #[arg(value_name = "CLASS[:MODE]")]
    other: String,
    #[command(flatten)]
    selection: Selection,
    #[command(flatten)]
    shape: Shape,
    /// One JSON document
    #[arg(long)]
    json: bool,
}

impl Compare {
    /// # Errors
    /// If there are no such rows, or no model has rows of both.
    pub(crate) fn execute(&self) -> anyhow::Result<()> {
        let (table, work) = (self.selection.rows()?, self.shape.work());
        let (one, mut other) = (best(&table, &self.one, work)?, best(&table, &self.other, work)?);
        let pairs: Vec<_> =
            one.into_iter().filter_map(|(name, row)| Some((row, other.remove(&name)?))).collect();
        if pairs.is_empty() {
            return Err(Failure::usage(format!("no model has rows of {} and {}", self.one, self.other))
                .hint("dunlin costs show lists what has")
                .into());
        }
        if self.json {
            return terminal::print_json(&pairs.iter().map(|pair| document(pair, work)).collect::<Vec<_>>());
        }
        let mut columns = Table::new([
            ("MODEL", Align::Left),
            ("POINT", Align::Left),
            ("WHAT", Align::Left),
            (self.one.as_str(), Align::Right),
            (self.other.as_str(), Align::Right),
            ("RATIO", Align::Right),
        ]);
        for pair in &pairs {
            lines(pair, work).into_iter().for_each(|line| columns.row(line));
        }
        terminal::print(columns)
    }
}

/// By model, the row whose answers are fastest.
fn best<'a>(table: &'a CostTable, of: &str, work: Work) -> Result<BTreeMap<String, &'a Row>, Failure> {
    let (class, mode) = of.split_once(':').map_or((of, None), |(class, mode)| (class, Some(mode)));
    let mut found = BTreeMap::<String, &Row>::new();
    let fits = |row: &&Row| {
        row.key.class.as_str().eq_ignore_ascii_case(class)
            && mode.is_none_or(|mode| row.key.mode.as_str().eq_ignore_ascii_case(mode))
    };
    let tpot = |row: &Row| Economy::of(row, work).tpot.nominal;
    for row in table.rows().filter(fits) {
        let known = found.entry(model(row)).or_insert(row);
        if tpot(row) < tpot(known) {
            *known = row;
        }
    }
    if found.is_empty() {
        let mut known: Vec<String> =
            table.rows().map(|row| format!("{}:{}", row.key.class, row.key.mode)).collect();
        known.sort_unstable();
        known.dedup();
        let known: Vec<&str> = known.iter().map(String::as_str).collect();
        return Err(Failure::usage(unknown("row of", of, &known)));
    }
    Ok(found)
}

fn lines((one, other): &(&Row, &Row), work: Work) -> Vec<[Cell; 6]> {
    let (a, b) = (Economy::of(one, work), Economy::of(other, work));
    let ratio = |a: Range, b: Range| {
        let about = if a.is_wide() || b.is_wide() { "~" } else { "" };
        format!("{about}{:.2}", b.nominal / a.nominal)
    };
    let line = |what: &str, a: String, b: String, ratio: String| -> [Cell; 6] {
        ["".into(), "".into(), what.into(), a.into(), b.into(), ratio.into()]
    };
    let mut lines = vec![
        line("TTFT", seconds(a.ttft), seconds(b.ttft), ratio(a.ttft, b.ttft)),
        line("TPOT", seconds(a.tpot), seconds(b.tpot), ratio(a.tpot, b.tpot)),
        line("all", seconds(a.completion), seconds(b.completion), ratio(a.completion, b.completion)),
    ];
    if let (Some(a), Some(b)) = (a.joules, b.joules) {
        let joules = |what: &str, a: Range, b: Range| line(what, number(a, 4), number(b, 4), ratio(a, b));
        lines.push(joules("J/token in", a.per_input_token, b.per_input_token));
        lines.push(joules("J/token out", a.per_output_token, b.per_output_token));
        lines.push(joules("J in all", a.per_run, b.per_run));
    }
    lines[0][0] = model(one).into();
    lines[0][1] = format!("{} by {}", point(one), point(other)).into();
    lines
}

fn document(pair: &(&Row, &Row), work: Work) -> Value {
    let of = |row: &Row| document_of(row, &Economy::of(row, work));
    json!({ "model": model(pair.0), "one": of(pair.0), "other": of(pair.1) })
}
