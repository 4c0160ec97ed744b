//! Cases of a benchmark, each runnable alone.

use crate::{figure::Figure, stand::Programs};

/// Some figures that are measured together.
#[derive(Debug)]
pub struct Case {
    pub name: &'static str,
    /// What a quiet machine is to show.
    pub target: &'static str,
    pub run: fn(&Programs) -> anyhow::Result<Vec<Figure>>,
}

/// What a benchmark is asked.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Only the cases whose name contains this; --list names them.
    filter: Option<String>,
    /// Name the cases and what each is to reach.
    #[arg(long)]
    list: bool,
    /// One JSON list on stdout.
    #[arg(long)]
    json: bool,
}

/// Runs those that are asked for, and prints what they found.
///
/// # Errors
/// If no case is asked for, an executable is missing, or a case did not come to its end.
pub fn measure(arguments: &Arguments, cases: &[Case]) -> anyhow::Result<()> {
    let is_asked =
        |case: &&Case| arguments.filter.as_ref().is_none_or(|filter| case.name.contains(filter.as_str()));
    let chosen: Vec<_> = cases.iter().filter(is_asked).collect();
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
                    found.iter().for_each(Figure::print);
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

/// On a runtime with two threads.
///
/// # Errors
/// Those of the future; and if there are no threads to be had.
pub fn block_on<T>(future: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?.block_on(future)
}
