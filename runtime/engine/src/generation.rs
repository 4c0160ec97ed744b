//! One generation: from logits to deltas.

use std::time::{Duration, Instant};

use dunlin_engine_handle::{
    CallId, Constraint, Delta, EngineError, Finish, Generate, StopReason, Token, TokenInfo, Usage,
};

use crate::{
    constraint::{Advanced, Guide, Mask},
    llama::Vocab,
    sampling::{Distribution, Sampler},
    text::{Piece, TextStream},
    usage::Clock,
};

/// What a generation has to say about a step.
#[derive(Debug, PartialEq)]
pub(crate) enum Next {
    /// Its new tokens are to be computed.
    Feed,
    /// A worker has to look at the token first.
    Consult(Token),
    /// It waits for a worker.
    Wait,
    /// It is over; its last delta says how.
    Over,
}

/// Where the constraint of a generation stands.
#[derive(Debug)]
enum Following {
    /// There is none.
    Free,
    /// A worker looks at the last token; what must follow is not known yet.
    Consulting,
    /// What must follow is known; a worker computes what may come after that.
    Masking,
    Ready {
        guide: Guide,
        mask: Mask,
    },
}

#[derive(Debug)]
pub(crate) struct Generation {
    max_tokens: u32,
    sampler: Sampler,
    top_logprobs: Option<u32>,
    stream: TextStream,
    following: Following,
    /// Logits that wait for their mask.
    row: Option<Vec<f32>>,
    /// The output is as long as it may be; only whether it is complete is left to find out.
    maxed: bool,
    /// The output is complete once the forced tokens are emitted.
    completing: bool,
    pub constraint: Option<Constraint>,
    /// Tokens at the end of the prompt that are output begun elsewhere.
    pub replayed: usize,
    pub clock: Clock,
    pub usage: Usage,
    delta: Delta,
    /// Of the tokens of `delta`, how many the clock knows of.
    timed: usize,
    has_spoken: bool,
}

/// What a generation sees of the sequence that it runs on.
#[derive(Debug)]
pub(crate) struct Sequence<'a> {
    pub vocab: Vocab<'a>,
    /// Prompt and output.
    pub tokens: &'a mut Vec<Token>,
    /// Longest that it may become.
    pub limit: usize,
}

impl Generation {
    pub(crate) fn new(id: CallId, generate: Generate, arrived: Instant) -> Self {
        Self {
            max_tokens: generate.max_tokens,
            sampler: Sampler::new(generate.sampling, generate.seed),
            top_logprobs: generate.top_logprobs,
            stream: TextStream::new(generate.stop),
            following: if generate.constraint.is_some() { Following::Consulting } else { Following::Free },
            row: None,
            maxed: false,
            completing: false,
            constraint: generate.constraint,
            replayed: 0,
            clock: Clock::new(arrived),
            usage: Usage::default(),
            delta: Delta { id, tokens: Vec::new(), text: String::new(), logprobs: Vec::new(), finish: None },
            timed: 0,
            has_spoken: false,
        }
    }

    /// Says again what the sequence ends with: `count` tokens of output that was begun elsewhere.
    pub(crate) fn replay(&mut self, count: usize, seq: &mut Sequence<'_>) {
        self.replayed = count;
        for position in seq.tokens.len() - count..seq.tokens.len() {
            let token = seq.tokens[position];
            self.sampler.accept(token);
            self.emit(token, None, seq);
            if self.is_over() {
                return;
            }
        }
        // They are not of a step of this engine.
        self.timed = self.delta.tokens.len();
        if matches!(self.following, Following::Free) {
            self.settle();
        }
    }

    pub(crate) fn is_feedable(&self) -> bool {
        !matches!(self.following, Following::Consulting) && self.row.is_none() && !self.is_over()
    }

    pub(crate) fn is_over(&self) -> bool {
        self.delta.finish.is_some()
    }

    pub(crate) fn reports_logprobs(&self) -> bool {
        self.top_logprobs.is_some()
    }

    /// A worker is finding out what must follow.
    pub(crate) fn is_consulting(&self) -> bool {
        matches!(self.following, Following::Consulting)
    }

    /// The guide, for a worker to take.
    pub(crate) fn take_guide(&mut self) -> Option<Guide> {
        match std::mem::replace(&mut self.following, Following::Consulting) {
            Following::Ready { guide, .. } => Some(guide),
            other => {
                self.following = other;
                None
            }
        }
    }

    /// Logits whose mask was missing are of no use once the sequence is computed anew.
    pub(crate) fn forget_row(&mut self) {
        self.row = None;
    }

    /// The logits that follow the token at `position`.
    ///
    /// # Errors
    /// A model without a finite logit; the generation must end.
    pub(crate) fn on_logits(
        &mut self,
        logits: &mut [f32],
        position: usize,
        seq: &mut Sequence<'_>,
    ) -> Result<Next, EngineError> {
        if let Some(&forced) = seq.tokens.get(position + 1) {
            let last = position + 2 == seq.tokens.len();
            return Ok(self.report_forced(logits, forced, last, seq));
        }
        match self.following {
            Following::Free | Following::Ready { .. } => self.choose(logits, seq),
            Following::Consulting | Following::Masking => {
                self.row = Some(logits.to_vec());
                Ok(Next::Wait)
            }
        }
    }

    /// A worker found what must follow the last token.
    pub(crate) fn on_advanced(&mut self, advanced: &Advanced, seq: &mut Sequence<'_>) -> Next {
        self.following = Following::Masking;
        if self.maxed {
            let complete = advanced.complete && advanced.forced.is_empty();
            return self.finish(if complete {
                StopReason::ConstraintComplete
            } else {
                StopReason::MaxTokens
            });
        }
        let room = (self.max_tokens - self.usage.output_tokens) as usize;
        let room = room.min(seq.limit.saturating_sub(seq.tokens.len()));
        let forced = &advanced.forced[..advanced.forced.len().min(room)];
        let fits = forced.len() == advanced.forced.len();
        self.usage.forced_tokens += forced.len() as u32;
        self.completing = advanced.complete && fits;
        seq.tokens.extend_from_slice(forced);
        if self.top_logprobs.is_some() && !forced.is_empty() {
            // They are emitted when their logits are known.
            return Next::Feed;
        }
        for &token in forced {
            self.emit(token, None, seq);
            if self.is_over() {
                return Next::Over;
            }
        }
        self.settle().unwrap_or(Next::Feed)
    }

    /// Ends the generation where nothing may follow what was emitted.
    fn settle(&mut self) -> Option<Next> {
        if self.completing {
            Some(self.finish(StopReason::ConstraintComplete))
        } else if self.maxed {
            Some(self.finish(StopReason::MaxTokens))
        } else {
            None
        }
    }

    /// A worker computed the mask.
    ///
    /// # Errors
    /// As [`Self::on_logits`].
    pub(crate) fn on_mask(
        &mut self,
        guide: Guide,
        mask: Mask,
        spent: Duration,
        seq: &mut Sequence<'_>,
    ) -> Result<Next, EngineError> {
        self.clock.mask(spent);
        self.following = Following::Ready { guide, mask };
        match self.row.take() {
            Some(mut logits) => self.choose(&mut logits, seq),
            None => Ok(Next::Feed),
        }
    }

    fn choose(&mut self, logits: &mut [f32], seq: &mut Sequence<'_>) -> Result<Next, EngineError> {
        if self.max_tokens == 0 {
            return Ok(self.finish(StopReason::MaxTokens));
        }
        // A report is of the distribution before anything is done to it.
        let report = self.top_logprobs.map(|top| (Distribution::of(logits, top), logits.to_vec()));
        if let Following::Ready { mask, .. } = &self.following {
            mask.apply(logits);
        }
        let chosen = self.sampler.choose(logits, seq.tokens);
        let token = chosen.map_err(|error| EngineError::Backend(error.to_string()))?;
        if seq.vocab.is_end(token) {
            let complete = matches!(self.following, Following::Ready { .. });
            return Ok(self.finish(if complete {
                StopReason::ConstraintComplete
            } else {
                StopReason::EndOfTurn
            }));
        }
        self.sampler.accept(token);
        let info = report.map(|(distribution, raw)| {
            distribution.report(token, raw[token as usize], |t| spell(&seq.vocab, t))
        });
        seq.tokens.push(token);
        self.emit(token, info, seq);
        Ok(match (self.is_over(), &self.following) {
            (true, _) => Next::Over,
            (false, Following::Free) => self.settle().unwrap_or(Next::Feed),
            (false, _) => Next::Consult(token),
        })
    }

    /// A token that the constraint had forced, now that its logits are known; `last`: none is left after it.
    fn report_forced(&mut self, logits: &[f32], token: Token, last: bool, seq: &mut Sequence<'_>) -> Next {
        if let Some(top) = self.top_logprobs {
            let info =
                Distribution::of(logits, top).report(token, logits[token as usize], |t| spell(&seq.vocab, t));
            self.emit(token, Some(info), seq);
        }
        match (self.is_over(), last) {
            (true, _) => Next::Over,
            (false, true) => self.settle().unwrap_or(Next::Feed),
            (false, false) => Next::Feed,
        }
    }

    /// Puts a token, which has joined the sequence, into the next delta.
    fn emit(&mut self, token: Token, info: Option<TokenInfo>, seq: &Sequence<'_>) {
        self.usage.output_tokens += 1;
        self.delta.tokens.push(token);
        self.delta.logprobs.extend(info);
        match self.stream.push(&spell(&seq.vocab, token)) {
            Piece::Text(text) => self.delta.text += &text,
            Piece::Stopped(text) => {
                self.delta.text += &text;
                self.end(StopReason::StopString);
                return;
            }
        }
        self.maxed = self.usage.output_tokens >= self.max_tokens;
        if seq.tokens.len() >= seq.limit && !self.maxed {
            self.finish(StopReason::ContextFull);
        }
    }

    /// Ends the generation, for whatever reason; its last delta is ready then.
    pub(crate) fn finish(&mut self, reason: StopReason) -> Next {
        if !self.is_over() {
            self.delta.text += &self.stream.finish();
            self.end(reason);
        }
        Next::Over
    }

    fn end(&mut self, reason: StopReason) {
        self.on_step();
        self.clock.report(&mut self.usage);
        self.delta.finish = Some(Finish { reason, usage: self.usage });
    }

    /// It has something to say for the first time.
    pub(crate) fn has_first_words(&self) -> bool {
        !self.has_spoken && !self.delta.tokens.is_empty()
    }

    /// The tokens of a step are complete: takes their time.
    pub(crate) fn on_step(&mut self) {
        let count = self.delta.tokens.len() - self.timed;
        self.clock.tokens(count);
        self.timed = self.delta.tokens.len();
    }

    /// What came since the last delta, if anything.
    pub(crate) fn take_delta(&mut self) -> Option<Delta> {
        if self.delta.tokens.is_empty() && self.delta.text.is_empty() && !self.is_over() {
            return None;
        }
        (self.has_spoken, self.timed) = (true, 0);
        let empty = Delta {
            id: self.delta.id,
            tokens: Vec::new(),
            text: String::new(),
            logprobs: Vec::new(),
            finish: None,
        };
        Some(std::mem::replace(&mut self.delta, empty))
    }
}

fn spell(vocab: &Vocab<'_>, token: Token) -> Vec<u8> {
    let mut bytes = Vec::new();
    vocab.piece(token, false, &mut bytes);
    bytes
}
