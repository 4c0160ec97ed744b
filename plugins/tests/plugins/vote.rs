use std::{collections::BTreeSet, time::Duration};

use dunlin_engine_handle::{
    Call, Constraint, StopReason,
    fake::{Fake, Script, ScriptEnd},
};
use dunlin_host::InvokeError;

use crate::scene::{Scene, answering, generations, in_turn, prompts, saying};

/// Each says its word after so many milliseconds.
fn voters(words: &[(&str, u64)]) -> Fake {
    in_turn(words.iter().map(|(word, ms)| Script::say(word).with_pause(Duration::from_millis(*ms))))
}

#[tokio::test(start_paused = true)]
async fn most_votes_win() {
    let fake =
        voters(&[("warning", 1), ("Critical.", 2), (" critical", 3), ("warning", 4), ("critical\n", 5)]);
    let told = Scene::new(&fake, "vote", "kernel: oops").param("question", "How bad is it?").told().await;
    assert_eq!(
        told,
        [
            "progress 0.2",
            "progress 0.4",
            "progress 0.6",
            "progress 0.8",
            "progress 1",
            "text/plain: Critical. (3 of 5 votes)"
        ]
    );
    assert_eq!(prompts(&fake), vec!["<user>How bad is it?\nkernel: oops\n<assistant>"; 5]);
}

#[tokio::test(start_paused = true)]
async fn draws_are_free_and_different() {
    let fake = saying("yes");
    Scene::new(&fake, "vote", "x").param("n", "8").run().await.outcome.result.unwrap();
    let drawn = generations(&fake);
    assert!(drawn.iter().all(|generate| generate.sampling.as_ref().unwrap().temperature == 0.8));
    assert!(drawn.iter().all(|generate| generate.max_tokens == 64 && generate.constraint.is_none()));
    assert_eq!(drawn.iter().map(|generate| generate.seed).collect::<BTreeSet<_>>().len(), 8);
}

#[tokio::test(start_paused = true)]
async fn the_rest_is_cancelled_once_it_is_decided() {
    let hanging = Script::say("maybe ").then(ScriptEnd::Hang);
    let quick = Script::say("yes");
    let fake = in_turn([hanging.clone(), quick.clone(), quick.clone(), hanging, quick]);
    let engine = fake.start();
    let told = Scene::bare("vote", "x").grant("demo", &engine).param("json", "true").run().await;
    assert_eq!(
        told.lines().last().unwrap(),
        r#"application/json: {"answer":"yes","votes":3,"cast":3,"unfinished":0,"cancelled":2,"counts":[{"answer":"yes","votes":3}]}"#
    );
    assert!(told.wall_time() < Duration::from_secs(1), "{:?}", told.wall_time());
    engine.watch().wait_for(|status| status.pulse.running == 0).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn labels_are_the_only_answers() {
    let fake = Fake::default();
    let told =
        Scene::new(&fake, "vote", "disk full").param("choices", "warning,ok").param("n", "2").told().await;
    assert_eq!(told.last().unwrap(), "text/plain: warning (2 of 2 votes)");
    assert_eq!(prompts(&fake)[0], "<user>Which one fits: warning or ok?\ndisk full\n<assistant>");
    let choice = Constraint::Choice(vec!["warning".into(), "ok".into()]);
    assert_eq!(generations(&fake)[1].constraint, Some(choice));
    let compiled = fake.calls().iter().filter(|call| matches!(call, Call::Compile { .. })).count();
    assert_eq!(compiled, 1);
}

#[tokio::test(start_paused = true)]
async fn an_answer_may_have_to_look_like_something() {
    let fake = saying("{}");
    Scene::new(&fake, "vote", "2+2").param("regex", "[0-9]+").run().await.outcome.result.unwrap();
    assert_eq!(generations(&fake)[0].constraint, Some(Constraint::Regex("[0-9]+".into())));
    let both = Scene::new(&fake, "vote", "x").param("regex", "a").param("choices", "a,b").error().await;
    assert_eq!(
        both,
        "invalid argument: \"choices\" and \"regex\" are both given: one says what an answer looks like"
    );
}

#[tokio::test(start_paused = true)]
async fn half_an_answer_has_no_vote() {
    let cut = Script::say("well, that").then(ScriptEnd::Stop(StopReason::MaxTokens));
    let fake = in_turn([cut.clone(), Script::say("yes"), cut.clone()]);
    let told = Scene::new(&fake, "vote", "x").param("n", "3").param("json", "true").told().await;
    assert!(
        told.last().unwrap().contains(r#""answer":"yes","votes":1,"cast":1,"unfinished":2,"cancelled":0"#),
        "{told:?}"
    );
    let fake = in_turn([cut.clone(), cut]);
    let said = Scene::new(&fake, "vote", "x").param("n", "2").param("max_tokens", "10").error().await;
    assert_eq!(
        said,
        "invalid argument: none of 2 answers ended within max_tokens=10: raise it, or say what to choose from"
    );
}

#[tokio::test(start_paused = true)]
async fn numbers_are_in_range() {
    let said = |name, value| Scene::new(&Fake::default(), "vote", "x").param(name, value).error();
    assert_eq!(
        said("n", "100").await,
        r#"invalid argument: the parameter "n" is "100": it is a number from 1 to 64"#
    );
    assert_eq!(
        said("temperature", "0").await,
        r#"invalid argument: the parameter "temperature" is "0": it is a number from 0.01 to 5"#
    );
}

#[tokio::test(start_paused = true)]
async fn it_stops_when_the_job_does() {
    let fake = answering(|_| Script::say("maybe ").then(ScriptEnd::Hang));
    let scene = Scene::new(&fake, "vote", "x").limits(|limits| limits.wall_time = Duration::from_millis(500));
    assert_eq!(scene.run().await.outcome.result.unwrap_err(), InvokeError::Deadline);
    let scene = Scene::new(&fake, "vote", "x");
    let cancel = scene.cancel();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(50)).await;
        cancel.cancel();
    });
    assert_eq!(scene.run().await.outcome.result.unwrap_err(), InvokeError::Cancelled);
}
