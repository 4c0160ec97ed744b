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
    /// Where its answer begins: before the end of what it reads, if a part of it was said elsewhere.
    answer: u32,
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
    /// Text that may be the beginning of a stop string.
    held_back: String,
    pub(crate) cancelled: bool,
    has_replayed: bool,
    deadline: Option<Instant>,
}

impl Sequence {
    pub(crate) fn generate(id: CallId, generate: Generate, now: Instant) -> Result<Self, EngineError> {
        let plan = Plan::of(&generate)?;
        let deadline = generate.deadline_ms.map(|ms| now + Duration::from_millis(ms));
        let owner = (generate.tenant.clone(), generate.public);
        // What was said elsewhere is read as a part of the prompt.
        let replay = generate.replay.iter().take(generate.max_tokens as usize);
        let tokens = generate.prompt.iter().chain(replay).copied().collect();
        let prompt = generate.prompt.len() as u32;
        let purpose = Purpose::Generate { generate: Box::new(generate), plan };
        let sequence = Self::new(id, purpose, tokens, owner, deadline, now);
        Ok(Self { answer: prompt, ..sequence })
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
            answer: tokens.len() as u32,
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
            held_back: String::new(),
            cancelled: false,
            has_replayed: false,
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
        u64::from(self.answer) + u64::from(self.beside) + u64::from(output)
    }

    pub(crate) fn is_over(&self, now: Instant) -> Option<StopReason> {
        let late = self.deadline.is_some_and(|deadline| deadline <= now);
        let reasons = [(self.cancelled, StopReason::Cancelled), (late, StopReason::Deadline)];
        reasons.into_iter().find_map(|(over, reason)| over.then_some(reason))
    }

    /// Says the next token, in a step that ended now; of `context` tokens at most.
    pub(crate) fn say(&mut self, context: u32, now: Instant) -> Delta {
        let again = self.say_again();
        let mut delta = self.say_next(context, now);
        if let Some((tokens, text)) = again {
            delta.tokens.splice(0..0, tokens);
            delta.text.insert_str(0, &text);
        }
        delta
    }

    /// What its replay says, which comes with the first token of its own.
    fn say_again(&mut self) -> Option<(Vec<Token>, String)> {
        let replayed = self.tokens.get(self.answer as usize..self.prompt as usize)?.to_vec();
        if self.first.is_some() || replayed.is_empty() || self.has_replayed {
            return None;
        }
        self.has_replayed = true;
        let text: String = replayed.iter().map(|&token| self.whole_text(token)).collect();
        let (text, _) = self.before_stop(&text);
        Some((replayed, text))
    }

    fn say_next(&mut self, context: u32, now: Instant) -> Delta {
        let Purpose::Generate { generate, plan } = &self.purpose else {
            return self.delta(Vec::new(), String::new(), None);
        };
        let index = self.tokens.len() - self.answer as usize;
        let token = match plan.next(self.tokens.len() as u64, index) {
            _ if index >= generate.max_tokens as usize => return self.finish(StopReason::MaxTokens, now),
            _ if self.tokens.len() >= context as usize => return self.finish(StopReason::ContextFull, now),
            Next::End(reason) => return self.finish(reason, now),
            Next::Token(token) => token,
        };
        let max = generate.max_tokens as usize;
        self.note_token(token, now);
        let new = self.whole_text(token);
        let (text, stopped) = self.before_stop(&new);
        let reason = match (stopped, index + 1 >= max) {
            (true, _) => StopReason::StopString,
            (false, true) => StopReason::MaxTokens,
            (false, false) => return self.delta(vec![token], text, None),
        };
        let rest = if stopped { String::new() } else { std::mem::take(&mut self.held_back) };
        self.delta(vec![token], text + &rest, Some(self.finished(reason, now)))
    }

    /// What can be said of the text so far: nothing of a stop string, and nothing that may become the beginning of one.
    fn before_stop(&mut self, new: &str) -> (String, bool) {
        self.held_back += new;
        let Purpose::Generate { generate, .. } = &self.purpose else { return (String::new(), false) };
        let stops = || generate.stop.iter().filter(|stop| !stop.is_empty());
        if let Some(at) = stops().filter_map(|stop| self.held_back.find(stop)).min() {
            return (self.held_back.drain(..at).collect(), true);
        }
        let begins = |at: &usize| stops().any(|stop| stop.starts_with(&self.held_back[*at..]));
        let starts = self.held_back.char_indices().map(|(at, _)| at);
        let safe = starts.into_iter().find(begins).unwrap_or(self.held_back.len());
        (self.held_back.drain(..safe).collect(), false)
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
    pub(crate) fn finish(&mut self, reason: StopReason, now: Instant) -> Delta {
        let rest = std::mem::take(&mut self.held_back);
        self.delta(Vec::new(), rest, Some(self.finished(reason, now)))
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
            output_tokens: self.tokens.len() as u32 - self.answer,
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
