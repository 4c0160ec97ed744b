//! A verdict on an attack takes little time and less memory, whatever the file claims.
//!
//! One test in a program of its own: the peak of its memory is that of the process.

#![allow(clippy::unwrap_used, reason = "helpers of tests, to which clippy.toml's exception does not reach")]

use std::fs;
use std::time::{Duration, Instant};

use dunlin_gguf::{Gguf, corpus};

/// Programs built for debugging take some ten times as long.
const MAX_TIME: Duration = Duration::from_millis(if cfg!(debug_assertions) { 500 } else { 50 });
const MAX_GROWTH_KB: u64 = 32 * 1024;

#[test]
fn verdicts_are_quick_and_small() {
    let folder = tempfile::tempdir().unwrap();
    let attacks = corpus::write_all(folder.path()).unwrap();
    let Some(before) = peak_kb() else {
        eprintln!("SKIPPED: this system does not say how much memory a process had at most");
        return;
    };
    for (name, path) in &attacks {
        let took = (0..3).map(|_| time_to_refuse(path)).min().unwrap();
        assert!(took <= MAX_TIME, "{name} took {took:?}");
    }
    let growth = peak_kb().unwrap() - before;
    assert!(growth <= MAX_GROWTH_KB, "{} attacks took {growth} kB", attacks.len());
}

fn time_to_refuse(path: &std::path::Path) -> Duration {
    let start = Instant::now();
    Gguf::open(path).unwrap_err();
    start.elapsed()
}

/// The most memory that this process had at once, after forgetting what it had before.
fn peak_kb() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.split_whitespace().next()?.parse().ok()
}
