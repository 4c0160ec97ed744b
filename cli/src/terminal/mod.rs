//! What people see: text on stdout and stderr, colours, progress, tables.

pub(crate) mod keys;
pub(crate) mod output;
pub(crate) mod progress;
pub(crate) mod style;
pub(crate) mod table;

use std::{
    fmt::Display,
    io::{self, Write},
};

use anyhow::Context;

/// What an error of stdout is about.
pub(crate) const STDOUT: &str = "cannot write to standard output";

/// A line on stdout. Colours are taken away where they are not wanted.
///
/// # Errors
/// If the reader went away: then the command ends without a word. If the disk is full.
pub(crate) fn print(line: impl Display) -> anyhow::Result<()> {
    writeln!(anstream::stdout().lock(), "{line}").context(STDOUT)
}

/// A line on stderr; nobody is left to tell if that is closed.
pub(crate) fn tell(line: impl Display) {
    drop(writeln!(anstream::stderr().lock(), "{line}"));
}

/// A value as readable JSON on stdout.
///
/// # Errors
/// If the reader went away.
pub(crate) fn print_json(value: &impl serde::Serialize) -> anyhow::Result<()> {
    let mut stdout = io::stdout().lock();
    let written = serde_json::to_writer_pretty(&mut stdout, value).map_err(io::Error::from);
    written.and_then(|()| writeln!(stdout)).context(STDOUT)
}

/// `1 file`, `2 files`.
pub(crate) fn counted(count: usize, one: &str) -> String {
    if count == 1 { format!("1 {one}") } else { format!("{count} {one}s") }
}
