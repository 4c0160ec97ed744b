//! One `score` call: how likely each candidate is as the continuation of a prompt.
//!
//! The prompt is computed once; its last logits judge the first token of every candidate. The rest of a candidate is
//! computed on a branch of the prompt's sequence, with the logits of every token.

use dunlin_engine_handle::{EngineError, Normalize, Score, Scored, Token};

use crate::{llama::SeqId, llama::Vocab, sampling::log_sum_exp};

/// Candidates of one call, and bytes of one candidate; one of tokens is limited by the model's context.
const MAX_CANDIDATES: usize = 1024;
const MAX_CANDIDATE_BYTES: usize = 64 << 10;

#[derive(Debug)]
pub(crate) struct Scoring {
    candidates: Vec<Vec<Token>>,
    normalize: Normalize,
    /// Log-probabilities of the pass that runs: per candidate, per token.
    logprobs: Vec<Vec<f32>>,
    /// Those of the pass with the prompt, while the one without it runs.
    with_prompt: Option<Vec<Vec<f32>>>,
    /// The candidate that is computed next.
    next: usize,
    open: Option<Branch>,
}

/// A candidate that is being computed.
#[derive(Debug, Clone, Copy)]
struct Branch {
    seq: SeqId,
    candidate: usize,
    fed: usize,
}

/// Rows of one branch in a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BranchRows {
    pub seq: SeqId,
    pub candidate: usize,
    /// Position in the candidate of the first row.
    pub start: usize,
    pub tokens: Vec<Token>,
    /// The candidate ends with these.
    pub last: bool,
}

impl Scoring {
    /// # Errors
    /// No candidates, too many, or one without tokens, or with such as there are none.
    pub(crate) fn new(score: &Score, vocab: &Vocab<'_>) -> Result<Self, EngineError> {
        let count = score.candidates.len() + score.tokens.len();
        if count == 0 || count > MAX_CANDIDATES {
            return Err(EngineError::InvalidArgument(format!(
                "{count} candidates; 1 to {MAX_CANDIDATES} can be scored"
            )));
        }
        let end = vocab.eot().or(vocab.eos());
        let tokens = |text: &String| {
            let tokens =
                if text.len() <= MAX_CANDIDATE_BYTES { vocab.tokenize(text, false, false) } else { None };
            match tokens {
                Some(tokens) if !tokens.is_empty() => Ok(tokens.into_iter().chain(end).collect()),
                Some(_) => Err(EngineError::InvalidArgument("a candidate without text".to_owned())),
                None => Err(EngineError::InvalidArgument(format!(
                    "a candidate of over {MAX_CANDIDATE_BYTES} bytes"
                ))),
            }
        };
        let own = |tokens: &Vec<Token>| match tokens.iter().find(|&&token| !vocab.contains(token)) {
            Some(token) => Err(EngineError::InvalidArgument(format!(
                "token {token} is outside of the vocabulary of {}",
                vocab.len()
            ))),
            None if tokens.is_empty() => {
                Err(EngineError::InvalidArgument("a candidate without tokens".to_owned()))
            }
            None => Ok(tokens.clone()),
        };
        let texts = score.candidates.iter().map(tokens);
        let candidates: Vec<Vec<Token>> =
            texts.chain(score.tokens.iter().map(own)).collect::<Result<_, _>>()?;
        Ok(Self {
            logprobs: vec![Vec::new(); candidates.len()],
            candidates,
            normalize: score.normalize,
            with_prompt: None,
            next: 0,
            open: None,
        })
    }

    /// Most tokens that a candidate adds to the prompt.
    pub(crate) fn longest(&self) -> usize {
        self.candidates.iter().map(Vec::len).max().unwrap_or(0)
    }

    /// The prompt is computed: its last logits judge all first tokens.
    ///
    /// # Errors
    /// A model without finite logits.
    pub(crate) fn on_prompt(&mut self, logits: &[f32]) -> Result<(), EngineError> {
        let normalizer = normalizer(logits)?;
        for (candidate, logprobs) in self.candidates.iter().zip(&mut self.logprobs) {
            logprobs.push(logits[candidate[0] as usize] - normalizer);
        }
        self.next = 0;
        self.skip_complete();
        Ok(())
    }

    /// The prompt was judged and candidates are being computed.
    pub(crate) fn is_branching(&self) -> bool {
        self.logprobs.iter().any(|logprobs| !logprobs.is_empty())
    }

    /// Everything of this pass is known.
    pub(crate) fn is_complete(&self) -> bool {
        self.candidates
            .iter()
            .zip(&self.logprobs)
            .all(|(candidate, logprobs)| candidate.len() == logprobs.len())
    }

    /// The next rows to compute, at most `most`; `branch` opens a branch of the prompt's sequence.
    pub(crate) fn rows(&mut self, most: usize, branch: impl FnOnce() -> Option<SeqId>) -> Option<BranchRows> {
        if most == 0 || (self.open.is_none() && self.next >= self.candidates.len()) {
            return None;
        }
        let open = match self.open {
            Some(open) => open,
            None => Branch { seq: branch()?, candidate: self.next, fed: 0 },
        };
        let candidate = &self.candidates[open.candidate];
        let end = (candidate.len() - 1).min(open.fed + most);
        let last = end == candidate.len() - 1;
        let rows = BranchRows {
            seq: open.seq,
            candidate: open.candidate,
            start: open.fed,
            tokens: candidate[open.fed..end].to_vec(),
            last,
        };
        self.open = (!last).then_some(Branch { fed: end, ..open });
        if last {
            self.next = open.candidate + 1;
            self.skip_complete();
        }
        Some(rows)
    }

    /// The logits that follow the token at `position` of a candidate. Rows come in order.
    ///
    /// # Errors
    /// A model without finite logits.
    pub(crate) fn on_logits(
        &mut self,
        candidate: usize,
        position: usize,
        logits: &[f32],
    ) -> Result<(), EngineError> {
        let token = self.candidates[candidate][position + 1];
        self.logprobs[candidate].push(logits[token as usize] - normalizer(logits)?);
        Ok(())
    }

    /// The branch that is held from one step to the next, if any.
    pub(crate) fn open_branch(&self) -> Option<SeqId> {
        self.open.map(|open| open.seq)
    }

    /// Rows that were not computed after all: their candidate starts again, on another branch.
    pub(crate) fn put_back(&mut self, rows: &BranchRows) {
        self.logprobs[rows.candidate].truncate(1);
        self.next = self.next.min(rows.candidate);
        self.open = None;
    }

    /// Forgets what this pass has found, to run it again.
    pub(crate) fn restart(&mut self) {
        self.logprobs.iter_mut().for_each(Vec::clear);
        self.next = 0;
        self.open = None;
    }

    /// Another pass, without the prompt, is needed before there are scores.
    pub(crate) fn wants_second_pass(&mut self) -> bool {
        if self.normalize != Normalize::Unconditional || self.with_prompt.is_some() {
            return false;
        }
        let empty = vec![Vec::new(); self.candidates.len()];
        self.with_prompt = Some(std::mem::replace(&mut self.logprobs, empty));
        true
    }

    pub(crate) fn scores(&mut self) -> Vec<Scored> {
        let without: Vec<f32> = match &self.with_prompt {
            Some(_) => self.logprobs.iter().map(|logprobs| logprobs.iter().sum()).collect(),
            None => vec![0.0; self.candidates.len()],
        };
        let logprobs = self.with_prompt.take().unwrap_or_else(|| std::mem::take(&mut self.logprobs));
        let scored = |((index, token_logprobs), without): ((u32, Vec<f32>), f32)| {
            let total: f32 = token_logprobs.iter().sum();
            let score = match self.normalize {
                Normalize::Total => total,
                Normalize::PerToken => total / token_logprobs.len() as f32,
                Normalize::Unconditional => total - without,
            };
            Scored { index, score, token_logprobs }
        };
        (0..).zip(logprobs).zip(without).map(scored).collect()
    }

    /// Candidates that are known to their end (those of one token from the start) need no branch.
    fn skip_complete(&mut self) {
        while self.next < self.candidates.len()
            && self.candidates[self.next].len() == self.logprobs[self.next].len()
        {
            self.next += 1;
        }
    }
}

fn normalizer(logits: &[f32]) -> Result<f32, EngineError> {
    let normalizer = log_sum_exp(logits);
    if normalizer.is_finite() {
        return Ok(normalizer);
    }
    Err(EngineError::Backend("the model gave no finite logit: its weights are damaged".to_owned()))
}
