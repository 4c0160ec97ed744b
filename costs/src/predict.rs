//! Predictions by the step model, in closed form.

use crate::{Calibration, Estimate, Flags, Joules, Prediction, Steps, step::chunk};

/// Of one request, in tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Work {
    pub prompt_tokens: u32,
    /// Of the prompt, what the node holds as a prefix.
    pub cached_tokens: u32,
    /// Expected.
    pub output_tokens: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Load {
    #[default]
    Resident,
    /// The file is in the page cache.
    Warm,
    Cold,
}

/// What an engine does already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Running {
    /// Sequences that decode.
    pub sequences: u32,
    /// Tokens of all of them.
    pub context: u64,
    /// Prompt tokens of others that it still has to read.
    pub backlog_tokens: u64,
}

impl Running {
    /// With one sequence more, of `context` tokens.
    #[must_use]
    pub const fn with(self, context: u64) -> Self {
        Self { sequences: self.sequences + 1, context: self.context + context, ..self }
    }
}

/// What a request meets on a node.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Situation {
    /// Seconds until the engine admits it.
    pub queue: f64,
    pub load: Load,
    /// Requests expected from one load, this one included: its energy is spread over them.
    pub reuse: f64,
    pub running: Running,
    /// Other models that work on the node.
    pub neighbours: u32,
}

impl Default for Situation {
    fn default() -> Self {
        let running = Running { sequences: 0, context: 0, backlog_tokens: 0 };
        Self { queue: 0.0, load: Load::Resident, reuse: 1.0, running, neighbours: 0 }
    }
}

/// Seconds of the parts of a request, calibrated.
struct Times {
    load: f64,
    /// From the start to the first token, what shares its steps included.
    reading: f64,
    /// The part of it that is the request's own, undisturbed.
    own_reading: f64,
    /// The further steps.
    decode: f64,
    /// What they would not take without it, undisturbed.
    own_decode: f64,
}

impl Steps {
    /// See [`Row::predict`](crate::Row::predict).
    ///
    /// The parts: a step takes `d(b) + d1 K`, and the chunk of prompt in it; the request's prompt is read after the
    /// backlog, in steps that those beside it decode in; then its `G - 1` further steps, in which its own context grows.
    /// Those beside it are taken to stay, at the depth they have.
    pub fn predict(&self, work: &Work, situation: &Situation, calibration: &Calibration) -> Prediction {
        let Running { sequences, context, backlog_tokens } = situation.running;
        let slowdown = 1.0 + self.contention * f64::from(situation.neighbours);
        let (k_prefill, k_decode) = (calibration.prefill.factor(), calibration.decode.factor());
        let cached = f64::from(work.cached_tokens.min(work.prompt_tokens));
        let read = (f64::from(work.prompt_tokens) - cached).max(1.0);
        let depth = cached + read;

        let others = k_decode * self.decode_step(sequences, context as f64);
        let p0 = k_prefill * self.p0;
        let own_prompt = k_prefill * self.reading(read, cached);
        let prompts = own_prompt + k_prefill * self.reading(backlog_tokens as f64, 0.0);
        let chunk = chunk(others, prompts / (read + backlog_tokens as f64)).min(prompts);
        let shared_steps = if sequences > 0 { prompts / chunk } else { 0.0 };

        let further = f64::from(work.output_tokens.max(1) - 1);
        let mean_depth = depth + (further - 1.0).max(0.0) / 2.0;
        let tpot = k_decode * self.decode_step(sequences + 1, context as f64 + mean_depth);
        let growth = self.batch(sequences + 1) - self.batch(sequences) + self.d1 * mean_depth;
        let times = Times {
            load: calibration.load.factor() * self.load_time(situation.load),
            reading: slowdown * (p0 + prompts + shared_steps * others),
            own_reading: p0 + own_prompt,
            decode: slowdown * further * tpot,
            own_decode: k_decode * further * growth,
        };
        let estimate = |mean: f64, margin: f64| Estimate { mean, q90: mean * margin };
        let (late, slow) = (calibration.prefill.margin(self.margin), calibration.decode.margin(self.margin));
        let ttft = estimate(situation.queue + times.load + times.reading, late);
        let rest = estimate(times.decode, slow);
        Prediction {
            ttft,
            tpot: estimate(slowdown * tpot, slow),
            completion: Estimate { mean: ttft.mean + rest.mean, q90: ttft.q90 + rest.q90 },
            reading_step: estimate(slowdown * (others + chunk), late),
            reading: times.reading,
            joules: self.joules(&times, situation, calibration),
            flags: self.flags(work, situation, calibration, mean_depth + further / 2.0),
        }
    }

    const fn load_time(&self, load: Load) -> f64 {
        match load {
            Load::Resident => 0.0,
            Load::Warm => self.load_warm,
            Load::Cold => self.load_cold,
        }
    }

    fn joules(&self, times: &Times, situation: &Situation, calibration: &Calibration) -> Option<Joules> {
        let watts = self.watts?;
        let factor = calibration.joules.factor();
        let measured = match situation.load {
            Load::Resident => None,
            Load::Warm => self.load_warm_joules,
            Load::Cold => self.load_cold_joules,
        };
        let load_total = measured.unwrap_or(watts.load * times.load);
        let load = factor * (load_total - watts.idle * times.load) / situation.reuse.max(1.0);
        let prefill = factor * (watts.prefill - watts.idle) * times.own_reading;
        let decode = factor * (watts.decode - watts.idle) * times.own_decode;
        let total = factor * (load_total + watts.prefill * times.reading + watts.decode * times.decode);
        let marginal = load + prefill + decode;
        let marginal_q90 = marginal * calibration.joules.margin(self.margin);
        Some(Joules { marginal, marginal_q90, total, prefill, decode, load })
    }

    fn flags(&self, work: &Work, situation: &Situation, calibration: &Calibration, depth: f64) -> Flags {
        let sequences = situation.running.sequences + 1;
        let grounds = self.grounds;
        let loads = situation.load != Load::Resident;
        Flags {
            extrapolated: work.prompt_tokens > self.prompt
                || sequences > self.sequences
                || depth > f64::from(self.depth),
            stale: calibration.is_stale(),
            assumed: grounds.alone || (grounds.load && loads) || (grounds.shared && sequences > 1),
            assumed_joules: grounds.joules,
            emulated: grounds.emulated,
        }
    }
}
