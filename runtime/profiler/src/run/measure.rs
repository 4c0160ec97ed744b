//! One run on an engine that is there.

use dunlin_engine_handle::{
    Engine, EngineError, Generate, Generation, ModelInfo, Sampling, StopReason, Threads, Token, Usage,
};

use tokio::time::Instant;

use crate::{Joules, Machine, Measured, Spoilt, machine::Used};

/// Prefixes of profiles are nobody else's.
const TENANT: &str = "dunlin:profile";
/// A prompt has so many tokens at least.
const LEAST_PROMPT: u32 = 8;
/// Those beside the sequence that is timed write so many times its tokens, so that they are there to its end.
const OUTLAST: u32 = 4;

/// What a run needs.
pub(crate) struct Measuring<'a> {
    pub(crate) engine: &'a Engine,
    pub(crate) model: &'a ModelInfo,
    pub(crate) joules: &'a Joules,
    pub(crate) machine: &'a Machine,
}

/// A generation that came to its end.
struct Ended {
    usage: Usage,
    reason: StopReason,
    /// As they arrived here.
    first: Instant,
    last: Instant,
}

type Outcome = Result<(Measured, Option<Spoilt>), EngineError>;

impl Measuring<'_> {
    /// Seconds of a prompt that no prefix is held of, from its first step to its first token.
    pub(crate) async fn prefill(&self, threads: Threads, prompt: u32) -> Outcome {
        self.engine.set_threads(threads);
        let before = self.used();
        let from = Instant::now();
        let ended = end(self.engine.generate(self.generate(prompt.max(1), 1))).await?;
        let to = ended.last;
        let usage = ended.usage;
        let spoilt = (usage.cached_tokens > 0).then_some(Spoilt::Cached);
        let seconds = usage.ttft_us.saturating_sub(usage.queue_us) as f64 / 1e6;
        let measured = Measured { seconds, ..self.around(from, to, before).await };
        Ok((measured, spoilt.or((seconds <= 0.0).then_some(Spoilt::Short))))
    }

    /// Seconds of a token of the last of `batch` sequences, while all of them write.
    pub(crate) async fn decode(&self, threads: Threads, depth: u32, batch: u16, output: u32) -> Outcome {
        self.engine.set_threads(threads);
        let before = self.used();
        let depth = depth.max(LEAST_PROMPT);
        let room = self.model.context_length.saturating_sub(depth + 1).max(2);
        let output = output.clamp(2, room);
        let beside: Vec<Generation> = (1..batch)
            .map(|_| self.engine.generate(self.generate(depth, (OUTLAST * output + 32).min(room))))
            .collect();
        let ended = end(self.engine.generate(self.generate(depth, output))).await?;
        let mut cut_short = false;
        for mut generation in beside {
            generation.cancel();
            while let Some(delta) = generation.next().await {
                // It should have written to the end of the one that is timed.
                cut_short |= delta?.finish.is_some_and(|finish| finish.reason != StopReason::Cancelled);
            }
        }
        let usage = ended.usage;
        let tokens = usage.output_tokens;
        let is_short = cut_short || tokens < 2 || ended.reason == StopReason::ContextFull;
        let seconds =
            usage.total_us.saturating_sub(usage.ttft_us) as f64 / 1e6 / f64::from(tokens.max(2) - 1);
        let context = u32::from(batch) * (depth + tokens / 2);
        let measured = Measured { seconds, context, ..self.around(ended.first, ended.last, before).await };
        Ok((measured, (is_short || seconds <= 0.0).then_some(Spoilt::Short)))
    }

    /// `tokens` drawn at random after a prompt drawn at random: what they say makes no difference to how long it takes.
    fn generate(&self, prompt: u32, tokens: u32) -> Generate {
        let ends = &self.model.end_of_turn;
        let sampling = Sampling {
            logit_bias: ends.iter().map(|end| (*end, f32::NEG_INFINITY)).collect(),
            ..Sampling::default()
        };
        let vocabulary = self.model.vocabulary.max(2);
        let is_special = |token: &Token| ends.contains(token) || self.model.bos == Some(*token);
        let draw =
            || std::iter::repeat_with(|| fastrand::u32(1..vocabulary)).find(|token| !is_special(token));
        Generate {
            prompt: (0..prompt).filter_map(|_| draw()).collect(),
            tenant: TENANT.to_owned(),
            max_tokens: tokens,
            sampling: Some(sampling),
            ..Generate::default()
        }
    }

    fn used(&self) -> Option<(Instant, Used)> {
        let pid = self.engine.status().pid?;
        Some((Instant::now(), self.machine.used(pid)?))
    }

    /// What the sensor and the system saw of the run.
    async fn around(&self, from: Instant, to: Instant, before: Option<(Instant, Used)>) -> Measured {
        let used = self.used();
        let joules = self.joules.window(from, to).await;
        let mut measured = Measured { joules, window: Some((from, to)), ..Measured::default() };
        if let (Some((since, before)), Some((until, after))) = (before, used) {
            let seconds = (until - since).as_secs_f64();
            measured.memory = Some(after.peak);
            // The kernel counts in hundredths of a second.
            if seconds >= 0.2 {
                measured.cores = Some((after.seconds - before.seconds) / seconds);
                measured.switches = Some(after.switches.saturating_sub(before.switches) as f64 / seconds);
            }
        }
        measured
    }
}

pub(crate) const fn both(threads: u16) -> Threads {
    Threads { prefill: threads as u32, decode: threads as u32 }
}

async fn end(mut generation: Generation) -> Result<Ended, EngineError> {
    let mut first = None;
    while let Some(delta) = generation.next().await {
        let delta = delta?;
        let now = Instant::now();
        first.get_or_insert(now);
        if let Some(finish) = delta.finish {
            return Ok(Ended {
                usage: finish.usage,
                reason: finish.reason,
                first: first.unwrap_or(now),
                last: now,
            });
        }
    }
    Err(EngineError::Backend("a generation without an end".to_owned()))
}
