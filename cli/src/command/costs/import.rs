//! `dunlin costs import`.

use std::path::{Path, PathBuf};

use dunlin_costs::{Mode, ModelDigest, NodeClass, Quantisation, Thermal};
use dunlin_engine_handle::Threads;
use dunlin_profiler::Lock;
use dunlin_tables::{Format, MAX_IMPORT_BYTES, Model, Subject, import};
use serde_json::json;

use crate::{
    arguments::Global,
    board, engine,
    failure::{Exit, Failure},
    fleet::models::digest_of,
    folders::Folders,
    store::Catalog,
    table_file,
    terminal::{self, counted},
};

const HELP: &str = "\
Understood are llama-bench (-o json, -o jsonl; any build: fields by name, unknown ones ignored), answers or `timings` of \
llama-server, and tables of Dunlin in JSON, CSV and TOML. Rows that are imported never take the place of those that were \
measured here. What a file does not hold is assumed, as a range, or missing.

For llama-bench, a run for each phase:
  llama-bench -m model.gguf -p 128,512,1024,2048 -n 0 -t 4 -o json > bench.json
  llama-bench -m model.gguf -p 0 -n 128 -d 0,512,2048 -t 2 -o json, added to the same list, or -o jsonl to the same file

Examples:
  dunlin costs import bench.json --model mine --class pi5-8g --mode performance
  dunlin costs import timings.jsonl --model mine --threads 4,2
  dunlin costs import rows.csv -o other.toml";

/// Take rows from llama-bench, llama-server, or another table
#[derive(Debug, clap::Args)]
#[command(after_long_help = HELP)]
pub(crate) struct Import {
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// What the file is [default: found out]
    #[arg(long, value_name = "FORMAT")]
    format: Option<Kind>,
    /// The model that it is of: an alias, or a GGUF file; rows of others are left out
    #[arg(long, short, value_name = "ALIAS|FILE")]
    model: Option<String>,
    /// The kind of board that it was measured on [default: this one]
    #[arg(long, value_name = "CLASS")]
    class: Option<String>,
    /// Its mode: a governor, a power mode [default: that of this board]
    #[arg(long, value_name = "MODE")]
    mode: Option<String>,
    /// Threads, where the file does not say [default: all cores of this machine]
    #[arg(long, value_name = "N|PREFILL,DECODE", value_parser = engine::threads)]
    threads: Option<Threads>,
    /// Longest sequence, in tokens
    #[arg(long, value_name = "TOKENS", default_value_t = 4096)]
    context: u32,
    /// The board was throttled by heat
    #[arg(long)]
    throttled: bool,
    /// The table to add the rows to [default: costs.toml in Dunlin's data folder]
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// One JSON document
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Kind {
    LlamaBench,
    LlamaServer,
    Json,
    Csv,
    Toml,
}

impl Kind {
    const fn format(self) -> Format {
        match self {
            Self::LlamaBench => Format::LlamaBench,
            Self::LlamaServer => Format::LlamaServer,
            Self::Json => Format::Json,
            Self::Csv => Format::Csv,
            Self::Toml => Format::Toml,
        }
    }
}

impl Import {
    /// # Errors
    /// If anything of the file is wrong: then the table stays as it was.
    pub(crate) fn execute(&self, global: Global) -> anyhow::Result<()> {
        let folders = Folders::find()?;
        let output = self.output.clone().unwrap_or_else(|| folders.costs());
        // A table that is none is better said before than after.
        table_file::read(&output)?;
        let text = table_file::text(&self.file, MAX_IMPORT_BYTES)?;
        let subject = self.subject(&folders)?;
        let format = self.format.map(Kind::format);
        let imported = import(&text, format, &subject).map_err(|error| {
            Failure::usage(format!("{}: {error}", self.file.display()))
                .hint("nothing was taken; `dunlin costs import --help` says what can be")
        })?;
        let found = imported.table.len();
        let lock = Lock::of(&output)?;
        let mut table = table_file::read(&output)?;
        let before = table.clone();
        table.merge(imported.table);
        let kept = table.rows().filter(|row| before.get(&row.key) != Some(row)).count();
        if table != before {
            table_file::write(&table, &output).map_err(|error| {
                Failure::new(Exit::Failed, format!("{error:#}")).hint("name another file by -o")
            })?;
        }
        drop(lock);
        if self.json {
            return terminal::print_json(&json!({
                "rows": found, "changed": kept, "table": output, "notes": imported.notes,
            }));
        }
        if !global.quiet {
            imported.notes.iter().for_each(|note| terminal::tell(format_args!("note: {note}")));
            let better = found.saturating_sub(kept);
            let rest = if better > 0 {
                format!("; {better} were there, as good or better founded")
            } else {
                String::new()
            };
            terminal::tell(format_args!("{} in {}{rest}", counted(kept, "new row"), output.display()));
        }
        Ok(())
    }

    fn subject(&self, folders: &Folders) -> anyhow::Result<Subject> {
        let threads = self.threads.unwrap_or_else(board::threads);
        let is_here = self.class.is_none();
        Ok(Subject {
            class: NodeClass::new(&self.class.clone().unwrap_or_else(board::class)),
            mode: Mode::new(&self.mode.clone().unwrap_or_else(board::mode)),
            thermal: if self.throttled { Thermal::Throttled } else { Thermal::Cool },
            firmware: if is_here { board::firmware(threads) } else { "any".to_owned() },
            context: self.context,
            threads: (threads.prefill as u16, threads.decode as u16),
            model: self.model.as_ref().map(|name| model(name, folders)).transpose()?,
            source: file_name(&self.file),
        })
    }
}

fn file_name(path: &Path) -> String {
    path.file_name().map_or_else(|| path.display().to_string(), |name| name.to_string_lossy().into_owned())
}

fn model(name: &str, folders: &Folders) -> anyhow::Result<Model> {
    let model = Catalog::open(folders).find(name)?;
    let digest = match model.sha256.as_deref().map(str::parse::<ModelDigest>) {
        Some(Ok(digest)) => digest,
        _ => ModelDigest::new(digest_of(&model.path)?.0),
    };
    let gguf = dunlin_gguf::Gguf::open(&model.path)?;
    let verdict = crate::command::model::memory::Verdict::of(gguf.model(), None);
    Ok(Model {
        name: model.name,
        digest,
        quantisation: Quantisation::new(gguf.model().quantization.name()),
        kv_bytes_per_token: verdict.estimate.kv_per_token,
        file_bytes: gguf.parts().iter().map(|part| part.length).sum(),
    })
}
