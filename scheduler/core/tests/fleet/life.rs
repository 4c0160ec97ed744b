//! The life of an invocation.

use dunlin_scheduler_core::{Failure, Fingerprint, Input, InvocationId, TenantId, limits};
use expect_test::expect;

use crate::{
    boards::{FAST, SLOW, inventory, resident},
    script::{Script, ms, request},
};

fn one_node() -> Script {
    let mut script = Script::new();
    script.join(1, inventory(&FAST, vec![resident(1, 4)]));
    script
}

fn two_nodes() -> Script {
    let mut script = one_node();
    script.join(2, inventory(&SLOW, vec![resident(1, 4)]));
    script
}

#[test]
fn placed_delivered_done() {
    one_node()
        .submit(request(7, "one"))
        .started(1, 7, 0)
        .progress(1, 7, 0, 0, 1)
        .progress(1, 7, 0, 1, 16)
        .ended(1, 7, 0, 17)
        .check(&expect![[r#"
            place 7/0 on 1 from 0: model 1 in max with 4 threads
            deliver 7 at 0: 1, skipping 0
            deliver 7 at 1: 16, skipping 0
            end 7: done
        "#]]);
}

#[test]
fn waits_for_a_node_and_for_a_slot() {
    let mut script = Script::new();
    script.submit(request(1, "one")).check(&expect![[""]]);
    script.join(1, inventory(&FAST, vec![resident(1, 1)])).check(&expect![[r#"
        place 1/0 on 1 from 0: model 1 in max with 4 threads
    "#]]);
    script.submit(request(2, "one")).submit(request(3, "one")).check(&expect![[""]]);
    script.progress(1, 1, 0, 0, 32).ended(1, 1, 0, 32).check(&expect![[r#"
        deliver 1 at 0: 32, skipping 0
        end 1: done
        place 2/0 on 1 from 0: model 1 in max with 4 threads
    "#]]);
}

#[test]
fn cancelled_in_every_state() {
    let cancel = |id| Input::Cancel(InvocationId(id));
    let mut script = Script::new();
    script.submit(request(1, "one")).tell(cancel(1)).check(&expect![[r#"
        end 1: cancelled
    "#]]);
    script
        .join(1, inventory(&FAST, vec![resident(1, 1)]))
        .submit(request(2, "one"))
        .submit(request(3, "one"));
    script.progress(1, 2, 0, 0, 4).tell(cancel(2)).tell(cancel(2)).check(&expect![[r#"
        place 2/0 on 1 from 0: model 1 in max with 4 threads
        deliver 2 at 0: 4, skipping 0
        cancel 2/0 on 1
        end 2: cancelled
        place 3/0 on 1 from 0: model 1 in max with 4 threads
    "#]]);
    script.progress(1, 2, 0, 4, 4).check(&expect![[r#"
        cancel 2/0 on 1
    "#]]);
    script.failed(1, 3, 0, Failure::Busy).tell(cancel(3)).pass_alive(ms(1000)).check(&expect![[r#"
        end 3: cancelled
    "#]]);
}

#[test]
fn expires_in_the_queue_and_while_it_runs() {
    let limited = |id| dunlin_scheduler_core::Request { time_limit: Some(ms(1500)), ..request(id, "one") };
    let mut script = Script::new();
    script.submit(limited(1)).pass(ms(1400)).check(&expect![[""]]);
    script.pass(ms(200)).check(&expect![[r#"
        end 1: expired
    "#]]);
    // Whoever asks afterwards is told what it waited for.
    let last =
        script.decisions.last().map(|decision| (decision.attempt.to_string(), decision.chosen().is_none()));
    assert_eq!(last, Some(("1/0".to_owned(), true)));
    script.join(1, inventory(&FAST, vec![resident(1, 1)])).submit(limited(2)).pass_alive(ms(1600));
    script.check(&expect![[r#"
        place 2/0 on 1 from 0: model 1 in max with 4 threads
        cancel 2/0 on 1
        end 2: expired
    "#]]);
    let mut script = Script::new();
    script.submit(request(3, "one")).pass(limits::MAX_WAIT).check(&expect![[r#"
        end 3: expired
    "#]]);
}

#[test]
fn only_what_is_next_counts_and_only_from_the_current_attempt() {
    let mut script = one_node();
    script.submit(request(1, "one")).progress(1, 1, 0, 0, 4).forget();
    script.progress(1, 1, 0, 0, 4).progress(1, 1, 0, 2, 4).check(&expect![[r#"
        deliver 1 at 4: 2, skipping 2
    "#]]);
    script.progress(1, 1, 0, 9, 4).progress(1, 1, 0, 13, 4).check(&expect![[r#"
        resend 1/0 on 1 from 6
    "#]]);
    script.progress(1, 1, 0, 6, 11).check(&expect![[r#"
        deliver 1 at 6: 11, skipping 0
    "#]]);
    script.progress(1, 1, 3, 17, 4).progress(9, 1, 0, 17, 4).check(&expect![[r#"
        cancel 1/3 on 1
        fence 9.1: Unknown
    "#]]);
}

#[test]
fn an_end_waits_for_what_was_given_out_before() {
    let mut script = one_node();
    script.submit(request(1, "one")).progress(1, 1, 0, 0, 4).ended(1, 1, 0, 10).check(&expect![[r#"
        place 1/0 on 1 from 0: model 1 in max with 4 threads
        deliver 1 at 0: 4, skipping 0
        resend 1/0 on 1 from 4
    "#]]);
    script.progress(1, 1, 0, 4, 6).check(&expect![[r#"
        deliver 1 at 4: 6, skipping 0
        end 1: done
    "#]]);
}

#[test]
fn a_gap_that_is_not_filled_costs_the_attempt() {
    let mut script = one_node();
    script.submit(request(1, "one")).progress(1, 1, 0, 4, 4).forget();
    script.pass_alive(limits::GAP_TIMEOUT + ms(200)).check(&expect![[r#"
        cancel 1/0 on 1
        place 1/1 on 1 from 0: model 1 in max with 4 threads
    "#]]);
}

#[test]
fn what_failed_is_tried_elsewhere_and_what_cannot_help_is_not() {
    let mut script = two_nodes();
    script.submit(request(1, "one")).progress(1, 1, 0, 0, 3).failed(1, 1, 0, Failure::Interrupted);
    script.pass_alive(ms(200)).check(&expect![[r#"
        place 1/0 on 1 from 0: model 1 in max with 4 threads
        deliver 1 at 0: 3, skipping 0
        place 1/1 on 2 from 3: model 1 in ondemand with 4 threads
    "#]]);
    script.failed(2, 1, 1, Failure::Pipeline).check(&expect![[r#"
        end 1: failed, the attempt failed: Pipeline
    "#]]);
}

#[test]
fn tried_so_often_and_no_more() {
    let mut script = one_node();
    script.submit(request(1, "one"));
    for number in 0..4 {
        script.failed(1, 1, number, Failure::Busy).pass_alive(ms(800));
    }
    script.check(&expect![[r#"
        place 1/0 on 1 from 0: model 1 in max with 4 threads
        place 1/1 on 1 from 0: model 1 in max with 4 threads
        place 1/2 on 1 from 0: model 1 in max with 4 threads
        place 1/3 on 1 from 0: model 1 in max with 4 threads
        end 1: failed, the request was tried as often as requests are; the last attempt failed: Busy
    "#]]);
}

#[test]
fn a_request_that_kills_engines_is_found_out_and_its_neighbours_are_not_blamed() {
    let killer = |id| dunlin_scheduler_core::Request { fingerprint: Fingerprint(66), ..request(id, "one") };
    let mut script = one_node();
    script.submit(killer(1)).submit(request(2, "one")).check(&expect![[r#"
        place 1/0 on 1 from 0: model 1 in max with 4 threads
        place 2/0 on 1 from 0: model 1 in max with 4 threads
    "#]]);
    // Both are suspects: from here on each runs alone, and nothing beside it.
    script.failed(1, 1, 0, Failure::EngineDied).failed(1, 2, 0, Failure::EngineDied).pass_alive(ms(200));
    script.submit(request(3, "one")).check(&expect![[r#"
        place 2/1 on 1 from 0: model 1 in max with 4 threads
    "#]]);
    script.progress(1, 2, 1, 0, 8).ended(1, 2, 1, 8).check(&expect![[r#"
        deliver 2 at 0: 8, skipping 0
        end 2: done
        place 1/1 on 1 from 0: model 1 in max with 4 threads
    "#]]);
    script.failed(1, 1, 1, Failure::EngineDied).pass_alive(ms(300)).check(&expect![[r#"
        place 3/0 on 1 from 0: model 1 in max with 4 threads
    "#]]);
    script.progress(1, 3, 0, 0, 8).ended(1, 3, 0, 8).check(&expect![[r#"
        deliver 3 at 0: 8, skipping 0
        end 3: done
        place 1/2 on 1 from 0: model 1 in max with 4 threads
    "#]]);
    script.failed(1, 1, 2, Failure::EngineDied).submit(killer(4)).check(&expect![[r#"
        end 1: failed, an engine died under each of its last attempts: the request is not tried again for ten minutes
        end 4: refused, engines died under this request: it is in quarantine; retry after 600 s
    "#]]);
    script.sleep(limits::SENTENCE).submit(killer(5)).check(&expect![[r#"
        place 5/0 on 1 from 0: model 1 in max with 4 threads
    "#]]);
}

#[test]
fn refusals_say_why_and_when_to_come_back() {
    let mut script = Script::new();
    script.submit(request(1, "three")).submit(request(1, "one")).submit(request(1, "one")).check(&expect![[
        r#"
        end 1: refused, no model has the alias "three": `dunlin models` lists them
        duplicate 1
    "#
    ]]);
    (0..limits::MAX_QUEUED_PER_TENANT as u128).for_each(|id| {
        script.submit(request(10 + id, "one"));
    });
    script.check(&expect![[r#"
        end 4105: refused, 4096 requests of this tenant wait already, which is the limit; retry after 1 s
    "#]]);
    for tenant in 2..5 {
        (0..limits::MAX_QUEUED_PER_TENANT as u128).for_each(|id| {
            let id = (u128::from(tenant) << 32) + id;
            script.submit(dunlin_scheduler_core::Request { tenant: TenantId(tenant), ..request(id, "one") });
        });
    }
    let other = dunlin_scheduler_core::Request { tenant: TenantId(9), ..request(5, "one") };
    script.submit(other).check(&expect![[r#"
        end 5: refused, 16384 requests wait already, which is the limit; retry after 1 s
    "#]]);
}

#[test]
fn usage_is_of_all_attempts() {
    let mut script = two_nodes();
    script.submit(request(1, "one")).pass(ms(300)).progress(1, 1, 0, 0, 3).pass(ms(100));
    script.failed(1, 1, 0, Failure::Interrupted).pass_alive(ms(200)).progress(2, 1, 1, 3, 2);
    script.pass_alive(ms(400)).progress(2, 1, 1, 5, 16).ended(2, 1, 1, 21);
    expect![[r#"
        [
            Usage {
                prompt_tokens: 100,
                cached_tokens: 10,
                output_tokens: 21,
                joules: Some(
                    5.0,
                ),
                emulated: false,
                queued: 0ns,
                ttft: Some(
                    300ms,
                ),
                total: 1s,
                nodes: [
                    NodeId(
                        1,
                    ),
                    NodeId(
                        2,
                    ),
                ],
            },
        ]
    "#]]
    .assert_debug_eq(&script.usages);
}
