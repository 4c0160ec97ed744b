//! A call that takes steps: its tokens, how far they are computed, and what is to come of them.

use std::time::{Duration, Instant};

use dunlin_engine_handle::{CallId, EngineError, Token};

use crate::{generation::Generation, llama::SeqId, prefixes::Owner, scoring::Scoring};

/// One call of the step loop.
#[derive(Debug)]
pub(crate) struct Task {
    pub id: CallId,
    pub owner: Owner,
    /// The prompt, then what was generated.
    pub tokens: Vec<Token>,
    /// Tokens of the prompt.
    pub prompt: usize,
    /// Tokens that are in the KV cache; counts only while the task runs.
    pub fed: usize,
    pub deadline: Option<Instant>,
    pub kind: Kind,
}

#[derive(Debug)]
pub(crate) enum Kind {
    Generate(Box<Generation>),
    Score(Box<Scoring>),
    /// Reads a prompt for generations that are about to come.
    Prepare,
}

impl Task {
    pub(crate) fn new(
        id: CallId,
        owner: Owner,
        prompt: Vec<Token>,
        deadline_ms: Option<u64>,
        arrived: Instant,
        kind: Kind,
    ) -> Self {
        let deadline = deadline_ms.and_then(|ms| arrived.checked_add(Duration::from_millis(ms)));
        Self { id, owner, prompt: prompt.len(), tokens: prompt, fed: 0, deadline, kind }
    }

    /// Tokens that are yet to be computed.
    pub(crate) fn pending(&self) -> &[Token] {
        &self.tokens[self.fed..]
    }

    /// It is past its prompt.
    pub(crate) fn is_decoding(&self) -> bool {
        self.fed >= self.prompt
    }

    /// The next step may compute its pending tokens.
    pub(crate) fn is_feedable(&self) -> bool {
        self.fed < self.tokens.len()
            && match &self.kind {
                Kind::Generate(generation) => generation.is_feedable(),
                Kind::Score(_) | Kind::Prepare => true,
            }
    }

    /// Whether the logits of the token at `position` are wanted.
    pub(crate) fn wants_output(&self, position: usize) -> bool {
        let is_last = position + 1 == self.tokens.len();
        match &self.kind {
            Kind::Generate(generation) => {
                is_last || (generation.reports_logprobs() && position + 1 >= self.prompt)
            }
            Kind::Score(_) => is_last,
            Kind::Prepare => false,
        }
    }

    pub(crate) fn is_past_deadline(&self, now: Instant) -> bool {
        self.deadline.is_some_and(|deadline| deadline <= now)
    }
}

/// A task that runs, on its sequence.
#[derive(Debug)]
pub(crate) struct Running {
    pub task: Task,
    pub seq: SeqId,
}

/// What became of a task in a step.
#[derive(Debug)]
pub(crate) enum Progress {
    GoesOn,
    /// Its last delta or its answer is ready to be sent.
    Done,
    Failed(EngineError),
}
