//! A blob on its way.

use std::{
    fs::{self, File},
    io::{self, ErrorKind, Write},
    path::{Path, PathBuf},
};

use dunlin_protocol::BlobDigest;

use crate::{BlobHasher, StoreError, store::Promised};

/// How much may be lost to a power cut, in bytes.
const SYNC_EVERY: u64 = 64 << 20;

/// Where the bytes of a transfer go: a file, or what stands for it in a test.
pub trait Sink: Write + Send {
    /// Returns when what was written is on the disk.
    ///
    /// # Errors
    /// Of the file system.
    fn sync(&mut self) -> io::Result<()>;
}

impl Sink for File {
    fn sync(&mut self) -> io::Result<()> {
        self.sync_data()
    }
}

/// A blob on its way. Dropped, it leaves what has come for the next transfer of the same blob.
pub struct Transfer {
    blob: BlobDigest,
    bytes: u64,
    received: u64,
    synced: u64,
    hasher: BlobHasher,
    sink: Box<dyn Sink>,
    part: PathBuf,
    place: PathBuf,
    /// A write failed half-way: the hash is not of what is in the file.
    broken: bool,
    promised: Promised,
}

impl std::fmt::Debug for Transfer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Transfer({}, {} of {} bytes)", self.blob, self.received, self.bytes)
    }
}

impl Transfer {
    pub(crate) fn new(
        blob: BlobDigest,
        bytes: u64,
        received: u64,
        hasher: BlobHasher,
        sink: Box<dyn Sink>,
        (part, place): (PathBuf, PathBuf),
        promised: Promised,
    ) -> Self {
        Self { blob, bytes, received, synced: received, hasher, sink, part, place, broken: false, promised }
    }

    /// The first byte that is missing.
    pub fn offset(&self) -> u64 {
        self.received
    }

    pub fn is_whole(&self) -> bool {
        self.received == self.bytes
    }

    /// Takes the next piece, which begins at `offset`.
    ///
    /// # Errors
    /// [`StoreError::Offset`] and [`StoreError::TooLong`] change nothing. After any other the transfer is of no further
    /// use; drop it, and begin it anew.
    pub fn write(&mut self, offset: u64, piece: &[u8]) -> Result<(), StoreError> {
        let blob = self.blob;
        if self.broken {
            return Err(StoreError::Broken { blob });
        }
        if offset != self.received {
            return Err(StoreError::Offset { blob, offset, expected: self.received });
        }
        if piece.len() as u64 > self.bytes - self.received {
            return Err(StoreError::TooLong { blob, bytes: self.bytes });
        }
        let mut written = self.sink.write_all(piece);
        if written.is_ok() {
            self.hasher.update(piece);
            self.received += piece.len() as u64;
            self.promised.keep(piece.len() as u64);
            if self.received - self.synced >= SYNC_EVERY {
                written = self.sink.sync();
                self.synced = self.received;
            }
        }
        written.map_err(|error| self.failed(error))
    }

    /// All has come: checks it, and gives it its name.
    ///
    /// # Errors
    /// [`StoreError::Short`] if something is missing, [`StoreError::Mismatch`] if it is not what was asked for.
    pub fn finish(mut self) -> Result<PathBuf, StoreError> {
        let (blob, bytes, received) = (self.blob, self.bytes, self.received);
        if self.broken {
            return Err(StoreError::Broken { blob });
        }
        if !self.is_whole() {
            return Err(StoreError::Short { blob, received, bytes });
        }
        let found = self.hasher.clone().finish();
        if found != blob {
            fs::remove_file(&self.part).map_err(StoreError::io(&self.part))?;
            return Err(StoreError::Mismatch { blob, found });
        }
        let synced = self.sink.sync();
        synced.map_err(|error| self.failed(error))?;
        fs::rename(&self.part, &self.place).map_err(StoreError::io(&self.place))?;
        sync_folder(&self.place).map_err(StoreError::io(&self.place))?;
        Ok(self.place)
    }

    fn failed(&mut self, error: io::Error) -> StoreError {
        self.broken = true;
        match error.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => StoreError::DiskFull {
                blob: self.blob,
                needed: self.bytes - self.received,
                path: self.part.clone(),
                // The disk took all that it had.
                reserve: 0,
            },
            _ => StoreError::Io { path: self.part.clone(), source: error },
        }
    }
}

/// So that the name is on the disk, too.
fn sync_folder(file: &Path) -> io::Result<()> {
    file.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}

#[cfg(test)]
impl Transfer {
    /// As on a disk that takes so many bytes more.
    pub(crate) fn on_a_disk_with(mut self, bytes: usize) -> Self {
        struct Full(Box<dyn Sink>, usize);

        impl Write for Full {
            fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
                match piece.len().min(self.1) {
                    0 if !piece.is_empty() => Err(ErrorKind::StorageFull.into()),
                    room => {
                        let written = self.0.write(&piece[..room])?;
                        self.1 -= written;
                        Ok(written)
                    }
                }
            }

            fn flush(&mut self) -> io::Result<()> {
                self.0.flush()
            }
        }

        impl Sink for Full {
            fn sync(&mut self) -> io::Result<()> {
                self.0.sync()
            }
        }

        self.sink = Box::new(Full(self.sink, bytes));
        self
    }
}
