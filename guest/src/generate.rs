//! Generations from their start to their end.

use crate::{Budget, Error, Event, Generation, Options, Sampling, StopReason, Usage, host, job};

/// Events taken at once; what there is less is not waited for.
const BATCH: u32 = 64;

/// A generation that has ended.
#[derive(Debug, Clone)]
pub struct Answer {
    pub text: String,
    pub stop: StopReason,
    pub usage: Usage,
}

impl Answer {
    /// The answer, if it was not the job that ended before it.
    ///
    /// # Errors
    /// `cancelled` or `deadline`.
    pub fn unless_stopped(self) -> Result<Self, Error> {
        match self.stop {
            StopReason::Cancelled => Err(Error::Cancelled),
            StopReason::Deadline => Err(Error::Deadline),
            _ => Ok(self),
        }
    }

    /// The answer, if it was not cut: neither by `max_tokens`, which it was given, nor by another limit.
    ///
    /// # Errors
    /// Which limit it was, and what to do.
    pub fn whole(self, max_tokens: u32) -> Result<Self, Error> {
        match self.stop {
            StopReason::MaxTokens if self.usage.output_tokens < max_tokens => {
                Err(Error::Exhausted(Budget::Tokens))
            }
            StopReason::MaxTokens => Err(Error::invalid(format!(
                "the answer did not end within max_tokens={max_tokens}, so there is none: raise it, or ask for less"
            ))),
            StopReason::ContextFull => Err(Error::ContextFull),
            _ => self.unless_stopped(),
        }
    }
}

impl Generation {
    /// Gives the text to the caller of the pipeline as it comes, until it ends.
    ///
    /// # Errors
    /// Of the generation, or of the caller who is gone.
    pub fn stream(&self) -> Result<Answer, Error> {
        self.each(emit)
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// Of the generation.
    pub fn finish(&self) -> Result<Answer, Error> {
        self.each(|_| Ok(()))
    }

    /// Hands over each piece of text as it comes, until the end.
    ///
    /// # Errors
    /// Of the generation, or of `each`.
    pub fn each(&self, each: impl FnMut(&str) -> Result<(), Error>) -> Result<Answer, Error> {
        follow(|most| self.next(most), each)
    }
}

/// From event to event, to the last.
pub(crate) fn follow(
    next: impl Fn(u32) -> Result<Vec<Event>, Error>,
    mut each: impl FnMut(&str) -> Result<(), Error>,
) -> Result<Answer, Error> {
    let mut all = String::new();
    loop {
        let mut batch = String::new();
        let mut end = None;
        let events = next(BATCH)?;
        if events.is_empty() {
            return Err(Error::Backend("the generation ended without saying why".into()));
        }
        for event in events {
            match event {
                Event::Text(text) => batch += &text,
                Event::Finish(finish) => end = Some(finish),
                Event::Reasoning(_) | Event::Tokens(_) | Event::ToolCall(_) => {}
            }
        }
        if !batch.is_empty() {
            each(&batch)?;
            all += &batch;
        }
        if let Some((stop, usage)) = end {
            return Ok(Answer { text: all, stop, usage });
        }
    }
}

/// Gives text to the caller of the pipeline now.
///
/// # Errors
/// If the caller is gone, or has been given as much as the pipeline may.
pub fn emit(text: &str) -> Result<(), Error> {
    host::emit(&job::Chunk::Text(text.to_owned()))
}

/// Gives the text of one JSON value to the caller of the pipeline now.
///
/// # Errors
/// As [`emit`].
pub fn emit_json(json: impl Into<String>) -> Result<(), Error> {
    host::emit(&job::Chunk::Json(json.into()))
}

impl Default for Options {
    /// Greedy, at most 256 tokens.
    fn default() -> Self {
        Self { max_tokens: 256, sampling: None, stop: Vec::new(), top_logprobs: None, deadline_ms: None }
    }
}

impl Default for Sampling {
    /// Every filter and penalty off, at temperature 1.
    fn default() -> Self {
        Self {
            temperature: 1.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            repeat_penalty: 1.0,
            repeat_last_n: 0,
            frequency_penalty: 0.0,
            presence_penalty: 0.0,
            logit_bias: Vec::new(),
            seed: None,
        }
    }
}
