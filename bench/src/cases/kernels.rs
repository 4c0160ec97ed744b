//! Against llama.cpp's own benchmark, built from the same sources. It warms up before it measures, and so do we: the
//! other one has just had the caches.

use std::{hint::black_box, time::Instant};

use crate::{
    Arguments,
    engines::{Process, Setting, fresh_prompt, llama_bench},
    pairs::{Pairs, median},
};

pub(crate) fn decode(arguments: &Arguments, setting: &Setting) -> anyhow::Result<()> {
    let Some(program) = &arguments.llama_bench else { return skip() };
    let pairs = Pairs::in_rounds(arguments.pairs, |count| {
        let process = Process::start(setting)?;
        let decode = || {
            process.run(setting.generate(fresh_prompt(1), 8))?;
            Ok(process.run(setting.generate(fresh_prompt(1), 128))?.decode_rate())
        };
        Pairs::interleave(count, decode, || llama_bench(program, setting, 0, 128))
    })?;
    pairs.report_rates();
    Ok(())
}

pub(crate) fn prefill(arguments: &Arguments, setting: &Setting) -> anyhow::Result<()> {
    let Some(program) = &arguments.llama_bench else { return skip() };
    let pairs = Pairs::in_rounds(arguments.pairs, |count| {
        let process = Process::start(setting)?;
        let prefill = || {
            process.run(setting.generate(fresh_prompt(512), 1))?;
            Ok(process.run(setting.generate(fresh_prompt(512), 1))?.prefill_rate())
        };
        Pairs::interleave(count, prefill, || llama_bench(program, setting, 512, 0))
    })?;
    pairs.report_rates();
    Ok(())
}

pub(crate) fn greedy(arguments: &Arguments, setting: &Setting) -> anyhow::Result<()> {
    let process = Process::start(setting)?;
    let step = process.run(setting.generate(fresh_prompt(16), 128))?.0.tpot_p50_us as f64;
    let logits: Vec<f32> = (0..32_768).map(|_| fastrand::f32() * 20.0).collect();
    let mut times = Vec::new();
    for _ in 0..arguments.pairs * 50 {
        let start = Instant::now();
        _ = black_box(dunlin_engine::argmax(black_box(&logits)));
        times.push(start.elapsed().as_secs_f64() * 1e6);
    }
    let greedy = median(times);
    println!(
        "{:.2} % ({greedy:.1} us over a vocabulary of 32,768, {step:.0} us a step)",
        100.0 * greedy / step
    );
    Ok(())
}

fn skip() -> anyhow::Result<()> {
    println!("skipped: name llama.cpp's own benchmark with --llama-bench");
    Ok(())
}
