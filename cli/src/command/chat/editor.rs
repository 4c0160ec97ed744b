//! The line that a person writes: editing, history, many lines, completion.

use std::{fs, path::Path};

use anstyle::Style;
use rustyline::{
    Cmd, CompletionType, Config, Context, Editor as Rustyline, EventHandler, Helper, KeyCode, KeyEvent,
    Modifiers,
    completion::{Completer, Pair},
    error::ReadlineError,
    highlight::Highlighter,
    hint::Hinter,
    history::FileHistory,
    validate::{ValidationContext, ValidationResult, Validator},
};

use super::slash::COMMANDS;
use crate::terminal::style;

const MAX_HISTORY: usize = 1000;
const PROMPT: &str = "> ";
/// Around a text of many lines.
const FENCE: &str = "\"\"\"";

/// Reads lines from a terminal.
pub(super) struct Editor {
    rustyline: Rustyline<Assistant, FileHistory>,
    history: std::path::PathBuf,
}

/// What came from the terminal.
pub(super) enum Read {
    Line(String),
    /// Ctrl-C; the line is gone.
    Cleared,
    /// Ctrl-D on an empty line.
    Left,
}

impl Editor {
    /// `models` are completed after `/model`.
    pub(super) fn new(history: &Path, models: Vec<String>) -> anyhow::Result<Self> {
        let config = Config::builder()
            .max_history_size(MAX_HISTORY)?
            .history_ignore_dups(true)?
            .history_ignore_space(true)
            .completion_type(CompletionType::List)
            .build();
        let mut rustyline = Rustyline::with_config(config)?;
        rustyline.set_helper(Some(Assistant { models, colours: colours() }));
        let newline = KeyEvent(KeyCode::Enter, Modifiers::ALT);
        rustyline.bind_sequence(newline, EventHandler::Simple(Cmd::Newline));
        // The first time there is none.
        drop(rustyline.load_history(history));
        Ok(Self { rustyline, history: history.to_owned() })
    }

    /// # Errors
    /// Of the terminal.
    pub(super) fn read(&mut self) -> anyhow::Result<Read> {
        match self.rustyline.readline(PROMPT) {
            Ok(line) => {
                self.remember(&line);
                Ok(Read::Line(unfold(&line)))
            }
            Err(ReadlineError::Interrupted) => Ok(Read::Cleared),
            Err(ReadlineError::Eof) => Ok(Read::Left),
            Err(error) => Err(error.into()),
        }
    }

    /// At once, so that another chat finds it; nothing is lost if this one is killed.
    fn remember(&mut self, line: &str) {
        if !line.trim().is_empty() && self.rustyline.add_history_entry(line).unwrap_or(false) {
            let folder = self.history.parent().unwrap_or(Path::new("."));
            // A chat without a history is still a chat.
            drop(fs::create_dir_all(folder));
            drop(self.rustyline.append_history(&self.history));
        }
    }
}

fn colours() -> bool {
    anstream::AutoStream::choice(&std::io::stdout()) != anstream::ColorChoice::Never
}

/// A text of many lines without the marks that made it so.
fn unfold(text: &str) -> String {
    let text = text.trim();
    let fenced = text.strip_prefix(FENCE).map(|rest| rest.strip_suffix(FENCE).unwrap_or(rest));
    fenced.map_or_else(|| text.replace("\\\n", "\n"), str::to_owned).trim().to_owned()
}

fn goes_on(text: &str) -> bool {
    let fences = text.matches(FENCE).count();
    text.ends_with('\\') || (text.trim_start().starts_with(FENCE) && fences < 2)
}

struct Assistant {
    models: Vec<String>,
    colours: bool,
}

impl Assistant {
    fn painted(&self, style: Style, text: &str) -> String {
        if self.colours { format!("{style}{text}{style:#}") } else { text.to_owned() }
    }
}

impl Helper for Assistant {}

impl Validator for Assistant {
    fn validate(&self, context: &mut ValidationContext<'_>) -> rustyline::Result<ValidationResult> {
        let incomplete = goes_on(context.input());
        Ok(if incomplete { ValidationResult::Incomplete } else { ValidationResult::Valid(None) })
    }
}

impl Completer for Assistant {
    type Candidate = Pair;

    fn complete(&self, line: &str, at: usize, _: &Context<'_>) -> rustyline::Result<(usize, Vec<Pair>)> {
        let before = &line[..at];
        let (start, candidates): (usize, Vec<&str>) = match before.strip_prefix("/model ") {
            Some(_) => ("/model ".len(), self.models.iter().map(String::as_str).collect()),
            None if before.starts_with('/') => (0, COMMANDS.iter().map(|(name, ..)| *name).collect()),
            None => return Ok((0, Vec::new())),
        };
        let fitting = candidates.into_iter().filter(|candidate| candidate.starts_with(&before[start..]));
        let pair =
            |candidate: &str| Pair { display: candidate.to_owned(), replacement: candidate.to_owned() };
        Ok((start, fitting.map(pair).collect()))
    }
}

impl Hinter for Assistant {
    type Hint = String;

    fn hint(&self, line: &str, at: usize, _: &Context<'_>) -> Option<String> {
        if at < line.len() || line.len() < 2 || !line.starts_with('/') {
            return None;
        }
        let (name, takes, _) = COMMANDS.iter().find(|(name, ..)| name.starts_with(line))?;
        let space = if takes.is_empty() { "" } else { " " };
        Some(format!("{}{space}{takes}", &name[line.len()..])).filter(|hint| !hint.is_empty())
    }
}

impl Highlighter for Assistant {
    fn highlight_prompt<'b, 's: 'b, 'p: 'b>(&'s self, prompt: &'p str, _: bool) -> std::borrow::Cow<'b, str> {
        self.painted(style::HINT, prompt).into()
    }

    fn highlight_hint<'h>(&self, hint: &'h str) -> std::borrow::Cow<'h, str> {
        self.painted(style::FAINT, hint).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_go_on() {
        assert!(goes_on("first\\") && goes_on("\"\"\"first\nsecond"));
        assert!(!goes_on("first") && !goes_on("\"\"\"first\nsecond\"\"\"") && !goes_on("a \"\"\" b"));
    }

    #[test]
    fn many_lines_are_one_text() {
        assert_eq!(unfold("first\\\nsecond"), "first\nsecond");
        assert_eq!(unfold("\"\"\"\nfirst\n  second\n\"\"\""), "first\n  second");
    }
}
