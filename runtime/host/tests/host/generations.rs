use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
    time::Duration,
};

use dunlin_engine_handle::{
    Call, EngineError, Generate,
    fake::{Fake, Script, ScriptEnd},
};
use dunlin_host::Chunk;

use crate::scene::{Scene, check, hanging, saying};

#[tokio::test(start_paused = true)]
async fn events_come_in_order_and_end_for_good() {
    check(
        &saying("one two three"),
        "create
         append 0 x
         generate 0 max=50
         next 0 1
         length 0
         next 0 1
         next 0 1
         next 0 8
         next 0 8
         length 0
         generate 0",
        &[
            "0",
            "2",
            "0",
            r#""one ""#,
            "6",
            r#""two ""#,
            r#""three""#,
            "StopReason::EndOfTurn after 13",
            "ended",
            "15",
            "1",
        ],
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn next_takes_what_is_there_but_not_more_than_asked_for() {
    check(
        &saying("a b c d"),
        "create
         append 0 x
         generate 0
         sleep 50
         next 0 2
         length 0
         next 0 9
         length 0",
        &["0", "2", "0", "50 ms", r#""a " "b ""#, "6", r#""c " "d" StopReason::EndOfTurn after 7"#, "9"],
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn one_generation_at_a_time_per_context() {
    check(
        &hanging(),
        "create
         append 0 x
         generate 0
         generate 0
         append 0 y
         truncate 0 0
         fork 0 2
         score 0 a|b
         drop-generation 0
         generate 0",
        &[
            "0",
            "2",
            "0",
            "Error::Busy(None)",
            "Error::Busy(None)",
            "Error::Busy(None)",
            "Error::Busy(None)",
            "Error::Busy(None)",
            "1",
        ],
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_generation_gives_its_last_words() {
    check(
        &hanging(),
        "create
         append 0 x
         generate 0
         next 0 1
         cancel 0
         next 0 9
         next 0 9
         length 0",
        &["0", "2", "0", r#""word ""#, "StopReason::Cancelled after 0", "ended", "7"],
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn several_are_waited_for_at_once() {
    let fake = Fake::default().answering(|generate: &Generate| {
        let pause = Duration::from_millis(10 * generate.prompt.len() as u64);
        Script::say("done").with_pause(pause)
    });
    check(
        &fake,
        "create
         append 0 long
         create
         append 1 s
         generate 0
         generate 1
         subscribe 0
         subscribe 1
         poll 0 1
         finish 1
         ready 0
         ready 1
         block 0
         finish 0
         poll 0 1",
        &[
            "0",
            "5",
            "1",
            "2",
            "0",
            "1",
            "0",
            "1",
            "[1]",
            r#""done" StopReason::EndOfTurn"#,
            "false",
            "true",
            r#""done" StopReason::EndOfTurn"#,
            "[0, 1]",
        ],
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_pollable_outlives_its_generation_and_is_ready() {
    check(
        &hanging(),
        "create
         append 0 x
         generate 0
         next 0 1
         subscribe 0
         ready 0
         drop-generation 0
         ready 0
         block 0
         generate 0",
        &["0", "2", "0", r#""word ""#, "0", "false", "true", "1"],
    )
    .await;
}

/// The seeds that an engine is given by one run of a script.
async fn seeds(seed: u64, script: &str) -> Vec<u64> {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let sink = seen.clone();
    let fake = Fake::default().answering(move |generate: &Generate| {
        sink.lock().unwrap().push(generate.seed);
        Script::say("x")
    });
    Scene::new(&fake.start(), script).seed(seed).transcript().await;
    seen.lock().unwrap().clone()
}

#[tokio::test(start_paused = true)]
async fn forks_draw_differently_and_replays_the_same() {
    let script = "create\nappend 0 x\nfork 0 2
        generate 0\nfinish 0\ngenerate 1\nfinish 1\ngenerate 2\nfinish 2\ngenerate 1\nfinish 3";
    let first = seeds(7, script).await;
    assert_eq!(first.iter().collect::<BTreeSet<_>>().len(), 4);
    assert_eq!(seeds(7, script).await, first);
    assert_ne!(seeds(8, script).await, first);
    assert_eq!(seeds(7, "create\nappend 0 x\ngenerate 0 seed=5").await, [5]);
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_dies_is_told_as_it_is() {
    let dying = Fake::default().answering(|_| Script::say("some words").then(ScriptEnd::Die));
    let engine = dying.start();
    let script = "create\nappend 0 x\ngenerate 0\nnext 0 1\nfinish 0\nnext 0 1\nlength 0";
    let said = Scene::new(&engine, script).transcript().await;
    assert_eq!(said[3], r#""some ""#);
    assert!(said[4].starts_with(r#"Error::Unavailable(("the engine died"#), "{said:?}");
    assert_eq!(said[5], "ended");
}

#[tokio::test(start_paused = true)]
async fn errors_of_engines_keep_what_they_say() {
    let cases = [
        (EngineError::Busy { retry_after_ms: Some(20) }, "Error::Busy(Some(20))"),
        (EngineError::ContextFull, "Error::ContextFull"),
        (EngineError::Backend("no slot".into()), r#"Error::Backend("no slot")"#),
        (EngineError::PromptTooLong { tokens: 9, possible: 8 }, "Error::PromptTooLong((9, 8))"),
        (
            EngineError::Unavailable { reason: "restarting".into(), retry_after_ms: Some(250) },
            r#"Error::Unavailable(("restarting", Some(250)))"#,
        ),
    ];
    for (error, expected) in cases {
        let fake = Fake::default().answering(move |_| Script::say("").then(ScriptEnd::Fail(error.clone())));
        check(&fake, "create\nappend 0 x\ngenerate 0\nnext 0 1", &["0", "2", "0", expected]).await;
    }
}

#[tokio::test(start_paused = true)]
async fn the_text_reaches_the_caller_while_it_is_made() {
    let engine = saying("all of it").start();
    let (chunks, outcome) = Scene::new(&engine, "create\nappend 0 x\ngenerate 0\nstream 0").chunks().await;
    assert_eq!(chunks, ["all ", "of ", "it"].map(|text| Chunk::Text(text.into())));
    assert_eq!(crate::scene::transcript(&outcome)[3], "StopReason::EndOfTurn at cpu-2 on shed");
    assert_eq!((outcome.usage.prompt_tokens, outcome.usage.output_tokens), (2, 9));
    assert_eq!(outcome.usage.ttft_us, 1_000);
}

#[tokio::test(start_paused = true)]
async fn a_generation_ends_at_its_own_deadline_or_at_the_jobs() {
    let fake = Fake::default().answering(|_| Script::say("a b c d e f").with_pause(Duration::from_secs(1)));
    check(
        &fake,
        "create\nappend 0 x\ngenerate 0 deadline=2500\nfinish 0",
        &["0", "2", "0", r#""a b " StopReason::Deadline"#],
    )
    .await;
    let job = Scene::new(&fake.start(), "create\nappend 0 x\ngenerate 0 deadline=60000\nfinish 0\nopen demo");
    let said = job.wall_time(Duration::from_millis(3_500)).transcript().await;
    assert_eq!(said[3..], [r#""a b c " StopReason::Deadline"#, "Error::Deadline"]);
}

#[tokio::test(start_paused = true)]
async fn what_was_generated_counts_although_nobody_asked_for_it() {
    let engine = saying("a b c d").start();
    let script = "create\nappend 0 x\ngenerate 0\nsleep 50\ndrop-generation 0\ntotal";
    let outcome = Scene::new(&engine, script).outcome().await;
    assert_eq!(outcome.usage.output_tokens, 7);
    let engine = hanging().start();
    let outcome = Scene::new(&engine, "create\nappend 0 x\ngenerate 0\nsleep 50").outcome().await;
    assert_eq!((outcome.usage.generations, outcome.usage.output_tokens), (1, 5));
}

#[tokio::test(start_paused = true)]
async fn tokens_are_reserved_when_a_generation_starts() {
    let fake = saying("a b c d");
    let engine = fake.start();
    let script = "create
        append 0 x
        generate 0 max=6
        remaining tokens
        finish 0
        remaining tokens
        generate 0 max=50
        finish 1
        generate 0
        remaining tokens";
    let scene = Scene::new(&engine, script).limits(|limits| limits.tokens = 10);
    let expected = [
        "0",
        "2",
        "0",
        "Some(4)",
        r#""a b c " StopReason::MaxTokens"#,
        "Some(4)",
        "1",
        r#""a b " StopReason::MaxTokens"#,
        "Error::Exhausted(Budget::Tokens)",
        "Some(0)",
    ];
    assert_eq!(scene.transcript().await, expected);
    let asked = |call: &Call| match call {
        Call::Generate(generate) => Some(generate.max_tokens),
        _ => None,
    };
    assert_eq!(fake.calls().iter().filter_map(asked).collect::<Vec<_>>(), [6, 4]);
}

#[tokio::test(start_paused = true)]
async fn a_context_that_outgrows_its_cells_ends_the_generation() {
    let engine = saying("a b c d").start();
    let scene = Scene::new(&engine, "create\nappend 0 x\ngenerate 0\nsleep 50\nnext 0 9\nnext 0 9\nlength 0");
    let said = scene.limits(|limits| limits.kv_cells = 6).transcript().await;
    assert_eq!(said[4..], [r#""a " "b ""#, "Error::Exhausted(Budget::KvCells)", "6"]);
}

#[tokio::test(start_paused = true)]
async fn options_that_mean_nothing_are_refused() {
    let engine = saying("x").start();
    let said = Scene::new(&engine, "create\ngenerate 0 max=0\ngenerate 0 stop=\ngenerate 0 logprobs=21")
        .transcript()
        .await;
    assert!(said[1..].iter().all(|line| line.starts_with("Error::InvalidArgument")), "{said:?}");
}
