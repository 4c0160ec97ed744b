//! `./x bench fleet`: what Dunlin promises of a fleet, measured on real processes. Where engines compute nothing, or are
//! emulated, the figure says so.

mod cases;

use clap::Parser;
use dunlin_bench_stand::{Arguments, measure};

/// Measures what Dunlin promises of a fleet.
#[derive(Debug, Parser)]
struct Command {
    #[command(flatten)]
    arguments: Arguments,
}

fn main() -> anyhow::Result<()> {
    measure(&Command::parse().arguments, cases::ALL)
}
