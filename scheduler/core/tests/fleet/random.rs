//! Seeded runs in which everything happens at random.

use std::time::Duration;

use dunlin_scheduler_core::{
    Fingerprint, InvocationId, NodeId, Objective, Prefix, Request, Targets, TenantId, Terms, WhenNothingFits,
};
use fastrand::Rng;

use crate::{
    boards::{FAST, FAST_SAVING, SLOW, inventory, on_disk, resident},
    script::{ms, request},
    world::{Event, World},
};

const NODES: u64 = 6;
const REQUESTS: u128 = 150;
/// Faults end here.
const TROUBLE: Duration = Duration::from_secs(60);
/// What is left has so much longer to end.
const PEACE: Duration = Duration::from_secs(1500);

fn any_request(rng: &mut Rng, id: u128) -> Request {
    let maybe = |rng: &mut Rng, ms: std::ops::Range<u64>| {
        let ms = Duration::from_millis(rng.u64(ms));
        rng.bool().then_some(ms)
    };
    let targets = Targets {
        ttft: maybe(rng, 100..5000),
        tpot: maybe(rng, 20..200),
        deadline: maybe(rng, 500..20_000),
        joules_per_token: rng.bool().then(|| rng.f64()),
        min_quality: rng.bool().then(|| rng.f64() * 0.8),
    };
    let objectives = [Objective::Latency, Objective::Energy, Objective::Balanced];
    let otherwise = [
        WhenNothingFits::BestEffort,
        WhenNothingFits::Queue,
        WhenNothingFits::Reject,
        WhenNothingFits::Degrade,
    ];
    let terms = Terms {
        objective: objectives[rng.usize(..3)],
        targets: if rng.bool() { targets } else { Targets::default() },
        when_nothing_fits: otherwise[rng.usize(..4)],
        ..Terms::default()
    };
    Request {
        tenant: TenantId(rng.u64(1..4)),
        prompt_tokens: rng.u32(1..400),
        output_tokens: rng.u32(1..200),
        prefixes: vec![Prefix { hash: rng.u64(..5), tokens: 30 }],
        terms,
        time_limit: maybe(rng, 1000..60_000),
        fingerprint: Fingerprint(id as u64),
        ..request(id, if rng.bool() { "one" } else { "any" })
    }
}

fn trouble(rng: &mut Rng, world: &mut World) {
    for _ in 0..30 {
        let (at, node) = (TROUBLE.mul_f64(rng.f64()), NodeId(rng.u64(1..=NODES)));
        let later = at + Duration::from_millis(rng.u64(100..12_000));
        let (begins, ends) = match rng.u8(..8) {
            0 | 1 => (Event::Kill(node), Event::Boot(node)),
            2 | 3 => (Event::Cut(node), Event::Connect(node)),
            4 => (Event::Wedge(node), Event::Boot(node)),
            5 => (Event::Cordon(node), Event::Uncordon(node)),
            6 => (Event::Drain(node), Event::Uncordon(node)),
            _ => (Event::Absence(ms(rng.u64(100..5000))), Event::Connect(node)),
        };
        world.at(at, begins);
        world.at(later, ends);
    }
    (1..=NODES).for_each(|node| world.at(TROUBLE, Event::Boot(NodeId(node))));
    (1..=NODES).for_each(|node| world.at(TROUBLE, Event::Uncordon(NodeId(node))));
}

fn run(seed: u64) -> World {
    let mut rng = Rng::with_seed(seed);
    let mut world = World::new(seed);
    for node in 1..=NODES {
        let board = [SLOW, FAST, FAST_SAVING][rng.usize(..3)];
        let models =
            if rng.bool() { vec![resident(1, 4), on_disk(2)] } else { vec![resident(1, 4), resident(2, 2)] };
        world.add(node, inventory(&board, models));
    }
    for id in 1..=REQUESTS {
        let at = TROUBLE.mul_f64(rng.f64());
        let request = any_request(&mut rng, id);
        if rng.u8(..) < 8 {
            world.is_killer(request.id);
        }
        if rng.u8(..) < 20 {
            world.at(at + ms(rng.u64(1..5000)), Event::Cancel(InvocationId(id)));
        }
        world.at(at, Event::Submit(Box::new(request), rng.u64(1..200)));
    }
    trouble(&mut rng, &mut world);
    let mut end = TROUBLE;
    world.run_until(end);
    while world.scheduler.load().invocations > 0 && end < TROUBLE + PEACE {
        end += ms(10_000);
        world.run_until(end);
    }
    world.run_until(end + ms(10_000));
    world
}

fn check(seed: u64) -> World {
    let world = run(seed);
    world.checker.all_ended();
    let load = world.scheduler.load();
    assert_eq!((load.invocations, load.queued, load.nodes), (0, 0, NODES as usize), "nothing is left over");
    assert!(world.scheduler.nodes().all(|node| node.in_flight == 0), "no node has work on its books");
    world
}

/// Every invocation ends exactly once, no token is lost or delivered twice, work goes to members only, slots are kept, and
/// every record explains its decision: see the checker.
#[test]
#[allow(clippy::disallowed_methods, reason = "more seeds than in every run of the tests, for whoever asks")]
fn whatever_happens_the_invariants_hold() {
    let seeds = std::env::var("DUNLIN_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(50);
    let mut ends = std::collections::BTreeMap::new();
    for seed in 0..seeds {
        let failed = std::panic::catch_unwind(|| check(seed)).map_err(|_| format!("seed {seed}"));
        for (outcome, times) in failed.expect("a run that holds").checker.ends {
            *ends.entry(outcome).or_insert(0) += times;
        }
    }
    let done = f64::from(ends["done"]) / (seeds as f64 * REQUESTS as f64);
    assert!(done > 0.5, "most requests come through: {ends:?}");
    assert_eq!(ends.len(), 5, "everything happens: {ends:?}");
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    assert_eq!(run(7).trace, run(7).trace);
    assert_ne!(run(7).trace, run(8).trace);
}
