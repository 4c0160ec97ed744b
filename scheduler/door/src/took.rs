//! What answers took, as each API tells it, and beside it what is ours: times, energy, places.

use dunlin_protocol::Usage;
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
    document["energy"] = energy(&finishes);
    let places: Vec<Value> = finishes.iter().map(|finish| place(finish)).collect();
    document["dunlin"] = match places.as_slice() {
        [one] => one.clone(),
        _ => json!({ "choices": places }),
    };
}

/// The sum of what is known.
fn energy(finishes: &[&Finish]) -> Value {
    let known: Vec<_> = finishes.iter().filter_map(|finish| finish.usage.energy.as_ref()).collect();
    let (Some(first), true) = (known.first(), known.len() == finishes.len()) else { return Value::Null };
    let mut sum = (*first).clone();
    sum.total_millijoules = known.iter().map(|energy| energy.total_millijoules).sum();
    sum.marginal_millijoules = known.iter().map(|energy| energy.marginal_millijoules).sum();
    document::energy(&sum)
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
    let prefill = usage.ttft_us.saturating_sub(usage.queue_us + usage.load_us);
    let decode = if usage.ttft_us == 0 { 0 } else { usage.total_us.saturating_sub(usage.ttft_us) };
    let rate = |tokens: u32, us: u64| (us > 0).then(|| f64::from(tokens) * 1e6 / us as f64);
    json!({
        "queue_ms": ms(usage.queue_us),
        "load_ms": ms(usage.load_us),
        "prefill_ms": ms(prefill),
        "decode_ms": ms(decode),
        "ttft_ms": ms(usage.ttft_us),
        "tpot_p50_ms": ms(usage.tpot_p50_us),
        "tpot_p99_ms": ms(usage.tpot_p99_us),
        "total_ms": ms(usage.total_us),
        "cache_n": usage.cached_tokens,
        "prompt_n": usage.prompt_tokens,
        "prompt_ms": ms(prefill),
        "prompt_per_second": rate(usage.prompt_tokens, prefill),
        "predicted_n": usage.output_tokens,
        "predicted_ms": ms(decode),
        "predicted_per_second": rate(usage.output_tokens.saturating_sub(1), decode),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_parted_into_phases() {
        let mut usage = Usage::of("pi-1".parse().unwrap());
        (usage.queue_us, usage.load_us, usage.ttft_us, usage.total_us) = (1000, 2000, 10_000, 110_000);
        (usage.prompt_tokens, usage.cached_tokens, usage.output_tokens) = (70, 30, 11);
        let timings = timings(&usage);
        assert_eq!((&timings["prefill_ms"], &timings["decode_ms"]), (&json!(7.0), &json!(100.0)));
        assert_eq!(
            (&timings["prompt_per_second"], &timings["predicted_per_second"]),
            (&json!(10_000.0), &json!(100.0))
        );
        assert_eq!(Tokens::of(&usage), Tokens { prompt: 100, cached: 30, output: 11 });
    }
}
