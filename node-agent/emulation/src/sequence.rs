//! A call while it runs: how much of its prompt is read, what was said, how long it took.

use std::time::Duration;

use dunlin_engine_handle::{
    CallId, Delta, EngineError, Finish, Generate, Prepare, Score, StopReason, Token, Usage,
};
use tokio::time::Instant;

use crate::{
    text::{Next, Plan},
    words::detokenize,
};

/// What a sequence is for.
#[derive(Debug)]
pub(crate) enum Purpose {
    Generate { generate: Box<Generate>, plan: Plan },
    Score(Score),
    Prepare,
}

#[derive(Debug)]
pub(crate) struct Sequence {
    pub(crate) id: CallId,
    pub(crate) purpose: Purpose,
    pub(crate) tenant: String,
    pub(crate) public: u32,
    /// The prompt, and then what was generated.
    pub(crate) tokens: Vec<Token>,
    prompt: u32,
    /// Tokens of the prompt that the engine holds.
    pub(crate) read: u32,
    cached: u32,
    /// Besides the prompt: candidates of a score.
    pub(crate) beside: u32,
    arrived: Instant,
    pub(crate) began: Option<Instant>,
    first: Option<Instant>,
    last: Instant,
    gaps_us: Vec<u64>,
    /// Bytes of a character that is not whole yet.
    pending: Vec<u8>,
    text: String,
    pub(crate) cancelled: bool,
    deadline: Option<Instant>,
}

impl Sequence {
    pub(crate) fn generate(id: CallId, generate: Generate, now: Instant) -> Result<Self, EngineError> {
        let plan = Plan::of(&generate)?;
        let deadline = generate.deadline_ms.map(|ms| now + Duration::from_millis(ms));
        let (tokens, tenant, public) = (generate.prompt.clone(), generate.tenant.clone(), generate.public);
        let purpose = Purpose::Generate { generate: Box::new(generate), plan };
        Ok(Self::new(id, purpose, tokens, (tenant, public), deadline, now))
    }

    pub(crate) fn score(id: CallId, score: Score, now: Instant) -> Self {
        let deadline = score.deadline_ms.map(|ms| now + Duration::from_millis(ms));
        let beside = score.candidates.iter().map(|text| crate::tokenize(text).len() as u32 + 1).sum();
        let owner = (score.tenant.clone(), score.public);
        let sequence = Self::new(id, Purpose::Score(score.clone()), score.prompt, owner, deadline, now);
        Self { beside, ..sequence }
    }

    pub(crate) fn prepare(id: CallId, prepare: Prepare, now: Instant) -> Self {
        Self::new(id, Purpose::Prepare, prepare.prompt, (prepare.tenant, prepare.public), None, now)
    }

    fn new(
        id: CallId,
        purpose: Purpose,
        tokens: Vec<Token>,
        (tenant, public): (String, u32),
        deadline: Option<Instant>,
        now: Instant,
    ) -> Self {
        Self {
            id,
            purpose,
            tenant,
            public,
            prompt: tokens.len() as u32,
            tokens,
            read: 0,
            cached: 0,
            beside: 0,
            arrived: now,
            began: None,
            first: None,
            last: now,
            gaps_us: Vec::new(),
            pending: Vec::new(),
            text: String::new(),
            cancelled: false,
            deadline,
        }
    }

    /// Takes its place in the engine, which holds so many tokens of its prompt. The last one is always read anew.
    pub(crate) fn admit(&mut self, held: u32, now: Instant) {
        self.cached = held.min(self.prompt.saturating_sub(1));
        self.read = self.cached;
        self.began = Some(now);
    }

    /// Tokens that it still has to read.
    pub(crate) fn unread(&self) -> u32 {
        self.prompt + self.beside - self.read
    }

    /// None of its prompt was read since it was admitted.
    pub(crate) fn is_unread(&self) -> bool {
        self.read == self.cached
    }

    pub(crate) fn decodes(&self) -> bool {
        self.unread() == 0
    }

    /// The most tokens that it will ever hold.
    pub(crate) fn most_tokens(&self) -> u64 {
        let output = match &self.purpose {
            Purpose::Generate { generate, .. } => generate.max_tokens,
            Purpose::Score(_) | Purpose::Prepare => 0,
        };
        u64::from(self.prompt) + u64::from(self.beside) + u64::from(output)
    }

    pub(crate) fn is_over(&self, now: Instant) -> Option<StopReason> {
        let late = self.deadline.is_some_and(|deadline| deadline <= now);
        let reasons = [(self.cancelled, StopReason::Cancelled), (late, StopReason::Deadline)];
        reasons.into_iter().find_map(|(over, reason)| over.then_some(reason))
    }

    /// Says the next token, in a step that ended now.
    pub(crate) fn say(&mut self, now: Instant) -> Delta {
        let Purpose::Generate { generate, plan } = &self.purpose else {
            return self.delta(Vec::new(), String::new(), None);
        };
        let index = self.tokens.len() - self.prompt as usize;
        let token = match plan.next(self.tokens.len() as u64, index) {
            _ if index >= generate.max_tokens as usize => return self.finish(StopReason::MaxTokens, now),
            Next::End(reason) => return self.finish(reason, now),
            Next::Token(token) => token,
        };
        let (max, stop) = (generate.max_tokens as usize, generate.stop.clone());
        self.note_token(token, now);
        let text = self.whole_text(token);
        self.text += &text;
        if stop.iter().any(|stop| !stop.is_empty() && self.text.contains(stop)) {
            return self.finish(StopReason::StopString, now);
        }
        let finish = (index + 1 >= max).then(|| self.finished(StopReason::MaxTokens, now));
        self.delta(vec![token], text, finish)
    }

    fn note_token(&mut self, token: Token, now: Instant) {
        self.tokens.push(token);
        match self.first {
            None => self.first = Some(now),
            Some(_) => self.gaps_us.push((now - self.last).as_micros() as u64),
        }
        self.last = now;
    }

    fn whole_text(&mut self, token: Token) -> String {
        self.pending.extend(detokenize(&[token]).unwrap_or_default());
        let whole = match std::str::from_utf8(&self.pending) {
            Ok(text) => text.len(),
            Err(error) => error.valid_up_to(),
        };
        String::from_utf8(self.pending.drain(..whole).collect()).unwrap_or_default()
    }

    /// Its last delta.
    pub(crate) fn finish(&self, reason: StopReason, now: Instant) -> Delta {
        self.delta(Vec::new(), String::new(), Some(self.finished(reason, now)))
    }

    fn delta(&self, tokens: Vec<Token>, text: String, finish: Option<Finish>) -> Delta {
        Delta { id: self.id, tokens, text, logprobs: Vec::new(), finish }
    }

    fn finished(&self, reason: StopReason, now: Instant) -> Finish {
        let since = |at: Instant| (at - self.arrived).as_micros() as u64;
        let mut gaps = self.gaps_us.clone();
        gaps.sort_unstable();
        let quantile = |part: f64| {
            let last = gaps.len().saturating_sub(1);
            gaps.get((last as f64 * part).round() as usize).copied().unwrap_or(0)
        };
        let usage = Usage {
            prompt_tokens: self.read.saturating_sub(self.cached),
            cached_tokens: self.cached,
            output_tokens: self.tokens.len() as u32 - self.prompt,
            queue_us: since(self.began.unwrap_or(now)),
            ttft_us: self.first.map_or(0, since),
            tpot_p50_us: quantile(0.5),
            tpot_p99_us: quantile(0.99),
            total_us: since(now),
            ..Usage::default()
        };
        Finish { reason, usage }
    }
}
