//! Files of cost rows, and of what is made of them: read with a limit, written whole or not at all.

use std::{fs, path::Path};

use anyhow::Context as _;
use dunlin_costs::{MAX_TABLE_BYTES, Table};

use crate::failure::Failure;

/// A table; an empty one where there is no file.
///
/// # Errors
/// If it is too large, or no table: with line and column.
pub(crate) fn read(path: &Path) -> anyhow::Result<Table> {
    if !path.exists() {
        return Ok(Table::default());
    }
    let refused = |reason: String| {
        Failure::usage(format!("{}: {reason}", path.display()))
            .hint("give another file, or move this one away")
    };
    let text = text(path, MAX_TABLE_BYTES)?;
    Ok(Table::parse(&text).map_err(|error| refused(error.to_string()))?)
}

/// The text of a file of at most so many bytes.
///
/// # Errors
/// If it is not there, too large, or no text.
pub(crate) fn text(path: &Path, most: usize) -> anyhow::Result<String> {
    let refused = |reason: String| Failure::usage(format!("{}: {reason}", path.display()));
    let bytes = fs::metadata(path).map_err(|error| refused(error.to_string()))?.len();
    if bytes > most as u64 {
        return Err(refused(format!("it has {bytes} bytes, at most {most} are possible")).into());
    }
    Ok(fs::read_to_string(path).map_err(|error| refused(error.to_string()))?)
}

/// In the place of what is there.
///
/// # Errors
/// If the folder cannot be written; then what was there stays.
pub(crate) fn write(table: &Table, path: &Path) -> anyhow::Result<()> {
    write_text(&table.to_toml()?, path)
}

/// As [`write`].
///
/// # Errors
/// As [`write`].
pub(crate) fn write_text(text: &str, path: &Path) -> anyhow::Result<()> {
    dunlin_profiler::replace(path, text.as_bytes())
        .with_context(|| format!("{} cannot be written", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_stays_until_all_of_the_new_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/costs.toml");
        assert!(read(&path).unwrap().is_empty());
        write_text("[[row]]\nname = 3\n", &path).unwrap();
        let said = read(&path).unwrap_err().to_string();
        assert!(said.contains("costs.toml: line "), "{said}");
        write(&Table::default(), &path).unwrap();
        assert!(read(&path).unwrap().is_empty());
        // A folder stands where the file would be: nothing is left beside it.
        let taken = folder.path().join("taken");
        fs::create_dir_all(taken.join("inside")).unwrap();
        assert!(write_text("x", &taken).is_err());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }
}
