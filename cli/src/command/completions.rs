//! `dunlin completions`.

use std::io::{self, Write};

use anyhow::Context;
use clap_complete::env::Shells;

use crate::{failure::Failure, terminal::STDOUT};

const HELP: &str = "\
Examples:
  echo 'source <(dunlin completions bash)' >> ~/.bashrc
  echo 'source <(dunlin completions zsh)' >> ~/.zshrc
  dunlin completions fish > ~/.config/fish/completions/dunlin.fish

  Models and pipelines are completed by name, as they are at the time.";

/// To bash, `demo:small` would be two words.
const WHOLE_NAMES: &[u8] = b"COMP_WORDBREAKS=${COMP_WORDBREAKS//:}\n";

/// Print what makes a shell complete this command
#[derive(Debug, clap::Args)]
#[command(after_long_help = HELP)]
pub(crate) struct Completions {
    /// bash, zsh, fish, elvish or powershell
    #[arg(value_parser = ["bash", "zsh", "fish", "elvish", "powershell"])]
    shell: String,
}

impl Completions {
    /// # Errors
    /// If the reader of the output went away.
    pub(crate) fn execute(&self) -> anyhow::Result<()> {
        let shells = Shells::builtins();
        let shell = shells
            .completer(&self.shell)
            .ok_or_else(|| Failure::usage(format!("no completions for {}", self.shell)))?;
        let mut script = Vec::new();
        shell.write_registration("COMPLETE", "dunlin", "dunlin", "dunlin", &mut script)?;
        if self.shell == "bash" {
            script.extend_from_slice(WHOLE_NAMES);
        }
        io::stdout().lock().write_all(&script).context(STDOUT)
    }
}
