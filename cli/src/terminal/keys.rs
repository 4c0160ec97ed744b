//! What a terminal shows of the keys that are pressed.

use std::io;

use rustix::{
    process::getpgrp,
    termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcgetpgrp, tcsetattr},
};

/// While this lives, Ctrl-C leaves no `^C` in a text or beside a bar.
#[derive(Debug)]
pub(crate) struct UnseenControlKeys(Option<Termios>);

impl UnseenControlKeys {
    /// Does nothing where standard error is no terminal.
    pub(crate) fn new() -> Self {
        let before = tcgetattr(io::stderr()).ok();
        if let Some(before) = &before {
            let mut modes = before.clone();
            modes.local_modes.remove(LocalModes::ECHOCTL);
            set(&modes);
        }
        Self(before)
    }
}

impl Drop for UnseenControlKeys {
    fn drop(&mut self) {
        if let Some(before) = &self.0 {
            set(before);
        }
    }
}

/// In the background it would stop the process.
fn set(modes: &Termios) {
    if tcgetpgrp(io::stderr()).is_ok_and(|foreground| foreground == getpgrp()) {
        let _ = tcsetattr(io::stderr(), OptionalActions::Now, modes);
    }
}
