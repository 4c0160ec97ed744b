//! The log of one attempt: all that it said, numbered, kept whole until nobody can ask for it again.

use std::sync::{Mutex, MutexGuard, PoisonError};

use dunlin_protocol::{AttemptId, Chunk, Emission, Ended, Epoch, Failure, limits::MAX_EMISSIONS};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Text that one emission carries at most; longer text becomes several.
pub(crate) const EMISSION_BYTES: usize = 4 << 10;

/// Bytes of text that one chunk carries, so that its frame stays below its cap.
const CHUNK_BYTES: usize = 12 << 10;

/// What an attempt said so far.
#[derive(Debug)]
pub(crate) struct AttemptLog {
    pub(crate) id: AttemptId,
    /// Of the scheduler that placed it.
    pub(crate) epoch: Epoch,
    /// The number of its first emission.
    base: u64,
    state: Mutex<State>,
    /// Counts changes.
    changed: watch::Sender<u64>,
    pub(crate) cancel: CancellationToken,
}

#[derive(Debug, Default)]
struct State {
    loads: bool,
    started: bool,
    emissions: Vec<Emission>,
    tokens: u32,
    end: Option<End>,
}

/// How an attempt ended.
#[derive(Debug, Clone)]
pub(crate) enum End {
    Ended(Box<Ended>),
    /// Nothing of it was run.
    Refused(Failure),
}

/// What there is to say from some emission on.
#[derive(Debug)]
pub(crate) enum Next {
    Chunk(Chunk),
    End(End),
    Nothing,
}

impl AttemptLog {
    pub(crate) fn new(id: AttemptId, epoch: Epoch, base: u64) -> Self {
        let state = Mutex::default();
        Self { id, epoch, base, state, changed: watch::Sender::new(0), cancel: CancellationToken::new() }
    }

    pub(crate) fn started(&self, loads: bool) {
        let mut state = self.lock();
        (state.started, state.loads) = (true, loads);
        drop(state);
        self.tell();
    }

    pub(crate) fn say(&self, emission: Emission) {
        let mut state = self.lock();
        if let Emission::Tokens { tokens, .. } = &emission {
            state.tokens += tokens.0.len() as u32;
        }
        state.emissions.push(emission);
        drop(state);
        self.tell();
    }

    pub(crate) fn end(&self, end: impl FnOnce(u64) -> End) {
        let mut state = self.lock();
        let offset = self.base + state.emissions.len() as u64;
        state.end.get_or_insert_with(|| end(offset));
        drop(state);
        self.tell();
    }

    /// Sees every change.
    pub(crate) fn watch(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Whether it runs yet, and whether it has to load a model first.
    pub(crate) fn has_started(&self) -> Option<bool> {
        let state = self.lock();
        state.started.then_some(state.loads)
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.lock().end.is_some()
    }

    /// The number that the next emission has.
    pub(crate) fn offset(&self) -> u64 {
        self.base + self.lock().emissions.len() as u64
    }

    /// Tokens that were drawn in it.
    pub(crate) fn output_tokens(&self) -> u32 {
        self.lock().tokens
    }

    /// What follows emission number `offset`.
    pub(crate) fn next(&self, offset: u64) -> Next {
        let state = self.lock();
        let from = usize::try_from(offset.saturating_sub(self.base)).unwrap_or(usize::MAX);
        let rest = state.emissions.get(from..).unwrap_or_default();
        if rest.is_empty() {
            return state.end.clone().map_or(Next::Nothing, Next::End);
        }
        let mut bytes = 0;
        let fits = |emission: &&Emission| {
            bytes += size(emission);
            bytes <= CHUNK_BYTES
        };
        let count = rest.iter().take(MAX_EMISSIONS).take_while(fits).count().max(1);
        Next::Chunk(Chunk { offset: self.base + from as u64, emissions: rest[..count].to_vec() })
    }

    fn tell(&self) {
        self.changed.send_modify(|count| *count += 1);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Bytes on the wire, about.
fn size(emission: &Emission) -> usize {
    16 + match emission {
        Emission::Tokens { tokens, .. } => 4 * tokens.0.len(),
        Emission::Text(text) | Emission::Json(text) => text.len(),
        Emission::Body(bytes) => bytes.len(),
        Emission::Progress(_) => 0,
    }
}

/// Cuts text so that each part fits into an emission; characters stay whole.
pub(crate) fn parts(mut text: &str) -> impl Iterator<Item = &str> {
    std::iter::from_fn(move || {
        let (part, rest) = text.split_at(text.floor_char_boundary(EMISSION_BYTES));
        text = rest;
        (!part.is_empty()).then_some(part)
    })
}

#[cfg(test)]
mod tests {
    use dunlin_protocol::InvocationId;

    use super::*;

    fn log(base: u64) -> AttemptLog {
        AttemptLog::new(AttemptId { invocation: InvocationId(1), number: 0 }, Epoch(1), base)
    }

    fn text(text: &str) -> Emission {
        Emission::Text(text.to_owned())
    }

    #[test]
    fn emissions_are_numbered_from_where_the_attempt_begins() {
        let log = log(10);
        assert!(matches!(log.next(10), Next::Nothing));
        for word in ["a", "b", "c"] {
            log.say(text(word));
        }
        assert_eq!(log.offset(), 13);
        let Next::Chunk(chunk) = log.next(11) else { panic!("no chunk") };
        assert_eq!((chunk.offset, chunk.emissions), (11, vec![text("b"), text("c")]));
        // What is before it was said by another.
        assert!(matches!(log.next(3), Next::Chunk(chunk) if chunk.offset == 10));
        assert!(matches!(log.next(13), Next::Nothing));
    }

    #[test]
    fn a_chunk_fits_into_a_frame() {
        let log = log(0);
        for _ in 0..100 {
            log.say(text(&"x".repeat(EMISSION_BYTES)));
        }
        let mut offset = 0;
        while let Next::Chunk(chunk) = log.next(offset) {
            assert!(chunk.emissions.iter().map(size).sum::<usize>() <= CHUNK_BYTES + 16);
            offset += chunk.emissions.len() as u64;
        }
        assert_eq!(offset, 100);
    }

    #[test]
    fn long_text_is_cut_between_characters() {
        let long = "\u{e9}".repeat(EMISSION_BYTES);
        let cut: Vec<&str> = parts(&long).collect();
        assert!(cut.len() > 1 && cut.iter().all(|part| part.len() <= EMISSION_BYTES));
        assert_eq!((cut.concat(), parts("").count()), (long, 0));
    }
}
