//! What a person wrote down of how the agent of this machine works.

use serde::Deserialize;

use crate::{failure::Failure, folders::Folders, table_file};

/// Bytes of a file of a few lines.
const MAX_BYTES: usize = 64 << 10;

/// What the file may say, for `--help`.
pub(super) const FORMAT: &str = "\
agent.toml in Dunlin's configuration folder may say, where the command line does not:
  probe = false       # as --no-probe: do not look at models that were loaded and that nobody has measured
  remeasure = true    # as --remeasure: be measured again where rows are stale";

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct AgentFile {
    pub(super) probe: Option<bool>,
    pub(super) remeasure: Option<bool>,
}

impl AgentFile {
    /// Nothing, where there is no file.
    ///
    /// # Errors
    /// If it cannot be read, or says something else than it may.
    pub(super) fn read(folders: &Folders) -> anyhow::Result<Self> {
        let path = folders.agent();
        if !path.exists() {
            return Ok(Self::default());
        }
        let text = table_file::text(&path, MAX_BYTES)?;
        let read = dunlin_costs::document::read(&text, MAX_BYTES);
        Ok(read.map_err(|error| {
            Failure::usage(format!("{}: {error}", path.display()))
                .hint("`dunlin agent --help` shows what the file may say")
        })?)
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::PathBuf};

    use super::*;

    #[test]
    fn a_file_says_what_it_may_or_what_was_meant() {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().to_owned();
        let folders = Folders {
            data: PathBuf::new(),
            cache: PathBuf::new(),
            state: PathBuf::new(),
            config: config.clone(),
        };
        assert_eq!(AgentFile::read(&folders).unwrap(), AgentFile::default());
        fs::write(config.join("agent.toml"), "probe = false\n").unwrap();
        let read = AgentFile::read(&folders).unwrap();
        assert_eq!(read, AgentFile { probe: Some(false), remeasure: None });
        fs::write(config.join("agent.toml"), "prob = false\n").unwrap();
        let said = AgentFile::read(&folders).unwrap_err().to_string();
        assert!(said.contains("agent.toml: line 1") && said.contains("did you mean \"probe\"?"), "{said}");
    }
}
