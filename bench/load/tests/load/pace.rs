//! Times, as they are measured, against those that the server keeps.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use dunlin_load::{Outcome, Report, Slo, measure_words, plan::Pace, run, warm_up};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::server::{Step, answer, client, event, head, ms, plan, serve, tail, token};

/// Nothing is faster than the server; how much slower a busy machine makes it is left open.
#[track_caller]
fn check(what: &str, value: Option<dunlin_load::Quantiles>, expected: f64) {
    let value = value.unwrap().p50.value;
    // A timer may end a little early, by its own rounding.
    let range = expected - 1.0..expected + 500.0;
    assert!(range.contains(&value), "{what}: {value} ms, not in {range:?}");
}

async fn measured(base: &str, pace: Pace, requests: usize) -> (Outcome, Report) {
    let plan = plan(pace, requests);
    let outcome = run(client(base), &plan, &CancellationToken::new(), |_| {}).await;
    let report = Report::of(&plan, &outcome, Slo { ttft: Some(ms(150)), tpot: Some(ms(50)) });
    (outcome, report)
}

#[tokio::test]
async fn a_closed_loop_measures_what_the_server_does() {
    let base = serve(Arc::new(|_: &Value| answer(ms(120), ms(20), 10))).await;
    let (outcome, report) = measured(&base, Pace::Closed { concurrency: 2 }, 8).await;
    assert_eq!((report.good, report.most_in_flight, report.failures.len()), (8, 2, 0), "{report:#?}");
    // The empty piece at the beginning is no token.
    check("TTFT", report.ttft_ms, 120.0);
    check("TPOT", report.tpot_ms, 20.0);
    check("ITL", report.itl_ms, 20.0);
    check("whole", report.whole_ms, 300.0);
    assert_eq!((report.tokens.output, report.tokens.prompt, report.tokens.told), (80, 56, 8));
    // Four times two.
    assert!(outcome.took >= ms(1190), "{:?}", outcome.took);
}

/// One at a time takes 30 ms, one comes every 10 ms: each waits longer than the one before, and that is seen.
#[tokio::test]
async fn an_open_loop_does_not_wait_for_the_server() {
    let (count, began) = (AtomicU64::new(0), tokio::time::Instant::now());
    let base = serve(Arc::new(move |_: &Value| {
        // Whoever is n-th is answered when those before it are.
        let ready = ms(30 * (count.fetch_add(1, Relaxed) + 1));
        answer(ready.saturating_sub(began.elapsed()), ms(1), 2)
    }))
    .await;
    let (outcome, report) = measured(&base, Pace::Constant { rate: 100.0 }, 10).await;
    assert_eq!(report.good, 10);
    let last = outcome.samples.iter().find(|sample| sample.number == 9).unwrap();
    let waited = last.ttft().unwrap();
    assert!(waited > ms(200), "{waited:?}");
    // Those at the end have waited longer than the target.
    assert!(report.slo.unwrap().kept < 8, "{report:#?}");
}

#[tokio::test]
async fn pieces_of_several_tokens_are_no_tokens() {
    let base = serve(Arc::new(|_: &Value| {
        let mut steps = vec![head(), Step::Wait(ms(50)), token("a b c")];
        steps.extend([Step::Wait(ms(100)), token("d e f")]);
        steps.extend(tail(6));
        steps
    }))
    .await;
    let (_, report) = measured(&base, Pace::Closed { concurrency: 1 }, 3).await;
    check("TPOT", report.tpot_ms, 20.0);
    check("ITL", report.itl_ms, 100.0);
    assert_eq!((report.tokens.output, report.tokens.pieces, report.tokens.differ), (18, 6, 3));
    assert!(report.notes.iter().any(|note| note.contains("3.0 tokens on average")), "{:?}", report.notes);
}

#[tokio::test]
async fn what_is_under_way_at_the_end_is_in_no_figure() {
    let base = serve(Arc::new(|_: &Value| answer(ms(100), ms(1), 2))).await;
    let (stop, plan) = (CancellationToken::new(), plan(Pace::Constant { rate: 50.0 }, 1000));
    let later = stop.clone();
    let outcome = run(client(&base), &plan, &stop, |done| {
        if done.ended >= 3 {
            later.cancel();
        }
    })
    .await;
    assert!(outcome.was_stopped && outcome.samples.len() >= 3 && outcome.cut_off >= 1, "{outcome:?}");
    assert!(outcome.samples.iter().all(dunlin_load::Sample::is_good));
}

#[tokio::test]
async fn a_closed_loop_ends_by_its_time() {
    let base = serve(Arc::new(|_: &Value| answer(ms(40), ms(10), 2))).await;
    let mut plan = plan(Pace::Closed { concurrency: 1 }, 1000);
    plan.duration = Some(ms(300));
    let outcome = run(client(&base), &plan, &CancellationToken::new(), |_| {}).await;
    assert!((1..=6).contains(&outcome.samples.len()), "{}", outcome.samples.len());
    assert!(!outcome.was_stopped && outcome.cut_off == 0);
}

#[tokio::test]
async fn words_are_measured_by_the_servers_count() {
    let base = serve(Arc::new(|body: &Value| {
        let prompt = body["messages"][0]["content"].as_str().unwrap_or_default();
        let tokens = 11 + 2 * prompt.split(' ').count();
        let usage = json!({ "choices": [], "usage": { "prompt_tokens": tokens, "completion_tokens": 1 } });
        vec![head(), token("a"), event(&usage), Step::Chunk("data: [DONE]\n\n".into()), Step::End]
    }))
    .await;
    let client = client(&base);
    let mut plan = plan(Pace::Closed { concurrency: 1 }, 4);
    plan.ruler = measure_words(&client, 1).await.unwrap().unwrap();
    warm_up(&client, &plan, 2).await.unwrap();
    let outcome = run(client, &plan, &CancellationToken::new(), |_| {}).await;
    let lengths: Vec<u64> =
        outcome.samples.iter().filter_map(|sample| sample.usage.map(|usage| usage.prompt_tokens)).collect();
    // 30 were asked for; words are of two tokens.
    assert_eq!(lengths, [31; 4]);
}
