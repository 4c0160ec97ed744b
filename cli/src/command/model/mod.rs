//! `dunlin model`.

mod add;
mod check;
mod list;
pub(crate) mod memory;
mod remove;
mod show;
mod synth;

use clap::Subcommand;

use crate::arguments::Global;

/// Keep models: add, list, show, check, remove, and make some up
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Add(add::Add),
    #[command(alias = "list")]
    Ls(list::List),
    Show(show::Show),
    Check(check::Check),
    #[command(alias = "remove")]
    Rm(remove::Remove),
    Synth(synth::Synth),
}

impl Command {
    /// # Errors
    /// Of the one that is asked for.
    pub(crate) fn execute(&self, global: Global) -> anyhow::Result<()> {
        match self {
            Self::Add(add) => add.execute(global),
            Self::Ls(list) => list.execute(),
            Self::Show(show) => show.execute(),
            Self::Check(check) => check.execute(),
            Self::Rm(remove) => remove.execute(),
            Self::Synth(synth) => synth.execute(global),
        }
    }
}
