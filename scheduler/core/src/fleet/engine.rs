//! A model on a node, and what it runs.

use std::collections::VecDeque;

use dunlin_costs::Running;

use super::report::Residency;
use crate::{AttemptId, ModelIndex, RowIndex, Time};

/// Prefixes of one engine that are remembered.
pub const MAX_PREFIXES_PER_ENGINE: usize = 16;

#[derive(Debug)]
pub(crate) struct Engine {
    pub(crate) model: ModelIndex,
    pub(crate) residency: Residency,
    pub(crate) bytes: u64,
    pub(crate) pinned: bool,
    pub(crate) streams: Vec<Stream>,
    /// The row of the operating point that it runs at, while it runs something.
    pub(crate) row: Option<RowIndex>,
    /// A load was ordered: since when, and how many bytes it will take.
    pub(crate) load: Option<Load>,
    /// Not to be loaded before.
    pub(crate) load_again: Option<Time>,
    /// Queued invocations that would rather wait for this engine than run elsewhere.
    pub(crate) awaited: u32,
    /// Last used at the end.
    prefixes: VecDeque<u64>,
    running: Running,
}

/// A load that was ordered and has not been reported as done.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load {
    pub(crate) since: Time,
    pub(crate) bytes: u64,
    /// Seconds that it takes by the row, calibration aside; `None` where fetching is a part of it.
    pub(crate) expected: Option<f64>,
}

/// An attempt that an engine runs: reserved when placed, corrected by what its progress says.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Stream {
    pub(crate) attempt: AttemptId,
    /// Of the prompt, what is still to be read; zero once the first token was seen.
    pub(crate) unread: u32,
    /// Tokens that it has, or will have once the prompt was read.
    pub(crate) context: u32,
    /// Expected.
    pub(crate) output_left: u32,
    /// Seconds between tokens that it asked for, or infinity.
    pub(crate) tpot: f64,
    pub(crate) deadline: Option<Time>,
    /// An engine died under it lately: it runs alone.
    pub(crate) suspect: bool,
}

/// Reading so many tokens of a prompt takes about as long as generating one.
const READ_PER_GENERATED: u32 = 8;

impl Stream {
    /// What is left of it, in generated tokens.
    pub(crate) fn tokens_left(&self) -> u64 {
        u64::from(self.unread / READ_PER_GENERATED) + u64::from(self.output_left)
    }

    pub(crate) const fn has_target(&self) -> bool {
        self.tpot.is_finite() || self.deadline.is_some()
    }
}

impl Engine {
    pub(crate) const fn new(model: ModelIndex, residency: Residency) -> Self {
        Self {
            model,
            residency,
            bytes: 0,
            pinned: false,
            streams: Vec::new(),
            row: None,
            load: None,
            load_again: None,
            awaited: 0,
            prefixes: VecDeque::new(),
            running: Running { sequences: 0, context: 0, backlog_tokens: 0 },
        }
    }

    /// What a request would share its steps with. Those that still read count as decoding too: they will.
    pub(crate) const fn running(&self) -> Running {
        self.running
    }

    pub(crate) const fn is_idle(&self) -> bool {
        self.streams.is_empty()
    }

    pub(crate) const fn is_resident(&self) -> bool {
        matches!(self.residency, Residency::Resident { .. })
    }

    pub(crate) const fn is_evictable(&self) -> bool {
        self.is_resident() && self.is_idle() && !self.pinned
    }

    pub(crate) fn is_absent(&self) -> bool {
        self.residency == Residency::Absent
    }

    pub(crate) fn has_suspect(&self) -> bool {
        self.streams.iter().any(|stream| stream.suspect)
    }

    pub(crate) fn add(&mut self, stream: Stream, row: RowIndex) {
        self.streams.push(stream);
        self.row = Some(row);
        self.recount();
    }

    pub(crate) fn remove(&mut self, attempt: AttemptId) -> bool {
        let before = self.streams.len();
        self.streams.retain(|stream| stream.attempt != attempt);
        if self.streams.is_empty() {
            self.row = None;
        }
        self.recount();
        self.streams.len() < before
    }

    /// So many more tokens of an attempt were seen; its prompt has been read.
    pub(crate) fn progress(&mut self, attempt: AttemptId, tokens: u32) {
        if let Some(stream) = self.streams.iter_mut().find(|stream| stream.attempt == attempt) {
            stream.unread = 0;
            stream.context = stream.context.saturating_add(tokens);
            // A stream that outlives the expectation is expected to end with the next report, again and again.
            stream.output_left = stream.output_left.saturating_sub(tokens).max(1);
        }
        self.recount();
    }

    fn recount(&mut self) {
        let sum = |of: fn(&Stream) -> u32| self.streams.iter().map(|stream| u64::from(of(stream))).sum();
        self.running = Running {
            sequences: self.streams.len() as u32,
            context: sum(|stream| stream.context),
            backlog_tokens: sum(|stream| stream.unread),
        };
    }

    /// Tells which one had to go.
    pub(crate) fn hold_prefix(&mut self, hash: u64) -> Option<u64> {
        self.prefixes.retain(|&held| held != hash);
        self.prefixes.push_back(hash);
        (self.prefixes.len() > MAX_PREFIXES_PER_ENGINE).then(|| self.prefixes.pop_front()).flatten()
    }

    pub(crate) fn take_prefixes(&mut self) -> VecDeque<u64> {
        std::mem::take(&mut self.prefixes)
    }
}
