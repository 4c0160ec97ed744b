//! A file that is there in part, and what is known of the whole.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::store::place;

/// What a server said of a file. Kept beside it, so that a later command can go on.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct Version {
    /// A strong entity tag, or else the date of the last change; names the very bytes.
    pub(super) validator: Option<String>,
    pub(super) bytes: Option<u64>,
}

/// A download in its file, hashed as far as it has come.
#[derive(Debug)]
pub(super) struct Partial {
    path: PathBuf,
    file: File,
    hash: Sha256,
    /// Bytes that are in the file and in the hash.
    pub(super) length: u64,
    pub(super) version: Version,
}

impl Partial {
    /// Goes on where an earlier download stopped, if there was one. `read` hears of the bytes that are hashed again.
    pub(super) fn open(path: &Path, read: impl FnMut(u64)) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        let version = fs::read(version_path(path)).ok().and_then(|text| serde_json::from_slice(&text).ok());
        let mut partial = Self {
            path: path.to_owned(),
            file,
            hash: Sha256::new(),
            length: 0,
            version: version.unwrap_or_default(),
        };
        if partial.version.validator.is_none() {
            partial.restart(Version::default())?;
        } else {
            place::hash_file(path, &mut partial.hash, read)?;
            partial.length = partial.file.seek(SeekFrom::End(0))?;
        }
        Ok(partial)
    }

    /// Empties it for another version of the file.
    pub(super) fn restart(&mut self, version: Version) -> io::Result<()> {
        self.file.set_len(0)?;
        self.file.rewind()?;
        self.hash = Sha256::new();
        self.length = 0;
        if version != self.version {
            fs::write(version_path(&self.path), serde_json::to_vec(&version)?)?;
            self.version = version;
        }
        Ok(())
    }

    pub(super) fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        self.hash.update(bytes);
        self.length += bytes.len() as u64;
        Ok(())
    }

    pub(super) fn is_whole(&self) -> bool {
        self.version.bytes == Some(self.length)
    }

    pub(super) fn hash(&self) -> Sha256 {
        self.hash.clone()
    }

    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync_all()
    }

    pub(super) fn remove(self) {
        // If they are gone already, so much the better.
        drop(fs::remove_file(version_path(&self.path)));
        drop(fs::remove_file(&self.path));
    }
}

fn version_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".version");
    name.into()
}
