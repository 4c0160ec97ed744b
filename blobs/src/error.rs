//! What can go wrong with blobs on disk.

use std::{io, path::PathBuf};

use dunlin_protocol::{BlobDigest, FailureCode};
use thiserror::Error;

/// Why a blob is not here, or cannot come.
#[derive(Debug, Error)]
pub enum StoreError {
    #[error("{blob} is not here")]
    Missing { blob: BlobDigest },
    #[error("{blob} is being fetched already")]
    Busy { blob: BlobDigest },
    #[error("{blob} has {bytes} bytes; at most {limit} are taken")]
    TooLarge { blob: BlobDigest, bytes: u64, limit: u64 },
    #[error(
        "{blob} needs {needed} more bytes, the store may take {free}: remove a model, or raise the store's limit"
    )]
    OverQuota { blob: BlobDigest, needed: u64, free: u64 },
    /// What has come is kept: the transfer goes on where it stopped.
    #[error("the disk is full{}: {blob} needs {needed} more bytes at {}; make room and try again", kept_free(*reserve), path.display())]
    DiskFull { blob: BlobDigest, needed: u64, path: PathBuf, reserve: u64 },
    #[error("{blob}: a piece at {offset} where {expected} was expected")]
    Offset { blob: BlobDigest, offset: u64, expected: u64 },
    #[error("{blob}: more than the {bytes} bytes that it should have")]
    TooLong { blob: BlobDigest, bytes: u64 },
    #[error("{blob}: an earlier piece could not be written; begin the transfer anew")]
    Broken { blob: BlobDigest },
    /// What has come is kept.
    #[error("{blob}: {received} of {bytes} bytes came; go on from there")]
    Short { blob: BlobDigest, received: u64, bytes: u64 },
    /// What came was thrown away.
    #[error("what came is not {blob} but {found}; it was thrown away")]
    Mismatch { blob: BlobDigest, found: BlobDigest },
    /// The file was removed.
    #[error("the file of {blob} has changed on the disk, it is {found} now; it was removed: fetch it again")]
    Torn { blob: BlobDigest, found: BlobDigest },
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
}

impl StoreError {
    pub(crate) fn io(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        |source| Self::Io { path, source }
    }

    /// As it travels.
    pub fn code(&self) -> FailureCode {
        match self {
            Self::Missing { .. } => FailureCode::NotFound,
            Self::Busy { .. } | Self::Broken { .. } => FailureCode::Unavailable,
            Self::TooLarge { .. } => FailureCode::Invalid,
            Self::OverQuota { .. } | Self::DiskFull { .. } => FailureCode::DiskFull,
            Self::Offset { .. } | Self::TooLong { .. } | Self::Short { .. } => FailureCode::Malformed,
            Self::Mismatch { .. } | Self::Torn { .. } => FailureCode::DigestMismatch,
            Self::Io { .. } => FailureCode::Internal,
        }
    }

    /// Whether the same transfer may succeed later.
    pub fn may_retry(&self) -> bool {
        match self {
            Self::Busy { .. }
            | Self::OverQuota { .. }
            | Self::DiskFull { .. }
            | Self::Broken { .. }
            | Self::Short { .. }
            | Self::Mismatch { .. }
            | Self::Torn { .. }
            | Self::Io { .. } => true,
            Self::Missing { .. } | Self::TooLarge { .. } | Self::Offset { .. } | Self::TooLong { .. } => {
                false
            }
        }
    }
}

/// What others on the machine are left.
fn kept_free(reserve: u64) -> String {
    match reserve {
        0 => String::new(),
        reserve => format!(" but for {} MB that stay free", reserve.div_ceil(1_000_000)),
    }
}
