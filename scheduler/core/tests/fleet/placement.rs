//! Where requests go.

use std::time::Duration;

use dunlin_scheduler_core::{
    Battery, Grants, Input, Inventory, NodeFilter, Objective, Prefix, Report, Request, Targets, Terms,
    Verdict, WhenNothingFits,
};
use expect_test::{Expect, expect};

use crate::{
    boards::{FAST, FAST_SAVING, SLOW, inventory, on_disk, quality, resident},
    script::{Script, ms, request, terms},
};

/// Node 1 is slow and frugal, 2 fast and hungry, 3 as fast in a saving mode; all have both models.
fn fleet() -> Script {
    let mut script = Script::new();
    for (node, board) in [(1, &SLOW), (2, &FAST), (3, &FAST_SAVING)] {
        script.join(node, inventory(board, vec![resident(1, 4), resident(2, 4)]));
    }
    script
}

fn on(model: &str, terms: Terms) -> Request {
    Request { terms, ..request(1, model) }
}

fn wanted(objective: Objective, targets: Targets) -> Terms {
    terms(objective, targets, WhenNothingFits::Reject)
}

fn check(script: &mut Script, request: Request, expected: &Expect) {
    script.submit(request).check(expected);
    check_record(script);
}

/// What was recorded of a decision says the same when it is computed again.
fn check_record(script: &Script) {
    for decision in &script.decisions {
        let again = decision.recomputed();
        let of = |decision: &dunlin_scheduler_core::Decision| {
            let lines = decision.candidates.iter();
            lines.map(|line| (line.node, line.verdict, line.prediction)).collect::<Vec<_>>()
        };
        assert_eq!(of(decision), of(&again), "recomputed");
    }
}

#[test]
fn latency_energy_and_both() {
    let no_targets = Targets::default();
    check(
        &mut fleet(),
        on("one", wanted(Objective::Latency, no_targets)),
        &expect![[r#"
        place 1/0 on 2 from 0: model 1 in max with 4 threads
    "#]],
    );
    check(
        &mut fleet(),
        on("one", wanted(Objective::Energy, no_targets)),
        &expect![[r#"
        place 1/0 on 3 from 0: model 1 in 25W with 2 threads
    "#]],
    );
    check(
        &mut fleet(),
        on("one", wanted(Objective::Balanced, no_targets)),
        &expect![[r#"
        place 1/0 on 3 from 0: model 1 in 25W with 4 threads
    "#]],
    );
}

#[test]
fn targets_are_guards_before_the_objective_is_looked_at() {
    let frugal = |targets| on("one", wanted(Objective::Energy, targets));
    let tpot = Targets { tpot: Some(ms(60)), ..Targets::default() };
    check(
        &mut fleet(),
        frugal(tpot),
        &expect![[r#"
        place 1/0 on 3 from 0: model 1 in 25W with 2 threads
    "#]],
    );
    let ttft = Targets { ttft: Some(ms(140)), ..Targets::default() };
    check(
        &mut fleet(),
        frugal(ttft),
        &expect![[r#"
        place 1/0 on 2 from 0: model 1 in max with 4 threads
    "#]],
    );
    let deadline = Targets { deadline: Some(ms(1100)), ..Targets::default() };
    check(
        &mut fleet(),
        frugal(deadline),
        &expect![[r#"
        place 1/0 on 3 from 0: model 1 in 25W with 4 threads
    "#]],
    );
    let joules = Targets { joules_per_token: Some(0.1), ..Targets::default() };
    check(
        &mut fleet(),
        on("one", wanted(Objective::Latency, joules)),
        &expect![[r#"
        place 1/0 on 2 from 0: model 1 in max with 4 threads
    "#]],
    );
    let good = Targets { min_quality: Some(quality(2)), ..Targets::default() };
    check(
        &mut fleet(),
        on("any", wanted(Objective::Latency, good)),
        &expect![[r#"
        place 1/0 on 2 from 0: model 2 in max with 4 threads
    "#]],
    );
}

#[test]
fn targets_are_kept_by_the_quantile_and_not_by_the_mean() {
    // About 105 ms in the mean, and 128 ms for nine of ten.
    let within = |ttft| Targets { ttft: Some(ms(ttft)), ..Targets::default() };
    check(
        &mut fleet(),
        on("one", wanted(Objective::Latency, within(115))),
        &expect![[r#"
        end 1: refused, no node keeps the targets of this request: ask for less, or for another `when-nothing-fits` than `reject`; retry after 1 s
    "#]],
    );
    check(
        &mut fleet(),
        on("one", wanted(Objective::Latency, within(132))),
        &expect![[r#"
        place 1/0 on 2 from 0: model 1 in max with 4 threads
    "#]],
    );
}

#[test]
fn when_nothing_fits() {
    let hopeless = Targets { ttft: Some(ms(20)), min_quality: Some(quality(2)), ..Targets::default() };
    let asked = |when| on("any", terms(Objective::Latency, hopeless, when));
    check(
        &mut fleet(),
        asked(WhenNothingFits::BestEffort),
        &expect![[r#"
        place 1/0 on 2 from 0: model 2 in max with 4 threads
    "#]],
    );
    check(
        &mut fleet(),
        asked(WhenNothingFits::Reject),
        &expect![[r#"
        end 1: refused, no node keeps the targets of this request: ask for less, or for another `when-nothing-fits` than `reject`; retry after 1 s
    "#]],
    );
    check(&mut fleet(), asked(WhenNothingFits::Queue), &expect![[""]]);
    check(
        &mut fleet(),
        asked(WhenNothingFits::Degrade),
        &expect![[r#"
        place 1/0 on 2 from 0: model 1 in max with 4 threads
    "#]],
    );
    let tight = Targets { ttft: Some(ms(150)), ..hopeless };
    let degrade = terms(Objective::Latency, tight, WhenNothingFits::Degrade);
    check(
        &mut fleet(),
        on("any", degrade),
        &expect![[r#"
        place 1/0 on 2 from 0: model 1 in max with 4 threads
    "#]],
    );
}

#[test]
fn a_late_first_token_does_not_keep_a_queued_request_for_ever() {
    let targets = Targets { ttft: Some(ms(20)), ..Targets::default() };
    let mut script = fleet();
    script.submit(on("one", terms(Objective::Latency, targets, WhenNothingFits::Queue)));
    script.pass_alive(ms(300));
    script.check(&expect![[r#"
        place 1/0 on 2 from 0: model 1 in max with 4 threads
    "#]]);
}

#[test]
fn nobody_is_pushed_past_a_target() {
    let mut script = Script::new();
    script.join(1, inventory(&FAST, vec![resident(1, 4)])).join(2, inventory(&SLOW, vec![resident(1, 4)]));
    let tight = Targets { tpot: Some(ms(28)), ..Targets::default() };
    let first = Request { terms: wanted(Objective::Latency, tight), ..request(1, "one") };
    script.submit(first).progress(1, 1, 0, 0, 1).check(&expect![[r#"
        place 1/0 on 1 from 0: model 1 in max with 4 threads
        deliver 1 at 0: 1, skipping 0
    "#]]);
    script.submit(request(2, "one")).check(&expect![[r#"
        place 2/0 on 2 from 0: model 1 in ondemand with 4 threads
    "#]]);
    let decision = script.decisions.last().expect("a decision");
    assert!(decision.candidates.iter().any(|line| line.verdict == Verdict::PushesOthers), "{decision:#?}");
    check_record(&script);
}

#[test]
fn waits_for_the_better_engine_only_while_that_pays() {
    let mut script = Script::new();
    script.join(1, inventory(&FAST, vec![resident(1, 1)])).join(2, inventory(&SLOW, vec![resident(1, 1)]));
    // The fast one is free in 0.6 s and reads in 0.1 s; the slow one reads in 1 s.
    script.submit(request(1, "one")).submit(request(2, "one")).check(&expect![[r#"
        place 1/0 on 1 from 0: model 1 in max with 4 threads
        place 2/0 on 2 from 0: model 1 in ondemand with 4 threads
    "#]]);
    script.submit(request(3, "one")).check(&expect![[""]]);
    script.progress(1, 1, 0, 0, 32).ended(1, 1, 0, 32).check(&expect![[r#"
        deliver 1 at 0: 32, skipping 0
        end 1: done
        place 3/0 on 1 from 0: model 1 in max with 4 threads
    "#]]);
    check_record(&script);
}

#[test]
fn filters() {
    let labelled = |mut inventory: Inventory| {
        inventory.labels = std::sync::Arc::new([("site".to_owned(), "roof".to_owned())].into());
        inventory
    };
    let board = |board| inventory(board, vec![resident(1, 4)]);
    let mut script = Script::new();
    script.join(1, board(&FAST)).join(2, labelled(board(&SLOW)));
    let roof = NodeFilter { labels: [("site".to_owned(), "roof".to_owned())].into(), min_battery_pct: None };
    script.submit(on("one", Terms { nodes: roof, ..Terms::default() })).check(&expect![[r#"
        place 1/0 on 2 from 0: model 1 in ondemand with 4 threads
    "#]]);

    let low = Battery { charge_pct: 20, charging: false };
    let drained = Inventory { report: Report { battery: Some(low), ..board(&FAST).report }, ..board(&FAST) };
    let charged = NodeFilter { min_battery_pct: Some(30), ..NodeFilter::default() };
    let mut script = Script::new();
    script.join(1, drained).join(2, board(&SLOW));
    script.submit(on("one", Terms { nodes: charged, ..Terms::default() })).check(&expect![[r#"
        place 1/0 on 2 from 0: model 1 in ondemand with 4 threads
    "#]]);

    let mut script = Script::new();
    script.join(1, Inventory { grants: Grants::NONE, ..board(&FAST) }).join(2, board(&SLOW));
    script.submit(Request { grants: Grants::HTTP, ..request(1, "one") }).check(&expect![[r#"
        place 1/0 on 2 from 0: model 1 in ondemand with 4 threads
    "#]]);
    check_record(&script);
}

#[test]
fn what_does_not_fit_into_memory_is_not_loaded() {
    let small = |free: u64, models| {
        let node = inventory(&FAST, models);
        Inventory { report: Report { free_bytes: free << 20, ..node.report }, ..node }
    };
    let mut script = Script::new();
    script.join(1, small(1000, vec![on_disk(1)])).submit(request(1, "one")).check(&expect![[""]]);
    // What is idle can make room, what is pinned cannot.
    script.join(2, small(1000, vec![on_disk(1), resident(2, 4)])).check(&expect![[r#"
        place 1/0 on 2 from 0: model 1 in max with 4 threads
    "#]]);
    let pinned = dunlin_scheduler_core::ModelReport { pinned: true, ..resident(2, 4) };
    let mut script = Script::new();
    script.join(1, small(1000, vec![on_disk(1), pinned])).submit(request(1, "one")).check(&expect![[""]]);
}

#[test]
fn a_held_prefix_is_worth_its_reading() {
    let mut script = Script::new();
    for node in 1..=5 {
        script.join(node, inventory(&SLOW, vec![resident(1, 4)]));
    }
    let chat = |id| Request {
        prefixes: vec![Prefix { hash: 11, tokens: 40 }, Prefix { hash: 12, tokens: 90 }],
        ..request(id, "one")
    };
    for id in 1..=4 {
        script.submit(request(id, "one"));
    }
    script.submit(chat(5));
    for id in 1..=5 {
        script.progress(id as u64, id, 0, 0, 32).ended(id as u64, id, 0, 32);
    }
    // All are idle, and node 5 comes last in everything; but it has read this before.
    script.forget().submit(request(6, "one")).submit(chat(7)).check(&expect![[r#"
        place 6/0 on 1 from 0: model 1 in ondemand with 4 threads
        place 7/0 on 5 from 0: model 1 in ondemand with 4 threads
    "#]]);
    let decision = script.decisions.last().expect("a decision");
    assert_eq!(decision.chosen().expect("chosen").work().cached_tokens, 90);
    check_record(&script);
}

#[test]
fn what_is_learned_of_a_node_counts() {
    let mut script = Script::new();
    script.join(1, inventory(&FAST, vec![resident(1, 4)])).join(2, inventory(&FAST, vec![resident(1, 4)]));
    // Node 1 takes three times as long as its row says.
    for id in 1..=3 {
        script.submit(request(id, "one")).started(1, id, 0).pass_alive(ms(315)).progress(1, id, 0, 0, 1);
        script.pass_alive(ms(960)).progress(1, id, 0, 1, 16).ended(1, id, 0, 17);
    }
    script.forget().submit(request(9, "one")).check(&expect![[r#"
        place 9/0 on 2 from 0: model 1 in max with 4 threads
    "#]]);
    let decision = script.decisions.last().expect("a decision");
    assert!(decision.candidates[1].prediction.ttft.mean > 0.25, "{decision:#?}");
    check_record(&script);
}

#[test]
fn of_many_alike_the_best_are_kept_and_the_rest_is_counted() {
    let mut script = Script::new();
    for node in 1..=40 {
        script.join(node, inventory(&FAST, vec![resident(1, 4), on_disk(2)]));
    }
    script.tell(Input::Cordon(dunlin_scheduler_core::NodeId(40)));
    script.submit(request(1, "any"));
    let decision = script.decisions.last().expect("a decision");
    let rest = [Verdict::Alike, Verdict::Unavailable, Verdict::Fits].map(|verdict| decision.rest.of(verdict));
    assert_eq!((decision.candidates.len(), decision.predictions, rest), (12, 12, [72, 2, 0]));
    check_record(&script);
}

#[test]
fn a_throttled_board_runs_at_other_rows_or_as_if_it_were_cool() {
    let hot = inventory(&FAST, vec![resident(1, 4)]);
    let report = Report { thermal: dunlin_costs::Thermal::Throttled, ..hot.report.clone() };
    let mut script = Script::new();
    script.join(1, Inventory { report, ..hot }).submit(request(1, "one")).pass(Duration::ZERO);
    script.check(&expect![[r#"
        place 1/0 on 1 from 0: model 1 in max with 4 threads
    "#]]);
}
