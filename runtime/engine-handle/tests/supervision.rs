//! An engine's life behind its handle, played by the fake on virtual time.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::{sync::Arc, time::Duration};

use dunlin_engine_handle::{
    Engine, EngineError, Generate, Patience, State, StopReason,
    fake::{self, Fake, Script, ScriptEnd},
};

fn prompt(text: &str) -> Generate {
    Generate { prompt: fake::tokens(text), ..Generate::default() }
}

/// All text of a generation, and how it ended.
async fn run(engine: &Engine, generate: Generate) -> (String, Result<StopReason, EngineError>) {
    let mut generation = engine.generate(generate);
    let mut text = String::new();
    while let Some(delta) = generation.next().await {
        match delta {
            Ok(delta) => {
                text += &delta.text;
                if let Some(finish) = delta.finish {
                    return (text, Ok(finish.reason));
                }
            }
            Err(error) => return (text, Err(error)),
        }
    }
    panic!("a generation without an end")
}

async fn reach(engine: &Engine, wanted: impl Fn(&State) -> bool) {
    engine.watch().wait_for(|status| wanted(&status.state)).await.unwrap();
}

fn is_dead_for_good(state: &State) -> bool {
    matches!(state, State::Dead { restart: None, .. })
}

#[tokio::test(start_paused = true)]
async fn a_generation_streams_and_ends() {
    let engine = Fake::default().start();
    assert_eq!(run(&engine, prompt("one\ntwo three")).await, ("two three".into(), Ok(StopReason::EndOfTurn)));
}

#[tokio::test(start_paused = true)]
async fn calls_made_while_the_engine_loads_are_served_after() {
    let engine = Fake::default().loading(Duration::from_secs(20)).start();
    let (text, end) = run(&engine, prompt("hello")).await;
    assert_eq!((text.as_str(), end), ("hello", Ok(StopReason::EndOfTurn)));
}

#[tokio::test(start_paused = true)]
async fn a_refusal_to_load_answers_calls_that_wait_and_calls_that_come() {
    let refusal = EngineError::Model("tensor \"x\" is cut off".into());
    let engine = Fake::default().refusing(refusal.clone()).start();
    assert_eq!(run(&engine, prompt("hello")).await.1, Err(refusal.clone()));
    assert_eq!(engine.ready().await, Err(refusal.clone()));
    assert_eq!(run(&engine, prompt("hello")).await.1, Err(refusal));
    assert!(is_dead_for_good(&engine.status().state));
}

#[tokio::test(start_paused = true)]
async fn a_death_fails_running_calls_and_the_next_incarnation_serves() {
    let fake = Fake::default().answering(|generate| match fake::text(&generate.prompt).as_str() {
        "poison" => Script::say("a few words").then(ScriptEnd::Die),
        text => Script::say(text).with_pause(Duration::from_secs(1)),
    });
    let engine = fake.start();
    let (neighbour, poison) =
        tokio::join!(run(&engine, prompt("a long story of many words")), run(&engine, prompt("poison")));
    assert!(matches!(neighbour.1, Err(EngineError::Died { .. })));
    assert!(matches!(poison.1, Err(EngineError::Died { .. })));
    reach(&engine, State::is_serving).await;
    assert_eq!(run(&engine, prompt("again")).await, ("again".into(), Ok(StopReason::EndOfTurn)));
    assert_eq!(engine.status().incarnation, 2);
}

#[tokio::test(start_paused = true)]
async fn deaths_in_a_row_are_followed_by_longer_pauses_and_an_end() {
    let fake = Fake::default().answering(|_| Script::say("").then(ScriptEnd::Die));
    let engine = fake.start_with(Patience { restarts: 4, ..Patience::default() });
    let mut pauses = Vec::new();
    while !is_dead_for_good(&engine.status().state) {
        assert!(matches!(run(&engine, prompt("x")).await.1, Err(EngineError::Died { .. })));
        if let State::Dead { restart: Some(pause), .. } = engine.status().state {
            // The first restart is at once, and may be over before anyone looks.
            if !pause.is_zero() {
                pauses.push(pause.as_millis());
                let refused = run(&engine, prompt("x")).await.1;
                assert!(matches!(refused, Err(EngineError::Unavailable { retry_after_ms: Some(1..), .. })));
            }
        }
        reach(&engine, |state| state.is_serving() || is_dead_for_good(state)).await;
    }
    assert_eq!(pauses, [250, 500, 1000]);
    assert!(matches!(
        run(&engine, prompt("x")).await.1,
        Err(EngineError::Unavailable { retry_after_ms: None, .. })
    ));
}

#[tokio::test(start_paused = true)]
async fn an_engine_without_signs_of_life_is_killed() {
    let fake = Fake::default()
        .falling_silent(Duration::from_secs(10))
        .answering(|_| Script::say("").then(ScriptEnd::Hang));
    let engine = fake.start();
    let start = tokio::time::Instant::now();
    let (_, end) = run(&engine, prompt("x")).await;
    let Err(EngineError::Died { reason }) = end else { panic!("{end:?}") };
    assert!(reason.contains("no sign of life for 5s"), "{reason}");
    assert!(start.elapsed() < Duration::from_millis(15_200), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_has_work_and_gets_nowhere_is_killed() {
    let fake = Fake::default().standing_still().answering(|_| Script::say("").then(ScriptEnd::Hang));
    let engine = fake.start();
    engine.ready().await.unwrap();
    tokio::time::sleep(Duration::from_mins(5)).await;
    assert_eq!(engine.status().incarnation, 1, "idle is not stuck");
    let (_, end) = run(&engine, prompt("x")).await;
    let Err(EngineError::Died { reason }) = end else { panic!("{end:?}") };
    assert!(reason.contains("got nowhere for 10s"), "{reason}");
}

#[tokio::test(start_paused = true)]
async fn cancelling_and_dropping_end_a_generation() {
    let fake = Fake::default().answering(|_| Script::say("word ").then(ScriptEnd::Hang));
    let engine = fake.start();
    let mut kept = engine.generate(prompt("x"));
    assert_eq!(kept.next().await.unwrap().unwrap().text, "word ");
    kept.cancel();
    assert_eq!(kept.next().await.unwrap().unwrap().finish.unwrap().reason, StopReason::Cancelled);
    assert!(kept.next().await.is_none());

    let mut dropped = engine.generate(prompt("x"));
    dropped.next().await.unwrap().unwrap();
    assert_eq!(engine.status().state, State::Busy);
    drop(dropped);
    reach(&engine, |state| *state == State::Ready).await;
}

#[tokio::test(start_paused = true)]
async fn draining_lets_running_calls_end_and_refuses_new_ones() {
    let fake = Fake::default().answering(|_| Script::say("a b c d").with_pause(Duration::from_secs(1)));
    let engine = fake.start();
    let running = tokio::spawn({
        let engine = engine.clone();
        async move { run(&engine, prompt("x")).await }
    });
    reach(&engine, |state| *state == State::Busy).await;
    let draining = tokio::spawn({
        let engine = engine.clone();
        async move { engine.drain().await }
    });
    reach(&engine, |state| *state == State::Draining).await;
    assert!(matches!(run(&engine, prompt("x")).await.1, Err(EngineError::Unavailable { .. })));
    assert_eq!(running.await.unwrap(), ("a b c d".into(), Ok(StopReason::EndOfTurn)));
    draining.await.unwrap();
    assert!(is_dead_for_good(&engine.status().state));
}

#[tokio::test(start_paused = true)]
async fn a_missing_executable_is_named() {
    let engine = Engine::start(
        dunlin_engine_handle::Program::new("/nonexistent/dunlin-engine"),
        dunlin_engine_handle::Load::default(),
        Patience::default(),
    );
    let error = engine.ready().await.unwrap_err();
    assert!(error.to_string().contains("executable was not found"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_deadline_ends_a_generation() {
    let fake = Fake::default().answering(|_| Script::say("a b c d e f").with_pause(Duration::from_secs(1)));
    let generate = Generate { deadline_ms: Some(2_500), ..prompt("x") };
    assert_eq!(run(&fake.start(), generate).await, ("a b ".into(), Ok(StopReason::Deadline)));
}

#[tokio::test(start_paused = true)]
async fn the_fake_remembers_its_calls() {
    let fake = Fake::default();
    let engine = fake.start();
    let _ = run(&engine, prompt("x")).await;
    engine.compile(dunlin_engine_handle::Constraint::AnyJson).await.unwrap();
    assert_eq!(fake.calls().len(), 2);
    assert!(Arc::strong_count(&engine.ready().await.unwrap()) > 1);
}
