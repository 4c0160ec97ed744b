//! `dunlin profile`: here in `local.rs` and `extra.rs`, on nodes of a fleet in `nodes.rs`; `show.rs` is what a person sees.

mod extra;
mod local;
mod nodes;
mod show;

use std::{path::PathBuf, time::Duration};

use dunlin_profiler::{Depth, Points};
use dunlin_protocol::NodeId;

use self::extra::Extra;
use crate::{
    arguments::{Global, ModelArgument},
    board, duration,
    fleet::member::node_name,
    meters::MetersArgument,
};

const HELP: &str = "\
Examples:
  dunlin profile --quick
  dunlin profile --model mine --budget 10m
  dunlin profile --model mine --points 2,4 --full -o rows.toml --json
  dunlin profile --model mine --perplexity wiki.txt --accuracy questions.jsonl
  dunlin profile --model mine --quick --operators
  dunlin profile shed roof --model mine --budget 10m
  dunlin profile shed --model mine --quick --perplexity wiki.txt --operators

Measured are loads (from the disk and from memory), prompts of 128 to 2048 tokens, answers at depths to 2048 tokens, and 1 to 8 \
answers at once, in an order that is drawn; the first run of an engine does not count, and medians do. With `--points auto` \
thread counts that are beaten are left out early. Ctrl-C ends it; what was measured counts the next time.

The rows go to a table of this machine (`-o` another file), beside what is there. Joules are those of the first meter \
of `dunlin meter`; where watts were declared, rows say so. Memory, processors in use, context switches and cache misses of the engine are told by phase; cache misses only where the kernel and the machine count them. Where others kept the engine from a processor in a tenth of the time, rows say so.

Quality is the model's: it counts for all rows of the model, also those of later profiles, and for `min_quality` of policies (accuracy). --perplexity takes windows of 512 tokens of a text and judges the second half of each. --accuracy takes lines as \
{\"question\": \"2 + 2 =\", \"choices\": [\"3\", \"4\"], \"answer\": 1}, and an answer is right if the right choice is the likeliest by token. Both are \
counted as llama-perplexity does. With --budget as many windows and questions are judged as time is left for.

--operators starts an engine that computes every operator by itself: that takes longer, by what is told, and fused operators are \
taken apart.

With NODEs, boards of the fleet are measured, one after another: a board gets nothing new, ends what it runs (what takes longer than 30 s \
goes on elsewhere), measures, keeps its rows, tells them to the scheduler and takes work again, also if this command is lost. Texts and questions of at most 3 MiB travel there and do not stay. Emulated boards compute nothing: they judge no answers.";

/// Measure what a model costs, here or on nodes of the fleet: load, prompts, answers
#[derive(Debug, clap::Args)]
#[command(after_long_help = HELP)]
pub(crate) struct Profile {
    /// Nodes of the fleet, in the place of this machine
    #[arg(value_name = "NODE", value_parser = node_name)]
    nodes: Vec<NodeId>,
    #[command(flatten)]
    model: ModelArgument,
    /// Thread counts: `auto` (up to all cores, pruned early), `all`, or some, as in 2,4
    #[arg(long, value_name = "auto|all|N,N", default_value = "auto", value_parser = points)]
    points: Points,
    /// Seconds instead of minutes: short prompts, two runs
    #[arg(long, conflicts_with = "full")]
    quick: bool,
    /// Five runs of everything, with pauses
    #[arg(long)]
    full: bool,
    /// Measure no longer than this, what matters most first
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    budget: Option<Duration>,
    /// Longest conversation in tokens [default: what the model was trained on, at most 4096]
    #[arg(long, value_name = "TOKENS", conflicts_with = "nodes", value_parser = clap::value_parser!(u32).range(64..))]
    context: Option<u32>,
    /// Do not go on from what was measured before
    #[arg(long)]
    again: bool,
    /// Where the order of the runs comes from [default: random]
    #[arg(long, value_name = "N", conflicts_with = "nodes")]
    seed: Option<u64>,
    /// The table to add the rows to [default: costs.toml in Dunlin's data folder]
    #[arg(long, short, value_name = "FILE", conflicts_with = "nodes")]
    output: Option<PathBuf>,
    #[command(flatten)]
    extra: Extra,
    #[command(flatten)]
    meters: MetersArgument,
    /// One JSON document
    #[arg(long)]
    json: bool,
}

fn points(text: &str) -> Result<Points, String> {
    let cores = board::threads().prefill as u16;
    match text {
        "auto" => return Ok(Points::Auto { cores }),
        "all" => return Ok(Points::All { cores }),
        _ => {}
    }
    let count = |text: &str| match text.trim().parse::<u16>() {
        Ok(count) if (1..=512).contains(&count) => Ok(count),
        _ => Err("`auto`, `all`, or numbers of threads from 1 to 512 with commas between them".to_owned()),
    };
    Ok(Points::Only(text.split(',').map(count).collect::<Result<_, _>>()?))
}

impl Profile {
    /// # Errors
    /// If the model does not load, or the rows cannot be kept. Interrupted, what was measured is kept.
    pub(crate) fn execute(&self, global: Global) -> anyhow::Result<()> {
        if self.nodes.is_empty() { self.here(global) } else { self.there(global) }
    }

    const fn depth(&self) -> Depth {
        match (self.quick, self.full) {
            (true, _) => Depth::Quick,
            (_, true) => Depth::Full,
            _ => Depth::Standard,
        }
    }
}
