//! What an invocation said so far, for whoever follows it: those who asked, and those who come back.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use dunlin_protocol::{
    AttemptId, Chunk, Emission, Emissions, Ended, Failure, InvocationId, NodeId, Placed, Resume, Tokens,
    limits::MAX_GENERATIONS,
};
use tokio::{sync::watch, time::Instant};

/// Times between tokens that are kept of one invocation, for metrics. Of a longer answer the rest is not counted.
const MAX_GAPS: usize = 4096;

/// The emissions that were delivered, each once, in their order.
#[derive(Debug)]
pub(crate) struct Log {
    pub(crate) id: InvocationId,
    state: Mutex<State>,
    /// Counts changes.
    changed: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct State {
    emissions: Emissions,
    placed: Vec<Placed>,
    end: Option<End>,
    tokens: u64,
    /// Of the first token or text, and of the end.
    first_at: Option<Instant>,
    ended_at: Option<Instant>,
    /// Of the last tokens, and the times between those before, as far as they are kept.
    last_tokens: Option<Instant>,
    gaps: Vec<Duration>,
}

/// How far an invocation is.
#[derive(Debug, Clone)]
pub(crate) struct Standing {
    pub(crate) placed: Vec<Placed>,
    pub(crate) tokens: u64,
    pub(crate) first_at: Option<Instant>,
    pub(crate) ended_at: Option<Instant>,
    pub(crate) end: Option<End>,
}

#[derive(Debug, Clone)]
pub(crate) enum End {
    Ended(Box<Ended>),
    /// It was never begun.
    Refused(Failure),
}

/// What there is to say, from some placement and some emission on.
#[derive(Debug)]
pub(crate) enum Next {
    Placed(Box<Placed>),
    Chunk(Chunk),
    End(End),
    Nothing,
}

impl Log {
    pub(crate) fn new(id: InvocationId) -> Self {
        Self { id, state: Mutex::default(), changed: watch::Sender::new(0) }
    }

    pub(crate) fn watch(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    pub(crate) fn place(&self, placed: Placed) {
        self.lock().placed.push(placed);
        self.tell();
    }

    /// Gives the bytes of all that was delivered so far.
    pub(crate) fn deliver(&self, emissions: impl IntoIterator<Item = Emission>) -> usize {
        let mut state = self.lock();
        for emission in emissions {
            if let Emission::Tokens { tokens, .. } = &emission {
                state.tokens += tokens.0.len() as u64;
                state.note_gap();
            }
            state.first_at.get_or_insert_with(Instant::now);
            state.emissions.push(emission);
        }
        let bytes = state.emissions.bytes();
        drop(state);
        self.tell();
        bytes
    }

    /// The times between one delivery of tokens and the next, once.
    pub(crate) fn take_gaps(&self) -> Vec<Duration> {
        std::mem::take(&mut self.lock().gaps)
    }

    pub(crate) fn bytes(&self) -> usize {
        self.lock().emissions.bytes()
    }

    pub(crate) fn end(&self, end: End) {
        {
            let mut state = self.lock();
            state.end.get_or_insert(end);
            state.ended_at.get_or_insert_with(Instant::now);
        }
        self.tell();
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.lock().end.is_some()
    }

    pub(crate) fn offset(&self) -> u64 {
        self.lock().emissions.offset()
    }

    pub(crate) fn standing(&self) -> Standing {
        let state = self.lock();
        let State { placed, tokens, first_at, ended_at, end, .. } = &*state;
        Standing {
            placed: placed.clone(),
            tokens: *tokens,
            first_at: *first_at,
            ended_at: *ended_at,
            end: end.clone(),
        }
    }

    /// Where an attempt was placed.
    pub(crate) fn node_of(&self, attempt: AttemptId) -> Option<NodeId> {
        let state = self.lock();
        state.placed.iter().find(|placed| placed.attempt == attempt).map(|placed| placed.node.clone())
    }

    pub(crate) fn last_node(&self) -> Option<NodeId> {
        self.lock().placed.last().map(|placed| placed.node.clone())
    }

    /// What another attempt has to know to go on.
    pub(crate) fn resume(&self) -> Resume {
        let state = self.lock();
        let mut resume = Resume { offset: state.emissions.offset(), ..Resume::default() };
        for emission in state.emissions.iter() {
            match emission {
                Emission::Tokens { generation, tokens } => {
                    let index = *generation as usize;
                    if index >= MAX_GENERATIONS {
                        continue;
                    }
                    if resume.generations.len() <= index {
                        resume.generations.resize_with(index + 1, Tokens::default);
                    }
                    resume.generations[index].0.extend(&tokens.0);
                }
                Emission::Text(text) | Emission::Json(text) => resume.text_bytes += text.len() as u64,
                Emission::Body(bytes) => resume.body_bytes += bytes.len() as u64,
                Emission::Progress(_) => {}
            }
        }
        resume
    }

    pub(crate) fn next(&self, placed: usize, offset: u64) -> Next {
        let state = self.lock();
        if let Some(placed) = state.placed.get(placed) {
            return Next::Placed(Box::new(placed.clone()));
        }
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

impl State {
    fn note_gap(&mut self) {
        let now = Instant::now();
        if let Some(last) = self.last_tokens.replace(now)
            && self.gaps.len() < MAX_GAPS
        {
            self.gaps.push(now - last);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_attempt_learns_what_was_delivered() {
        let log = Log::new(InvocationId(1));
        log.deliver([
            Emission::Tokens { generation: 1, tokens: Tokens(vec![7]) },
            Emission::Text("caf\u{e9}".into()),
            Emission::Tokens { generation: 0, tokens: Tokens(vec![1, 2]) },
            Emission::Progress(500),
            Emission::Tokens { generation: 0, tokens: Tokens(vec![3]) },
            Emission::Json("{}".into()),
        ]);
        let resume = log.resume();
        assert_eq!((resume.offset, resume.text_bytes, resume.body_bytes), (6, 7, 0));
        assert_eq!(resume.generations, [Tokens(vec![1, 2, 3]), Tokens(vec![7])]);
        assert!(matches!(log.next(0, 4), Next::Chunk(chunk) if chunk.emissions.len() == 2));
        assert!(matches!(log.next(0, 6), Next::Nothing));
        assert_eq!((log.take_gaps().len(), log.take_gaps().len()), (2, 0));
    }
}
