//! `./x bench door`: what Dunlin promises of its HTTP API, measured on a fleet of real processes. Where engines compute nothing,
//! the figure says so: what is left is then what the way through door, scheduler, agent and worker takes.

mod cases;
mod http;
mod model;

use clap::Parser;
use dunlin_bench_stand::{Arguments, measure};

/// Measures what Dunlin promises of its HTTP API.
#[derive(Debug, Parser)]
struct Command {
    #[command(flatten)]
    arguments: Arguments,
}

fn main() -> anyhow::Result<()> {
    let arguments = Command::parse().arguments;
    http::raise_limit()?;
    measure(&arguments, cases::ALL)
}
