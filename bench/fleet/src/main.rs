//! `./x bench fleet`: what Dunlin promises of a fleet, measured on real processes. Where engines compute nothing, or are
//! emulated, the figure says so.

mod cases;
mod client;
mod figure;
mod process;
mod stand;
mod text;

use clap::Parser;

use stand::Programs;

/// Measures what Dunlin promises of a fleet.
#[derive(Debug, Parser)]
struct Arguments {
    /// Only the cases whose name contains this; --list names them.
    filter: Option<String>,
    /// Name the cases and what each is to reach.
    #[arg(long)]
    list: bool,
    /// One JSON list on stdout.
    #[arg(long)]
    json: bool,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let chosen: Vec<_> = cases::ALL
        .iter()
        .filter(|case| arguments.filter.as_ref().is_none_or(|filter| case.name.contains(filter.as_str())))
        .collect();
    anyhow::ensure!(!chosen.is_empty(), "no case has this in its name; --list names them all");
    if arguments.list {
        chosen.iter().for_each(|case| println!("{}: {}", case.name, case.target));
        return Ok(());
    }
    let programs = Programs::find()?;
    let (mut figures, mut failed) = (Vec::new(), 0);
    for case in chosen {
        if !arguments.json {
            println!("\n{} ({})", case.name, case.target);
        }
        match (case.run)(&programs) {
            Ok(found) => {
                if !arguments.json {
                    found.iter().for_each(figure::Figure::print);
                }
                figures.extend(found);
            }
            Err(error) => {
                failed += 1;
                eprintln!("{}: {error:#}", case.name);
            }
        }
    }
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&figures)?);
    }
    anyhow::ensure!(failed == 0, "{failed} of the cases did not come to their end");
    Ok(())
}
