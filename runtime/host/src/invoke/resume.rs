//! What an invocation said so far: recorded as it goes, and given to the attempt that goes on with it elsewhere.
//!
//! That attempt runs the pipeline from its start. Its generations say again what is recorded of them, and what was
//! delivered already is not emitted again.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicU32, Ordering::Relaxed},
};

use dunlin_engine_handle::Token;
use tokio::sync::mpsc;

use crate::Chunk;

/// What is known of the attempts before.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Resume {
    /// The output so far of each generation, in the order in which they were begun.
    pub generations: Vec<Vec<Token>>,
    /// Text that reached the caller.
    pub delivered_bytes: u64,
}

/// New output of one generation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// Counts the generations of the invocation in the order in which they were begun, from 0.
    pub generation: u32,
    /// Tokens of this generation before these, those of earlier attempts included.
    pub offset: u64,
    pub tokens: Vec<Token>,
}

/// Numbers the generations of one invocation.
#[derive(Debug)]
pub(crate) struct Recorder {
    known: Vec<Vec<Token>>,
    begun: AtomicU32,
    to: Option<mpsc::UnboundedSender<Recorded>>,
}

impl Recorder {
    /// A budget of tokens bounds what is sent.
    pub(crate) fn new(known: Vec<Vec<Token>>, to: Option<mpsc::UnboundedSender<Recorded>>) -> Self {
        Self { known, begun: AtomicU32::new(0), to }
    }

    pub(crate) fn begin(&self) -> Recording {
        let generation = self.begun.fetch_add(1, Relaxed);
        let replay = self.known.get(generation as usize).cloned().unwrap_or_default();
        Recording { generation, replay, said: 0, to: self.to.clone() }
    }
}

/// One generation as it is recorded.
#[derive(Debug)]
pub(crate) struct Recording {
    generation: u32,
    /// What its engine has to say again.
    pub(crate) replay: Vec<Token>,
    said: usize,
    to: Option<mpsc::UnboundedSender<Recorded>>,
}

impl Recording {
    /// The engine said these. What is recorded already is not recorded again.
    pub(crate) fn take(&mut self, tokens: &[Token]) {
        let again = self.replay.len().saturating_sub(self.said).min(tokens.len());
        let offset = (self.said + again) as u64;
        self.said += tokens.len();
        let (Some(to), fresh @ [_, ..]) = (&self.to, &tokens[again..]) else { return };
        // Who no longer listens does not want to go on either.
        drop(to.send(Recorded { generation: self.generation, offset, tokens: fresh.to_vec() }));
    }
}

/// Text that is still to be held back, since an earlier attempt delivered it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Delivered(Arc<Mutex<u64>>);

impl Delivered {
    pub(crate) fn new(bytes: u64) -> Self {
        Self(Arc::new(Mutex::new(bytes)))
    }

    /// Takes off the text what was delivered. A character is not split.
    pub(crate) fn trim(&self, text: &mut String) {
        let mut left = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let most = usize::try_from(*left).unwrap_or(usize::MAX).min(text.len());
        let cut = text.floor_char_boundary(most);
        text.drain(..cut);
        *left -= cut as u64;
    }

    /// What is left of a chunk, if anything.
    pub(crate) fn fresh(&self, mut chunk: Chunk) -> Option<Chunk> {
        match &mut chunk {
            Chunk::Text(text) | Chunk::Json(text) if !text.is_empty() => {
                self.trim(text);
                (!text.is_empty()).then_some(chunk)
            }
            _ => Some(chunk),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_new_is_recorded() {
        let (to, mut recorded) = mpsc::unbounded_channel();
        let recorder = Recorder::new(vec![vec![1, 2, 3]], Some(to));
        let mut first = recorder.begin();
        let mut second = recorder.begin();
        assert_eq!((first.replay.as_slice(), second.replay.len()), ([1, 2, 3].as_slice(), 0));
        first.take(&[1, 2]);
        second.take(&[9]);
        first.take(&[3, 4, 5]);
        first.take(&[6]);
        recorded.close();
        let all: Vec<_> = std::iter::from_fn(|| recorded.try_recv().ok())
            .map(|recorded| (recorded.generation, recorded.offset, recorded.tokens))
            .collect();
        assert_eq!(all, [(1, 0, vec![9]), (0, 3, vec![4, 5]), (0, 5, vec![6])]);
    }

    #[test]
    fn what_was_delivered_is_held_back() {
        let delivered = Delivered::new(7);
        let fresh = |text: &str| delivered.fresh(Chunk::Text(text.to_owned()));
        assert_eq!(fresh("abc"), None);
        assert_eq!(delivered.fresh(Chunk::Progress(0.5)), Some(Chunk::Progress(0.5)));
        assert_eq!(fresh("d\u{e9}fgh"), Some(Chunk::Text("gh".into())));
        assert_eq!(fresh("i"), Some(Chunk::Text("i".into())));
    }
}
