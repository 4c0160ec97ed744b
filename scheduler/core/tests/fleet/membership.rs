//! Nodes join, fall silent, come back, are drained.

use dunlin_scheduler_core::{
    AttemptId, AttemptReport, Epoch, Failure, Input, Inventory, InvocationId, NodeEvent, NodeId, Report,
    limits,
};
use expect_test::expect;

use crate::{
    boards::{FAST, SLOW, inventory, on_disk, resident},
    script::{EPOCH, Script, ms, request},
};

fn fast() -> Inventory {
    inventory(&FAST, vec![resident(1, 4)])
}

fn slow() -> Inventory {
    inventory(&SLOW, vec![resident(1, 4)])
}

/// An invocation with four tokens given out on node 1, and node 2 beside it.
fn running() -> Script {
    let mut script = Script::new();
    script.join(1, fast()).join(2, slow()).submit(request(1, "one")).progress(1, 1, 0, 0, 4).forget();
    script
}

fn running_on(inventory: Inventory, number: u32, epoch: Epoch, next_offset: u64) -> Inventory {
    let attempt = AttemptId { invocation: InvocationId(1), number };
    let attempts = vec![AttemptReport { attempt, epoch, next_offset }];
    Inventory { report: Report { attempts, ..inventory.report }, ..inventory }
}

#[test]
fn a_silent_node_is_lost_after_its_lease_and_its_streams_go_on() {
    let mut script = running();
    for _ in 0..16 {
        script.pass(ms(200)).say(2, NodeEvent::PacketSeen);
    }
    script.check(&expect![[r#"
        fence 1.1: Lapsed(Silent)
        place 1/1 on 2 from 4: model 1 in ondemand with 4 threads
    "#]]);
    script.progress(1, 1, 0, 4, 4).progress(2, 1, 1, 4, 4).check(&expect![[r#"
        fence 1.1: Unknown
        deliver 1 at 4: 4, skipping 0
    "#]]);
}

#[test]
fn a_node_that_sends_packets_but_no_reports_is_wedged() {
    let mut script = running();
    for _ in 0..40 {
        script.pass(ms(250)).say(1, NodeEvent::PacketSeen).report(2, slow().report);
    }
    script.check(&expect![[r#"
        fence 1.1: Lapsed(Wedged)
        place 1/1 on 2 from 4: model 1 in ondemand with 4 threads
    "#]]);
}

#[test]
fn a_new_incarnation_means_that_the_old_one_is_lost_at_once() {
    let mut script = running();
    script.say_as(1, 2, NodeEvent::Joined(Box::new(fast()))).check(&expect![[r#"
        fence 1.1: Superseded
        place 1/1 on 1 from 4: model 1 in max with 4 threads
    "#]]);
    script.progress(1, 1, 0, 4, 4).check(&expect![[r#"
        fence 1.1: Superseded
    "#]]);
    script.say_as(1, 1, NodeEvent::Joined(Box::new(fast()))).check(&expect![[r#"
        fence 1.1: Superseded
    "#]]);
}

#[test]
fn a_node_that_comes_back_within_its_lease_goes_on() {
    let mut script = running();
    script.say(1, NodeEvent::Disconnected).pass(ms(1000)).submit(request(2, "one")).check(&expect![[r#"
        place 2/0 on 2 from 0: model 1 in ondemand with 4 threads
    "#]]);
    script.join(1, running_on(fast(), 0, EPOCH, 9)).check(&expect![[r#"
        resend 1/0 on 1 from 4
    "#]]);
    script.progress(1, 1, 0, 4, 5).ended(1, 1, 0, 9).check(&expect![[r#"
        deliver 1 at 4: 5, skipping 0
        end 1: done
    "#]]);
}

#[test]
fn what_a_returning_node_does_not_name_is_lost_and_what_is_over_is_stopped() {
    let mut script = running();
    script.say(1, NodeEvent::Disconnected).join(1, fast()).check(&expect![[r#"
        cancel 1/0 on 1
        place 1/1 on 1 from 4: model 1 in max with 4 threads
    "#]]);
    script.say(2, NodeEvent::Disconnected).join(2, running_on(slow(), 0, EPOCH, 4)).check(&expect![[r#"
        cancel 1/0 on 2
    "#]]);
    // What another scheduler began is left to end by itself.
    script.join(3, running_on(slow(), 0, Epoch(2), 4)).check(&expect![[""]]);
}

#[test]
fn an_attempt_that_reports_do_not_name_is_gone() {
    let mut script = running();
    script.report(1, fast().report).report(1, fast().report).check(&expect![[""]]);
    script.pass_alive(limits::MISSED_GRACE).report(1, fast().report).check(&expect![[""]]);
    script.report(1, fast().report).pass_alive(ms(200)).check(&expect![[r#"
        cancel 1/0 on 1
        place 1/1 on 2 from 4: model 1 in ondemand with 4 threads
    "#]]);
}

#[test]
fn a_scheduler_that_was_away_extends_leases() {
    let mut script = running();
    script.pass(ms(2900)).sleep(ms(2000)).tell(Input::Tick).check(&expect![""]);
    script.say(1, NodeEvent::PacketSeen).say(2, NodeEvent::PacketSeen).pass(ms(2900)).check(&expect![[""]]);
    // Not if it was only a little late.
    script.say(2, NodeEvent::PacketSeen).sleep(ms(400)).tell(Input::Tick).check(&expect![[r#"
        fence 1.1: Lapsed(Silent)
        place 1/1 on 2 from 4: model 1 in ondemand with 4 threads
    "#]]);
}

#[test]
fn a_drained_node_finishes_or_hands_over() {
    let mut script = running();
    let within = ms(30_000);
    script.tell(Input::Drain { node: NodeId(1), within }).submit(request(2, "one")).check(&expect![[r#"
        place 2/0 on 2 from 0: model 1 in ondemand with 4 threads
    "#]]);
    script.pass_alive(ms(9000)).report(1, running_on(fast(), 0, EPOCH, 4).report).report(2, slow().report);
    script.pass_alive(ms(9000)).report(1, running_on(fast(), 0, EPOCH, 4).report).report(2, slow().report);
    script.pass_alive(ms(9000)).report(1, running_on(fast(), 0, EPOCH, 4).report).report(2, slow().report);
    script.forget().pass_alive(ms(3200)).check(&expect![[r#"
        cancel 1/0 on 1
        drained 1
        place 1/1 on 2 from 4: model 1 in ondemand with 4 threads
    "#]]);
    script.say_as(1, 2, NodeEvent::Joined(Box::new(fast()))).submit(request(3, "one")).check(&expect![[r#"
        fence 1.1: Superseded
        place 3/0 on 2 from 0: model 1 in ondemand with 4 threads
    "#]]);
    script.tell(Input::Uncordon(NodeId(1))).submit(request(4, "one")).check(&expect![[r#"
        place 4/0 on 1 from 0: model 1 in max with 4 threads
    "#]]);
}

#[test]
fn a_drained_node_hands_over_when_its_time_is_up_and_not_before() {
    let mut script = running();
    script.tell(Input::Drain { node: NodeId(1), within: ms(1500) });
    script.forget().pass_alive(ms(1400)).check(&expect![[""]]);
    // Whoever asks again says anew how long it may take.
    script.tell(Input::Drain { node: NodeId(1), within: ms(400) }).pass_alive(ms(300)).check(&expect![[""]]);
    script.pass_alive(ms(200)).check(&expect![[r#"
        cancel 1/0 on 1
        drained 1
        place 1/1 on 2 from 4: model 1 in ondemand with 4 threads
    "#]]);
}

#[test]
fn a_node_that_leaves_is_drained_and_welcome_back() {
    let mut script = running();
    script.say(1, NodeEvent::Leaving { within: ms(5000) }).progress(1, 1, 0, 4, 4).ended(1, 1, 0, 8).check(
        &expect![[r#"
        deliver 1 at 4: 4, skipping 0
        drained 1
        end 1: done
    "#]],
    );
    script.say_as(1, 2, NodeEvent::Joined(Box::new(fast()))).submit(request(2, "one")).check(&expect![[r#"
        fence 1.1: Superseded
        place 2/0 on 1 from 0: model 1 in max with 4 threads
    "#]]);
}

#[test]
fn a_cordoned_node_keeps_what_it_has_and_gets_nothing() {
    let mut script = running();
    script.tell(Input::Cordon(NodeId(1))).submit(request(2, "one")).check(&expect![[r#"
        place 2/0 on 2 from 0: model 1 in ondemand with 4 threads
    "#]]);
    script.progress(1, 1, 0, 4, 4).ended(1, 1, 0, 8).check(&expect![[r#"
        deliver 1 at 4: 4, skipping 0
        end 1: done
    "#]]);
}

#[test]
fn a_request_is_carried_on_so_often_and_no_more() {
    let mut script = Script::new();
    script.join(1, fast()).submit(request(1, "one"));
    for incarnation in 2..=limits::MAX_LOSSES as u64 + 2 {
        script.forget().say_as(1, incarnation, NodeEvent::Joined(Box::new(fast())));
    }
    script.check(&expect![[r#"
        fence 1.9: Superseded
        end 1: failed, the request lost its node as often as it is carried on
    "#]]);
}

#[test]
fn a_model_that_did_not_load_is_not_asked_for_again_at_once() {
    let mut script = Script::new();
    let node = || inventory(&FAST, vec![on_disk(1)]);
    script.join(1, node()).submit(request(1, "one")).check(&expect![[r#"
        place 1/0 on 1 from 0: model 1 in max with 4 threads
    "#]]);
    let failed = NodeEvent::ModelFailed { model: crate::boards::digest(1) };
    script.say(1, failed).failed(1, 1, 0, Failure::LoadFailed).pass_alive(ms(9000)).check(&expect![[""]]);
    (0..4).for_each(|_| {
        script.report(1, node().report).pass_alive(ms(6000));
    });
    script.check(&expect![[r#"
        place 1/1 on 1 from 0: model 1 in max with 4 threads
    "#]]);
}

#[test]
fn models_are_kept_resident_and_probed() {
    let mut script = Script::new();
    let kept = dunlin_scheduler_core::Alias { resident_on: 1, ..crate::boards::alias("one", &[1]) };
    script.join(1, inventory(&FAST, vec![on_disk(1)])).join(2, inventory(&SLOW, vec![on_disk(1)]));
    script.tell(Input::CatalogChanged(vec![kept, crate::boards::alias("new", &[3])])).pass_alive(ms(600));
    script.check(&expect![[r#"
        load 1 on 1
    "#]]);
    script.report(1, fast().report).submit(request(1, "new")).pass_alive(ms(600)).check(&expect![[r#"
        load 3 on 1
    "#]]);
}
