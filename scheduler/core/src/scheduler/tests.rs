//! That what placements leave out would have made no difference.

use std::{sync::Arc, time::Duration};

use dunlin_costs::Phase;
use fastrand::Rng;

use super::{Config, Scheduler};
use crate::{
    Epoch, Fingerprint, Grants, Incarnation, Input, InvocationId, NodeEvent, NodeId, Objective, Prefix,
    Request, Targets, TenantId, Terms, Time, WhenNothingFits,
    boards::{self, Board},
    invocation::Invocation,
    placement::{Choice, Survey},
};

const BOARDS: [Board; 5] = [
    boards::SLOW,
    boards::FAST,
    boards::FAST_SAVING,
    Board { class: "medium", mode: "high", read_ms: 3.0, token_ms: 40.0, watts: 6.0 },
    Board { class: "medium", mode: "low", read_ms: 5.0, token_ms: 60.0, watts: 2.0 },
];

fn any_request(rng: &mut Rng, id: u128) -> Request {
    let after =
        |rng: &mut Rng, ms: std::ops::Range<u64>| rng.bool().then(|| Duration::from_millis(rng.u64(ms)));
    let targets = Targets {
        ttft: after(rng, 100..20_000),
        tpot: after(rng, 20..200),
        deadline: after(rng, 500..40_000),
        joules_per_token: rng.bool().then(|| 2.0 * rng.f64()),
        min_quality: rng.bool().then(|| rng.f64() * 0.8),
    };
    let objectives = [Objective::Latency, Objective::Energy, Objective::Balanced];
    let terms = Terms {
        objective: objectives[rng.usize(..3)],
        targets: if rng.bool() { targets } else { Targets::default() },
        when_nothing_fits: WhenNothingFits::BestEffort,
        ..Terms::default()
    };
    Request {
        id: InvocationId(id),
        tenant: TenantId(1),
        model: "any".into(),
        prompt_tokens: rng.u32(50..1000),
        output_tokens: rng.u32(1..200),
        prefixes: vec![Prefix { hash: rng.u64(..9), tokens: 50 }],
        grants: Grants::NONE,
        terms,
        time_limit: None,
        fingerprint: Fingerprint(id as u64),
    }
}

fn fleet(rng: &mut Rng) -> Scheduler {
    let mut scheduler = Scheduler::new(Config { epoch: Epoch(1), seed: 1 });
    let mut tell = |input| {
        scheduler.handle(Time::ZERO, input);
        while scheduler.poll_output().is_some() {}
    };
    tell(Input::CatalogChanged(vec![boards::alias("any", &[3, 2, 1])]));
    tell(Input::CostsChanged(boards::rows(&BOARDS, &[1, 2, 3])));
    for node in 1..=60 {
        let models = [1, 2, 3]
            .map(|model| if rng.bool() { boards::resident(model, 4) } else { boards::on_disk(model) });
        let inventory = boards::inventory(&BOARDS[rng.usize(..BOARDS.len())], models.to_vec());
        let event = NodeEvent::Joined(Box::new(inventory));
        tell(Input::Node { node: NodeId(node), incarnation: Incarnation(1), event });
    }
    let rows: Vec<_> = scheduler.fleet.rows.iter().map(|(index, _)| index).collect();
    let slots: Vec<_> = scheduler.fleet.nodes().map(|(slot, _)| slot).collect();
    for _ in 0..200 {
        let (slot, row) = (slots[rng.usize(..slots.len())], rows[rng.usize(..rows.len())]);
        let phase = [Phase::Load, Phase::Prefill, Phase::Decode, Phase::Joules][rng.usize(..4)];
        scheduler.fleet.learn(slot, row, phase, 1.0, 0.6 + rng.f64());
    }
    let mut tell = |input| {
        scheduler.handle(Time::ZERO, input);
        while scheduler.poll_output().is_some() {}
    };
    for id in 0..rng.u128(..300) {
        tell(Input::Submit(Box::new(any_request(rng, id))));
    }
    scheduler
}

#[test]
fn what_is_not_looked_at_would_not_have_been_chosen() {
    let mut left_out = 0;
    for seed in 0..60 {
        let mut rng = Rng::with_seed(seed);
        let scheduler = fleet(&mut rng);
        for id in 1000..1050 {
            let invocation = Invocation::new(Arc::new(any_request(&mut rng, id)), Time::ZERO);
            let question = scheduler.question(&invocation);
            let decide = |mut survey: Survey| {
                let choice = scheduler.decide(&question, scheduler.variants("any"), &mut survey);
                let name = |at: usize| (survey.places[at].slot, survey.places[at].row);
                let chosen = match choice {
                    Choice::Place(at) => Some((true, name(at))),
                    Choice::Wait(at) => at.map(|at| (false, name(at))),
                    Choice::Nothing => None,
                };
                (chosen, survey.places.len())
            };
            let (all, of_all) = decide(Survey::thorough());
            let (some, of_some) = decide(Survey::default());
            assert_eq!(all, some, "seed {seed}, request {id}");
            left_out += of_all - of_some;
        }
    }
    assert!(left_out > 1000, "something was left out: {left_out}");
}
