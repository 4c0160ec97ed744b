//! What a guest writes to its stdout and stderr.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use tokio::io::AsyncWrite;
use wasmtime_wasi::{
    async_trait,
    cli::{IsTerminal, StdoutStream},
    p2::{OutputStream, Pollable, StreamResult},
};

/// What one write may carry.
const WRITE_BYTES: usize = 64 << 10;

/// What the guest wrote, both streams in the order of the writes, up to [`crate::Limits::log_bytes`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Log {
    pub text: String,
    /// Bytes that were over the limit.
    pub lost_bytes: u64,
}

/// One of the streams into a log. Writing never waits and never fails: what does not fit is counted and
/// dropped.
#[derive(Debug, Clone)]
pub(crate) struct GuestLog(Arc<Mutex<Buffer>>);

#[derive(Debug, Default)]
struct Buffer {
    bytes: Vec<u8>,
    /// Up to here it was passed on to the node's own log, line by line.
    traced: usize,
    limit: usize,
    lost_bytes: u64,
    /// Lines of the host's own that are said once.
    noted: BTreeSet<String>,
}

impl GuestLog {
    pub(crate) fn new(limit: usize) -> Self {
        Self(Arc::new(Mutex::new(Buffer { limit, ..Buffer::default() })))
    }

    pub(crate) fn take(&self) -> Log {
        let mut buffer = self.lock();
        let bytes = std::mem::take(&mut buffer.bytes);
        Log { text: String::from_utf8_lossy(&bytes).into_owned(), lost_bytes: buffer.lost_bytes }
    }

    /// A line of the host's own, on a call that failed.
    pub(crate) fn note(&self, line: &str) {
        self.lock().write(format!("{line}\n").as_bytes());
    }

    /// The same, for what would be said at every call. There must be few of such lines.
    pub(crate) fn note_once(&self, line: &str) {
        let mut buffer = self.lock();
        if buffer.noted.insert(line.to_owned()) {
            buffer.write(format!("{line}\n").as_bytes());
        }
    }

    fn lock(&self) -> MutexGuard<'_, Buffer> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Buffer {
    fn write(&mut self, bytes: &[u8]) {
        let kept = bytes.len().min(self.limit - self.bytes.len());
        self.bytes.extend_from_slice(&bytes[..kept]);
        self.lost_bytes += (bytes.len() - kept) as u64;
        while let Some(end) = self.bytes[self.traced..].iter().position(|&byte| byte == b'\n') {
            let line = &self.bytes[self.traced..self.traced + end];
            tracing::debug!(target: "dunlin_guest", "{}", String::from_utf8_lossy(line));
            self.traced += end + 1;
        }
    }
}

impl IsTerminal for GuestLog {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for GuestLog {
    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }

    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        // Asked for by other versions of WASI than the one that is linked.
        Box::new(tokio::io::sink())
    }
}

impl OutputStream for GuestLog {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.lock().write(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(WRITE_BYTES)
    }
}

#[async_trait]
impl Pollable for GuestLog {
    async fn ready(&mut self) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_counted_and_dropped() {
        let mut log = GuestLog::new(8);
        log.write("one\n".into()).unwrap();
        log.write("two and three\n".into()).unwrap();
        assert_eq!(log.take(), Log { text: "one\ntwo ".into(), lost_bytes: 10 });
    }
}
