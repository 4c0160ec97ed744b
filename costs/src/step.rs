//! The step model: how long a step of the engine takes, by what shares it.

use crate::{Backend, Bound, Figure, Origin, RowParts, Watts};

/// Batch sizes 1, 2, 4 ... 128.
pub(crate) const BATCHES: usize = 8;
/// Those between them: 3, 6, 12 ... 96.
const BETWEEN: usize = BATCHES - 2;

/// The engine fills a step that others wait for up to this time with prompt tokens, in seconds,
const SHARED_STEP: f64 = 0.1;
/// but with whole tiles of its kernels, and one at least.
const TILE: f64 = 16.0;
/// Of more tiles in a step, one more or less makes no difference.
const MANY_TILES: f64 = 24.0;

/// A step that nobody waits for is filled up to this time, in seconds.
const LONE_STEP: f64 = 0.4;
/// Rows of a step from which on the kernels for CPUs compute attention in tiles (`GGML_FA_TILE_Q` of ggml). In a step of
/// fewer each row goes through the cache by itself, as in decoding, which takes several times as long.
const ATTENTION_TILE: f64 = 64.0;
/// There a pair of tokens takes this part of what it takes in decoding, since a few rows read the cache together. Prompts of 32
/// to 60 tokens after 1,200 (shape of SmolLM2-135M, AMD EPYC) took 3.1 us a pair with one thread and 1.5 with two, where `d1` was
/// 3.7 to 4.4 and 1.9 to 3.1 in four profiles: 0.7 to 0.85, and 0.5 to 0.8.
const FEW_ROWS: f64 = 0.6;

/// The numbers of a [`Row`](crate::Row) that predictions need, in seconds, watts and joules. Small and `Copy`.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Steps {
    pub(crate) p0: f64,
    pub(crate) p1: f64,
    pub(crate) p2: f64,
    /// `p2` in a step of few rows.
    narrow: f64,
    batch: [f64; BATCHES],
    between: [f64; BETWEEN],
    pub(crate) d1: f64,
    shared: f64,
    pub(crate) contention: f64,
    pub(crate) load_warm: f64,
    pub(crate) load_cold: f64,
    pub(crate) load_warm_joules: Option<f64>,
    pub(crate) load_cold_joules: Option<f64>,
    pub(crate) watts: Option<Watts>,
    /// `exp` of the residual that 90 % of requests stay below, of each phase.
    pub(crate) margin_prefill: f64,
    pub(crate) margin_decode: f64,
    /// Largest measured.
    pub(crate) prompt: u32,
    pub(crate) sequences: u32,
    pub(crate) depth: u32,
    pub(crate) grounds: Grounds,
}

/// Which parts are assumed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Grounds {
    pub(crate) load: bool,
    pub(crate) alone: bool,
    pub(crate) shared: bool,
    pub(crate) joules: bool,
    pub(crate) emulated: bool,
}

/// What a prompt takes that is read while others decode.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct Shared {
    /// Of the prompt alone.
    pub(crate) seconds: f64,
    /// In each of them the others decode a token.
    pub(crate) steps: f64,
}

impl Steps {
    pub(crate) fn of(row: &RowParts, bound: Bound) -> Self {
        let seconds = |figure: &Figure| figure.at(bound) / 1e3;
        let joules = |figure: &Option<Figure>| figure.as_ref().map(|figure| figure.at(bound));
        let measured: Vec<f64> = row.decode.batch_ms.iter().map(seconds).collect();
        let batch = batches(&measured);
        Self {
            p0: seconds(&row.prefill.p0_ms),
            p1: seconds(&row.prefill.p1_ms_per_token),
            p2: seconds(&row.prefill.p2_ms_per_token2),
            narrow: narrow(
                row,
                [&row.prefill.p1_ms_per_token, &row.prefill.p2_ms_per_token2, &row.decode.depth_ms_per_token]
                    .map(seconds),
            ),
            batch,
            between: between(&batch, row.decode.between_ms.iter().map(seconds)),
            d1: seconds(&row.decode.depth_ms_per_token),
            shared: row.decode.depth_shared.at(bound),
            contention: row.decode.contention.at(bound),
            load_warm: seconds(&row.load.warm_ms),
            load_cold: seconds(&row.load.cold_ms),
            load_warm_joules: joules(&row.load.warm_joules),
            load_cold_joules: joules(&row.load.cold_joules),
            watts: row.power.as_ref().and_then(|power| power.board(bound).ok()),
            margin_prefill: row.fit.prefill_q90().exp(),
            margin_decode: row.fit.decode_q90().exp(),
            prompt: row.prefill.measured[1],
            sequences: 1 << measured.len().clamp(1, BATCHES).saturating_sub(1),
            depth: if row.decode.measured_depth > 0 { row.decode.measured_depth } else { u32::MAX },
            grounds: Grounds::of(row),
        }
    }

    pub(crate) const fn with_watts(mut self, watts: Watts) -> Self {
        self.watts = Some(watts);
        self
    }

    /// `d(b)`: seconds of a step that decodes b sequences without context.
    pub(crate) fn batch(&self, sequences: u32) -> f64 {
        if sequences == 0 {
            return 0.0;
        }
        let below = (sequences.ilog2() as usize).min(BATCHES - 2);
        let (from, to) = (self.batch[below], self.batch[below + 1]);
        let at = f64::from(1u32 << below);
        let part = (f64::from(sequences) - at) / at;
        match below.checked_sub(1).map(|number| self.between[number]) {
            Some(half) if part <= 0.5 => from + (half - from) * 2.0 * part,
            Some(half) => half + (to - half) * (2.0 * part - 1.0),
            None => from + (to - from) * part,
        }
    }

    /// Seconds of a step that decodes `sequences` of `context` tokens in all, alone on the node.
    pub fn decode_step(&self, sequences: u32, context: f64) -> f64 {
        self.batch(sequences) + self.depth(sequences, context)
    }

    /// What `context` tokens of `sequences` add to a step.
    pub(crate) fn depth(&self, sequences: u32, context: f64) -> f64 {
        self.d1 * context * (1.0 + self.shared * f64::from(sequences.saturating_sub(1)))
    }

    /// Tokens that a prompt is read past as if they were its own, where others hold `context`.
    pub(crate) fn passed(&self, context: f64) -> f64 {
        self.shared * context
    }

    /// What the engine takes to read `tokens` of a prompt after `done` of it, where others decode between its steps and take
    /// `decode` seconds each time. Steps are those of the row: that a slower node takes more of them is a part of how much
    /// longer its prompts take, which calibration learns.
    pub(crate) fn shared_reading(&self, [tokens, done]: [f64; 2], decode: f64) -> Shared {
        let room = (SHARED_STEP - decode).max(0.0) / TILE;
        // Later tokens take longer: from where on a step has no room for as many rows as attention in tiles needs.
        let least = ATTENTION_TILE / TILE;
        let wide = if tokens < ATTENTION_TILE {
            0.0
        } else if self.narrow > self.p2 {
            (((room / least - self.p1) / (2.0 * self.p2) - done).min(tokens)).max(0.0)
        } else {
            tokens
        };
        let (rest, from) = (tokens - wide, done + wide);
        Shared {
            seconds: self.p1 * tokens
                + self.p2 * (wide * wide + 2.0 * done * wide)
                + self.narrow * (rest * rest + 2.0 * from * rest),
            steps: self.steps_of([wide, done], self.p2, room)
                + self.steps_of([rest, from], self.narrow, room),
        }
    }

    /// Steps of whole tiles, as many as there is room for. Later tokens take longer, so fewer fit into a step.
    fn steps_of(&self, [tokens, done]: [f64; 2], p2: f64, room: f64) -> f64 {
        let tiles = |at: f64| (room / (self.p1 + 2.0 * p2 * at)).floor().max(1.0);
        let end = done + tokens;
        let (first, last) = (tiles(done), tiles(end));
        if first == last || first > MANY_TILES {
            return tokens / (TILE * tiles(done + tokens / 2.0));
        }
        let (mut steps, mut at, mut count) = (0.0, done, first);
        while count > last {
            let fits_until = ((room / count - self.p1) / (2.0 * p2)).clamp(at, end);
            steps += (fits_until - at) / (TILE * count);
            (at, count) = (fits_until, count - 1.0);
        }
        steps + (end - at) / (TILE * last)
    }

    /// Seconds to read `tokens` of a prompt after `done` of it, while nobody else decodes.
    pub fn reading(&self, tokens: f64, done: f64) -> f64 {
        let p2 = if tokens < ATTENTION_TILE { self.narrow } else { self.p2 };
        self.p1 * tokens + p2 * (tokens * tokens + 2.0 * done * tokens)
    }
}

/// What `p2` is in a step of few rows: much as in decoding, where a row was measured in steps of many.
fn narrow(row: &RowParts, [p1, p2, d1]: [f64; 3]) -> f64 {
    let is_of_many = row.key.backend == Backend::Cpu && ATTENTION_TILE * p1 <= LONE_STEP;
    // A prompt of n tokens attends to n^2 / 2 pairs.
    if is_of_many { p2.max(FEW_ROWS * d1 / 2.0) } else { p2 }
}

/// Seconds for b = 1, 2, 4 ...: what is missing at the end, by the last slope.
fn batches(measured: &[f64]) -> [f64; BATCHES] {
    let mut batch = [0.0; BATCHES];
    for at in 0..BATCHES {
        batch[at] = match (measured.get(at), at) {
            (Some(&measured), _) => measured,
            (None, 0) => 0.0,
            // One size is known: more sequences are taken to cost as much again each.
            (None, 1) => 2.0 * batch[0],
            // Twice the distance of the last two.
            (None, _) => batch[at - 1] + 2.0 * (batch[at - 1] - batch[at - 2]).max(0.0),
        };
    }
    batch
}

/// Seconds for b = 3, 6, 12 ...: what was not measured is half way.
fn between(batch: &[f64; BATCHES], measured: impl Iterator<Item = f64>) -> [f64; BETWEEN] {
    let mut between = [0.0; BETWEEN];
    let mut measured = measured.fuse();
    for (half, beside) in between.iter_mut().zip(batch[1..].windows(2)) {
        *half = measured.next().unwrap_or((beside[0] + beside[1]) / 2.0);
    }
    between
}

impl Grounds {
    fn of(row: &RowParts) -> Self {
        let declared = row.provenance.origin >= Origin::Prior;
        let any = |figures: &[&Figure]| declared || figures.iter().any(|figure| figure.is_assumed());
        let RowParts { load, prefill, decode, power, .. } = row;
        Self {
            load: any(&[&load.cold_ms, &load.warm_ms]),
            alone: any(&[&prefill.p0_ms, &prefill.p1_ms_per_token, &prefill.p2_ms_per_token2])
                || decode.batch_ms.first().is_some_and(Figure::is_assumed)
                || decode.depth_ms_per_token.is_assumed(),
            shared: decode.batch_ms.iter().any(Figure::is_assumed) || decode.batch_ms.len() < 2,
            joules: declared || power.as_ref().is_some_and(|power| power.is_assumed()),
            emulated: row.provenance.origin == Origin::Emulated,
        }
    }
}
