//! What a placement takes, from a request's submission to the order: 1,000 nodes, 8 models, 4 operating points each.
//!
//! Beside criterion's means, the quantiles of single decisions. Both in time of the processor, as the thread is charged:
//! what else the machine does is not the core's.

#[path = "../tests/fleet/boards.rs"]
#[allow(dead_code, reason = "the tests use all of it")]
mod boards;
#[path = "fleet/mod.rs"]
#[allow(dead_code, reason = "the example uses all of it")]
mod fleet;

use std::{hint::black_box, time::Duration};

use criterion::{Criterion, criterion_group, criterion_main};
use dunlin_scheduler_core::{Input, InvocationId, Objective};
use fleet::{Bench, Mix};

const NODES: u64 = 1000;
const SAMPLES: usize = 20_000;

fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Submits a request, and takes it back untimed.
fn decide(bench: &mut Bench, mix: Mix) -> Duration {
    let request = bench.request(mix);
    let id = request.id;
    let begin = cpu_time();
    bench.tell(Input::Submit(request));
    let took = cpu_time() - begin;
    assert!(bench.is_placed(id), "placed");
    bench.tell(Input::Cancel(InvocationId(id.0)));
    took
}

fn quantiles(name: &str, bench: &mut Bench, mix: Mix) {
    let mut took: Vec<Duration> = (0..SAMPLES).map(|_| decide(bench, mix)).collect();
    took.sort();
    let at = |share: f64| took[((SAMPLES - 1) as f64 * share) as usize].as_nanos() as f64 / 1e3;
    println!(
        "{name}: p50 {:.1} us, p90 {:.1} us, p98 {:.1} us, p99 {:.1} us, of {SAMPLES}",
        at(0.5),
        at(0.9),
        at(0.98),
        at(0.99)
    );
}

fn placement(c: &mut Criterion) {
    let mut group = c.benchmark_group("placement");
    for (name, alias) in [("one variant", "model-1"), ("eight variants", "any")] {
        for (kind, objective, targets) in
            [("latency", Objective::Latency, false), ("energy, targets", Objective::Energy, true)]
        {
            let mix = Mix { alias, objective, targets };
            let mut bench = Bench::new(NODES, 7);
            bench.occupy(2000);
            let name = format!("{name}, {kind}");
            quantiles(&name, &mut bench, mix);
            group.bench_function(&name, |b| {
                b.iter_custom(|times| (0..times).map(|_| decide(black_box(&mut bench), mix)).sum());
            });
        }
    }
}

criterion_group!(benches, placement);
criterion_main!(benches);
