//! The core alone, in this process: decisions, memory, invocations a second.

use std::{fs, time::Duration};

use dunlin_bench_stand::{Figure, Programs, quantile};
use dunlin_scheduler_core::{Input, InvocationId, NodeEvent, NodeId, Objective};

#[path = "../../../../scheduler/core/tests/fleet/boards.rs"]
#[allow(dead_code, reason = "the tests of the core use all of it")]
mod boards;
#[path = "../../../../scheduler/core/benches/fleet/mod.rs"]
#[allow(dead_code, reason = "the benchmarks of the core use all of it")]
mod fleet;

use fleet::{Bench, Mix};

const DECISIONS: usize = 20_000;
const INVOCATIONS: u32 = 40_000;

/// Of this thread: what else the machine does is not the core's.
fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

pub(super) fn placement(_: &Programs) -> anyhow::Result<Vec<Figure>> {
    let mut figures = Vec::new();
    for (name, alias) in [("one variant", "model-1"), ("eight variants", "any")] {
        for (kind, objective, targets) in
            [("latency", Objective::Latency, false), ("energy with targets", Objective::Energy, true)]
        {
            let mix = Mix { alias, objective, targets };
            let mut bench = Bench::new(1000, 7);
            bench.occupy(2000);
            let mut took: Vec<f64> = (0..DECISIONS).map(|_| decide(&mut bench, mix)).collect();
            let p50 = quantile(&mut took, 0.5);
            let p99 = quantile(&mut took, 0.99);
            let what = format!("placement: {name}, {kind}, p99");
            figures.push(Figure::at_most(what, 50.0, p99, "us").note(format!("p50 {p50:.1} us")));
        }
    }
    Ok(figures)
}

/// Submits a request, and takes it back untimed; microseconds.
fn decide(bench: &mut Bench, mix: Mix) -> f64 {
    let request = bench.request(mix);
    let id = request.id;
    let begin = cpu_time();
    bench.tell(Input::Submit(request));
    let took = cpu_time() - begin;
    bench.tell(Input::Cancel(InvocationId(id.0)));
    took.as_secs_f64() * 1e6
}

pub(super) fn capacity(_: &Programs) -> anyhow::Result<Vec<Figure>> {
    let before = resident_bytes();
    let mut bench = Bench::new(10_000, 1);
    let joined = resident_bytes();
    bench.occupy(20_000);
    let busy = resident_bytes();
    let mb = |bytes: u64| bytes.saturating_sub(before) as f64 / 1e6;
    drop(bench);
    Ok(vec![
        Figure::at_most("core: 10,000 nodes x 8 models", 100.0, mb(joined), "MB"),
        Figure::at_most("core: with 20,000 invocations under way", 100.0, mb(busy), "MB"),
        throughput(20)?,
        throughput(1000)?,
    ])
}

fn resident_bytes() -> u64 {
    let statm = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: u64 = statm.split(' ').nth(1).and_then(|pages| pages.parse().ok()).unwrap_or(0);
    pages * rustix::param::page_size() as u64
}

/// Invocations of one piece each: submitted, placed, started, delivered, ended. None may be refused.
fn throughput(nodes: u64) -> anyhow::Result<Figure> {
    let mix = Mix { alias: "model-1", objective: Objective::Latency, targets: true };
    let mut bench = Bench::new(nodes, 2);
    let begin = cpu_time();
    for at in 0..INVOCATIONS {
        bench.now += Duration::from_micros(200);
        if at % 5000 == 0 {
            (1..=nodes).for_each(|node| bench.say(NodeId(node), NodeEvent::PacketSeen));
        }
        let request = bench.request(mix);
        bench.tell(Input::Submit(request));
        let Some(&placed) = bench.placed.first() else { anyhow::bail!("number {at} was not placed at once") };
        bench.say(placed.1, NodeEvent::AttemptStarted(placed.0));
        bench.progress(placed, 0, 4);
        bench.end(placed, 4);
    }
    let rate = f64::from(INVOCATIONS) / (cpu_time() - begin).as_secs_f64();
    let what = format!("core: short invocations a second of CPU, {nodes} nodes");
    Ok(Figure::at_least(what, 5000.0, rate, "/s")
        .note(format!("{INVOCATIONS} at 5,000 a second; none refused")))
}
