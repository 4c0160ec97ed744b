//! What a hostile component can try. Each ends with the stated error, and a neighbour's stream goes on
//! meanwhile.

use std::{path::Path, time::Duration};

use dunlin_engine_handle::fake::{Fake, Script};
use dunlin_host::{
    Budget, Chunk, Invocation, InvokeError, MAX_MEMORY_BYTES, Pipeline, PipelineSource, Request,
};
use tokio::{
    sync::mpsc,
    time::{Instant, timeout},
};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

use crate::scene::{Scene, host, saying};

const WALL_TIME: Duration = Duration::from_millis(300);

/// How long after its deadline a guest may still be there, on a machine that does other things too.
const TOLERANCE: Duration = Duration::from_millis(700);

/// What the world of the project does not have and a hostile component may use all the same.
const WORLD: &str = "
    package test:hostile;
    interface things { resource thing; }
    world hostile {
        include dunlin:llm/pipeline@0.1.0;
        import wasi:clocks/monotonic-clock@0.2.12;
        export things;
    }
    package wasi:clocks@0.2.12 {
        interface monotonic-clock {
            use wasi:io/poll@0.2.12.{pollable};
            subscribe-duration: func(when: u64) -> pollable;
        }
    }";

/// A component of these definitions, whose `run` has this body.
pub(crate) fn component(definitions: &str, body: &str) -> Vec<u8> {
    let module = format!(
        r#"(module
            (import "[export]test:hostile/things" "[resource-new]thing" (func $new (param i32) (result i32)))
            (import "wasi:clocks/monotonic-clock@0.2.12" "subscribe-duration" (func $sleep (param i64) (result i32)))
            (import "wasi:io/poll@0.2.12" "[method]pollable.block" (func $block (param i32)))
            {definitions}
            (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const 1024))
            (func (export "dunlin:llm/handler@0.1.0#run") (param i32 i32 i32 i32 i32 i32) (result i32) {body}))"#
    );
    let mut module = wat::parse_str(module).unwrap();
    let mut resolve = Resolve::default();
    resolve.push_dir(Path::new("../../wit")).unwrap();
    let package = resolve.push_str("hostile.wit", WORLD).unwrap();
    let world = resolve.select_world(&[package], None).unwrap();
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).unwrap();
    ComponentEncoder::default().module(&module).unwrap().encode().unwrap()
}

async fn load(definitions: &str, body: &str) -> Pipeline {
    host().load(PipelineSource::bytes("hostile", component(definitions, body))).await.unwrap()
}

/// Runs it beside a neighbour whose stream takes as long, and gives how it ended.
async fn run(pipeline: Pipeline, input: &str) -> InvokeError {
    let neighbour = tokio::spawn(neighbour());
    let (output, mut chunks) = mpsc::channel(8);
    let drain = tokio::spawn(async move { while chunks.recv().await.is_some() {} });
    let mut invocation = Invocation::new(Request { body: input.into(), ..Request::default() }, output);
    invocation.limits.wall_time = WALL_TIME;
    let began = Instant::now();
    let outcome = host().invoke(&pipeline, invocation).await;
    let took = began.elapsed();
    drain.await.unwrap();
    let longest_pause = neighbour.await.unwrap();
    assert!(took < WALL_TIME + TOLERANCE, "it took {took:?}");
    assert!(longest_pause < TOLERANCE, "the neighbour waited {longest_pause:?} for a token");
    outcome.result.unwrap_err()
}

/// A stream of fifty tokens in half a second; gives the longest time between two of them.
async fn neighbour() -> Duration {
    let tokens = Fake::default()
        .answering(|_| Script::say(&"token ".repeat(50)).with_pause(Duration::from_millis(10)));
    let engine = tokens.start();
    let (output, mut chunks) = mpsc::channel(64);
    let mut scene = Scene::new(&engine, "create\nappend 0 x\ngenerate 0 max=1000\nstream 0");
    scene.invocation.output = output;
    let invoked = tokio::spawn(scene.outcome());
    let (mut longest, mut text, mut last) = (Duration::ZERO, String::new(), Instant::now());
    while let Some(Chunk::Text(piece)) = chunks.recv().await {
        longest = longest.max(last.elapsed());
        last = Instant::now();
        text += &piece;
    }
    assert_eq!(text, "token ".repeat(50));
    assert!(invoked.await.unwrap().result.is_ok());
    longest
}

async fn check(definitions: &str, body: &str, expected: InvokeError) {
    assert_eq!(run(load(definitions, body).await, "").await, expected);
}

#[track_caller]
fn is_trap(error: &InvokeError, why: &str) {
    assert!(matches!(error, InvokeError::Trap { reason, .. } if reason.contains(why)), "{error:?}");
}

const MEMORY: &str = r#"(memory (export "memory") 1)"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_loop() {
    check(MEMORY, "(loop (br 0)) unreachable", InvokeError::Deadline).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_loop_before_it_is_even_called() {
    let start = format!("{MEMORY} (start $spin) (func $spin (loop (br 0)))");
    check(&start, "unreachable", InvokeError::Deadline).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wait_before_it_is_even_called() {
    let start =
        format!("{MEMORY} (start $wait) (func $wait (call $block (call $sleep (i64.const 60000000000))))");
    check(&start, "unreachable", InvokeError::Deadline).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_memory() {
    let greedy = "(loop (drop (memory.grow (i32.const 100))) (br 0)) unreachable";
    check(MEMORY, greedy, InvokeError::Memory { limit_bytes: MAX_MEMORY_BYTES }).await;
    // A growth that fails for another reason is no way to find out about the node either.
    let bounded = r#"(memory (export "memory") 1 2)"#;
    check(bounded, greedy, InvokeError::Memory { limit_bytes: MAX_MEMORY_BYTES }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_tables() {
    let table = format!("{MEMORY} (table $t 1 funcref)");
    let greedy = "(loop (drop (table.grow $t (ref.null func) (i32.const 1000))) (br 0)) unreachable";
    assert!(matches!(run(load(&table, greedy).await, "").await, InvokeError::Table { .. }));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_stack() {
    let recursion = format!("{MEMORY} (func $f (result i32) (i32.add (call $f) (i32.const 1)))");
    is_trap(&run(load(&recursion, "(call $f)").await, "").await, "call stack exhausted");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_million_handles_of_its_own() {
    let greedy = "(loop (drop (call $new (i32.const 0))) (br 0)) unreachable";
    is_trap(&run(load(MEMORY, greedy).await, "").await, "handle limit exceeded");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_string_of_four_gibibytes() {
    let answer = "(i32.store (i32.const 12) (i32.const -1)) (i32.const 0)";
    is_trap(&run(load(MEMORY, answer).await, "").await, "out of bounds");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn loops_of_calls_that_never_fail() {
    for input in ["spin", "spin-calling", "spin-emitting"] {
        let error = run(crate::scene::script().await, input).await;
        // Whichever comes first.
        assert!(
            [InvokeError::Deadline, InvokeError::Exhausted(Budget::HostCalls)].contains(&error),
            "{input}: {error:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_eaten_by_rust() {
    let error = run(crate::scene::script().await, "eat").await;
    assert_eq!(error, InvokeError::Memory { limit_bytes: MAX_MEMORY_BYTES });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn panics_and_exits() {
    let scene = Scene::bare("panic of the guest");
    let outcome = scene.outcome().await;
    let Err(InvokeError::Trap { reason, backtrace }) = outcome.result else { panic!("{:?}", outcome.result) };
    assert!(reason.contains("unreachable"), "{reason}");
    assert!(backtrace.contains("dunlin_host_script"), "{backtrace}");
    assert!(outcome.log.text.contains("of the guest"), "{}", outcome.log.text);
    assert_eq!(Scene::bare("exit 1").error().await, InvokeError::Exited(1));
}

/// Commands that go on until they are refused, and by what.
#[tokio::test(start_paused = true)]
async fn budgets_that_are_used_up() {
    let cases = [
        ("call-many", "99 times, then Error::Exhausted(Budget::HostCalls)"),
        ("create-many", "20 times, then Error::Exhausted(Budget::Contexts)"),
        ("fork-many", "0 times, then Error::Exhausted(Budget::Contexts)"),
        ("generate-many", "5 times, then Error::Exhausted(Budget::Generations)"),
    ];
    let engine = saying("x").start();
    for (bomb, expected) in cases {
        let scene = Scene::new(&engine, bomb).limits(|limits| {
            limits.host_calls = 100;
            limits.contexts = 20;
            limits.generations = 5;
        });
        assert_eq!(scene.transcript().await, [expected]);
    }
    let compiled = Scene::new(&engine, "compile-many").transcript().await;
    assert!(compiled[0].starts_with("128 times, then Error::Constraint"), "{compiled:?}");
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_output() {
    let scene = Scene::bare("flood 0123456789").limits(|limits| limits.emitted_bytes = 1_000);
    let (chunks, outcome) = scene.chunks().await;
    assert_eq!((chunks.len(), outcome.result), (38, Err(InvokeError::Exhausted(Budget::EmittedBytes))));
}

#[tokio::test(start_paused = true)]
async fn handles_without_end() {
    let engine = saying("x").start();
    for bomb in ["open-many demo", "subscribe-many"] {
        let error = Scene::new(&engine, bomb).error().await;
        let by_wasmtime =
            matches!(&error, InvokeError::Trap { reason, .. } if reason.contains("handle limit"));
        assert!(error == InvokeError::Handles || by_wasmtime, "{bomb}: {error:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn too_much_in_one_call() {
    is_trap(&Scene::bare("emit-mebibytes 20").error().await, "too much data");
}

#[tokio::test(start_paused = true)]
async fn calls_without_a_result_trap_when_the_budget_is_gone() {
    let scene = Scene::bare("attempt\nattempt\nattempt").limits(|limits| limits.host_calls = 2);
    assert_eq!(scene.error().await, InvokeError::Exhausted(Budget::HostCalls));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guest_that_ignores_its_refusals_gets_nowhere() {
    let (output, mut chunks) = mpsc::channel(8);
    let mut invocation =
        Invocation::new(Request { body: b"spin-emitting".into(), ..Request::default() }, output);
    invocation.limits.wall_time = WALL_TIME;
    invocation.limits.emitted_bytes = 160;
    let pipeline = crate::scene::script().await;
    let (host, mut received) = (host(), 0);
    let invoked = tokio::spawn(async move { host.invoke(&pipeline, invocation).await });
    while timeout(Duration::from_secs(5), chunks.recv()).await.unwrap().is_some() {
        received += 1;
    }
    assert_eq!(received, 10);
    let error = invoked.await.unwrap().result.unwrap_err();
    assert!([InvokeError::Deadline, InvokeError::Exhausted(Budget::HostCalls)].contains(&error), "{error:?}");
}
