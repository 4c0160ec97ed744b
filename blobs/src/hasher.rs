//! The digest of bytes as they come.

use dunlin_protocol::{BlobDigest, ComponentDigest, ModelDigest};
use sha2::{Digest as _, Sha256};

/// Of the kind that a blob is named by.
#[derive(Debug, Clone)]
pub struct BlobHasher(Kind);

#[derive(Debug, Clone)]
enum Kind {
    Sha256(Sha256),
    Blake3(Box<blake3::Hasher>),
}

impl BlobHasher {
    /// Of the same kind as `blob`.
    pub fn like(blob: BlobDigest) -> Self {
        Self(match blob {
            BlobDigest::Sha256(_) => Kind::Sha256(Sha256::new()),
            BlobDigest::Blake3(_) => Kind::Blake3(Box::default()),
        })
    }

    pub fn update(&mut self, bytes: &[u8]) {
        match &mut self.0 {
            Kind::Sha256(hasher) => hasher.update(bytes),
            Kind::Blake3(hasher) => drop(hasher.update(bytes)),
        }
    }

    pub fn finish(self) -> BlobDigest {
        match self.0 {
            Kind::Sha256(hasher) => ModelDigest(hasher.finalize().into()).into(),
            Kind::Blake3(hasher) => ComponentDigest(*hasher.finalize().as_bytes()).into(),
        }
    }
}
