//! What a person is told when something does not work, and what the shell is told.

use std::{fmt, io, process::ExitCode};

use serde_json::{Value, json};

use crate::terminal::{self, style};

/// What the process ends with. [`Exit::TABLE`] is what `--help` says of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    Failed = 1,
    Usage = 2,
    Model = 3,
    Memory = 4,
    Engine = 5,
    Deadline = 6,
    Component = 7,
    Interrupted = 130,
    /// As if ended by SIGPIPE; nothing is printed.
    BrokenPipe = 141,
    Terminated = 143,
}

impl Exit {
    pub(crate) const TABLE: &'static str = "  0    done
  1    the pipeline failed, trapped or ran into a limit, or the command did not work out
  2    the command line, a parameter or the input is wrong
  3    the model file is refused
  4    the model does not fit into the memory that is free
  5    the engine is missing, or died
  6    the deadline passed
  7    the component is refused
  130  interrupted (Ctrl-C), 141 the reader of the output went away, 143 terminated";

    /// The same as a word, for programs that read JSON.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Usage => "usage",
            Self::Model => "model",
            Self::Memory => "memory",
            Self::Engine => "engine",
            Self::Deadline => "deadline",
            Self::Component => "component",
            Self::Interrupted => "interrupted",
            Self::BrokenPipe => "broken-pipe",
            Self::Terminated => "terminated",
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// An error in words: what and why, and a next step where there is one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    pub(crate) message: String,
    pub(crate) hint: Option<String>,
}

impl Failure {
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into(), hint: None }
    }

    /// One of the command line or the input.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message)
    }

    #[must_use]
    pub(crate) fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    /// The failure that an error is; the least specific one for those that carry no more than their words.
    pub(crate) fn of(error: &anyhow::Error) -> Self {
        if let Some(failure) = error.downcast_ref::<Self>() {
            return failure.clone();
        }
        let broken_pipe = |cause: &(dyn std::error::Error + 'static)| {
            cause.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
        };
        let exit = if error.chain().any(broken_pipe) { Exit::BrokenPipe } else { Exit::Failed };
        Self::new(exit, chain(error))
    }

    /// The same for programs.
    pub(crate) fn json(&self) -> Value {
        json!({
            "kind": self.exit.word(),
            "exit_code": self.exit as u8,
            "message": self.message,
            "hint": self.hint,
        })
    }

    /// Tells the person. The message and the hint may have several lines each.
    pub(crate) fn report(&self) {
        if self.exit == Exit::BrokenPipe {
            return;
        }
        let (error, hint) = (style::ERROR, style::HINT);
        terminal::tell(format_args!("{error}error{error:#}: {}", indented(&self.message)));
        if let Some(next_step) = &self.hint {
            terminal::tell(format_args!("  {hint}hint{hint:#}: {}", indented(next_step)));
        }
    }
}

/// An error and what caused it, but for causes that it has told already.
fn chain(error: &anyhow::Error) -> String {
    error.chain().skip(1).fold(error.to_string(), |told, cause| {
        let cause = cause.to_string();
        if told.ends_with(&cause) { told } else { format!("{told}: {cause}") }
    })
}

fn indented(text: &str) -> String {
    text.trim_end().replace('\n', "\n  ")
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

/// Says something that does not stop the command.
pub(crate) fn warn(message: &str) {
    let warning = style::WARNING;
    terminal::tell(format_args!("{warning}warning{warning:#}: {}", indented(message)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_told_once() {
        let error = anyhow::Error::new(io::Error::other("in use"));
        let error = error.context("cannot listen on 4747: in use").context("no fleet");
        assert_eq!(Failure::of(&error).message, "no fleet: cannot listen on 4747: in use");
    }
}
