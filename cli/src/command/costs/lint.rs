//! `dunlin costs lint`.

use dunlin_tables::{Finding, Verdict, lint};

use super::selection::Selection;
use crate::terminal::{self, style};

const HELP: &str = "\
What papers found of small boards, looked for in the rows. A rule that does not hold of them is a finding, no mistake: of another \
board, another engine, another model. (The rules, with sources and caveats: --json.)

Examples:
  dunlin costs lint
  dunlin costs lint --own
  dunlin costs lint --reference --json";

/// Check rows against 24 rules that papers found: which hold here, and which do not
#[derive(Debug, clap::Args)]
#[command(after_long_help = HELP)]
pub(crate) struct Lint {
    #[command(flatten)]
    selection: Selection,
    /// One JSON document
    #[arg(long)]
    json: bool,
}

impl Lint {
    /// # Errors
    /// If there are no such rows.
    pub(crate) fn execute(&self) -> anyhow::Result<()> {
        let findings = lint(&self.selection.rows()?)?;
        if self.json {
            return terminal::print_json(&findings);
        }
        for Finding { rule, verdict } in &findings {
            let (word, style, why) = match verdict {
                Verdict::Holds(why) => ("holds", style::GOOD, why),
                Verdict::Fails(why) => ("does not", style::BAD, why),
                Verdict::Silent(why) => ("no rows", style::FAINT, why),
                Verdict::Practice(why) => ("built in", style::NAME, why),
            };
            terminal::print(format_args!("{} {style}{word:8}{style:#} {}", rule.id, rule.rule))?;
            let faint = style::FAINT;
            terminal::print(format_args!("             {faint}{why}{faint:#}"))?;
        }
        let count = |of: fn(&Verdict) -> bool| findings.iter().filter(|finding| of(&finding.verdict)).count();
        terminal::print(format_args!(
            "\n{} hold, {} do not, {} have no rows here, {} are built in",
            count(|verdict| matches!(verdict, Verdict::Holds(_))),
            count(|verdict| matches!(verdict, Verdict::Fails(_))),
            count(|verdict| matches!(verdict, Verdict::Silent(_))),
            count(|verdict| matches!(verdict, Verdict::Practice(_))),
        ))
    }
}
