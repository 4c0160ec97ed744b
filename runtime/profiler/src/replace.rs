//! Files that are there as a whole or not at all.

use std::{
    fs,
    io::{self, Write as _},
    path::Path,
};

/// Puts `bytes` in the place of what is there, and makes the folder where it is missing. They are on the disk when it returns.
///
/// # Errors
/// Of the file system; then what was there stays.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    Ok(())
}
