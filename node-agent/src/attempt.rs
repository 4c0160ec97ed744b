//! The log of one attempt: all that it said, numbered, kept whole until nobody can ask for it again.

use std::sync::{Mutex, MutexGuard, PoisonError};

use dunlin_protocol::{AttemptId, Chunk, Emission, Emissions, Ended, Epoch, Failure};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// What an attempt said so far.
#[derive(Debug)]
pub(crate) struct AttemptLog {
    pub(crate) id: AttemptId,
    /// Of the scheduler that placed it.
    pub(crate) epoch: Epoch,
    state: Mutex<State>,
    /// Counts changes.
    changed: watch::Sender<u64>,
    pub(crate) cancel: CancellationToken,
}

#[derive(Debug, Default)]
struct State {
    loads: bool,
    started: bool,
    emissions: Emissions,
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
        let state = Mutex::new(State { emissions: Emissions::from(base), ..State::default() });
        Self { id, epoch, state, changed: watch::Sender::new(0), cancel: CancellationToken::new() }
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
        let offset = state.emissions.offset();
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
        self.lock().emissions.offset()
    }

    /// Tokens that were drawn in it.
    pub(crate) fn output_tokens(&self) -> u32 {
        self.lock().tokens
    }

    /// What follows emission number `offset`.
    pub(crate) fn next(&self, offset: u64) -> Next {
        let state = self.lock();
        match state.emissions.next(offset) {
            Some(chunk) => Next::Chunk(chunk),
            None => state.end.clone().map_or(Next::Nothing, Next::End),
        }
    }

    fn tell(&self) {
        self.changed.send_modify(|count| *count += 1);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
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
}
