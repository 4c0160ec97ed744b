//! A file that is being written.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use dunlin_protocol::BlobDigest;

use crate::{BlobError, Digester, MAX_BLOB_BYTES, sync};

/// A part of a file, on the disk. Dropped, it stays there.
#[derive(Debug)]
pub struct Partial {
    blob: BlobDigest,
    path: PathBuf,
    whole: PathBuf,
    file: File,
    digester: Digester,
    bytes: u64,
    expected: Option<u64>,
}

impl Partial {
    pub(crate) fn open(blob: BlobDigest, path: PathBuf, whole: PathBuf) -> Result<Self, BlobError> {
        let mut digester = Digester::like(&blob);
        let mut open = || {
            let mut file =
                OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path)?;
            // What is there is read once more, so that it can be trusted in the end.
            digester.read(&mut file)?;
            let bytes = file.stream_position()?;
            Ok((file, bytes))
        };
        match open() {
            Ok((file, bytes)) => Ok(Self { blob, path, whole, file, digester, bytes, expected: None }),
            Err(error) => Err(BlobError::Io { path, error }),
        }
    }

    /// Bytes that are there: the next ones are to follow them.
    pub fn len(&self) -> u64 {
        self.bytes
    }

    pub fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// The size of the whole, as far as it is known. A part that is longer begins anew.
    ///
    /// # Errors
    /// It is too large.
    pub fn expect(&mut self, bytes: u64) -> Result<(), BlobError> {
        if bytes > MAX_BLOB_BYTES {
            return Err(BlobError::TooLarge { blob: self.blob, bytes });
        }
        self.expected = Some(bytes);
        if self.bytes > bytes { self.restart() } else { Ok(()) }
    }

    /// Throws away what came.
    ///
    /// # Errors
    /// If the disk cannot be written.
    pub fn restart(&mut self) -> Result<(), BlobError> {
        let cut = self.file.set_len(0).and_then(|()| self.file.seek(SeekFrom::Start(0)));
        cut.map_err(|error| BlobError::Io { path: self.path.clone(), error })?;
        (self.bytes, self.digester) = (0, Digester::like(&self.blob));
        Ok(())
    }

    /// Adds bytes, the first of which is number `offset` of the file.
    ///
    /// # Errors
    /// They are not the next, or too many, or the disk is full: what came before is kept.
    pub fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<(), BlobError> {
        if offset != self.bytes {
            return Err(BlobError::Gap { blob: self.blob, offset, expected: self.bytes });
        }
        let length = self.bytes + bytes.len() as u64;
        if length > self.expected.unwrap_or(MAX_BLOB_BYTES) {
            return Err(BlobError::TooLarge { blob: self.blob, bytes: length });
        }
        if let Err(error) = self.file.write_all(bytes) {
            // A piece of it may have been written.
            drop(self.file.set_len(self.bytes));
            drop(self.file.seek(SeekFrom::Start(self.bytes)));
            return Err(self.not_written(error));
        }
        self.digester.update(bytes);
        self.bytes = length;
        Ok(())
    }

    /// All of it is there: gives it its name.
    ///
    /// # Errors
    /// It is not what it was called, and is thrown away; or it is not all there.
    pub fn finish(mut self) -> Result<PathBuf, BlobError> {
        if let Some(expected) = self.expected.filter(|expected| *expected != self.bytes) {
            return Err(BlobError::Short { blob: self.blob, bytes: self.bytes, expected });
        }
        let found = self.digester.clone().finish();
        if found != self.blob {
            drop(fs::remove_file(&self.path));
            return Err(BlobError::Mismatch { blob: self.blob, found });
        }
        let folder = self.whole.parent().unwrap_or(Path::new("."));
        let kept = sync(&mut self.file, folder).and_then(|()| fs::rename(&self.path, &self.whole));
        match kept {
            Ok(()) => Ok(self.whole),
            Err(error) => Err(self.not_written(error)),
        }
    }

    fn not_written(&self, error: io::Error) -> BlobError {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                BlobError::Full { blob: self.blob, bytes: self.bytes }
            }
            _ => BlobError::Io { path: self.path.clone(), error },
        }
    }
}
