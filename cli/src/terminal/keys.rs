//! What a terminal shows of the keys that are pressed.

use std::io;

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

/// While this lives, Ctrl-C leaves no `^C` in the text.
#[derive(Debug)]
pub(crate) struct UnseenControlKeys(Option<Termios>);

impl UnseenControlKeys {
    /// Does nothing where standard input is no terminal.
    pub(crate) fn new() -> Self {
        let before = tcgetattr(io::stdin()).ok();
        if let Some(before) = &before {
            let mut modes = before.clone();
            modes.local_modes.remove(LocalModes::ECHOCTL);
            let _ = tcsetattr(io::stdin(), OptionalActions::Now, &modes);
        }
        Self(before)
    }
}

impl Drop for UnseenControlKeys {
    fn drop(&mut self) {
        if let Some(before) = &self.0 {
            let _ = tcsetattr(io::stdin(), OptionalActions::Now, before);
        }
    }
}
