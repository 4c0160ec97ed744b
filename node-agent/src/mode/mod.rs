//! Power states of the whole machine: which there are, how one is set, and how what was found comes back.
//!
//! A [`Switch`] is one way to set them: the governor of the processor, the power mode of a Jetson. Whether a mode was taken is
//! read back from the machine, never believed of a command. What was found before the first change is kept in a file until
//! it is restored, so that it comes back after a crash too.

mod governor;
mod jetson;
mod kept;

use std::{collections::BTreeMap, fmt, io, path::PathBuf};

use serde::{Deserialize, Serialize};
use thiserror::Error;

pub use kept::{Modes, Transition};

use governor::Governors;
use jetson::Jetson;

/// Modes of one machine.
const MAX_MODES: usize = 32;

/// What a machine was set to, by the parts that are set: `policy0` to `schedutil`, `nvpmodel` to `15W`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Setting(BTreeMap<String, String>);

/// A way to set the power state of a machine.
pub(crate) trait Switch: Send + Sync + fmt::Debug {
    /// The names of those that there are.
    fn modes(&self) -> Vec<String>;

    /// As the machine tells it.
    ///
    /// # Errors
    /// If it does not.
    fn read(&self) -> Result<Setting, ModeError>;

    /// Asks for a setting. That it was taken is for [`Self::read`] to say.
    ///
    /// # Errors
    /// If it could not be asked, or the machine has to start anew for it.
    fn ask(&self, setting: &Setting) -> Result<(), ModeError>;

    /// What a mode is a name of.
    fn setting(&self, mode: &str) -> Setting;
}

/// Why a machine is not in a mode.
#[derive(Debug, Error)]
pub enum ModeError {
    #[error("there is no mode {mode:?}; there are {known}")]
    Unknown { mode: String, known: String },
    #[error("this machine has no modes that could be set: no CPU governor, no nvpmodel")]
    None,
    #[error("{} may not be written: run the agent as root", path.display())]
    Denied { path: PathBuf },
    #[error(
        "{mode} needs a restart of the machine: set it by `sudo nvpmodel`, restart, and the agent finds it"
    )]
    Restart { mode: String },
    #[error("{asked} was asked for, and the machine says {is}")]
    NotTaken { asked: String, is: String },
    #[error("{}: {error}", path.display())]
    Io { path: PathBuf, error: io::Error },
    #[error("{} says {text:?}, of which no mode can be read", path.display())]
    Garbage { path: PathBuf, text: String },
}

impl ModeError {
    fn of(path: &std::path::Path, error: io::Error) -> Self {
        let path = path.to_owned();
        match error.kind() {
            io::ErrorKind::PermissionDenied => Self::Denied { path },
            _ => Self::Io { path, error },
        }
    }
}

impl Setting {
    fn one(part: &str, mode: &str) -> Self {
        Self([(part.to_owned(), mode.to_owned())].into())
    }

    /// The mode, where all parts are set alike.
    pub(crate) fn name(&self) -> String {
        let mut names: Vec<&str> = self.0.values().map(String::as_str).collect();
        names.dedup();
        names.join("+")
    }
}

/// The way of this machine: a Jetson's modes, else the governors; `None` where there are neither. `root` is `/` but in tests.
fn switch(root: &std::path::Path) -> Option<Box<dyn Switch>> {
    if let Some(jetson) = Jetson::find(root) {
        return Some(Box::new(jetson));
    }
    Some(Box::new(Governors::find(root)?))
}
