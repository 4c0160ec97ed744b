use std::io::{self, Read};

use thiserror::Error;

/// Longest run of bytes that [`Cursor::bytes`] hands out at once.
pub(crate) const WINDOW: usize = 128 * 1024;

/// Bytes that the header of one file may take. Vocabularies of 262,144 tokens take 16 MiB.
pub(crate) const MAX_HEADER_BYTES: u64 = 64 * 1024 * 1024;

/// Reads a header front to back through one fixed window: memory does not depend on what the file claims.
#[derive(Debug)]
pub(crate) struct Cursor<R> {
    source: R,
    window: Vec<u8>,
    start: usize,
    end: usize,
    position: u64,
    length: u64,
}

/// Why the next bytes of a header could not be had.
#[derive(Debug, Error)]
pub enum ReadFault {
    #[error("the header goes on past the file's end at byte {length}: it is truncated, download it again")]
    PastEnd { length: u64 },
    #[error("the file shrank to {length} bytes while it was read: something else writes to it")]
    Shrank { length: u64 },
    #[error("the header takes more than {limit} bytes: no known model needs that")]
    TooLong { limit: u64 },
    #[error("it cannot be read: {0}")]
    Io(#[from] io::Error),
}

impl<R: Read> Cursor<R> {
    /// A cursor at the first of `length` bytes.
    pub(crate) fn new(source: R, length: u64) -> Self {
        Self { source, window: vec![0; WINDOW], start: 0, end: 0, position: 0, length }
    }

    /// Offset in the file of the next byte.
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// Bytes between the next one and the file's end.
    pub(crate) fn remaining(&self) -> u64 {
        self.length - self.position
    }

    /// The next `count` bytes, at most [`WINDOW`] of them.
    pub(crate) fn bytes(&mut self, count: usize) -> Result<&[u8], ReadFault> {
        debug_assert!(count <= WINDOW, "callers cap what they ask for");
        if count as u64 > self.remaining() {
            return Err(ReadFault::PastEnd { length: self.length });
        }
        if self.position + count as u64 > MAX_HEADER_BYTES {
            return Err(ReadFault::TooLong { limit: MAX_HEADER_BYTES });
        }
        if self.end - self.start < count {
            self.fill(count)?;
        }
        let taken = self.start..self.start + count;
        self.start += count;
        self.position += count as u64;
        Ok(&self.window[taken])
    }

    /// The next `count` bytes, fewer at the file's end, without passing over them.
    pub(crate) fn peek(&mut self, count: usize) -> Result<&[u8], ReadFault> {
        let count = self.remaining().min(count as u64) as usize;
        if self.end - self.start < count {
            self.fill(count)?;
        }
        Ok(&self.window[self.start..self.start + count])
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], ReadFault> {
        let mut value = [0; N];
        value.copy_from_slice(self.bytes(N)?);
        Ok(value)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, ReadFault> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    pub(crate) fn u64(&mut self) -> Result<u64, ReadFault> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    /// Hands the next `count` bytes to `visit`, a window at a time.
    pub(crate) fn chunks(&mut self, mut count: u64, mut visit: impl FnMut(&[u8])) -> Result<(), ReadFault> {
        while count > 0 {
            let step = count.min(WINDOW as u64);
            visit(self.bytes(step as usize)?);
            count -= step;
        }
        Ok(())
    }

    fn fill(&mut self, wanted: usize) -> Result<(), ReadFault> {
        self.window.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        while self.end < wanted {
            match self.source.read(&mut self.window[self.end..]) {
                Ok(0) => return Err(ReadFault::Shrank { length: self.position + self.end as u64 }),
                Ok(count) => self.end += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}
