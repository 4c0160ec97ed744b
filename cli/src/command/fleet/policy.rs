//! `dunlin policy`.

use std::path::PathBuf;

use clap::Subcommand;
use dunlin_protocol::{Answer, Ask, PolicyFault};
use dunlin_scheduler_core::{PlanRules, Policy};
use serde_json::json;

use super::with_client;
use crate::{failure::Failure, terminal};

/// Check policy files, show and set those of the fleet
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Check(Check),
    Show(Show),
    Set(Set),
    #[command(alias = "list")]
    Ls(List),
}

/// Check a policy file, without a fleet
#[derive(Debug, clap::Args)]
pub(crate) struct Check {
    file: PathBuf,
    /// It is a plan, as for `dunlin scheduler --plan`
    #[arg(long)]
    plan: bool,
    #[arg(long)]
    json: bool,
}

/// Show a policy of the fleet
#[derive(Debug, clap::Args)]
pub(crate) struct Show {
    /// [default: the one for requests that name none]
    name: Option<String>,
}

/// Give the fleet a policy, that requests can name
#[derive(Debug, clap::Args)]
pub(crate) struct Set {
    file: PathBuf,
    /// What to call it [default: as the file is called]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
}

/// List the policies of the fleet
#[derive(Debug, clap::Args)]
pub(crate) struct List {
    #[arg(long)]
    json: bool,
}

impl Command {
    /// # Errors
    /// Of the one that is asked for.
    pub(crate) fn execute(&self) -> anyhow::Result<()> {
        match self {
            Self::Check(check) => check.execute(),
            Self::Show(show) => show.execute(),
            Self::Set(set) => set.execute(),
            Self::Ls(list) => list.execute(),
        }
    }
}

fn read(file: &PathBuf) -> Result<String, Failure> {
    std::fs::read_to_string(file)
        .map_err(|error| Failure::usage(format!("cannot read {}: {error}", file.display())))
}

impl Check {
    fn execute(&self) -> anyhow::Result<()> {
        let text = read(&self.file)?;
        let fault = if self.plan { PlanRules::parse(&text).err() } else { Policy::parse(&text).err() };
        if self.json {
            let faults: Vec<_> = fault
                .iter()
                .map(|error| json!({ "line": error.line, "column": error.column, "problem": error.problem }))
                .collect();
            terminal::print_json(&faults)?;
        }
        match fault {
            None if self.json => Ok(()),
            None => {
                terminal::tell(format_args!("{} can be used", self.file.display()));
                Ok(())
            }
            Some(error) => Err(Failure::usage(format!("{}: {error}", self.file.display()))
                .hint(if self.plan {
                    "examples/plans has some to start from"
                } else {
                    "examples/policies has some to start from"
                })
                .into()),
        }
    }
}

impl Show {
    fn execute(&self) -> anyhow::Result<()> {
        let ask = Ask::ShowPolicy { name: self.name.clone().unwrap_or_default() };
        let Answer::Policy { toml } = with_client(async |client| client.ask(ask).await)? else {
            anyhow::bail!("the scheduler answered with something else")
        };
        terminal::print(toml.trim_end())
    }
}

impl Set {
    fn execute(&self) -> anyhow::Result<()> {
        let toml = read(&self.file)?;
        let stem = self.file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let name = self.name.clone().unwrap_or(stem);
        let ask = Ask::SetPolicy { name: name.clone(), toml };
        if let Answer::PolicyFaults(faults) = with_client(async |client| client.ask(ask).await)? {
            for PolicyFault { line, column, text } in faults {
                terminal::tell(format_args!(
                    "note: line {line}, column {column}: {text}; until the fleet has it, that route matches nothing"
                ));
            }
        }
        terminal::tell(format_args!("`dunlin invoke --policy {name}` uses it"));
        Ok(())
    }
}

impl List {
    fn execute(&self) -> anyhow::Result<()> {
        let Answer::Policies(page) =
            with_client(async |client| client.ask(Ask::Policies { after: None }).await)?
        else {
            anyhow::bail!("the scheduler answered with something else")
        };
        let names: Vec<String> = page.items.into_iter().map(|name| name.0).collect();
        if self.json {
            return terminal::print_json(&names);
        }
        names.iter().try_for_each(terminal::print)
    }
}
