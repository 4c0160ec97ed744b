//! Which tokens may be drawn: the filters, in the order in which they are applied.

use dunlin_engine_handle::{Sampling, Token};

use super::{Candidate, mass};

/// Above this threshold no two tokens can be likely enough, so that there is nothing to exclude.
const MAX_XTC_THRESHOLD: f32 = 0.5;

/// Whether any filter has to know the tokens in the order of their likelihood. (min-p only asks for the likeliest.)
pub(super) fn wants_order(settings: &Sampling) -> bool {
    settings.top_k > 0
        || settings.top_p < 1.0
        || settings.typical_p < 1.0
        || settings.xtc_probability > 0.0
        || settings.dynamic_temperature_range > 0.0
}

/// What all filters keep, the likeliest first, at the temperature of the draw. `best` is the largest logit over the
/// temperature, `chance` a uniform number of 0 to 1.
pub(super) fn survivors(logits: &[f32], settings: &Sampling, best: f32, chance: f64) -> Vec<Candidate> {
    let inverse = 1.0 / settings.temperature;
    let mut kept = if settings.typical_p < 1.0 {
        typical(logits, settings, inverse)
    } else {
        likely(logits, settings, inverse, best)
    };
    if chance < f64::from(settings.xtc_probability) {
        exclude_top_choices(&mut kept, settings.xtc_threshold);
    }
    if settings.dynamic_temperature_range > 0.0 {
        adapt_temperature(&mut kept, settings);
    }
    kept
}

/// What top-k, then top-p on what is left, then min-p keep.
fn likely(logits: &[f32], settings: &Sampling, inverse: f32, best: f32) -> Vec<Candidate> {
    let limit = limit(settings);
    let total = (limit == usize::MAX).then(|| mass(logits, inverse, best));
    // Nearly always a few candidates close to the best suffice; reach further only if they do not.
    for reach in [4.0, 8.0, 16.0, f32::INFINITY] {
        let mut head = collect(logits, inverse, best - reach);
        let is_all = reach.is_infinite();
        if head.len() < limit && limit != usize::MAX && !is_all {
            continue;
        }
        sort_head(&mut head, limit);
        let wanted = f64::from(settings.top_p) * total.unwrap_or_else(|| mass_of(&head, best));
        if let Some(nucleus) = nucleus(&head, wanted, best) {
            head.truncate(nucleus);
        } else if !is_all && head.len() < limit {
            continue;
        }
        keep_min_p(&mut head, settings, best);
        return head;
    }
    Vec::new()
}

/// The same with locally typical sampling between top-k and top-p (Meister et al., 2023).
fn typical(logits: &[f32], settings: &Sampling, inverse: f32) -> Vec<Candidate> {
    let mut head = collect(logits, inverse, f32::NEG_INFINITY);
    sort_head(&mut head, limit(settings));
    keep_typical(&mut head, settings.typical_p);
    let Some(best) = head.first().map(|candidate| candidate.scaled) else { return head };
    let wanted = f64::from(settings.top_p) * mass_of(&head, best);
    if let Some(nucleus) = nucleus(&head, wanted, best) {
        head.truncate(nucleus);
    }
    keep_min_p(&mut head, settings, best);
    head
}

/// Keeps those whose surprise is closest to what is expected, until they cover `share`; at least one.
fn keep_typical(head: &mut Vec<Candidate>, share: f32) {
    let shares = shares(head);
    let entropy = entropy(&shares);
    let oddity = |index: usize| (-shares[index].ln() - entropy).abs();
    let mut order: Vec<usize> = (0..head.len()).collect();
    order.sort_by(|&a, &b| oddity(a).total_cmp(&oddity(b)));
    let mut covered = 0.0;
    let enough = order.iter().position(|&index| {
        covered += shares[index];
        covered > f64::from(share)
    });
    order.truncate(enough.map_or(head.len(), |last| last + 1));
    order.sort_unstable();
    *head = order.into_iter().map(|index| head[index]).collect();
}

/// Of those that reach the threshold, leaves out all but the least likely: XTC, as llama.cpp has it.
fn exclude_top_choices(kept: &mut Vec<Candidate>, threshold: f32) {
    if threshold > MAX_XTC_THRESHOLD {
        return;
    }
    let reaching = shares(kept).iter().take_while(|&&share| share >= f64::from(threshold)).count();
    kept.drain(..reaching.saturating_sub(1));
}

/// A temperature between two bounds, the higher the less the model knows: its entropy over the largest possible one, to
/// the power of the exponent, as in llama.cpp.
fn adapt_temperature(kept: &mut [Candidate], settings: &Sampling) {
    if kept.len() < 2 {
        return;
    }
    // The entropy is that at a temperature of 1.
    kept.iter_mut().for_each(|candidate| candidate.scaled *= settings.temperature);
    let ignorance = entropy(&shares(kept)) / (kept.len() as f64).ln();
    let range = settings.dynamic_temperature_range;
    let low = f64::from((settings.temperature - range).max(f32::MIN_POSITIVE));
    let high = f64::from(settings.temperature + range);
    let exponent = f64::from(settings.dynamic_temperature_exponent);
    let inverse = 1.0 / (low + (high - low) * ignorance.powf(exponent));
    let best = kept[0].scaled;
    // Relative to the best, which stays where it is however cold it gets.
    for candidate in kept.iter_mut() {
        candidate.scaled = (f64::from(candidate.scaled - best) * inverse) as f32;
    }
}

fn limit(settings: &Sampling) -> usize {
    if settings.top_k == 0 { usize::MAX } else { settings.top_k as usize }
}

fn keep_min_p(head: &mut Vec<Candidate>, settings: &Sampling, best: f32) {
    let floor = best + settings.min_p.ln();
    head.retain(|candidate| candidate.scaled >= floor);
}

fn collect(logits: &[f32], inverse: f32, floor: f32) -> Vec<Candidate> {
    let scaled = logits
        .iter()
        .enumerate()
        .map(|(token, logit)| Candidate { scaled: logit * inverse, token: token as Token });
    scaled.filter(|candidate| candidate.scaled >= floor && candidate.scaled > f32::NEG_INFINITY).collect()
}

/// Leaves the `limit` most likely, in descending order; of equals, the lower token first.
fn sort_head(head: &mut Vec<Candidate>, limit: usize) {
    let descending = |a: &Candidate, b: &Candidate| b.scaled.total_cmp(&a.scaled).then(a.token.cmp(&b.token));
    if limit < head.len() {
        head.select_nth_unstable_by(limit - 1, descending);
        head.truncate(limit);
    }
    head.sort_unstable_by(descending);
}

/// How many of the sorted candidates it takes to cover `wanted`, at least one; `None` where all do not suffice.
fn nucleus(head: &[Candidate], wanted: f64, best: f32) -> Option<usize> {
    let mut covered = 0.0;
    head.iter()
        .position(|candidate| {
            covered += weight(candidate, best);
            covered >= wanted
        })
        .map(|last| last + 1)
}

fn weight(candidate: &Candidate, best: f32) -> f64 {
    f64::from((candidate.scaled - best).exp())
}

fn mass_of(head: &[Candidate], best: f32) -> f64 {
    head.iter().map(|candidate| weight(candidate, best)).sum()
}

/// Probabilities of sorted candidates among themselves.
fn shares(head: &[Candidate]) -> Vec<f64> {
    let best = head.first().map_or(0.0, |candidate| candidate.scaled);
    let total = mass_of(head, best);
    head.iter().map(|candidate| weight(candidate, best) / total).collect()
}

/// In nats.
fn entropy(shares: &[f64]) -> f64 {
    -shares.iter().filter(|&&share| share > 0.0).map(|share| share * share.ln()).sum::<f64>()
}
