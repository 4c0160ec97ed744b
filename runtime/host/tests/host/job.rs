use std::time::Duration;

use dunlin_engine_handle::fake::Fake;
use dunlin_host::{Budget, Chunk, Invocation, InvokeError, PipelineError, Request};
use tokio::sync::mpsc;

use crate::scene::{Scene, check, host, saying, script, transcript};

#[tokio::test(start_paused = true)]
async fn a_job_knows_where_and_what_it_is() {
    let mut scene = Scene::bare("here\nattempt\ncancelled\nremaining energy\nremaining contexts\ntotal");
    scene.invocation.attempt = 2;
    assert_eq!(
        scene.transcript().await,
        ["shed pi5-8g false", "2", "false", "None", "Some(256)", "0 in, 0 out on shed"]
    );
}

#[tokio::test(start_paused = true)]
async fn time_that_is_left_is_counted_in_milliseconds() {
    let scene = Scene::bare("remaining wall-time\nsleep 400\nremaining wall-time");
    let said = scene.wall_time(Duration::from_secs(1)).transcript().await;
    assert_eq!(said, ["Some(1000)", "400 ms", "Some(600)"]);
}

#[tokio::test(start_paused = true)]
async fn chunks_are_delivered_in_order() {
    let (chunks, outcome) = Scene::bare("say one\njson {}\nprogress 0.5\nprogress 1.5").chunks().await;
    assert_eq!(chunks, [Chunk::Text("one".into()), Chunk::Json("{}".into()), Chunk::Progress(0.5)]);
    assert_eq!(transcript(&outcome), [r#"Error::InvalidArgument("progress goes from 0 to 1, not to 1.5")"#]);
    // The response counts too.
    assert_eq!(outcome.spent.emitted_bytes, 3 * 16 + 5 + transcript_bytes(&outcome));
}

fn transcript_bytes(outcome: &dunlin_host::Outcome) -> u64 {
    let response = outcome.result.as_ref().unwrap();
    (response.body.len() + response.content_type.len()) as u64
}

#[tokio::test(start_paused = true)]
async fn a_slow_reader_makes_the_guest_wait() {
    let (output, mut chunks) = mpsc::channel(1);
    let request = Request { body: b"say one\nsay two\nsay three".into(), ..Request::default() };
    let (pipeline, host) = (script().await, host());
    let invoked = tokio::spawn(async move { host.invoke(&pipeline, Invocation::new(request, output)).await });
    let mut received = Vec::new();
    while let Some(chunk) = chunks.recv().await {
        received.push(chunk);
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert_eq!(received.len(), 3);
    assert!(invoked.await.unwrap().result.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_is_gone_is_told_as_cancelled() {
    let (output, chunks) = mpsc::channel(1);
    drop(chunks);
    let request = Request { body: b"say one\nfail say two".into(), ..Request::default() };
    let outcome = host().invoke(&script().await, Invocation::new(request, output)).await;
    assert_eq!(outcome.result, Err(InvokeError::Pipeline(PipelineError::Cancelled)));
}

#[tokio::test(start_paused = true)]
async fn what_a_pipeline_answers_is_told_as_it_is() {
    let not_found = Scene::bare("fail open x").error().await;
    assert_eq!(not_found, InvokeError::Pipeline(PipelineError::ModelNotFound("x".into())));
    let scene = Scene::new(&saying("x").start(), "create\nfail tokens 0 999");
    assert!(matches!(scene.error().await, InvokeError::Pipeline(PipelineError::InvalidArgument(_))));
}

#[tokio::test(start_paused = true)]
async fn input_that_is_not_utf8_reaches_the_pipeline_as_it_is() {
    let mut scene = Scene::bare("");
    scene.invocation.request.body = vec![0xff, 0xfe];
    let InvokeError::Pipeline(PipelineError::InvalidArgument(reason)) = scene.error().await else { panic!() };
    assert!(reason.starts_with("the input is not UTF-8"), "{reason}");
}

#[tokio::test(start_paused = true)]
async fn a_response_over_the_budget_is_not_delivered() {
    let scene = Scene::bare("here").limits(|limits| limits.emitted_bytes = 30);
    assert_eq!(scene.error().await, InvokeError::Exhausted(Budget::EmittedBytes));
}

#[tokio::test(start_paused = true)]
async fn host_calls_are_counted() {
    check(&Fake::default(), "remaining host-calls\nremaining host-calls", &["Some(999998)", "Some(999997)"])
        .await;
    let outcome = Scene::bare("attempt\nattempt\nattempt").outcome().await;
    assert_eq!(outcome.spent.host_calls, 3);
}
