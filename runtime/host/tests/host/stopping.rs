use std::time::Duration;

use dunlin_engine_handle::fake::{Fake, Script};
use dunlin_host::{Grants, Invocation, InvokeError, Request};
use tokio::{
    sync::mpsc,
    task::JoinSet,
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::scene::{Scene, demo, hanging, host, saying, script};

const WALL_TIME: Duration = Duration::from_secs(5);

/// Everything that a guest can wait for, after a first word of an engine that then hangs.
const WAITS: [&str; 6] = ["next 0 1", "finish 0", "block 0", "poll 0", "sleep 60000", "stream 0"];

fn waiting(wait: &str) -> Scene {
    let script = format!("create\nappend 0 x\ngenerate 0\nnext 0 1\nsubscribe 0\nfail {wait}");
    Scene::new(&hanging().start(), &script)
}

#[tokio::test(start_paused = true)]
async fn no_wait_outlives_the_deadline() {
    for wait in WAITS {
        let began = Instant::now();
        let outcome = waiting(wait).wall_time(WALL_TIME).outcome().await;
        let took = began.elapsed();
        assert!(took >= WALL_TIME && took <= WALL_TIME + Duration::from_millis(101), "{wait}: {took:?}");
        // A poll has no error to answer with: a guest that is parked there is trapped, one whose generation
        // ended goes on.
        let fine = outcome.result.is_ok() && ["block 0", "poll 0"].contains(&wait);
        assert!(fine || outcome.result == Err(InvokeError::Deadline), "{wait}: {:?}", outcome.result);
    }
}

#[tokio::test(start_paused = true)]
async fn no_wait_outlives_a_cancel() {
    for wait in WAITS {
        let scene = waiting(wait);
        let cancel = scene.invocation.cancel.clone();
        let invoked = tokio::spawn(scene.outcome());
        sleep(Duration::from_secs(1)).await;
        let cancelled = Instant::now();
        cancel.cancel();
        let outcome = invoked.await.unwrap();
        let took = cancelled.elapsed();
        assert!(took <= Duration::from_millis(101), "{wait}: {took:?}");
        assert!(
            outcome.result.is_ok() || outcome.result == Err(InvokeError::Cancelled),
            "{wait}: {:?}",
            outcome.result
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_guest_has_a_moment_to_return_what_it_has() {
    let engine =
        Fake::default().answering(|_| Script::say("a b c d e f").with_pause(Duration::from_secs(1))).start();
    let script = "create\nappend 0 x\ngenerate 0\nstream 0\nsay last words\ncancelled\nopen demo";
    let (chunks, outcome) =
        Scene::new(&engine, script).wall_time(Duration::from_millis(2_500)).chunks().await;
    assert_eq!(
        crate::scene::transcript(&outcome)[3..],
        ["StopReason::Deadline at cpu-2 on shed", "true", "Error::Deadline"]
    );
    assert_eq!(chunks.len(), 3);
}

#[tokio::test(start_paused = true)]
async fn dropping_the_call_cancels_the_guest_and_its_generations() {
    let fake = hanging();
    let engine = fake.start();
    let (output, mut chunks) = mpsc::channel(8);
    let body = b"open demo\ncreate\nappend 0 x\ngenerate 0\nnext 0 1\nsay waiting\nnext 0 1".into();
    let mut invocation = Invocation::new(Request { body, ..Request::default() }, output);
    invocation.grants = Grants::default().model(demo(&engine));
    let (host, pipeline) = (host(), script().await);
    tokio::select! {
        outcome = host.invoke(&pipeline, invocation) => panic!("{outcome:?}"),
        _ = chunks.recv() => {}
    }
    // The guest's end of the channel goes with the guest.
    assert_eq!(timeout(Duration::from_millis(101), chunks.recv()).await, Ok(None));
    let idle = |status: &dunlin_engine_handle::Status| status.state == dunlin_engine_handle::State::Ready;
    timeout(Duration::from_millis(500), engine.watch().wait_for(idle)).await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn one_that_is_cancelled_before_it_starts_does_not_start() {
    let scene = Scene::bare("print started");
    scene.invocation.cancel.cancel();
    let outcome = scene.outcome().await;
    assert_eq!((outcome.result, outcome.log.text), (Err(InvokeError::Cancelled), String::new()));
}

#[tokio::test(start_paused = true)]
async fn more_invocations_than_instances_wait_for_their_turn() {
    let engine = saying("x").start();
    let mut all = JoinSet::new();
    for _ in 0..100 {
        all.spawn(Scene::new(&engine, "create\nappend 0 x\nsleep 100\ngenerate 0\nfinish 0").outcome());
    }
    let outcomes = all.join_all().await;
    assert!(outcomes.iter().all(|outcome| outcome.result.is_ok()));
    // Those that waited for too long say so.
    let mut all = JoinSet::new();
    for _ in 0..40 {
        all.spawn(Scene::bare("sleep 2000").wall_time(Duration::from_millis(2_100)).outcome());
    }
    let late =
        all.join_all().await.into_iter().filter(|outcome| outcome.result == Err(InvokeError::Deadline));
    assert_eq!(late.count(), 8);
}

/// Guests of the storm; more of them where this variable says so.
const STORM: u64 = 10_000;
const STORM_VARIABLE: &str = "DUNLIN_STORM";

/// Growth from the first tenth of the storm to its end that is not called a leak.
const SETTLING_KIB: u64 = 4 << 10;

/// Thousands of guests, cancelled wherever they happen to be.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storm_of_cancels_leaves_nothing_behind() {
    let storm_size = std::env::var(STORM_VARIABLE).ok().and_then(|size| size.parse().ok()).unwrap_or(STORM);
    let mut resident = Vec::new();
    let fake = Fake::default()
        .answering(|_| Script::say("one two three four").with_pause(Duration::from_micros(300)));
    let engine = fake.start();
    let (host, pipeline) = (host(), script().await);
    let body = "open demo\ncreate\nappend 0 some text\nfork 0 2\ngenerate 1\ngenerate 2\nsubscribe 0\nsubscribe 1\npoll 0 1\nstream 0\nscore 0 a|b\nstream 1";
    let mut storm = JoinSet::new();
    for n in 0..storm_size {
        if n % (storm_size / 10) == 0 {
            resident.push(resident_kib());
        }
        if storm.len() >= 64 {
            storm.join_next().await.unwrap().unwrap();
        }
        let (output, chunks) = mpsc::channel(2);
        let mut invocation = Invocation::new(Request { body: body.into(), ..Request::default() }, output);
        invocation.grants = Grants::default().model(demo(&engine));
        let (host, pipeline) = (host.clone(), pipeline.clone());
        storm.spawn(async move {
            let _chunks = chunks;
            let cancel = invocation.cancel.clone();
            let moment = Duration::from_micros(n * 7919 % 4_000);
            let panicked =
                |error: &InvokeError| matches!(error, InvokeError::Host(_) | InvokeError::Trap { .. });
            // Every third is dropped, the others are cancelled.
            if n % 3 == 0 {
                drop(timeout(moment, host.invoke(&pipeline, invocation)).await);
                return;
            }
            let canceller = cancel_after(cancel, moment);
            let (outcome, ()) = tokio::join!(host.invoke(&pipeline, invocation), canceller);
            assert!(!outcome.result.as_ref().is_err_and(panicked), "{:?}", outcome.result);
        });
    }
    storm.join_all().await;
    resident.push(resident_kib());
    println!("resident after each tenth, in KiB: {resident:?}");
    assert!(resident[10] < resident[1] + SETTLING_KIB, "{resident:?}");
    // All slots are free again, and the engine has nothing left to do.
    let outcome = Scene::new(&engine, "create\nappend 0 x\ngenerate 0\nfinish 0").outcome().await;
    assert!(outcome.result.is_ok(), "{:?}", outcome.result);
    let idle = |status: &dunlin_engine_handle::Status| status.state == dunlin_engine_handle::State::Ready;
    timeout(Duration::from_secs(2), engine.watch().wait_for(idle)).await.unwrap().unwrap();
}

/// Memory of this process that is in use.
fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

async fn cancel_after(cancel: CancellationToken, moment: Duration) {
    sleep(moment).await;
    cancel.cancel();
}
