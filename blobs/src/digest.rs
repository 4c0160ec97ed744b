//! Digests as files come.

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
};

use dunlin_protocol::{BlobDigest, ComponentDigest, ModelDigest};
use sha2::{Digest as _, Sha256};

/// Bytes that are read at once.
const READ: usize = 1 << 20;

/// Computes a digest of the same kind as another.
#[derive(Debug, Clone)]
pub enum Digester {
    Sha256(Sha256),
    Blake3(Box<blake3::Hasher>),
}

impl Digester {
    pub fn like(blob: &BlobDigest) -> Self {
        match blob {
            BlobDigest::Sha256(_) => Self::Sha256(Sha256::new()),
            BlobDigest::Blake3(_) => Self::Blake3(Box::default()),
        }
    }

    pub fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(hasher) => hasher.update(bytes),
            Self::Blake3(hasher) => drop(hasher.update(bytes)),
        }
    }

    pub fn finish(self) -> BlobDigest {
        match self {
            Self::Sha256(hasher) => BlobDigest::Sha256(ModelDigest(hasher.finalize().into())),
            Self::Blake3(hasher) => BlobDigest::Blake3(ComponentDigest(*hasher.finalize().as_bytes())),
        }
    }

    /// All that is in a file, from where it stands.
    pub(crate) fn read(&mut self, file: &mut File) -> io::Result<()> {
        let mut buffer = vec![0; READ];
        loop {
            match file.read(&mut buffer)? {
                0 => return Ok(()),
                count => self.update(&buffer[..count]),
            }
        }
    }
}

/// The SHA-256 of a model file.
///
/// # Errors
/// If it cannot be read.
pub fn digest_of(model: &Path) -> io::Result<ModelDigest> {
    let mut digester = Digester::Sha256(Sha256::new());
    digester.read(&mut File::open(model)?)?;
    match digester.finish() {
        BlobDigest::Sha256(digest) => Ok(digest),
        BlobDigest::Blake3(_) => Err(io::Error::other("a digest of another kind")),
    }
}
