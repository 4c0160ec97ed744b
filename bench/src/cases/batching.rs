//! What sequences gain from each other.

use crate::{
    Arguments,
    engines::{Bare, Setting, Timed, fresh_prompt},
    pairs::{Pairs, median},
};

pub(crate) fn eight(arguments: &Arguments, setting: &Setting) -> anyhow::Result<()> {
    let bare = std::cell::RefCell::new(Bare::start(setting)?);
    let rate = |sequences: usize| -> anyhow::Result<f64> {
        let generates = (0..sequences).map(|_| setting.generate(fresh_prompt(16), 96)).collect();
        Ok(bare.borrow_mut().run(generates)?.iter().map(Timed::decode_rate).sum())
    };
    Pairs::interleave(arguments.pairs, || rate(8), || rate(1))?.report_rates();
    Ok(())
}

pub(crate) fn shared_prefix(_: &Arguments, setting: &Setting) -> anyhow::Result<()> {
    let mut bare = Bare::start(setting)?;
    let prefix = fresh_prompt(512);
    let prompts = (0..16).map(|_| prefix.iter().copied().chain(fresh_prompt(8)).collect());
    let timed = bare.run(prompts.map(|prompt| setting.generate(prompt, 8)).collect())?;
    let read: u32 = timed.iter().map(|timed| timed.0.prompt_tokens).sum();
    let ttft = median(timed.iter().map(|timed| timed.0.ttft_us as f64 / 1e3).collect());
    println!("{read} tokens read in all, TTFT p50 {ttft:.0} ms");
    Ok(())
}
