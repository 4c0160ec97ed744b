//! What the layers above the engine's loop cost: its process, the host, a pipeline.

use std::time::Instant;

use dunlin_engine_handle::Tokenize;
use dunlin_gguf::synth::SynthShape;

use crate::{
    Arguments,
    engines::{Bare, Process, Setting, fresh_prompt, synthetic},
    guests::Guest,
    pairs::{Median, Pairs},
};

const DECODED: u32 = 128;

/// Tokens a second that the caller of the chat pipeline sees, by those that the loop itself reports.
pub(crate) fn decode(arguments: &Arguments, setting: &Setting) -> anyhow::Result<()> {
    let chat = dunlin_plugins::find("chat").expect("it is built in");
    let params = [("temperature", "0"), ("max_tokens", &*DECODED.to_string())];
    let pairs = Pairs::in_rounds(arguments.pairs, |count| {
        let process = Process::start(setting)?;
        let guest = process.block_on(Guest::start(chat.name, chat.bytes, process.engine.clone()))?;
        let mut bare = Bare::start(setting)?;
        let ask = || loop {
            if let Some(seen) = process.block_on(guest.run(fresh_text(1), &params))? {
                return anyhow::Ok(seen);
            }
        };
        // Of the same length, so that steps have as much to attend to.
        let usage = ask()?.usage;
        let prompt = (usage.prompt_tokens + usage.cached_tokens) as usize;
        let mut direct = || Ok(bare.run_one(setting.generate(fresh_prompt(prompt), DECODED))?.decode_rate());
        direct()?;
        Pairs::interleave(count, || Ok(ask()?.decode_rate()), direct)
    })?;
    pairs.report_rates();
    Ok(())
}

pub(crate) fn decode_process(arguments: &Arguments, setting: &Setting) -> anyhow::Result<()> {
    let generate = || setting.generate(fresh_prompt(16), DECODED);
    let pairs = Pairs::in_rounds(arguments.pairs, |count| {
        let process = Process::start(setting)?;
        let mut bare = Bare::start(setting)?;
        let through = || Ok(process.run(generate())?.decode_rate());
        let mut direct = || Ok(bare.run_one(generate())?.decode_rate());
        through()?;
        direct()?;
        Pairs::interleave(count, through, direct)
    })?;
    pairs.report_rates();
    Ok(())
}

/// Each reads a short prompt of its own; the pipeline has it tokenized first. With a tiny model, since what the layers
/// add does not depend on the model, and the noise of its steps does.
pub(crate) fn first_token(arguments: &Arguments, setting: &Setting) -> anyhow::Result<()> {
    let setting = &synthetic(&SynthShape::TINY, "tiny", setting.threads)?;
    let process = Process::start(setting)?;
    let script =
        process.block_on(Guest::start("script", dunlin_host_guests::SCRIPT, process.engine.clone()))?;
    let mut bare = Bare::start(setting)?;
    let script_of = |text| format!("open model\ncreate\nappend 0 {text}\ngenerate 0 max=1\nstream 0");
    let through = || loop {
        if let Some(seen) = process.block_on(script.run(script_of(fresh_text(2)), &[]))? {
            return Ok(seen.first_chunk.as_secs_f64() * 1e3);
        }
    };
    let direct = || -> anyhow::Result<f64> {
        let tokenize = Tokenize { text: fresh_text(2), add_special: false, parse_special: false };
        let tokens = process.block_on(process.engine.tokenize(tokenize))?;
        Ok(bare.run_one(setting.generate(tokens, 1))?.0.ttft_us as f64 / 1e3)
    };
    let pairs = Pairs::interleave(arguments.pairs.max(200), through, direct)?;
    println!("{:.2} ms", pairs.difference());
    Ok(())
}

/// From the cancel, in the middle of a generation, to its end; in steps.
pub(crate) fn cancel(arguments: &Arguments, setting: &Setting) -> anyhow::Result<()> {
    let process = Process::start(setting)?;
    let mut steps = Vec::new();
    for _ in 0..arguments.pairs.max(50) {
        let generate = setting.generate(fresh_prompt(16), 1_000);
        steps.push(process.block_on(async {
            let mut generation = process.engine.generate(generate);
            let mut tokens = 0;
            let mut cancelled = None;
            loop {
                let Some(delta) = generation.next().await else {
                    anyhow::bail!("a generation without an end")
                };
                let delta = delta?;
                tokens += delta.tokens.len();
                if let Some(finish) = delta.finish {
                    let cancelled: Instant =
                        cancelled.ok_or_else(|| anyhow::anyhow!("it ended by itself"))?;
                    return Ok(cancelled.elapsed().as_secs_f64() * 1e6 / finish.usage.tpot_p50_us as f64);
                }
                if tokens > 20 && cancelled.is_none() {
                    generation.cancel();
                    cancelled = Some(Instant::now());
                }
            }
        })?);
    }
    println!("{:.2} steps", Median::of(&steps));
    Ok(())
}

/// Words that no earlier text begins with.
fn fresh_text(words: usize) -> String {
    (0..words).map(|_| format!("{:08x} ", fastrand::u32(..))).collect()
}
