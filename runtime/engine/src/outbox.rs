//! What an engine says to its handle. Who has something to say writes it, as far as the socket takes it at once: where every
//! core computes, waking a thread to do so costs the step that it interrupts more than the write does, and the thread may wait
//! for its turn for as long as several steps take.

use std::{
    io::Write as _,
    os::unix::net::UnixStream,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use bytes::{Buf as _, BytesMut};
use crossbeam_channel::Sender;
use dunlin_engine_handle::{EngineError, FromEngine, PULSE_INTERVAL, frame};
use rustix::net::{SendFlags, send};

use crate::Vitals;

/// Where the messages of an engine go.
#[derive(Debug, Clone)]
pub struct Outbox(Sink);

#[derive(Debug, Clone)]
enum Sink {
    Socket(Arc<Socket>),
    Channel(Sender<FromEngine>),
}

#[derive(Debug)]
struct Socket {
    stream: UnixStream,
    state: Mutex<State>,
    /// There is a backlog, or the end.
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Encoded, and not taken by the socket yet.
    backlog: BytesMut,
    /// The writer has taken earlier bytes, and is not through with them.
    writing: bool,
    closed: bool,
}

impl From<Sender<FromEngine>> for Outbox {
    /// For an engine in the process of whom it serves.
    fn from(sender: Sender<FromEngine>) -> Self {
        Self(Sink::Channel(sender))
    }
}

impl Outbox {
    /// Nothing that the socket does not take at once leaves before somebody calls [`Self::write`].
    pub(crate) fn to(stream: UnixStream) -> Self {
        Self(Sink::Socket(Arc::new(Socket { stream, state: Mutex::default(), changed: Condvar::new() })))
    }

    pub(crate) fn say(&self, message: FromEngine) {
        self.say_all([message]);
    }

    /// As one write, so that the other end wakes once.
    pub(crate) fn say_all(&self, messages: impl IntoIterator<Item = FromEngine>) {
        match &self.0 {
            // Whoever was served may be gone.
            Sink::Channel(sender) => messages.into_iter().for_each(|message| drop(sender.send(message))),
            Sink::Socket(socket) => {
                let mut state = socket.lock();
                for message in messages {
                    encode(&message, &mut state.backlog);
                }
                socket.send_what_fits(&mut state);
            }
        }
    }

    /// Writes what the socket did not take at once, and a pulse every [`PULSE_INTERVAL`], until [`Self::close`] or an error of
    /// the socket, whose other end is gone then.
    pub(crate) fn write(&self, vitals: &Vitals) {
        let Sink::Socket(socket) = &self.0 else { return };
        let mut next_pulse = Instant::now();
        while let Some(bytes) = socket.wait(next_pulse.saturating_duration_since(Instant::now())) {
            if !bytes.is_empty() && (&socket.stream).write_all(&bytes).is_err() {
                return;
            }
            socket.lock().writing = false;
            if Instant::now() >= next_pulse {
                next_pulse = Instant::now() + PULSE_INTERVAL;
                self.say(FromEngine::Pulse(vitals.pulse()));
            }
        }
    }

    /// Lets the writer end, once everything that was said is written.
    pub(crate) fn close(&self) {
        if let Sink::Socket(socket) = &self.0 {
            socket.lock().closed = true;
            socket.changed.notify_one();
        }
    }
}

impl Socket {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn send_what_fits(&self, state: &mut State) {
        if !state.writing {
            let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
            // An error that stays is found by the writer.
            if let Ok(sent) = send(&self.stream, &state.backlog, flags) {
                state.backlog.advance(sent);
            }
        }
        if !state.backlog.is_empty() {
            self.changed.notify_one();
        }
    }

    /// Waits for a backlog, at most so long; takes it. `None` at the end.
    fn wait(&self, at_most: Duration) -> Option<BytesMut> {
        let idle = |state: &mut State| state.backlog.is_empty() && !state.closed;
        let waited = self.changed.wait_timeout_while(self.lock(), at_most, idle);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        if state.closed && state.backlog.is_empty() {
            return None;
        }
        state.writing = !state.backlog.is_empty();
        Some(state.backlog.split())
    }
}

/// A message that cannot be encoded is lost, and its caller told so where it can be.
fn encode(message: &FromEngine, buffer: &mut BytesMut) {
    let Err(error) = frame::encode(message, buffer) else { return };
    eprintln!("dunlin-engine: {error}");
    if let FromEngine::Answer { id, .. } = message {
        let answer = Err(EngineError::Backend(format!("the answer could not be sent: {error}")));
        drop(frame::encode(&FromEngine::Answer { id: *id, answer }, buffer));
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use dunlin_engine_handle::{Answer, CallId};

    use super::*;

    fn pair() -> (Outbox, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        (Outbox::to(ours), theirs)
    }

    fn answer(id: u64, bytes: usize) -> FromEngine {
        FromEngine::Answer { id: CallId(id), answer: Ok(Answer::Bytes(vec![7; bytes])) }
    }

    fn read_id(stream: &mut UnixStream, scratch: &mut Vec<u8>) -> Option<u64> {
        loop {
            match frame::read(stream, scratch).unwrap()? {
                FromEngine::Answer { id, .. } => return Some(id.0),
                FromEngine::Pulse(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn what_fits_needs_no_writer() {
        let (outbox, mut other_end) = pair();
        outbox.say_all([answer(1, 10), answer(2, 10)]);
        let mut scratch = Vec::new();
        assert_eq!(read_id(&mut other_end, &mut scratch), Some(1));
        assert_eq!(read_id(&mut other_end, &mut scratch), Some(2));
    }

    #[test]
    fn more_than_the_socket_holds_comes_whole_and_in_order() {
        let (outbox, mut other_end) = pair();
        let writer = {
            let outbox = outbox.clone();
            thread::spawn(move || outbox.write(&Vitals::default()))
        };
        let speakers: Vec<_> = (0..2)
            .map(|speaker| {
                let outbox = outbox.clone();
                thread::spawn(move || {
                    for index in 0..40 {
                        outbox.say(answer(speaker * 1_000 + index, 100_000));
                    }
                })
            })
            .collect();
        let mut scratch = Vec::new();
        let mut next = [0, 0];
        for _ in 0..80 {
            let id = read_id(&mut other_end, &mut scratch).unwrap();
            let of_speaker = &mut next[(id / 1_000) as usize];
            assert_eq!(id % 1_000, *of_speaker);
            *of_speaker += 1;
        }
        speakers.into_iter().for_each(|speaker| speaker.join().unwrap());
        outbox.close();
        writer.join().unwrap();
    }

    #[test]
    fn the_writer_ends_when_nobody_reads_any_more() {
        let (outbox, other_end) = pair();
        drop(other_end);
        outbox.say(answer(1, 10));
        outbox.write(&Vitals::default());
    }

    #[test]
    fn a_pulse_comes_while_nothing_is_said() {
        let (outbox, mut other_end) = pair();
        let theirs = outbox.clone();
        let writer = thread::spawn(move || theirs.write(&Vitals::default()));
        for _ in 0..2 {
            let message = frame::read(&mut other_end, &mut Vec::new()).unwrap();
            assert!(matches!(message, Some(FromEngine::Pulse(_))), "{message:?}");
        }
        outbox.close();
        writer.join().unwrap();
    }
}
