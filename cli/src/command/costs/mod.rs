//! `dunlin costs`.

mod compare;
mod explain;
mod export;
mod import;
mod lint;
mod pareto;
mod report;
mod selection;
mod show;

use clap::Subcommand;

use crate::arguments::Global;

/// Cost tables: what models take here and on published boards, in seconds, joules and money
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Show(show::Show),
    Compare(compare::Compare),
    Pareto(pareto::Pareto),
    Explain(explain::Explain),
    Report(report::Report),
    Lint(lint::Lint),
    Import(import::Import),
    Export(export::Export),
}

impl Command {
    /// # Errors
    /// Of the one that is asked for.
    pub(crate) fn execute(&self, global: Global) -> anyhow::Result<()> {
        match self {
            Self::Show(show) => show.execute(global),
            Self::Compare(compare) => compare.execute(),
            Self::Pareto(pareto) => pareto.execute(global),
            Self::Explain(explain) => explain.execute(),
            Self::Report(report) => report.execute(global),
            Self::Lint(lint) => lint.execute(),
            Self::Import(import) => import.execute(global),
            Self::Export(export) => export.execute(global),
        }
    }
}
