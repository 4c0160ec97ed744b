use dunlin_engine_handle::fake;

use crate::scene::{Scene, check, saying};

#[tokio::test(start_paused = true)]
async fn answers_become_messages() {
    let fake = saying("hello there");
    let engine = fake.start();
    let script = "create
        cue 0 system: be kind | user: hi
        generate 0
        finish 0
        cue 0 user: bye
        generate 0";
    let said = Scene::new(&engine, script).transcript().await;
    assert_eq!(said[2..4], ["0", r#""hello there" StopReason::EndOfTurn"#]);
    let prompts: Vec<String> = fake
        .calls()
        .into_iter()
        .filter_map(|call| match call {
            dunlin_engine_handle::Call::Generate(generate) => Some(fake::text(&generate.prompt)),
            _ => None,
        })
        .collect();
    let first = "<system>be kind\n<user>hi\n<assistant>";
    assert_eq!(prompts, [first.to_owned(), format!("{first}hello there\n<user>bye\n<assistant>")]);
}

#[tokio::test(start_paused = true)]
async fn text_after_a_cue_begins_the_answer() {
    let fake = saying("blue.");
    check(
        &fake,
        "create
         cue 0 user: colour?
         append 0 It is 
         generate 0
         finish 0
         messages 0 user: thanks
         length 0",
        &["0", "26", "5", "0", r#""blue." StopReason::EndOfTurn"#, "14", "50"],
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_meant_is_refused() {
    let engine = saying("x").start();
    let script = "create
        append 0 raw
        messages 0 user: hi
        create
        messages 1 user: hi
        append 1 text
        tokens 1 97
        generate 1
        truncate 1 3
        truncate 1 0
        append 1 raw";
    let said = Scene::new(&engine, script).transcript().await;
    let refusals = [
        "a conversation begins in an empty context, and this one holds 4 tokens of text",
        "append messages with a cue first",
        "tokens go to raw contexts",
        "the conversation does not end with a cue",
        "nothing in this conversation ended at 3 tokens; the nearest length before is 0",
    ];
    let refused: Vec<&String> =
        said.iter().filter(|line| line.starts_with("Error::InvalidArgument")).collect();
    assert_eq!(refused.len(), refusals.len(), "{said:?}");
    assert!(refused.iter().zip(refusals).all(|(said, refusal)| said.contains(refusal)), "{refused:?}");
    assert_eq!(said.last().unwrap(), "4");
}

#[tokio::test(start_paused = true)]
async fn an_answer_can_be_taken_back_and_given_again() {
    let fake = saying("no");
    check(
        &fake,
        "create
         cue 0 user: well?
         generate 0
         finish 0
         truncate 0 24
         generate 0
         finish 1
         length 0",
        &["0", "24", "0", r#""no" StopReason::EndOfTurn"#, "1", r#""no" StopReason::EndOfTurn"#, "26"],
    )
    .await;
}
