//! From logits to a token.
//!
//! Draws are an argmax of `logit / T + noise` over the tokens that survive the filters, with Gumbel noise keyed by
//! (seed, position, token). So a draw depends on nothing else: not on the batch, not on how many draws came before,
//! not on where the sequence ran until now.

mod filters;

use std::collections::HashMap;

use dunlin_engine_handle::{Logprob, Sampling, Token, TokenInfo};

use self::filters::survivors;

/// Most alternatives reported per token.
pub(crate) const MAX_TOP_LOGPROBS: u32 = 64;

/// Longest window of the repeat penalty, in tokens.
pub(crate) const MAX_REPEAT_LAST_N: u32 = 4096;

/// A model that yields no number at all for any token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the model gave no finite logit: its weights are damaged")]
pub struct NoFiniteLogit;

/// Draws the tokens of one generation.
#[derive(Debug)]
pub(crate) struct Sampler {
    settings: Option<Sampling>,
    seed: u64,
    /// How often each token occurred in the generated text.
    counts: HashMap<Token, u32>,
}

impl Sampler {
    /// `None` settings, or a temperature of 0: greedy.
    pub(crate) fn new(settings: Option<Sampling>, seed: u64) -> Self {
        Self { settings, seed, counts: HashMap::new() }
    }

    /// The sentence that says what is wrong with the settings, if anything is.
    pub(crate) fn complaint(settings: &Sampling, vocabulary: u32) -> Option<String> {
        let finite = [
            ("temperature", settings.temperature),
            ("top-p", settings.top_p),
            ("min-p", settings.min_p),
            ("typical-p", settings.typical_p),
            ("xtc-probability", settings.xtc_probability),
            ("xtc-threshold", settings.xtc_threshold),
            ("dynamic-temperature-range", settings.dynamic_temperature_range),
            ("dynamic-temperature-exponent", settings.dynamic_temperature_exponent),
            ("repeat-penalty", settings.repeat_penalty),
            ("frequency-penalty", settings.frequency_penalty),
            ("presence-penalty", settings.presence_penalty),
        ];
        if let Some((name, value)) = finite.iter().find(|(_, value)| !value.is_finite()) {
            return Some(format!("{name} is {value}"));
        }
        if settings.temperature < 0.0 {
            return Some(format!("temperature is {}, below 0", settings.temperature));
        }
        let shares = [
            ("top-p", settings.top_p),
            ("min-p", settings.min_p),
            ("typical-p", settings.typical_p),
            ("xtc-probability", settings.xtc_probability),
            ("xtc-threshold", settings.xtc_threshold),
        ];
        if let Some((name, share)) = shares.iter().find(|(_, share)| !(0.0..=1.0).contains(share)) {
            return Some(format!("{name} is {share}; it lies in 0 to 1"));
        }
        if settings.dynamic_temperature_range < 0.0 || settings.dynamic_temperature_exponent < 0.0 {
            return Some("range and exponent of the dynamic temperature are not below 0".to_owned());
        }
        if settings.repeat_penalty <= 0.0 {
            return Some(format!("repeat-penalty is {}; it must be above 0", settings.repeat_penalty));
        }
        settings.logit_bias.iter().find(|(token, bias)| *token >= vocabulary || bias.is_nan()).map(
            |(token, bias)| format!("logit-bias {bias} for token {token}, of a vocabulary of {vocabulary}"),
        )
    }

    /// Chooses the token at `position` after `context`, all tokens so far. Changes `logits` where bias, penalties and
    /// temperature apply. A token with a logit of minus infinity is never chosen.
    ///
    /// # Errors
    /// [`NoFiniteLogit`] where nothing can be chosen.
    pub(crate) fn choose(&mut self, logits: &mut [f32], context: &[Token]) -> Result<Token, NoFiniteLogit> {
        let Some(settings) = &self.settings else {
            return argmax(logits);
        };
        bias(logits, settings);
        self.penalize(logits, settings, context);
        if settings.temperature <= 0.0 {
            return argmax(logits);
        }
        let key = mix(self.seed ^ mix(context.len() as u64));
        draw(logits, settings, key)
    }

    /// Tells the penalties what was generated.
    pub(crate) fn accept(&mut self, token: Token) {
        if self.settings.as_ref().is_some_and(|s| s.frequency_penalty != 0.0 || s.presence_penalty != 0.0) {
            *self.counts.entry(token).or_insert(0) += 1;
        }
    }

    fn penalize(&self, logits: &mut [f32], settings: &Sampling, context: &[Token]) {
        for (&token, &count) in &self.counts {
            logits[token as usize] -= settings.frequency_penalty * count as f32 + settings.presence_penalty;
        }
        if settings.repeat_penalty == 1.0 || settings.repeat_last_n == 0 {
            return;
        }
        let window = settings.repeat_last_n.min(MAX_REPEAT_LAST_N) as usize;
        let mut recent: Vec<Token> = context[context.len().saturating_sub(window)..].to_vec();
        recent.sort_unstable();
        recent.dedup();
        for token in recent {
            let logit = &mut logits[token as usize];
            *logit = if *logit > 0.0 {
                *logit / settings.repeat_penalty
            } else {
                *logit * settings.repeat_penalty
            };
        }
    }
}

fn bias(logits: &mut [f32], settings: &Sampling) {
    for &(token, bias) in &settings.logit_bias {
        logits[token as usize] += bias;
    }
}

/// The index of the largest logit; the lowest of equals.
///
/// # Errors
/// [`NoFiniteLogit`] where every logit is minus infinity or no number.
pub fn argmax(logits: &[f32]) -> Result<Token, NoFiniteLogit> {
    // Lanes instead of one running maximum: the compiler turns them into vector instructions.
    const LANES: usize = 16;
    let mut best = [f32::NEG_INFINITY; LANES];
    let mut chunks = logits.chunks_exact(LANES);
    for chunk in &mut chunks {
        for (best, &logit) in best.iter_mut().zip(chunk) {
            *best = if logit > *best { logit } else { *best };
        }
    }
    let rest = chunks.remainder().iter().copied().filter(|logit| !logit.is_nan());
    let max = best.into_iter().chain(rest).fold(f32::NEG_INFINITY, f32::max);
    if max == f32::NEG_INFINITY {
        return Err(NoFiniteLogit);
    }
    logits.iter().position(|&logit| logit == max).map(|index| index as Token).ok_or(NoFiniteLogit)
}

/// A token that may be drawn, with its logit over the temperature.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Candidate {
    scaled: f32,
    token: Token,
}

fn draw(logits: &[f32], settings: &Sampling, key: u64) -> Result<Token, NoFiniteLogit> {
    let likeliest = argmax(logits)?;
    let inverse = 1.0 / settings.temperature;
    let scale = |(token, logit): (usize, &f32)| Candidate { scaled: logit * inverse, token: token as Token };
    let first = scale((likeliest as usize, &logits[likeliest as usize]));
    if !filters::wants_order(settings) {
        let floor = if settings.min_p > 0.0 { first.scaled + settings.min_p.ln() } else { f32::NEG_INFINITY };
        let all = logits.iter().enumerate().map(scale).filter(|candidate| candidate.scaled >= floor);
        return Ok(noisy_argmax(first, all, key));
    }
    let survivors = survivors(logits, settings, first.scaled, unit(noise_bits(key, Token::MAX)));
    // Some filters leave out the likeliest of all.
    let first = survivors.first().copied().unwrap_or(first);
    Ok(noisy_argmax(first, survivors.into_iter(), key))
}

/// The argmax of scaled logit plus noise, where `first` is one of the candidates.
fn noisy_argmax(first: Candidate, candidates: impl Iterator<Item = Candidate>, key: u64) -> Token {
    let mut winner = first.token;
    let mut best = f64::from(first.scaled) + gumbel(noise_bits(key, first.token));
    for candidate in candidates {
        let bits = noise_bits(key, candidate.token);
        let behind = best - f64::from(candidate.scaled);
        // Noise above x needs a uniform number within e^-x of 1, so enough ones at its top: most tokens fail here,
        // before any logarithm.
        if noise_bound(bits) < behind {
            continue;
        }
        let total = f64::from(candidate.scaled) + gumbel(bits);
        if total > best || (total == best && candidate.token < winner) {
            (best, winner) = (total, candidate.token);
        }
    }
    winner
}

fn noise_bits(key: u64, token: Token) -> u64 {
    mix(key.wrapping_add(u64::from(token).wrapping_mul(0x9e37_79b9_7f4a_7c15)))
}

/// Standard Gumbel noise, -ln(-ln u), for a uniform number u.
fn gumbel(bits: u64) -> f64 {
    -(-unit(bits).ln()).ln()
}

/// A uniform number of 53 bits, strictly between 0 and 1.
fn unit(bits: u64) -> f64 {
    ((bits >> 11) as f64 + 0.5) * 2f64.powi(-53)
}

/// No less than [`gumbel`] of the same bits: -ln(1 - u), rounded up to the next power of two.
fn noise_bound(bits: u64) -> f64 {
    f64::from(bits.leading_ones() + 1) * std::f64::consts::LN_2
}

/// The finalizer of splitmix64 (Steele, Lea and Flood, 2014).
fn mix(mut x: u64) -> u64 {
    x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// log(sum(exp(logits))), without overflow.
pub(crate) fn log_sum_exp(logits: &[f32]) -> f32 {
    match argmax(logits) {
        Ok(best) => {
            let best = logits[best as usize];
            best + mass(logits, 1.0, best).ln() as f32
        }
        Err(NoFiniteLogit) => f32::NEG_INFINITY,
    }
}

/// The sum of exp(logit x inverse - best) over all logits.
fn mass(logits: &[f32], inverse: f32, best: f32) -> f64 {
    // Lanes and an exponential without branches: vector instructions again.
    const LANES: usize = 16;
    let mut total = 0.0;
    let mut chunks = logits.chunks_exact(LANES);
    for chunk in &mut chunks {
        let mut sums = [0f32; LANES];
        for (sum, logit) in sums.iter_mut().zip(chunk) {
            *sum = exp(logit * inverse - best);
        }
        total += f64::from(sums.iter().sum::<f32>());
    }
    total + chunks.remainder().iter().map(|logit| f64::from(exp(logit * inverse - best))).sum::<f64>()
}

/// e^x for x <= 0, to a few millionths of it; 0 below -87 and for what is no number.
fn exp(x: f32) -> f32 {
    let clamped = if x > -87.0 { x } else { -87.0 };
    let power = clamped * std::f32::consts::LOG2_E;
    let whole = power.floor();
    let rest = (power - whole) * std::f32::consts::LN_2;
    // Taylor to the seventh term on [0, ln 2).
    let polynomial = 1.0
        + rest
            * (1.0
                + rest
                    * (0.5
                        + rest
                            * (1.0 / 6.0
                                + rest
                                    * (1.0 / 24.0
                                        + rest * (1.0 / 120.0 + rest * (1.0 / 720.0 + rest / 5040.0))))));
    let scale = f32::from_bits(((whole as i32 + 127) as u32) << 23);
    if x > -87.0 { polynomial * scale } else { 0.0 }
}

/// The model's own distribution at one position, for reports.
#[derive(Debug)]
pub(crate) struct Distribution {
    normalizer: f32,
    top: Vec<(Token, f32)>,
}

impl Distribution {
    /// Keeps the `top` most likely tokens of untouched logits.
    pub(crate) fn of(logits: &[f32], top: u32) -> Self {
        let top = top.min(MAX_TOP_LOGPROBS) as usize;
        let mut order: Vec<Token> = (0..logits.len() as Token).collect();
        let descending =
            |a: &Token, b: &Token| logits[*b as usize].total_cmp(&logits[*a as usize]).then(a.cmp(b));
        if top > 0 && top < order.len() {
            order.select_nth_unstable_by(top - 1, descending);
        }
        order.truncate(top);
        order.sort_unstable_by(descending);
        let normalizer = log_sum_exp(logits);
        Self {
            normalizer,
            top: order.into_iter().map(|token| (token, logits[token as usize] - normalizer)).collect(),
        }
    }

    pub(crate) fn logprob(&self, logit: f32) -> f32 {
        logit - self.normalizer
    }

    /// The report on `chosen`, whose untouched logit is given; `bytes` spells tokens.
    pub(crate) fn report(&self, chosen: Token, logit: f32, bytes: impl Fn(Token) -> Vec<u8>) -> TokenInfo {
        let entry = |token, logprob| Logprob { token, bytes: bytes(token), logprob };
        TokenInfo {
            chosen: entry(chosen, self.logprob(logit)),
            top: self.top.iter().map(|&(token, logprob)| entry(token, logprob)).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(temperature: f32) -> Sampling {
        Sampling { temperature, ..Sampling::default() }
    }

    /// Shares of the tokens over many positions.
    fn shares(settings: &Sampling, logits: &[f32], draws: usize) -> Vec<f64> {
        let mut counts = vec![0.0; logits.len()];
        for position in 0..draws {
            let mut sampler = Sampler::new(Some(settings.clone()), 7);
            let token = sampler.choose(&mut logits.to_vec(), &vec![0; position]).unwrap();
            counts[token as usize] += 1.0 / draws as f64;
        }
        counts
    }

    fn check_shares(settings: &Sampling, logits: &[f32], expected: &[f64]) {
        let got = shares(settings, logits, 4000);
        for (got, expected) in got.iter().zip(expected) {
            assert!((got - expected).abs() < 0.03, "{got:?} against {expected:?} of {settings:?}");
        }
    }

    #[test]
    fn draws_follow_the_distribution_that_is_left_after_the_filters() {
        let logits = [0.6f32.ln(), 0.3f32.ln(), 0.08f32.ln(), 0.02f32.ln()];
        let plain = settings(1.0);
        check_shares(&plain, &logits, &[0.6, 0.3, 0.08, 0.02]);
        check_shares(&Sampling { top_k: 2, ..plain.clone() }, &logits, &[0.667, 0.333, 0.0, 0.0]);
        check_shares(&Sampling { top_p: 0.85, ..plain.clone() }, &logits, &[0.667, 0.333, 0.0, 0.0]);
        check_shares(&Sampling { top_p: 0.0, ..plain.clone() }, &logits, &[1.0, 0.0, 0.0, 0.0]);
        check_shares(&Sampling { min_p: 0.1, ..plain.clone() }, &logits, &[0.612, 0.306, 0.082, 0.0]);
        check_shares(&Sampling { top_k: 3, min_p: 0.4, ..plain.clone() }, &logits, &[0.667, 0.333, 0.0, 0.0]);
        // The entropy is 0.95 nats: the second token is closest to what is expected of one, then the first.
        check_shares(&Sampling { typical_p: 0.2, ..plain.clone() }, &logits, &[0.0, 1.0, 0.0, 0.0]);
        check_shares(&Sampling { typical_p: 0.8, ..plain.clone() }, &logits, &[0.667, 0.333, 0.0, 0.0]);
        // Of those that are likely enough, only the least likely one stays, half of the time.
        let xtc = Sampling { xtc_probability: 1.0, xtc_threshold: 0.1, ..plain.clone() };
        check_shares(&xtc, &logits, &[0.0, 0.75, 0.2, 0.05]);
        check_shares(&Sampling { xtc_threshold: 0.5, ..xtc.clone() }, &logits, &[0.6, 0.3, 0.08, 0.02]);
        check_shares(&Sampling { xtc_probability: 0.5, ..xtc }, &logits, &[0.3, 0.525, 0.14, 0.035]);
        let sharp: Vec<f64> = [0.36, 0.09, 0.0064, 0.0004].iter().map(|p| p / 0.4568).collect();
        check_shares(&settings(0.5), &logits, &sharp);
        // A certain model is cooled down to 0.5, one that knows nothing is heated to 1.5.
        let dynamic = Sampling { dynamic_temperature_range: 0.5, ..plain };
        check_shares(&dynamic, &[30.0, 0.0], &[1.0, 0.0]);
        let entropy = -[0.6f64, 0.3, 0.08, 0.02].iter().map(|p| p * p.ln()).sum::<f64>();
        let temperature = 0.5 + entropy / 4f64.ln();
        let heated = [0.6f64, 0.3, 0.08, 0.02].map(|p| p.powf(1.0 / temperature));
        let total: f64 = heated.iter().sum();
        check_shares(&dynamic, &logits, &heated.map(|share| share / total));
    }

    #[test]
    fn a_nucleus_of_any_width_is_found() {
        let logits: Vec<f32> = (0..3000).map(|i| -(i as f32) / 100.0).collect();
        let total: f64 = logits.iter().map(|logit| f64::from(logit.exp())).sum();
        for top_p in [0.0, 0.5, 0.9, 0.999, 0.999_999] {
            let mut covered = 0.0;
            let short = logits.iter().take_while(|logit| {
                covered += f64::from(logit.exp());
                covered < f64::from(top_p) * total
            });
            let expected = short.count() + 1;
            let kept = survivors(&logits, &Sampling { top_p, ..settings(1.0) }, 0.0, 0.5);
            assert!(
                kept.len().abs_diff(expected) <= 1 + expected / 100,
                "{} against {expected} for {top_p}",
                kept.len()
            );
            assert!(kept.iter().zip(0..).all(|(candidate, token)| candidate.token == token));
        }
    }

    #[test]
    fn quick_rejection_changes_no_draw() {
        let logits: Vec<f32> = (0..500).map(|i| (i as f32 * 0.7).sin() * 5.0).collect();
        for key in 0..200 {
            let exact = (0..500).max_by(|&a, &b| {
                let total = |token: Token| f64::from(logits[token as usize]) + gumbel(noise_bits(key, token));
                total(a).total_cmp(&total(b)).then(b.cmp(&a))
            });
            let all = (0..).zip(&logits).map(|(token, &scaled)| Candidate { scaled, token });
            assert_eq!(Some(noisy_argmax(Candidate { scaled: logits[0], token: 0 }, all, key)), exact);
        }
    }

    #[test]
    fn the_quick_exponential_is_close() {
        for i in 0..9000 {
            let x = -(i as f32) / 100.0;
            let (got, exact) = (f64::from(exp(x)), f64::from(x).exp());
            assert!((got - exact).abs() <= exact * 1e-5 + 1e-37, "{x}: {got} against {exact}");
        }
        assert_eq!((exp(f32::NEG_INFINITY), exp(f32::NAN)), (0.0, 0.0));
        let logits: Vec<f32> = (0..1000).map(|i| (i as f32).cos() * 9.0).collect();
        let exact: f64 = logits.iter().map(|logit| f64::from(*logit).exp()).sum();
        assert!((f64::from(log_sum_exp(&logits)) - exact.ln()).abs() < 1e-5);
    }

    #[test]
    fn a_draw_depends_on_seed_and_position_only() {
        let logits: Vec<f32> = (0..100).map(|i| (i as f32).sin()).collect();
        let draw = |seed, position| {
            Sampler::new(Some(settings(1.0)), seed).choose(&mut logits.clone(), &vec![1; position]).unwrap()
        };
        assert_eq!(draw(1, 5), draw(1, 5));
        let differing = (0..50).filter(|&position| draw(1, position) != draw(2, position)).count();
        assert!(differing > 40, "{differing}");
    }

    #[test]
    fn penalties_and_bias_move_the_choice() {
        let choose = |settings: Sampling, context: &[Token], said: &[Token]| {
            let mut sampler = Sampler::new(Some(settings), 0);
            said.iter().for_each(|&token| sampler.accept(token));
            sampler.choose(&mut [1.0, 0.9, -1.0], context).unwrap()
        };
        assert_eq!(choose(settings(0.0), &[0, 0], &[0, 0]), 0);
        let repeat = Sampling { repeat_penalty: 1.5, repeat_last_n: 8, ..settings(0.0) };
        assert_eq!(choose(repeat, &[0], &[]), 1);
        assert_eq!(choose(Sampling { presence_penalty: 0.2, ..settings(0.0) }, &[], &[0]), 1);
        assert_eq!(choose(Sampling { frequency_penalty: 0.06, ..settings(0.0) }, &[], &[0]), 0);
        assert_eq!(choose(Sampling { frequency_penalty: 0.06, ..settings(0.0) }, &[], &[0, 0]), 1);
        assert_eq!(choose(Sampling { logit_bias: vec![(2, 5.0)], ..settings(0.0) }, &[], &[]), 2);
    }

    #[test]
    fn masked_and_broken_logits_are_never_chosen() {
        let none = [f32::NEG_INFINITY; 40];
        assert_eq!(argmax(&none), Err(NoFiniteLogit));
        assert_eq!(argmax(&[f32::NAN; 40]), Err(NoFiniteLogit));
        let mut one = none;
        one[33] = -80.0;
        assert_eq!(argmax(&one), Ok(33));
        assert_eq!(Sampler::new(Some(settings(2.0)), 1).choose(&mut one, &[]), Ok(33));
        let mut nan = [0.0; 40];
        nan[17] = f32::NAN;
        nan[39] = 1.0;
        assert_eq!(argmax(&nan), Ok(39));
        assert_eq!(argmax(&[f32::INFINITY, 1.0]), Ok(0));
    }

    #[test]
    fn settings_that_make_no_sense_are_named() {
        let complaint = |settings: Sampling| Sampler::complaint(&settings, 10);
        assert_eq!(complaint(settings(0.7)), None);
        assert!(complaint(settings(-1.0)).unwrap().contains("temperature"));
        assert!(complaint(settings(f32::NAN)).unwrap().contains("temperature"));
        assert!(complaint(Sampling { top_p: 1.5, ..settings(1.0) }).unwrap().contains("top-p"));
        assert!(complaint(Sampling { typical_p: -0.1, ..settings(1.0) }).unwrap().contains("typical-p"));
        assert!(complaint(Sampling { repeat_penalty: 0.0, ..settings(1.0) }).unwrap().contains("repeat"));
        assert!(
            complaint(Sampling { logit_bias: vec![(10, 1.0)], ..settings(1.0) })
                .unwrap()
                .contains("token 10")
        );
    }

    #[test]
    fn reports_are_of_the_untouched_distribution() {
        let logits = [0.5f32.ln() + 3.0, 0.25f32.ln() + 3.0, 0.25f32.ln() + 3.0];
        let distribution = Distribution::of(&logits, 2);
        let info = distribution.report(2, logits[2], |token| vec![token as u8]);
        assert_eq!((info.chosen.token, info.top[0].token, info.top[1].token), (2, 0, 1));
        assert!((info.chosen.logprob - 0.25f32.ln()).abs() < 1e-5);
        assert!((info.top[0].logprob - 0.5f32.ln()).abs() < 1e-5);
    }
}
