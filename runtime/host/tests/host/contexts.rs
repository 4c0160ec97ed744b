use dunlin_engine_handle::{
    Call,
    fake::{self, Fake},
};

use crate::scene::{Scene, check, saying};

#[tokio::test(start_paused = true)]
async fn the_first_text_brings_the_bos_and_tokens_come_as_they_are() {
    check(
        &Fake::default(),
        "create
         append 0 ab
         append 0 cd
         length 0
         create
         tokens 1 97 98
         append 1 c
         length 1",
        &["0", "3", "2", "5", "1", "2", "1", "3"],
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_prompt_longer_than_the_context_is_refused_where_it_is_appended() {
    let mut fake = Fake::default();
    fake.model.context_length = 10;
    check(
        &fake,
        "create
         append 0 123456789
         append 0 12345678
         append 0 9
         tokens 0 300
         length 0",
        &[
            "0",
            "Error::PromptTooLong((10, 9))",
            "9",
            "Error::PromptTooLong((10, 9))",
            r#"Error::InvalidArgument("300 is not a token of \"demo\"")"#,
            "9",
        ],
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn forks_go_their_own_way_from_a_shared_beginning() {
    check(
        &Fake::default(),
        "create
         append 0 one
         fork 0 2
         append 1 -two
         append 2 -three
         drop-context 0
         generate 1
         finish 0
         generate 2
         finish 1
         fork 1 0",
        &[
            "0",
            "4",
            "1 2",
            "4",
            "6",
            "0",
            r#""one-two" StopReason::EndOfTurn"#,
            "1",
            r#""one-three" StopReason::EndOfTurn"#,
            "",
        ],
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_fan_out_is_announced_when_its_prefix_is_worth_it() {
    let fake = Fake::default();
    let engine = fake.start();
    let script = "create
        append 0 short
        fork 0 8
        append 0 , and then so long that reading it again for each branch would cost
        fork 0 1
        fork 0 8
        generate 1
        sleep 10";
    Scene::new(&engine, script).transcript().await;
    let calls: Vec<String> = fake
        .calls()
        .into_iter()
        .filter_map(|call| match call {
            Call::Prepare(prepare) => Some(format!("prepare {}", prepare.branches)),
            Call::Generate(_) => Some("generate".into()),
            _ => None,
        })
        .collect();
    assert_eq!(calls, ["prepare 8", "generate"]);
}

#[tokio::test(start_paused = true)]
async fn raw_contexts_can_be_cut_anywhere() {
    check(
        &Fake::default(),
        "create
         append 0 abcdef
         truncate 0 4
         generate 0
         finish 0
         truncate 0 9
         length 0
         truncate 0 0
         append 0 x",
        &[
            "0",
            "7",
            "0",
            r#""abc" StopReason::EndOfTurn"#,
            r#"Error::InvalidArgument("cannot truncate 7 tokens to 9")"#,
            "7",
            "2",
        ],
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn scoring_samples_nothing_and_changes_nothing() {
    let fake = Fake::default().scoring(|score| {
        assert_eq!(fake::text(&score.prompt), "severity of: disk full");
        vec![-1.0, -0.25]
    });
    check(
        &fake,
        "create
         append 0 severity of: disk full
         score 0 ok|critical
         length 0",
        &["0", "23", "0:-1 1:-0.25", "23"],
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_the_fleet_does_not_have_yet_is_unsupported() {
    let engine = Fake::default().start();
    let said = Scene::new(&engine, "create\nsnapshot 0 x\nrestore x\nspawn chat").transcript().await;
    assert_eq!(said[0], "0");
    assert!(said[1..].iter().all(|line| line.starts_with("Error::Unsupported")), "{said:?}");
}

#[tokio::test(start_paused = true)]
async fn what_forks_share_counts_once() {
    let engine = Fake::default().start();
    let script = "create
        append 0 0123456789
        fork 0 8
        remaining kv-cells
        append 3 01234
        append 4 012345678
        drop-context 3
        append 4 0123";
    let scene = Scene::new(&engine, script).limits(|limits| limits.kv_cells = 20);
    let expected = ["0", "11", "1 2 3 4 5 6 7 8", "Some(9)", "5", "Error::Exhausted(Budget::KvCells)", "4"];
    assert_eq!(scene.transcript().await, expected);
}

/// Of the first prompt, how many tokens the engine was told are public.
async fn public_tokens(script: &str, public: &[&str]) -> u32 {
    let fake = saying("word ");
    let mut scene = Scene::new(&fake.start(), script);
    scene.invocation.grants.public_prefixes = public.iter().map(|text| (*text).to_owned()).collect();
    scene.outcome().await.result.unwrap();
    let generate = fake.calls().into_iter().find_map(|call| match call {
        Call::Generate(generate) => Some(generate),
        _ => None,
    });
    generate.unwrap().public
}

#[tokio::test]
async fn the_beginning_that_a_manifest_calls_public_is_told_to_the_engine() {
    let raw = "create\nappend 0 shared words and own words\ngenerate 0 max=1\nfinish 0";
    let shared = "shared words";
    assert!(public_tokens(raw, &[shared]).await > 0);
    assert_eq!(public_tokens(raw, &["other words"]).await, 0);
    assert_eq!(public_tokens(raw, &[]).await, 0);
    // Of a context that was cut, what is left.
    let cut = "create\nappend 0 shared words and own words\ntruncate 0 1\ngenerate 0 max=1\nfinish 0";
    assert_eq!(public_tokens(cut, &[shared]).await, 1);
}
