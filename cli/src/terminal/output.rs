//! The output of a pipeline: to stdout as it comes.

use std::{
    borrow::Cow,
    io::{self, IsTerminal, Stdout, Write},
};

use anstream::{AutoStream, ColorChoice};
use anstyle::Style;

/// Writes what a pipeline says. Text reaches a pipe byte by byte as it is; on a terminal control characters are left out, for what
/// a model says may come from anywhere.
#[derive(Debug)]
pub(crate) struct Output {
    stdout: Stdout,
    is_terminal: bool,
    has_colours: bool,
    at_line_start: bool,
}

impl Output {
    pub(crate) fn stdout() -> Self {
        let stdout = io::stdout();
        let has_colours = AutoStream::choice(&stdout) != ColorChoice::Never;
        Self { is_terminal: stdout.is_terminal(), has_colours, stdout, at_line_start: true }
    }

    pub(crate) fn is_terminal(&self) -> bool {
        self.is_terminal
    }

    /// A piece of text, now.
    pub(crate) fn text(&mut self, text: &str) -> io::Result<()> {
        let shown = if self.is_terminal { printable(text) } else { Cow::Borrowed(text) };
        self.bytes(shown.as_bytes())
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        if let Some(last) = bytes.last() {
            self.at_line_start = *last == b'\n';
        }
        let mut stdout = self.stdout.lock();
        stdout.write_all(bytes)?;
        stdout.flush()
    }

    /// Everything from here on looks like this, on a terminal with colours.
    pub(crate) fn styled(&mut self, style: Style) -> io::Result<()> {
        if self.has_colours { write!(self.stdout.lock(), "{style}") } else { Ok(()) }
    }

    pub(crate) fn unstyled(&mut self, style: Style) -> io::Result<()> {
        if self.has_colours { write!(self.stdout.lock(), "{style:#}") } else { Ok(()) }
    }

    /// Ends a line that is not ended.
    pub(crate) fn end_line(&mut self) -> io::Result<()> {
        if self.at_line_start { Ok(()) } else { self.bytes(b"\n") }
    }
}

/// Without control characters other than line ends and tabs.
pub(crate) fn printable(text: &str) -> Cow<'_, str> {
    let hidden = |c: char| c.is_control() && !matches!(c, '\n' | '\t');
    if text.contains(hidden) { text.replace(hidden, "").into() } else { text.into() }
}

#[cfg(test)]
mod tests {
    use super::printable;

    #[test]
    fn a_terminal_is_not_steered_by_a_model() {
        assert_eq!(printable("a\u{1b}[2Jb\tc\r\n\u{9b}31m"), "a[2Jb\tc\n31m");
        assert_eq!(printable("äß 日本"), "äß 日本");
    }
}
