//! Time and memory to open models of several vocabularies, and to refuse the attack files.

#![allow(clippy::unwrap_used, reason = "a benchmark that cannot measure should stop")]

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use dunlin_gguf::synth::{Mix, SynthShape, plan};
use dunlin_gguf::{Gguf, corpus};

const RUNS: usize = 21;

fn main() {
    let folder = tempfile::tempdir().unwrap();
    let large = SynthShape { name: "262,144 tokens", vocabulary: 262_144, ..SynthShape::QWEN2_5_0_5B };
    for shape in SynthShape::PRESETS.iter().chain([&large]) {
        let path = header_of(shape, folder.path());
        let times = times(|| drop(Gguf::open(&path).unwrap()));
        println!(
            "{:<16} {:>9.2?} median, {:>9.2?} worst of {RUNS}",
            shape.name,
            times[RUNS / 2],
            times[RUNS - 1]
        );
    }
    refusals(folder.path());
    println!("peak memory      {} MB", peak_kb() / 1024);
}

/// The header of a model with nothing behind it: reading stops there.
fn header_of(shape: &SynthShape, folder: &Path) -> PathBuf {
    let path = folder.join("model.gguf");
    let writer = plan(shape, Mix::Q4KM);
    let header = writer.header();
    fs::write(&path, &header).unwrap();
    let file = File::options().write(true).open(&path).unwrap();
    file.set_len(header.len() as u64 + writer.data_bytes()).unwrap();
    path
}

fn refusals(folder: &Path) {
    let attacks = corpus::write_all(folder).unwrap();
    let timed =
        attacks.iter().map(|(name, path)| (times(|| drop(Gguf::open(path).unwrap_err()))[RUNS / 2], name));
    let mut timed: Vec<_> = timed.collect();
    timed.sort();
    let (slowest, name) = timed[timed.len() - 1];
    println!(
        "{} attacks      {:>9.2?} median, {slowest:>9.2?} slowest ({name})",
        timed.len(),
        timed[timed.len() / 2].0
    );
}

fn times(run: impl Fn()) -> Vec<Duration> {
    let time = |_| {
        let start = Instant::now();
        run();
        start.elapsed()
    };
    let mut times: Vec<_> = (0..RUNS).map(time).collect();
    times.sort();
    times
}

/// The most memory that this process had at once, in kB; 0 where the system does not say.
fn peak_kb() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}
