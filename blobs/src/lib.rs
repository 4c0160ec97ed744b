//! Files by their digests, on the disk of a node or of a scheduler: models and components.
//!
//! What is there was checked: it is written beside, and gets its name when its digest is that of its name. A part that
//! came before a connection was lost, or the disk was full, is kept and goes on from there. Read [`Blobs`] and [`Partial`].
//!
//! Absent here: where files come from, and who may have them.

mod digest;
mod partial;

use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
    str::FromStr,
};

use dunlin_protocol::{BlobDigest, ComponentDigest, FailureCode, ModelDigest};
use thiserror::Error;

pub use digest::{Digester, digest_of};
pub use partial::Partial;

/// Largest file, in bytes: above any model that a board could load.
pub const MAX_BLOB_BYTES: u64 = 1 << 40;

/// What a file is called while parts of it are missing.
const PARTIAL: &str = "part";

/// Why a file cannot be kept, or is not there.
#[derive(Debug, Error)]
pub enum BlobError {
    #[error("{}: {error}", path.display())]
    Io { path: PathBuf, error: io::Error },
    #[error("the disk is full at {bytes} bytes of {blob}; what came is kept: free some space, and try again")]
    Full { blob: BlobDigest, bytes: u64 },
    #[error("{blob} came with other bytes, of digest {found}; they were thrown away: fetch it again")]
    Mismatch { blob: BlobDigest, found: BlobDigest },
    #[error("{blob} has {bytes} bytes; at most {MAX_BLOB_BYTES} are taken")]
    TooLarge { blob: BlobDigest, bytes: u64 },
    #[error("bytes from {offset} of {blob} came where those from {expected} were due")]
    Gap { blob: BlobDigest, offset: u64, expected: u64 },
    #[error("{blob} ended after {bytes} of {expected} bytes")]
    Short { blob: BlobDigest, bytes: u64, expected: u64 },
}

impl BlobError {
    /// As it travels.
    pub fn code(&self) -> FailureCode {
        match self {
            Self::Io { .. } => FailureCode::Internal,
            Self::Full { .. } => FailureCode::DiskFull,
            Self::Mismatch { .. } => FailureCode::DigestMismatch,
            Self::TooLarge { .. } => FailureCode::Invalid,
            Self::Gap { .. } | Self::Short { .. } => FailureCode::Malformed,
        }
    }
}

/// A folder of files.
#[derive(Debug, Clone)]
pub struct Blobs(PathBuf);

impl Blobs {
    /// Makes the folder where it is missing.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn open(folder: impl Into<PathBuf>) -> Result<Self, BlobError> {
        let folder = folder.into();
        fs::create_dir_all(&folder).map_err(|error| BlobError::Io { path: folder.clone(), error })?;
        Ok(Self(folder))
    }

    pub fn folder(&self) -> &Path {
        &self.0
    }

    /// The file, if it is there as a whole.
    pub fn path(&self, blob: &BlobDigest) -> Option<PathBuf> {
        let path = self.0.join(name(blob));
        path.is_file().then_some(path)
    }

    /// Its bytes.
    pub fn size(&self, blob: &BlobDigest) -> Option<u64> {
        fs::metadata(self.path(blob)?).ok().map(|metadata| metadata.len())
    }

    /// Begins to write a file, or goes on where that was left. One at a time may write the same file.
    ///
    /// # Errors
    /// If the disk cannot be written.
    pub fn begin(&self, blob: BlobDigest) -> Result<Partial, BlobError> {
        let whole = self.0.join(name(&blob));
        Partial::open(blob, self.0.join(format!("{}.{PARTIAL}", name(&blob))), whole)
    }

    /// Keeps a file that is in memory, unless it is there.
    ///
    /// # Errors
    /// The disk is full, or these are not its bytes.
    pub fn put(&self, blob: BlobDigest, bytes: &[u8]) -> Result<PathBuf, BlobError> {
        if let Some(path) = self.path(&blob) {
            return Ok(path);
        }
        let mut partial = self.begin(blob)?;
        partial.restart()?;
        partial.write(0, bytes)?;
        partial.finish()
    }

    /// Deletes a file; one that is not there is gone already.
    ///
    /// # Errors
    /// If it cannot be deleted.
    pub fn remove(&self, blob: &BlobDigest) -> Result<(), BlobError> {
        let path = self.0.join(name(blob));
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(BlobError::Io { path, error }),
            _ => Ok(()),
        }
    }

    pub fn components(&self) -> Vec<ComponentDigest> {
        let component = |blob| match blob {
            BlobDigest::Blake3(digest) => Some(digest),
            BlobDigest::Sha256(_) => None,
        };
        self.all().filter_map(component).collect()
    }

    pub fn models(&self) -> Vec<ModelDigest> {
        let model = |blob| match blob {
            BlobDigest::Sha256(digest) => Some(digest),
            BlobDigest::Blake3(_) => None,
        };
        self.all().filter_map(model).collect()
    }

    /// Those that are there as a whole, in the order of their names.
    fn all(&self) -> impl Iterator<Item = BlobDigest> {
        let entries = fs::read_dir(&self.0).into_iter().flatten().flatten();
        let mut names: Vec<String> =
            entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
        names.sort();
        names.into_iter().filter_map(|name| BlobDigest::from_str(&name.replacen('-', ":", 1)).ok())
    }
}

/// `sha256-74a4...`: a colon means something else to some programs.
fn name(blob: &BlobDigest) -> String {
    blob.to_string().replacen(':', "-", 1)
}

/// So that a file is there after a power cut, too.
fn sync(file: &mut fs::File, folder: &Path) -> io::Result<()> {
    file.flush()?;
    file.sync_all()?;
    fs::File::open(folder)?.sync_all()
}
