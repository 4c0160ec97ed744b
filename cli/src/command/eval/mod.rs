//! `dunlin eval`.

mod examine;
mod item;
mod score;

use std::{fs, path::PathBuf, time::Instant};

use dunlin_gguf::Grouped;
use serde_json::json;

use self::{
    examine::{Examined, examine},
    item::{Item, Task},
    score::Score,
};
use crate::{
    arguments::{Global, ModelArgument},
    duration,
    engine::EngineOptions,
    failure::{Exit, Failure},
    folders::Folders,
    host,
    interrupt::Interrupt,
    runtime::{SHUTDOWN, beside_engine},
    store::{Catalog, Model},
    terminal::{
        self,
        progress::Progress,
        style,
        table::{Align, Cell, Table},
    },
};

const HELP: &str = "\
Examples:
  dunlin eval models/demo/eval.jsonl
  dunlin eval mine.jsonl --model smol --limit 200 --json

The file has a JSON object on each line:
  task     classify, extract, qa or summarize
  prompt   the instruction, and text, what it is about
  choices  of an item to classify; keys, of an item to extract
  answer   what is right: a text, or of an extraction an object (or the text of one)
  subtask, split, id   names to tell items apart by

Every item goes through a pipeline: classify, extract, or chat at temperature 0. An answer is right if it is the expected one: the \
label, the object with all its values, the text but for white space. A failed invocation is a wrong answer. Shown are the accuracy and \
its standard error, beside what guessing reaches.";

/// Measure how often a model is right
#[derive(Debug, clap::Args)]
#[command(after_long_help = format!("{HELP}\n\nExit codes:\n{}", Exit::TABLE))]
pub(crate) struct Eval {
    /// Items with answers, as JSON lines
    file: PathBuf,
    #[command(flatten)]
    model: ModelArgument,
    /// Only this model, not the other variants of its alias
    #[arg(long)]
    only: bool,
    /// So many items, taken evenly from the whole file
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    limit: Option<u32>,
    /// Invocations at once
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=128))]
    at_once: u32,
    /// One JSON document
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    engine: EngineOptions,
}

impl Eval {
    /// # Errors
    /// If the file is not understood, or a model does not load.
    pub(crate) fn execute(&self, global: Global) -> anyhow::Result<()> {
        let items = self.items()?;
        let folders = Folders::find()?;
        let catalog = Catalog::open(&folders);
        let model = catalog.find(&self.model.model)?;
        let models = if self.only { vec![model] } else { catalog.variants(&model)? };
        let began = Instant::now();
        let runtime = beside_engine()?;
        let progress = Progress::new(global.quiet);
        let examined = runtime.block_on(async {
            let interrupt = Interrupt::watch()?;
            let host = host::open(&folders.compiled())?;
            let mut examined = Vec::new();
            for model in models {
                let examining = examine(&host, model, &items, &self.engine, self.at_once, &progress);
                examined.push(interrupt.unless(examining).await?);
            }
            anyhow::Ok(examined)
        });
        runtime.shutdown_timeout(SHUTDOWN);
        let examined = examined?;
        if self.json {
            return self.print_json(&examined, &items);
        }
        terminal::print(table(&examined))?;
        if !global.quiet {
            for model in &examined {
                model.tell();
            }
            terminal::tell(format_args!("{} in all", duration::show(began.elapsed())));
        }
        Ok(())
    }

    fn items(&self) -> anyhow::Result<Vec<Item>> {
        let path = self.file.display();
        let text = fs::read_to_string(&self.file)
            .map_err(|error| Failure::usage(format!("cannot read {path}: {error}")))?;
        let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
        let item = |(index, line)| {
            Item::parse(line).map_err(|reason| {
                Failure::usage(format!("{path}, line {}: {reason}", index + 1))
                    .hint("`dunlin eval --help` says what a line has")
            })
        };
        let items: Vec<Item> = lines.map(item).collect::<Result<_, Failure>>()?;
        if items.is_empty() {
            return Err(Failure::usage(format!("{path} has no items")).into());
        }
        let wanted = self.limit.map_or(items.len(), |limit| items.len().min(limit as usize));
        let count = items.len();
        Ok((0..wanted).map(|index| items[index * count / wanted].clone()).collect())
    }

    fn print_json(&self, examined: &[Examined], items: &[Item]) -> anyhow::Result<()> {
        let models: Vec<_> = examined.iter().map(Examined::json).collect();
        terminal::print_json(&json!({ "file": self.file, "items": items.len(), "models": models }))
    }
}

/// Kinds of items by models; those of one alias side by side.
fn table(examined: &[Examined]) -> Table {
    let name = |model: &Model| match &model.variant {
        Some(variant) => format!("{}:{variant}", model.name.split(':').next().unwrap_or_default()),
        None => model.short_name(),
    };
    let names: Vec<String> = examined.iter().map(|examined| name(&examined.model)).collect();
    let mut columns =
        vec![("TASK", Align::Left), ("SUBTASK", Align::Left), ("SPLIT", Align::Left), ("N", Align::Right)];
    columns.extend(names.iter().map(|name| (name.as_str(), Align::Left)));
    columns.push(("CHANCE", Align::Right));
    let mut table = Table::new(columns);
    let Some(first) = examined.first() else { return table };
    for kind in first.scores.0.keys() {
        let scores: Vec<Score> = examined.iter().map(|examined| examined.scores.get(kind)).collect();
        table.row(row(kind.0, &kind.1, &kind.2, &scores));
    }
    for task in first.scores.tasks() {
        let scores: Vec<Score> = examined.iter().map(|examined| examined.scores.of_task(task)).collect();
        table.row(row(task, "all", "all", &scores));
    }
    table
}

/// The scores are of the same items, one for each model.
fn row(task: Task, subtask: &str, split: &str, scores: &[Score]) -> Vec<Cell> {
    let first = scores.first().copied().unwrap_or_default();
    let shown = |score: &Score| {
        let fields = score.field_accuracy().map(|share| format!(", {share:.3} of keys")).unwrap_or_default();
        let text = format!("{:.3} ± {:.3}{fields}", score.accuracy(), score.standard_error());
        let is_better = score.accuracy() > score.chance() + 2.0 * score.standard_error();
        Cell::styled(text, if is_better { style::GOOD } else { style::NOTE })
    };
    let mut row: Vec<Cell> = vec![
        task.name().into(),
        subtask.into(),
        split.into(),
        Grouped(first.items.into()).to_string().into(),
    ];
    row.extend(scores.iter().map(shown));
    row.push(format!("{:.3}", first.chance()).into());
    row
}
