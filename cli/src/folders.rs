//! Where Dunlin keeps its files, by the XDG base directories.

use std::{env, path::PathBuf};

use etcetera::{BaseStrategy, base_strategy::Xdg};

use crate::failure::{Exit, Failure};

/// Not made until something is written there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Folders {
    /// Models; what one would miss.
    pub(crate) data: PathBuf,
    /// Compiled pipelines; what can be made again.
    pub(crate) cache: PathBuf,
    /// The history of the chat.
    pub(crate) state: PathBuf,
    /// What a person wrote about this machine.
    pub(crate) config: PathBuf,
}

impl Folders {
    /// # Errors
    /// If nobody knows where the home folder is.
    pub(crate) fn find() -> Result<Self, Failure> {
        let xdg = Xdg::new().map_err(|_| {
            Failure::new(Exit::Failed, "it is not known where your home folder is")
                .hint("set HOME, or XDG_DATA_HOME, XDG_CACHE_HOME and XDG_STATE_HOME")
        })?;
        let state = xdg.state_dir().unwrap_or_else(|| xdg.data_dir());
        Ok(Self {
            data: xdg.data_dir().join("dunlin"),
            cache: xdg.cache_dir().join("dunlin"),
            state: state.join("dunlin"),
            config: xdg.config_dir().join("dunlin"),
        })
    }

    pub(crate) fn models(&self) -> PathBuf {
        self.data.join("models")
    }

    /// Cost rows that were measured on this machine.
    pub(crate) fn costs(&self) -> PathBuf {
        self.data.join("costs.toml")
    }

    pub(crate) fn compiled(&self) -> PathBuf {
        self.cache.join("pipelines")
    }

    /// Compilers that come from registries.
    pub(crate) fn toolchains(&self) -> PathBuf {
        env::var_os("DUNLIN_TOOLCHAINS").map_or_else(|| self.cache.join("toolchains"), PathBuf::from)
    }

    pub(crate) fn meters(&self) -> PathBuf {
        self.config.join("meters.toml")
    }

    pub(crate) fn agent(&self) -> PathBuf {
        self.config.join("agent.toml")
    }

    pub(crate) fn chat_history(&self) -> PathBuf {
        self.state.join("chat-history.txt")
    }
}
