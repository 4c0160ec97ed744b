//! What a command-line guest writes to its stdout: it streams to whoever invoked it, and is its answer in the end.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::{io::AsyncWrite, sync::mpsc};
use wasmtime_wasi::{
    async_trait,
    cli::{IsTerminal, StdoutStream},
    p2::{OutputStream, Pollable, StreamError, StreamResult},
};

use crate::{
    Chunk, InvokeError,
    calls::job::{CHUNK_OVERHEAD, Job},
    invoke::{budget::Meter, interrupt::Interrupt, resume::Delivered},
};

/// What one write may carry.
const WRITE_BYTES: usize = 64 << 10;

/// A handle to the stdout of one guest. Text is passed on in whole characters; what is not UTF-8 is passed on as the
/// replacement character, and stands as it is in the answer.
#[derive(Debug, Clone)]
pub(crate) struct GuestOutput {
    buffer: Arc<Mutex<Buffer>>,
    output: mpsc::Sender<Chunk>,
    delivered: Delivered,
    emitted_bytes: Arc<Meter>,
    interrupt: Interrupt,
}

#[derive(Debug, Default)]
struct Buffer {
    /// Everything so far.
    bytes: Vec<u8>,
    /// Up to here it is in `text`, or with the receiver.
    read: usize,
    /// Waits for room in the channel.
    text: String,
    failed: Option<InvokeError>,
}

impl GuestOutput {
    pub(crate) fn new(job: &Job) -> Self {
        Self {
            buffer: Arc::default(),
            output: job.output.clone(),
            delivered: job.delivered.clone(),
            emitted_bytes: job.meters.emitted_bytes.clone(),
            interrupt: job.interrupt.clone(),
        }
    }

    /// Writes for the guest, and waits until it is on its way.
    pub(crate) async fn say(&self, text: &str) -> Result<(), InvokeError> {
        self.take(text.as_bytes())?;
        self.passed_on().await
    }

    /// The end: gives all that was written. Who stopped the guest gets what the channel takes at once.
    pub(crate) async fn finish(&self) -> Vec<u8> {
        self.lock().read_rest();
        // What cannot be passed on any more is in the answer.
        drop(self.passed_on().await);
        std::mem::take(&mut self.lock().bytes)
    }

    fn take(&self, bytes: &[u8]) -> Result<(), InvokeError> {
        let charged = self.emitted_bytes.take(CHUNK_OVERHEAD + bytes.len() as u64);
        let mut buffer = self.lock();
        if let Err(exhausted) = charged {
            buffer.failed = Some(exhausted.into());
        }
        buffer.check()?;
        buffer.bytes.extend_from_slice(bytes);
        buffer.read_whole();
        self.pass_on(&mut buffer);
        buffer.check()
    }

    /// As much as there is room for at once.
    fn pass_on(&self, buffer: &mut Buffer) {
        self.delivered.trim(&mut buffer.text);
        if buffer.text.is_empty() {
            return;
        }
        match self.output.try_send(Chunk::Text(std::mem::take(&mut buffer.text))) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Full(Chunk::Text(text))) => buffer.text = text,
            Err(_) => buffer.failed = Some(InvokeError::Cancelled),
        }
    }

    async fn passed_on(&self) -> Result<(), InvokeError> {
        {
            let mut buffer = self.lock();
            self.delivered.trim(&mut buffer.text);
            if buffer.text.is_empty() {
                return buffer.check();
            }
        }
        let permit = tokio::select! {
            biased;
            permit = self.output.reserve() => permit.map_err(|_| InvokeError::Cancelled),
            stop = self.interrupt.overdue() => Err(stop.into()),
        };
        let mut buffer = self.lock();
        match permit {
            Ok(permit) => permit.send(Chunk::Text(std::mem::take(&mut buffer.text))),
            Err(error) => buffer.failed = Some(error),
        }
        buffer.check()
    }

    fn lock(&self) -> MutexGuard<'_, Buffer> {
        self.buffer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Buffer {
    fn check(&self) -> Result<(), InvokeError> {
        self.failed.clone().map_or(Ok(()), Err)
    }

    /// All characters that are complete.
    fn read_whole(&mut self) {
        for chunk in self.bytes[self.read..].utf8_chunks() {
            self.text += chunk.valid();
            self.read += chunk.valid().len();
            let invalid = chunk.invalid();
            let is_last = self.read + invalid.len() == self.bytes.len();
            if invalid.is_empty() || (is_last && may_go_on(invalid)) {
                return;
            }
            self.text.push(char::REPLACEMENT_CHARACTER);
            self.read += invalid.len();
        }
    }

    fn read_rest(&mut self) {
        self.read_whole();
        self.text += &String::from_utf8_lossy(&self.bytes[self.read..]);
        self.read = self.bytes.len();
    }
}

/// Whether more bytes could make a character of these.
fn may_go_on(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_err_and(|error| error.error_len().is_none())
}

impl IsTerminal for GuestOutput {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for GuestOutput {
    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }

    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        // Asked for by other versions of WASI than those that are linked.
        Box::new(tokio::io::sink())
    }
}

impl OutputStream for GuestOutput {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.take(&bytes).map_err(trap)
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        let buffer = self.lock();
        buffer.check().map_err(trap)?;
        Ok(if buffer.text.is_empty() { WRITE_BYTES } else { 0 })
    }
}

#[async_trait]
impl Pollable for GuestOutput {
    async fn ready(&mut self) {
        // What failed is told by the next look at the stream.
        drop(self.passed_on().await);
    }
}

fn trap(error: InvokeError) -> StreamError {
    StreamError::Trap(error.into())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::Budget;

    fn output(room: usize, limit: u64) -> (GuestOutput, mpsc::Receiver<Chunk>) {
        let (sender, chunks) = mpsc::channel(room);
        let output = GuestOutput {
            buffer: Arc::default(),
            output: sender,
            delivered: Delivered::default(),
            emitted_bytes: Meter::new(Budget::EmittedBytes, limit),
            interrupt: Interrupt::new(CancellationToken::new(), Instant::now(), Duration::from_secs(1)),
        };
        (output, chunks)
    }

    fn received(chunks: &mut mpsc::Receiver<Chunk>) -> Vec<String> {
        std::iter::from_fn(|| chunks.try_recv().ok())
            .map(|chunk| match chunk {
                Chunk::Text(text) => text,
                other => panic!("{other:?}"),
            })
            .collect()
    }

    #[tokio::test(start_paused = true)]
    async fn characters_are_passed_on_whole() {
        let (mut output, mut chunks) = output(8, 1000);
        for bytes in [&b"caf\xc3"[..], b"\xa9 \xff\xf0\x9f", b"\x98\x80", b"\xe2\x82"] {
            output.write(Bytes::copy_from_slice(bytes)).unwrap();
        }
        assert_eq!(received(&mut chunks), ["caf", "é \u{FFFD}", "😀"]);
        assert_eq!(output.finish().await, b"caf\xc3\xa9 \xff\xf0\x9f\x98\x80\xe2\x82");
        assert_eq!(received(&mut chunks), ["\u{FFFD}"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_channel_makes_the_guest_wait_and_a_closed_one_stops_it() {
        let (mut output, mut chunks) = output(1, 1000);
        output.write("one".into()).unwrap();
        output.write("two".into()).unwrap();
        assert_eq!(output.check_write().unwrap(), 0);
        assert_eq!(received(&mut chunks), ["one"]);
        output.ready().await;
        assert_eq!(
            (output.check_write().unwrap(), received(&mut chunks)),
            (WRITE_BYTES, vec!["two".to_owned()])
        );
        drop(chunks);
        assert_eq!(output.say("three").await, Err(InvokeError::Cancelled));
        assert!(output.check_write().is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_beyond_the_deadline() {
        let (output, _chunks) = output(1, 1000);
        output.say("one").await.unwrap();
        assert_eq!(output.say("two").await, Err(InvokeError::Deadline));
        assert_eq!(output.finish().await, b"onetwo");
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_written_is_charged() {
        let (output, _chunks) = output(8, 40);
        output.say("12345678").await.unwrap();
        assert_eq!(output.say("x").await, Err(InvokeError::Exhausted(Budget::EmittedBytes)));
    }
}
