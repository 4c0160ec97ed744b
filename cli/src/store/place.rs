//! Brings a file into the store: shared with the original where the file system can do that, copied where not.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

use sha2::{Digest, Sha256};

const CHUNK: usize = 1 << 20;

/// A file that goes away with this, unless it is kept.
#[derive(Debug)]
pub(crate) struct Temporary(Option<PathBuf>);

impl Temporary {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self(Some(path))
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.as_deref().unwrap_or(Path::new(""))
    }

    /// Gives it its final name.
    pub(crate) fn keep_as(mut self, path: &Path) -> io::Result<()> {
        fs::rename(self.path(), path)?;
        self.0 = None;
        Ok(())
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if let Some(path) = &self.0 {
            // If it is gone already, so much the better.
            drop(fs::remove_file(path));
        }
    }
}

/// How a file came to its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Placed {
    /// Its blocks are shared until one of the two is changed.
    Shared,
    /// It is the same file under another name.
    Linked,
    Copied,
}

impl Placed {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Shared => "shares its blocks with the original",
            Self::Linked => "a hard link to the original",
            Self::Copied => "a copy",
        }
    }
}

/// Places `from` at `to`, which must not exist, and feeds its bytes to `hash`. `read` is called with each number of bytes.
pub(crate) fn place(
    from: &Path,
    to: &Path,
    hash: &mut Sha256,
    mut read: impl FnMut(u64),
) -> io::Result<Placed> {
    let source = File::open(from)?;
    let target = OpenOptions::new().write(true).create_new(true).open(to)?;
    if rustix::fs::ioctl_ficlone(&target, &source).is_ok() {
        copy(source, io::sink(), hash, &mut read)?;
        target.sync_all()?;
        return Ok(Placed::Shared);
    }
    drop(target);
    fs::remove_file(to)?;
    if fs::hard_link(fs::canonicalize(from)?, to).is_ok() {
        copy(source, io::sink(), hash, &mut read)?;
        return Ok(Placed::Linked);
    }
    let target = OpenOptions::new().write(true).create_new(true).open(to)?;
    copy(source, &target, hash, &mut read)?;
    target.sync_all()?;
    Ok(Placed::Copied)
}

/// Feeds a whole file to `hash`.
pub(crate) fn hash_file(path: &Path, hash: &mut Sha256, read: impl FnMut(u64)) -> io::Result<()> {
    copy(File::open(path)?, io::sink(), hash, read)
}

fn copy(
    mut from: impl Read,
    mut to: impl Write,
    hash: &mut Sha256,
    mut read: impl FnMut(u64),
) -> io::Result<()> {
    let mut chunk = vec![0; CHUNK];
    loop {
        let length = match from.read(&mut chunk) {
            Ok(0) => return Ok(()),
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        hash.update(&chunk[..length]);
        to.write_all(&chunk[..length])?;
        read(length as u64);
    }
}

/// As `sha256sum` writes it.
pub(crate) fn hex(hash: Sha256) -> String {
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}
