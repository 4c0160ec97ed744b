//! What an invocation took: as a line for people, as JSON for programs.

use std::time::Duration;

use dunlin_host::{Outcome, Usage};
use serde::Serialize;

use crate::{duration, terminal::style};

/// The line under an answer.
pub(crate) fn line(outcome: &Outcome) -> String {
    let Usage { prompt_tokens, cached_tokens, output_tokens, scored_tokens, .. } = outcome.usage;
    let wall_time = duration::show(outcome.spent.wall_time);
    let faint = style::FAINT;
    let mut parts = Vec::new();
    if scored_tokens > 0 {
        parts.push(format!("{scored_tokens} tokens scored"));
    }
    if prompt_tokens + cached_tokens + output_tokens > 0 {
        let cached = if cached_tokens > 0 { format!(" + {cached_tokens} cached") } else { String::new() };
        parts.push(format!("{prompt_tokens}{cached} prompt tokens, {output_tokens} output tokens"));
    }
    if outcome.usage.ttft_us > 0 {
        parts.push(format!("TTFT {}", micros(outcome.usage.ttft_us)));
    }
    if let Some(rate) = tokens_per_second(&outcome.usage) {
        parts.push(format!("TPOT {}, {rate:.0} tokens/s", micros(outcome.usage.tpot_p50_us)));
    }
    if parts.is_empty() {
        parts.push("no tokens".to_owned());
    }
    format!("{faint}usage: {} · {wall_time} in all{faint:#}", parts.join(" · "))
}

fn micros(us: u64) -> String {
    duration::show(Duration::from_micros(us))
}

/// Of one stream while it decodes; none where nothing was decoded after a first token.
pub(crate) fn tokens_per_second(usage: &Usage) -> Option<f64> {
    (usage.tpot_p50_us > 0).then(|| 1e6 / usage.tpot_p50_us as f64)
}

/// The same with names. Times are in microseconds.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct UsageJson {
    generations: u32,
    prompt_tokens: u32,
    cached_tokens: u32,
    output_tokens: u32,
    forced_tokens: u32,
    scored_tokens: u32,
    queue_us: u64,
    ttft_us: u64,
    tpot_p50_us: u64,
    tpot_p99_us: u64,
    tokens_per_second: Option<f64>,
    host_calls: u64,
    emitted_bytes: u64,
    pipeline_memory_bytes: u64,
}

impl From<&Outcome> for UsageJson {
    fn from(Outcome { usage, spent, .. }: &Outcome) -> Self {
        Self {
            generations: usage.generations,
            prompt_tokens: usage.prompt_tokens,
            cached_tokens: usage.cached_tokens,
            output_tokens: usage.output_tokens,
            forced_tokens: usage.forced_tokens,
            scored_tokens: usage.scored_tokens,
            queue_us: usage.queue_us,
            ttft_us: usage.ttft_us,
            tpot_p50_us: usage.tpot_p50_us,
            tpot_p99_us: usage.tpot_p99_us,
            tokens_per_second: tokens_per_second(usage).map(|rate| (rate * 10.0).round() / 10.0),
            host_calls: spent.host_calls,
            emitted_bytes: spent.emitted_bytes,
            pipeline_memory_bytes: spent.memory_bytes,
        }
    }
}
