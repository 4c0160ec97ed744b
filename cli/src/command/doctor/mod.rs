//! `dunlin doctor`.

mod graphics;
mod machine;
mod place;
mod sensors;

use std::path::Path;

use serde::Serialize;

use crate::{
    failure::{Exit, Failure},
    folders::Folders,
    meters::MetersArgument,
    terminal::{self, counted, style},
};

const HELP: &str = "\
Each line is ok, a note (it works, or could work better), or missing (something will not work), with what to do about it. Meters \
are read once; `dunlin meter` shows what they tell.

Exit codes: 0 nothing is missing; 1 something is.";

/// Say what this machine has, and what is missing
#[derive(Debug, clap::Args)]
#[command(after_long_help = HELP)]
pub(crate) struct Doctor {
    /// A JSON list
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    meters: MetersArgument,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Finding {
    what: &'static str,
    level: Level,
    /// What there is.
    found: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_step: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Level {
    Ok,
    Note,
    Missing,
}

impl Finding {
    fn ok(what: &'static str, found: impl Into<String>) -> Self {
        Self { what, level: Level::Ok, found: found.into(), next_step: None }
    }

    fn note(what: &'static str, found: impl Into<String>, next_step: impl Into<String>) -> Self {
        Self { what, level: Level::Note, found: found.into(), next_step: Some(next_step.into()) }
    }

    fn missing(what: &'static str, found: impl Into<String>, next_step: impl Into<String>) -> Self {
        Self { what, level: Level::Missing, found: found.into(), next_step: Some(next_step.into()) }
    }

    fn print(&self) -> anyhow::Result<()> {
        let (mark, style) = match self.level {
            Level::Ok => ("ok", style::GOOD),
            Level::Note => ("note", style::NOTE),
            Level::Missing => ("missing", style::BAD),
        };
        let Self { what, found, .. } = self;
        terminal::print(format_args!("{style}{mark:<7}{style:#}  {what:<13} {found}"))?;
        if let Some(next_step) = &self.next_step {
            let hint = style::HINT;
            terminal::print(format_args!("{:<22}  {hint}->{hint:#} {next_step}", ""))?;
        }
        Ok(())
    }
}

impl Doctor {
    /// # Errors
    /// If something is missing.
    pub(crate) fn execute(&self) -> anyhow::Result<()> {
        let root = Path::new("/");
        let folders = Folders::find()?;
        let meters = self.meters.read(&folders)?;
        let mut findings = machine::look(root);
        findings.extend(place::engine());
        findings.push(place::confinement());
        findings.extend(graphics::look(root));
        findings.extend(sensors::look(root, &meters));
        findings.extend(place::models(&folders));
        findings.extend(place::folders(&folders));
        if self.json {
            terminal::print_json(&findings)?;
        } else {
            findings.iter().try_for_each(Finding::print)?;
        }
        let missing = findings.iter().filter(|finding| finding.level == Level::Missing).count();
        if missing == 0 {
            return Ok(());
        }
        Err(Failure::new(Exit::Failed, format!("missing: {}", counted(missing, "thing"))).into())
    }
}
