//! How much the core takes: bytes at 10,000 nodes, and short invocations a second.
//!
//! `cargo run --release -p dunlin-scheduler-core --example capacity`
#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "a measurement reads the clock")]

#[path = "../tests/fleet/boards.rs"]
#[allow(dead_code, reason = "the tests use all of it")]
mod boards;
#[path = "../benches/fleet/mod.rs"]
#[allow(dead_code, reason = "the benchmark uses all of it")]
mod fleet;

use std::time::{Duration, Instant};

use dunlin_scheduler_core::{Input, NodeEvent, NodeId, Objective};
use fleet::{Bench, Mix};

fn main() {
    memory();
    for nodes in [20, 1000] {
        throughput(nodes);
    }
}

/// Resident bytes of the process, as the kernel counts them; 0 where it does not say.
fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: u64 = status.split(' ').nth(1).and_then(|pages| pages.parse().ok()).unwrap_or(0);
    pages * 4096
}

fn memory() {
    let before = resident_bytes();
    let mut bench = Bench::new(10_000, 1);
    let joined = resident_bytes();
    bench.occupy(20_000);
    // Every node has decoded enough to be calibrated.
    let placed = bench.scheduler.invocations().count();
    let mb = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    println!(
        "10,000 nodes x 8 models: {:.1} MB; with {placed} invocations {:.1} MB",
        mb(joined - before),
        mb(resident_bytes() - before)
    );
}

/// Invocations of one piece each: submitted, placed, started, delivered, ended.
fn throughput(nodes: u64) {
    const INVOCATIONS: u32 = 40_000;
    let mix = Mix { alias: "model-1", objective: Objective::Latency, targets: true };
    let mut bench = Bench::new(nodes, 2);
    let begin = Instant::now();
    for at in 0..INVOCATIONS {
        bench.now += Duration::from_micros(200);
        if at % 5000 == 0 {
            (1..=nodes).for_each(|node| bench.say(NodeId(node), NodeEvent::PacketSeen));
        }
        let request = bench.request(mix);
        bench.tell(Input::Submit(request));
        let placed = *bench.placed.first().expect("placed at once");
        bench.say(placed.1, NodeEvent::AttemptStarted(placed.0));
        bench.progress(placed, 0, 4);
        bench.end(placed, 4);
    }
    let rate = f64::from(INVOCATIONS) / begin.elapsed().as_secs_f64();
    println!("{nodes} nodes: {rate:.0} invocations a second on one core");
}
