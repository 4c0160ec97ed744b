//! `./x bench`: what Dunlin promises of speed, measured.

mod engines;
mod pairs;

use std::path::PathBuf;

use clap::Parser;
use dunlin_gguf::synth::{Mix, SynthShape, synth};

use engines::{Bare, Setting, decode_rate, fresh_prompt, llama_bench, run_process, start_process};
use pairs::{Ratio, interleave, median};

/// Measures what Dunlin promises of speed, in interleaved pairs.
#[derive(Debug, Parser)]
struct Arguments {
    /// Only the cases whose name contains this.
    filter: Option<String>,
    /// Pairs per comparison.
    #[arg(long, default_value_t = 20)]
    pairs: usize,
    /// Threads of the engines.
    #[arg(long, default_value_t = 2)]
    threads: u32,
    /// llama.cpp's own benchmark, built from the same sources, to compare with.
    #[arg(long)]
    llama_bench: Option<PathBuf>,
    /// A model other than random weights of the shape of SmolLM2-135M in Q4_0.
    #[arg(long)]
    model: Option<PathBuf>,
}

type Case = fn(&Arguments, &Setting) -> anyhow::Result<()>;

const CASES: [(&str, Case); 6] = [
    ("decode: engine process by bare loop", decode_process),
    ("decode: engine process by llama-bench tg128", decode_llama),
    ("prefill: engine process by llama-bench pp512", prefill_llama),
    ("batch: eight sequences by one", batch),
    ("sampling: greedy by none", greedy_share),
    ("prefix: 16 requests of one prefix", shared_prefix),
];

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let setting = setting(&arguments)?;
    println!("{} on {} threads, {} pairs", setting.model.display(), setting.threads, arguments.pairs);
    for (name, case) in CASES {
        if arguments.filter.as_ref().is_none_or(|filter| name.contains(filter.as_str())) {
            print!("{name}: ");
            case(&arguments, &setting)?;
        }
    }
    Ok(())
}

fn setting(arguments: &Arguments) -> anyhow::Result<Setting> {
    let model = match &arguments.model {
        Some(model) => model.clone(),
        None => {
            let path = std::env::current_exe()?.with_file_name("bench-smollm2-135m-q4_0.gguf");
            if dunlin_gguf::Gguf::open(&path).is_err() {
                eprintln!("writing {}", path.display());
                synth(&SynthShape::SMOLLM2_135M, Mix::Q4_0, 1, &path, |_| ())?;
            }
            path
        }
    };
    let special = &dunlin_gguf::Gguf::open(&model)?.model().tokenizer.special.clone();
    let ends =
        [&special.eos, &special.eot, &special.eom].into_iter().flatten().map(|token| token.id).collect();
    Ok(Setting { model, threads: arguments.threads, ends })
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?)
}

fn decode_process(arguments: &Arguments, setting: &Setting) -> anyhow::Result<()> {
    let runtime = runtime()?;
    let _guard = runtime.enter();
    let engine = start_process(setting)?;
    runtime.block_on(engine.ready())?;
    let mut bare = Bare::start(setting)?;
    let generate = || setting.generate(fresh_prompt(16), 128);
    let (ours, theirs) = interleave(
        arguments.pairs,
        || Ok(decode_rate(&runtime.block_on(run_process(&engine, generate()))?)),
        || Ok(decode_rate(&bare.run(vec![generate()])?[0])),
    )?;
    println!("{} ({:.0} against {:.0} tokens/s)", Ratio::of(&ours, &theirs), median(ours), median(theirs));
    Ok(())
}

fn decode_llama(arguments: &Arguments, setting: &Setting) -> anyhow::Result<()> {
    let Some(program) = &arguments.llama_bench else { return skip() };
    let runtime = runtime()?;
    let _guard = runtime.enter();
    let engine = start_process(setting)?;
    runtime.block_on(engine.ready())?;
    let (ours, theirs) = interleave(
        arguments.pairs,
        || Ok(decode_rate(&runtime.block_on(run_process(&engine, setting.generate(fresh_prompt(1), 128)))?)),
        || llama_bench(program, setting, 0, 128),
    )?;
    println!("{} ({:.0} against {:.0} tokens/s)", Ratio::of(&ours, &theirs), median(ours), median(theirs));
    Ok(())
}

fn prefill_llama(arguments: &Arguments, setting: &Setting) -> anyhow::Result<()> {
    let Some(program) = &arguments.llama_bench else { return skip() };
    let runtime = runtime()?;
    let _guard = runtime.enter();
    let engine = start_process(setting)?;
    runtime.block_on(engine.ready())?;
    let prefill = || -> anyhow::Result<f64> {
        let usage = runtime.block_on(run_process(&engine, setting.generate(fresh_prompt(512), 1)))?;
        Ok(f64::from(usage.prompt_tokens) / (usage.ttft_us as f64 / 1e6))
    };
    prefill()?;
    let (ours, theirs) = interleave(arguments.pairs, prefill, || llama_bench(program, setting, 512, 0))?;
    println!("{} ({:.0} against {:.0} tokens/s)", Ratio::of(&ours, &theirs), median(ours), median(theirs));
    Ok(())
}

fn batch(arguments: &Arguments, setting: &Setting) -> anyhow::Result<()> {
    let mut bare = Bare::start(setting)?;
    let mut rate = |sequences: usize| -> anyhow::Result<f64> {
        let usages = bare.run((0..sequences).map(|_| setting.generate(fresh_prompt(16), 96)).collect())?;
        Ok(usages.iter().map(decode_rate).sum())
    };
    let mut one = Vec::new();
    let mut eight = Vec::new();
    for _ in 0..arguments.pairs {
        one.push(rate(1)?);
        eight.push(rate(8)?);
    }
    println!("{} ({:.0} against {:.0} tokens/s)", Ratio::of(&eight, &one), median(eight), median(one));
    Ok(())
}

fn greedy_share(arguments: &Arguments, _: &Setting) -> anyhow::Result<()> {
    let logits: Vec<f32> = (0..32_768).map(|_| fastrand::f32() * 20.0).collect();
    let mut times = Vec::new();
    for _ in 0..arguments.pairs * 50 {
        let start = std::time::Instant::now();
        std::hint::black_box(dunlin_engine::argmax(std::hint::black_box(&logits)));
        times.push(start.elapsed().as_secs_f64() * 1e6);
    }
    println!("{:.1} us over a vocabulary of 32,768", median(times));
    Ok(())
}

fn shared_prefix(_: &Arguments, setting: &Setting) -> anyhow::Result<()> {
    let mut bare = Bare::start(setting)?;
    let prefix = fresh_prompt(512);
    let prompts = (0..16).map(|_| prefix.iter().copied().chain(fresh_prompt(8)).collect());
    let usages = bare.run(prompts.map(|prompt| setting.generate(prompt, 8)).collect())?;
    let read: u32 = usages.iter().map(|usage| usage.prompt_tokens).sum();
    let ttft = median(usages.iter().map(|usage| usage.ttft_us as f64 / 1e3).collect());
    println!("{read} tokens read in all, TTFT p50 {ttft:.0} ms");
    Ok(())
}

fn skip() -> anyhow::Result<()> {
    println!("skipped: name llama.cpp's own benchmark with --llama-bench");
    Ok(())
}
