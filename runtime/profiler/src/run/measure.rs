//! One run on an engine that is there.

use dunlin_engine_handle::{
    Engine, EngineError, Generate, Generation, ModelInfo, Sampling, StopReason, Threads, Token, Usage,
};

use tokio::time::Instant;

use crate::{Counted, Joules, Machine, Measured, Spoilt, counters::Counting, machine::Used};

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

/// What the system knows of the engine's process, from one moment on.
struct Looking {
    pid: u32,
    /// Its highest memory is that of the run, not of one before.
    forgets: bool,
    counting: Option<Counting>,
    since: Instant,
    used: Used,
    counted: Counted,
}

type Outcome = Result<(Measured, Option<Spoilt>), EngineError>;

impl Measuring<'_> {
    /// Seconds of a prompt that no prefix is held of, from its first step to its first token.
    pub(crate) async fn prefill(&self, threads: Threads, prompt: u32) -> Outcome {
        self.engine.set_threads(threads);
        let looking = self.look();
        let from = Instant::now();
        let ended = end(self.engine.generate(self.generate(prompt.max(1), 1)), || ()).await?;
        let to = ended.last;
        let usage = ended.usage;
        let spoilt = (usage.cached_tokens > 0).then_some(Spoilt::Cached);
        let seconds = usage.ttft_us.saturating_sub(usage.queue_us) as f64 / 1e6;
        let measured = Measured { seconds, ..self.around(from, to, looking, usage.prompt_tokens).await };
        Ok((measured, spoilt.or((seconds <= 0.0).then_some(Spoilt::Short))))
    }

    /// Seconds of a token of the last of `batch` sequences, while all of them write.
    pub(crate) async fn decode(&self, threads: Threads, depth: u32, batch: u16, output: u32) -> Outcome {
        self.engine.set_threads(threads);
        let mut looking = self.look();
        let depth = depth.max(LEAST_PROMPT);
        let room = self.model.context_length.saturating_sub(depth + 1).max(2);
        let output = output.clamp(2, room);
        let beside: Vec<Generation> = (1..batch)
            .map(|_| self.engine.generate(self.generate(depth, (OUTLAST * output + 32).min(room))))
            .collect();
        // What its prompt took does not count.
        let on_first = || looking = looking.take().and_then(|looking| looking.anew(self.machine));
        let ended = end(self.engine.generate(self.generate(depth, output)), on_first).await?;
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
        let written = u32::from(batch) * tokens.saturating_sub(1);
        let around = self.around(ended.first, ended.last, looking, written).await;
        let measured = Measured { seconds, context, ..around };
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

    /// `None` of an engine that is no process. Its memory is looked at anew.
    fn look(&self) -> Option<Looking> {
        let pid = self.engine.status().pid?;
        let forgets = self.machine.forget_peak(pid);
        let counting = Counting::begin(self.machine.proc(), pid).ok();
        Looking {
            pid,
            forgets,
            counting,
            since: Instant::now(),
            used: Used::default(),
            counted: Counted::default(),
        }
        .anew(self.machine)
    }

    /// What the sensor and the system saw of the run, in which so many tokens were read or written.
    async fn around(&self, from: Instant, to: Instant, looking: Option<Looking>, tokens: u32) -> Measured {
        let seen = looking.and_then(|looking| looking.seen(self.machine));
        let joules = self.joules.window(from, to).await;
        Measured { joules, window: Some((from, to)), tokens, ..seen.unwrap_or_default() }
    }
}

impl Looking {
    /// From now on.
    fn anew(mut self, machine: &Machine) -> Option<Self> {
        self.counted = self.counting.as_mut().map(Counting::counted).unwrap_or_default();
        self.used = machine.used(self.pid)?;
        self.since = Instant::now();
        Some(self)
    }

    /// Until now.
    fn seen(mut self, machine: &Machine) -> Option<Measured> {
        let counted = self.counting.as_mut().map(|counting| counting.counted().less(self.counted));
        let used = machine.used(self.pid)?;
        let seconds = self.since.elapsed().as_secs_f64();
        Some(Measured {
            memory: self.forgets.then_some(used.peak),
            counted,
            looked: seconds,
            cores: Some((used.seconds - self.used.seconds) / seconds),
            waited: used.waited.zip(self.used.waited).map(|(now, then)| (now - then).max(0.0)),
            switches: Some(used.switches.saturating_sub(self.used.switches) as f64 / seconds),
            ..Measured::default()
        })
    }
}

pub(crate) const fn both(threads: u16) -> Threads {
    Threads { prefill: threads as u32, decode: threads as u32 }
}

/// `on_first`: when its first token is there.
async fn end(mut generation: Generation, on_first: impl FnOnce()) -> Result<Ended, EngineError> {
    let (mut first, mut on_first) = (None, Some(on_first));
    while let Some(delta) = generation.next().await {
        let delta = delta?;
        let now = Instant::now();
        first.get_or_insert(now);
        on_first.take().into_iter().for_each(|on_first| on_first());
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
