//! Predictions by the step model, in closed form.

use crate::{Calibration, Estimate, Flags, Joules, Prediction, Steps, Watts};

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
    /// A step of it.
    reading_step: f64,
    /// The further steps, and one of them.
    decode: f64,
    tpot: f64,
    own: Own,
    /// Largest depth of the request.
    depth: f64,
}

/// Seconds of steps that would not be without the request, were no other model on the node.
#[derive(Clone, Copy)]
struct Own {
    reading: f64,
    decode: f64,
}

impl Steps {
    /// See [`Row::predict`](crate::Row::predict).
    ///
    /// The parts: a step takes `d(b) + d1 K`, and the chunk of prompt in it; the request's prompt is read after the
    /// backlog, in steps that those beside it decode in; then its `G - 1` further steps, in which its own context grows.
    /// Those beside it are taken to stay, at the depth they have.
    pub fn predict(&self, work: &Work, situation: &Situation, calibration: &Calibration) -> Prediction {
        let times = self.times(work, situation, calibration);
        let estimate = |mean: f64, margin: f64| Estimate { mean, q90: mean * margin };
        let (late, slow) =
            (calibration.prefill.margin(self.margin_prefill), calibration.decode.margin(self.margin_decode));
        let ttft = estimate(situation.queue + times.load + times.reading, late);
        let rest = estimate(times.decode, slow);
        Prediction {
            ttft,
            tpot: estimate(times.tpot, slow),
            completion: Estimate { mean: ttft.mean + rest.mean, q90: ttft.q90 + rest.q90 },
            reading_step: estimate(times.reading_step, late),
            reading: times.reading,
            joules: self.watts.map(|watts| self.joules(&watts, &times, situation, calibration)),
            flags: self.flags(work, situation, calibration, times.depth),
        }
    }

    fn times(&self, work: &Work, situation: &Situation, calibration: &Calibration) -> Times {
        let Running { sequences, context, backlog_tokens } = situation.running;
        let slowdown = 1.0 + self.contention * f64::from(situation.neighbours);
        let (k_prefill, k_decode) = (calibration.prefill.factor(), calibration.decode.factor());

        let cached = f64::from(work.cached_tokens.min(work.prompt_tokens));
        let read = (f64::from(work.prompt_tokens) - cached).max(1.0);
        let others = k_decode * self.decode_step(sequences, context as f64);
        let p0 = k_prefill * self.p0;
        let passed = self.passed(context as f64);
        let shared = |part| self.shared_reading(part, others);
        let (own, backlog) = (shared([read, cached + passed]), shared([backlog_tokens as f64, passed]));
        let steps = own.steps + backlog.steps;
        // One of theirs is on when the request comes: half of it is waited for.
        let shared_steps = if sequences > 0 { steps.ceil() + 0.5 } else { 0.0 };
        let alone = |part: [f64; 2]| self.reading(part[0], part[1]);
        let (own_prompt, backlog) = if sequences > 0 {
            (own.seconds, backlog.seconds)
        } else {
            (alone([read, cached + passed]), alone([backlog_tokens as f64, passed]))
        };
        let own_prompt = k_prefill * own_prompt;
        let prompts = own_prompt + k_prefill * backlog;

        let further = f64::from(work.output_tokens.max(1) - 1);
        let mean_depth = cached + read + (further - 1.0).max(0.0) / 2.0;
        let with = sequences.saturating_add(1);
        let tpot = k_decode * self.decode_step(with, context as f64 + mean_depth);
        let depth = self.depth(with, context as f64 + mean_depth) - self.depth(sequences, context as f64);
        // Kernels that compute rows by fours may be done sooner with one more.
        let growth = (k_decode * (self.batch(with) - self.batch(sequences) + depth)).max(0.0);
        Times {
            load: calibration.load.factor() * self.load_time(situation.load),
            reading: slowdown * (p0 + prompts + shared_steps * others),
            reading_step: slowdown * (others + prompts / steps.max(1.0)),
            decode: slowdown * further * tpot,
            tpot: slowdown * tpot,
            own: Own { reading: p0 + own_prompt, decode: further * growth },
            depth: cached + read + further,
        }
    }

    const fn load_time(&self, load: Load) -> f64 {
        match load {
            Load::Resident => 0.0,
            Load::Warm => self.load_warm,
            Load::Cold => self.load_cold,
        }
    }

    /// What a request adds is what its own steps draw above idle. A neighbour only stretches them: the work is the same.
    fn joules(
        &self,
        watts: &Watts,
        times: &Times,
        situation: &Situation,
        calibration: &Calibration,
    ) -> Joules {
        let (reading, decoding) =
            ((watts.prefill - watts.idle).max(0.0), (watts.decode - watts.idle).max(0.0));
        let drawn = |own: Own| reading * own.reading + decoding * own.decode;
        let power = calibration.power(drawn(times.own), drawn(times.own.uncalibrated(calibration)));
        let measured = match situation.load {
            Load::Resident => None,
            Load::Warm => self.load_warm_joules,
            Load::Cold => self.load_cold_joules,
        };
        let loading = measured.unwrap_or(watts.load * times.load);
        let load = power * (loading - watts.idle * times.load).max(0.0) / situation.reuse.max(1.0);
        let (prefill, decode) = (power * reading * times.own.reading, power * decoding * times.own.decode);
        let marginal = prefill + decode + load;
        Joules {
            marginal,
            marginal_q90: marginal * calibration.joules.margin(self.margin_prefill.max(self.margin_decode)),
            total: power * (loading + watts.prefill * times.reading + watts.decode * times.decode),
            prefill,
            decode,
            load,
        }
    }

    fn flags(&self, work: &Work, situation: &Situation, calibration: &Calibration, depth: f64) -> Flags {
        let sequences = situation.running.sequences.saturating_add(1);
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

impl Own {
    fn uncalibrated(self, calibration: &Calibration) -> Self {
        Self {
            reading: self.reading / calibration.prefill.factor(),
            decode: self.decode / calibration.decode.factor(),
        }
    }
}
