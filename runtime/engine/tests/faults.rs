//! Engines that are killed or stopped in every state of their life: whoever waits is told, and the next call works.
#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod support;

use std::{
    path::Path,
    time::{Duration, Instant},
};

use dunlin_engine_handle::{Engine, EngineError, Generate, Load, Patience, State, Status};
use rustix::process::{Pid, Signal, kill_process};
use support::{endless, load, program, prompt, run, slow, tiny};

const TIMES: usize = 50;
/// Engines at a time.
const ABREAST: usize = 10;

/// Long enough for a pulse to come in on a machine with other things to do, short enough to do this often.
const PATIENCE: Patience = Patience {
    silence: Duration::from_secs(3),
    standstill: Duration::from_secs(10),
    loading_standstill: Duration::from_secs(20),
    first_backoff: Duration::from_millis(10),
    longest_backoff: Duration::from_millis(50),
    healthy_after: Duration::from_secs(60),
    restarts: 5,
};

fn start(model: &Path) -> Engine {
    Engine::start(program(), Load { cells: 512, ..load(model) }, PATIENCE)
}

async fn reach(engine: &Engine, wanted: impl FnMut(&Status) -> bool) -> Status {
    engine.watch().wait_for(wanted).await.unwrap().clone()
}

fn signal(status: &Status, signal: Signal) {
    let pid = status.pid.and_then(|pid| Pid::from_raw(pid as i32)).unwrap();
    kill_process(pid, signal).unwrap();
}

/// Longest that anyone may wait to be told.
fn limit(sent: Signal) -> Duration {
    // Others share the machine; what is promised is 100 ms, which the benchmarks measure.
    if sent == Signal::KILL { Duration::from_secs(1) } else { PATIENCE.silence + Duration::from_secs(2) }
}

/// The engine serves again, in another incarnation.
async fn works_again(engine: &Engine) {
    reach(engine, |status| status.incarnation > 1 && status.state.is_serving()).await;
    let output = run(engine, prompt(engine, "works again").await).await.unwrap();
    assert!(!output.tokens.is_empty());
}

async fn in_starting(sent: Signal) {
    let engine = start(tiny());
    let waiting = tokio::spawn({
        let engine = engine.clone();
        async move { run(&engine, Generate { prompt: vec![40], max_tokens: 2, ..Generate::default() }).await }
    });
    let status = reach(&engine, |status| status.pid.is_some()).await;
    let start = Instant::now();
    signal(&status, sent);
    let told = waiting.await.unwrap();
    assert!(start.elapsed() < limit(sent), "{:?}", start.elapsed());
    // A call that had not reached the first incarnation yet is served by the second.
    assert!(matches!(told, Err(EngineError::Died { .. }) | Ok(_)), "{told:?}");
    works_again(&engine).await;
}

async fn in_loading(sent: Signal) {
    let engine = start(slow());
    let waiting = tokio::spawn({
        let engine = engine.clone();
        async move { run(&engine, Generate { prompt: vec![40], max_tokens: 2, ..Generate::default() }).await }
    });
    let status = reach(&engine, |status| matches!(status.state, State::Loading { .. })).await;
    let start = Instant::now();
    signal(&status, sent);
    let told = waiting.await.unwrap();
    assert!(start.elapsed() < limit(sent), "{:?}", start.elapsed());
    assert!(matches!(told, Err(EngineError::Died { .. })), "{told:?}");
    works_again(&engine).await;
}

async fn in_ready(sent: Signal) {
    let engine = start(tiny());
    let status = reach(&engine, |status| status.state == State::Ready).await;
    let start = Instant::now();
    signal(&status, sent);
    reach(&engine, |status| matches!(status.state, State::Dead { .. }) || status.incarnation > 1).await;
    assert!(start.elapsed() < limit(sent), "{:?}", start.elapsed());
    works_again(&engine).await;
}

async fn in_busy(sent: Signal) {
    let engine = start(slow());
    let endless = endless(&engine).await;
    let mut generation = engine.generate(endless);
    generation.next().await.unwrap().unwrap();
    let start = Instant::now();
    signal(&engine.status(), sent);
    let told = loop {
        match generation.next().await.unwrap() {
            Ok(delta) => assert!(delta.finish.is_none(), "{delta:?}"),
            Err(error) => break error,
        }
    };
    assert!(start.elapsed() < limit(sent), "{:?}", start.elapsed());
    assert!(matches!(told, EngineError::Died { .. }), "{told:?}");
    works_again(&engine).await;
}

async fn in_draining(sent: Signal) {
    let engine = start(slow());
    let endless = endless(&engine).await;
    let mut generation = engine.generate(endless);
    generation.next().await.unwrap().unwrap();
    let draining = tokio::spawn({
        let engine = engine.clone();
        async move { engine.drain().await }
    });
    let status = reach(&engine, |status| status.state == State::Draining).await;
    let start = Instant::now();
    signal(&status, sent);
    draining.await.unwrap();
    assert!(start.elapsed() < limit(sent), "{:?}", start.elapsed());
    // What is to be stopped is not started again.
    assert!(matches!(engine.status().state, State::Dead { restart: None, .. }));
    let next = Engine::start(program(), Load { cells: 512, ..load(tiny()) }, PATIENCE);
    assert!(!run(&next, prompt(&next, "works again").await).await.unwrap().tokens.is_empty());
}

async fn many_times<F: Future<Output = ()> + Send + 'static>(case: impl Fn() -> F) {
    for _ in 0..TIMES / ABREAST {
        let cases: Vec<_> = (0..ABREAST).map(|_| tokio::spawn(case())).collect();
        for case in cases {
            case.await.unwrap();
        }
    }
}

macro_rules! in_every_state {
    ($($name:ident)*) => {
        mod killed {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::many_times(|| super::$name(super::Signal::KILL)).await;
            })*
        }
        mod stopped {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::many_times(|| super::$name(super::Signal::STOP)).await;
            })*
        }
    };
}

in_every_state!(in_starting in_loading in_ready in_busy in_draining);

#[tokio::test]
async fn an_engine_ends_with_the_last_handle() {
    let engine = start(tiny());
    engine.ready().await.unwrap();
    let pid = Pid::from_raw(engine.status().pid.unwrap() as i32).unwrap();
    let mut status = engine.watch();
    drop(engine);
    // The watch closes when the supervisor has seen the process end.
    while status.changed().await.is_ok() {}
    assert!(rustix::process::test_kill_process(pid).is_err());
}
