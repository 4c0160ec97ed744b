//! What answers took, as each API tells it, and beside it what is ours: times, energy, places.

use dunlin_protocol::{Energy, Usage};
use serde_json::{Value, json};

use crate::{
    answer::Finish,
    document::{self, ms},
};

/// Tokens of several answers to one prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Tokens {
    pub(crate) prompt: u64,
    pub(crate) cached: u64,
    pub(crate) output: u64,
}

impl Tokens {
    /// Of the prompt once, of the answers all.
    pub(crate) fn of_choices<'a>(finishes: impl IntoIterator<Item = &'a Finish>) -> Self {
        let mut tokens = Self::default();
        for finish in finishes {
            let of = Self::of(&finish.usage);
            tokens.prompt = tokens.prompt.max(of.prompt);
            tokens.cached = tokens.cached.max(of.cached);
            tokens.output += of.output;
        }
        tokens
    }

    pub(crate) fn of(usage: &Usage) -> Self {
        let cached = u64::from(usage.cached_tokens);
        Self {
            prompt: u64::from(usage.prompt_tokens) + cached,
            cached,
            output: u64::from(usage.output_tokens),
        }
    }

    /// As OpenAI tells it.
    pub(crate) fn usage(self) -> Value {
        json!({
            "prompt_tokens": self.prompt,
            "completion_tokens": self.output,
            "total_tokens": self.prompt + self.output,
            "prompt_tokens_details": { "cached_tokens": self.cached, "audio_tokens": 0 },
            "completion_tokens_details": {
                "reasoning_tokens": 0,
                "audio_tokens": 0,
                "accepted_prediction_tokens": 0,
                "rejected_prediction_tokens": 0,
            },
        })
    }
}

/// Adds what is ours: `timings`, `energy`, and under `dunlin` where it ran.
pub(crate) fn tell<'a>(document: &mut Value, finishes: impl IntoIterator<Item = &'a Finish>) {
    let finishes: Vec<&Finish> = finishes.into_iter().collect();
    let Some(first) = finishes.first() else { return };
    document["timings"] = timings(&first.usage);
    // What is not known is left out: it is not nothing.
    if let Some(energy) = energy(&finishes) {
        document["energy"] = energy;
    }
    let places: Vec<Value> = finishes.iter().map(|finish| place(finish)).collect();
    document["dunlin"] = match places.as_slice() {
        [one] => one.clone(),
        _ => json!({ "choices": places }),
    };
}

/// Of all choices; `None` where those of one are not known, or where they are of different parts of boards: such joules have
/// no sum.
fn energy(finishes: &[&Finish]) -> Option<Value> {
    let mut known = finishes.iter().map(|finish| finish.usage.energy.as_ref());
    let mut sum = known.next()??.clone();
    for energy in known {
        sum = added(sum, energy?)?;
    }
    Some(document::energy(&sum))
}

fn added(sum: Energy, energy: &Energy) -> Option<Energy> {
    let both = |a: Option<u64>, b: Option<u64>| a.zip(b).map(|(a, b)| a + b);
    (sum.scope == energy.scope && sum.source == energy.source).then(|| Energy {
        total_millijoules: sum.total_millijoules + energy.total_millijoules,
        marginal_millijoules: sum.marginal_millijoules + energy.marginal_millijoules,
        prefill_millijoules: both(sum.prefill_millijoules, energy.prefill_millijoules),
        decode_millijoules: both(sum.decode_millijoules, energy.decode_millijoules),
        error_thousandths: sum.error_thousandths.max(energy.error_thousandths),
        ..sum
    })
}

/// Where it ran.
fn place(finish: &Finish) -> Value {
    let usage = &finish.usage;
    json!({
        "invocation": finish.invocation.to_string(),
        "node": usage.node.to_string(),
        "point": document::point(&usage.point),
        "emulated": usage.emulated,
        "attempts": finish.placed.iter().map(document::placed).collect::<Vec<_>>(),
    })
}

/// Queue and load, prefill and decode, in milliseconds; and the names that clients of llama.cpp know.
pub(crate) fn timings(usage: &Usage) -> Value {
    let has_first = usage.ttft_us > 0;
    let prefill = usage.ttft_us.saturating_sub(usage.queue_us + usage.load_us);
    let decode = if has_first { usage.total_us.saturating_sub(usage.ttft_us) } else { 0 };
    let rate = |tokens: u32, us: u64| (us > 0).then(|| f64::from(tokens) * 1e6 / us as f64);
    let mut timings = json!({
        "queue_ms": ms(usage.queue_us),
        "load_ms": ms(usage.load_us),
        "prefill_ms": ms(prefill),
        "decode_ms": ms(decode),
        "total_ms": ms(usage.total_us),
        "cache_n": usage.cached_tokens,
        "prompt_n": usage.prompt_tokens,
        "prompt_ms": ms(prefill),
        "prompt_per_second": rate(usage.prompt_tokens, prefill),
        "predicted_n": usage.output_tokens,
        "predicted_ms": ms(decode),
        "predicted_per_second": rate(usage.output_tokens.saturating_sub(1), decode),
    });
    // Nothing was written, or nothing after the first token: there is no such time.
    if has_first {
        timings["ttft_ms"] = ms(usage.ttft_us).into();
    }
    if let Some(tpot) = document::tpot_us(usage) {
        timings["tpot_ms"] = ms(tpot).into();
        timings["tpot_p50_ms"] = ms(usage.tpot_p50_us).into();
        timings["tpot_p99_ms"] = ms(usage.tpot_p99_us).into();
    }
    timings
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use dunlin_protocol::{EnergyScope, EnergySource, InvocationId};

    use super::*;

    fn finish() -> Finish {
        let mut usage = Usage::of("pi-1".parse().unwrap());
        (usage.queue_us, usage.load_us, usage.ttft_us, usage.total_us) = (1000, 2000, 10_000, 110_000);
        (usage.prompt_tokens, usage.cached_tokens, usage.output_tokens) = (70, 30, 11);
        usage.energy = Some(Energy {
            total_millijoules: 2900,
            marginal_millijoules: 1840,
            prefill_millijoules: Some(520),
            decode_millijoules: Some(1320),
            scope: EnergyScope::BoardInput,
            source: EnergySource::RailSensor,
            correction: String::new(),
            error_thousandths: Some(61),
        });
        let (placed, content_type, body) = (Vec::new(), String::new(), Vec::new());
        Finish { invocation: InvocationId(1), placed, usage, content_type, body }
    }

    fn told(finishes: &[&Finish]) -> Value {
        let mut document = json!({});
        tell(&mut document, finishes.iter().copied());
        document
    }

    #[test]
    fn times_are_parted_into_phases() {
        let finish = finish();
        let timings = timings(&finish.usage);
        assert_eq!((&timings["prefill_ms"], &timings["decode_ms"]), (&json!(7.0), &json!(100.0)));
        assert_eq!(
            (&timings["prompt_per_second"], &timings["predicted_per_second"], &timings["tpot_ms"]),
            (&json!(10_000.0), &json!(100.0), &json!(10.0))
        );
        assert_eq!(Tokens::of(&finish.usage), Tokens { prompt: 100, cached: 30, output: 11 });
    }

    #[test]
    fn joules_are_added_where_they_are_alike_and_else_left_out() {
        let one = finish();
        let energy = told(&[&one, &one])["energy"].clone();
        assert_eq!(
            (&energy["marginal_joules"], &energy["prefill_joules"], &energy["decode_joules"]),
            (&json!(3.68), &json!(1.04), &json!(2.64))
        );
        assert_eq!((&energy["provenance"], &energy["error"]), (&json!("metered"), &json!(0.061)));
        let mut other = finish();
        other.usage.energy.as_mut().unwrap().scope = EnergyScope::Package;
        assert_eq!(told(&[&one, &other]).get("energy"), None);
        other.usage.energy = None;
        assert_eq!(told(&[&one, &other]).get("energy"), None);
        // Nothing was written: no time to the first token, and none per token.
        let empty = Usage::of("pi-1".parse().unwrap());
        assert!(["ttft_ms", "tpot_ms"].iter().all(|name| timings(&empty).get(name).is_none()));
    }

    #[test]
    fn the_document_has_the_fields_that_are_told() {
        let document: Value = serde_json::from_str(include_str!("../openapi.json")).unwrap();
        let written = |schema: &str| -> BTreeSet<String> {
            let fields = document["components"]["schemas"][schema]["properties"].as_object();
            fields.unwrap_or_else(|| panic!("no {schema}")).keys().cloned().collect()
        };
        let said =
            |value: &Value| -> BTreeSet<String> { value.as_object().unwrap().keys().cloned().collect() };
        let told = told(&[&finish()]);
        assert_eq!(written("Timings"), said(&told["timings"]));
        assert_eq!(written("Energy"), said(&told["energy"]));
        assert_eq!(written("Place"), said(&told["dunlin"]));
        assert_eq!(written("Usage"), said(&document::usage(&finish().usage)));
    }
}
