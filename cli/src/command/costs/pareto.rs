//! `dunlin costs pareto`.

use std::collections::BTreeMap;

use dunlin_costs::{Row, TYPICAL, Table, pareto_front};
use dunlin_tables::{Economy, Kind};
use serde_json::{Value, json};

use super::{
    selection::{Selection, Shape, TILDE, document_of},
    show::{Pictures, table},
};
use crate::{arguments::Global, terminal};

const HELP: &str = "\
Of each model on each class, a row is worth having unless another one is at least as good in time to the first token, time to the \
last and total joules, on short and long prompts and answers, and better in one. Placement looks at no others.

Examples:
  dunlin costs pareto --model llama-3.2-1b
  dunlin costs pareto --reference --svg front.svg";

/// Show which operating points are worth having, and which are beaten in everything
#[derive(Debug, clap::Args)]
#[command(after_long_help = HELP)]
pub(crate) struct Pareto {
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

impl Pareto {
    /// # Errors
    /// If there are no such rows, or a picture cannot be written.
    pub(crate) fn execute(&self, global: Global) -> anyhow::Result<()> {
        let (rows, work) = (self.selection.rows()?, self.shape.work());
        let written = self.pictures.write(&rows, work)?;
        let (kept, beaten) = sorted(&rows);
        if self.json {
            let documents = |rows: &[&Row]| -> Vec<Value> {
                rows.iter().map(|row| document_of(row, &Economy::of(row, work))).collect()
            };
            let document = json!({ "worth_having": documents(&kept), "beaten": documents(&beaten) });
            return terminal::print_json(&document);
        }
        terminal::print(table(kept.iter().copied(), work))?;
        self.pictures.draw(&rows, work, Some(Kind::FrontTpot))?;
        if !beaten.is_empty() && !global.quiet {
            terminal::print("\nbeaten in everything:")?;
            terminal::print(table(beaten.iter().copied(), work))?;
        }
        if !global.quiet {
            terminal::tell(TILDE);
            written.iter().for_each(|path| terminal::tell(format_args!("written: {}", path.display())));
        }
        Ok(())
    }
}

/// Those worth having, and those that are not.
fn sorted(table: &Table) -> (Vec<&Row>, Vec<&Row>) {
    let mut groups = BTreeMap::<_, Vec<&Row>>::new();
    for row in table.rows() {
        groups.entry((&row.key.class, &row.key.model)).or_default().push(row);
    }
    let (mut kept, mut beaten) = (Vec::new(), Vec::new());
    for rows in groups.into_values() {
        let front = pareto_front(rows.iter().copied(), &TYPICAL);
        let (better, worse): (Vec<&Row>, Vec<&Row>) =
            rows.into_iter().partition(|row| front.iter().any(|kept| kept.key == row.key));
        kept.extend(better);
        beaten.extend(worse);
    }
    (kept, beaten)
}
