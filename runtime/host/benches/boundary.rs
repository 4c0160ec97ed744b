//! What the WebAssembly layer costs: an instance, a host call, the way of a first token. Medians; the engine
//! is the fake.
//!
//! `cargo bench -p dunlin-host`, or `--profile release` for what `./x` builds. `DUNLIN_BENCH_GUESTS` names components, with
//! colons between them, whose instances are measured too: they are run without a model, so that they do little else.

#![expect(clippy::unwrap_used, reason = "a benchmark that fails has no figures")]

use std::time::{Duration, Instant};

use dunlin_engine_handle::{
    Engine, Generate,
    fake::{Fake, Script},
};
use dunlin_host::{
    Chunk, Compile, Host, HostConfig, Invocation, InvokeError, ModelGrant, Pipeline, PipelineError,
    PipelineSource, Request,
};
use tokio::sync::mpsc;

const ROUNDS: usize = 2_000;

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    // The test runner asks every benchmark for its tests.
    if std::env::args().any(|argument| argument == "--list") {
        return;
    }
    let host = Host::new(HostConfig::new(Compile::InProcess)).unwrap();
    println!("allocation: {:?}", host.allocation());
    println!("{:>10.1} MiB resident, with a host that has done nothing", resident_mebibytes());
    let pipeline = host.load(PipelineSource::bytes("script", dunlin_host_guests::SCRIPT)).await.unwrap();
    let fake = Fake::default().answering(|_| Script::say("x").with_pause(Duration::ZERO));
    let engine = fake.start();
    engine.ready().await.unwrap();

    let instance = median(ROUNDS, async || {
        let began = Instant::now();
        run(&host, &pipeline, "", None).await;
        began.elapsed()
    });
    report("an invocation that does nothing", instance.await);

    for call in ["attempt", "remaining", "length", "cancelled", "emit"] {
        let calls = 20_000;
        let script = format!("open demo\ncreate\ntime {call} {calls}");
        let said = run(&host, &pipeline, &script, Some(&engine)).await;
        let nanoseconds: u64 = said.lines().last().unwrap().parse().unwrap();
        report(&format!("host call: {call}"), Duration::from_nanos(nanoseconds / calls));
    }

    let direct = median(ROUNDS, async || {
        let began = Instant::now();
        let mut generation = engine.generate(Generate { prompt: vec![1, 2, 3], ..Generate::default() });
        generation.next().await.unwrap().unwrap();
        began.elapsed()
    })
    .await;
    let through = median(ROUNDS, async || {
        let began = Instant::now();
        let (mut invocation, mut chunks) =
            invocation("open demo\ncreate\nappend 0 x\ngenerate 0\nstream 0", Some(&engine));
        invocation.seed = 1;
        let (_, first) = tokio::join!(host.invoke(&pipeline, invocation), async {
            chunks.recv().await.unwrap();
            began.elapsed()
        });
        first
    })
    .await;
    report("first token, from the engine's handle", direct);
    report("first token, through a pipeline (instance, open, append, generate)", through);
    report("TTFT added", through.saturating_sub(direct));

    tokens_one_by_one(&host).await;
    for guest in std::env::var("DUNLIN_BENCH_GUESTS").iter().flat_map(|guests| guests.split(':')) {
        let began = Instant::now();
        let pipeline = host.load(PipelineSource::file(guest)).await.unwrap();
        report(&format!("compiling {guest}"), began.elapsed());
        let instance = median(ROUNDS, async || {
            let (invocation, _chunks) = invocation("", None);
            let began = Instant::now();
            match host.invoke(&pipeline, invocation).await.result {
                Ok(_) | Err(InvokeError::Pipeline(PipelineError::ModelNotFound(_))) => {}
                Err(error) => panic!("{error}"),
            }
            began.elapsed()
        });
        let faults = page_faults();
        report(&format!("an invocation of {guest} without a model"), instance.await);
        println!("{:>10.1} page faults for each", (page_faults() - faults) as f64 / ROUNDS as f64);
    }

    let late = median(20, async || {
        let (mut invocation, _chunks) = invocation("spin", None);
        invocation.limits.wall_time = Duration::from_millis(50);
        let began = Instant::now();
        host.invoke(&pipeline, invocation).await.result.unwrap_err();
        began.elapsed() - Duration::from_millis(50)
    })
    .await;
    report("a guest that spins is gone, after its deadline", late);
    println!("{:>10.1} MiB resident, after all this", resident_mebibytes());
}

/// What a token costs that a core module asks for by `compute_single` and takes by `get_output_single`.
async fn tokens_one_by_one(host: &Host) {
    const WORDS: usize = 2_000;
    let guest = host.load(PipelineSource::bytes("ggml", dunlin_host_guests::GGML)).await.unwrap();
    let text = "w ".repeat(WORDS);
    let fake = Fake::default().answering(move |_| Script::say(&text).with_pause(Duration::ZERO));
    let engine = fake.start();
    let direct = median(20, async || {
        let began = Instant::now();
        let generate = Generate { prompt: vec![1, 2, 3], max_tokens: 4_000, ..Generate::default() };
        let mut generation = engine.generate(generate);
        while generation.next().await.is_some_and(|delta| delta.is_ok()) {}
        began.elapsed()
    })
    .await;
    let through = median(20, async || {
        let (mut invocation, mut chunks) = invocation("", Some(&engine));
        invocation.arguments = ["single", "demo", "x"].map(str::to_owned).into();
        let drain = tokio::spawn(async move { while chunks.recv().await.is_some() {} });
        let began = Instant::now();
        host.invoke(&guest, invocation).await.result.unwrap();
        let took = began.elapsed();
        drain.await.unwrap();
        took
    })
    .await;
    report("a token from the engine's handle", direct / WORDS as u32);
    report(
        "a token by compute_single of a core module, added",
        through.saturating_sub(direct) / WORDS as u32,
    );
}

async fn run(host: &Host, pipeline: &Pipeline, script: &str, engine: Option<&Engine>) -> String {
    let (invocation, mut chunks) = invocation(script, engine);
    let drain = tokio::spawn(async move { while chunks.recv().await.is_some() {} });
    let response = host.invoke(pipeline, invocation).await.result.unwrap();
    drain.await.unwrap();
    String::from_utf8(response.body).unwrap()
}

fn invocation(script: &str, engine: Option<&Engine>) -> (Invocation, mpsc::Receiver<Chunk>) {
    let (output, chunks) = mpsc::channel(64);
    let mut invocation = Invocation::new(Request { body: script.into(), ..Request::default() }, output);
    invocation.grants.models =
        engine.map(|engine| ModelGrant::new("demo", "", engine.clone())).into_iter().collect();
    (invocation, chunks)
}

async fn median(rounds: usize, mut measure: impl AsyncFnMut() -> Duration) -> Duration {
    let mut times = Vec::with_capacity(rounds);
    for _ in 0..rounds {
        times.push(measure().await);
    }
    times.sort_unstable();
    times[rounds / 2]
}

fn resident_mebibytes() -> f64 {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: f64 = pages.split(' ').nth(1).unwrap().parse().unwrap();
    pages * rustix::param::page_size() as f64 / f64::from(1 << 20)
}

/// Of this process so far, without those that read from a disk.
fn page_faults() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    // Fields after the name, which is in brackets.
    stat.rsplit_once(") ").unwrap().1.split(' ').nth(7).unwrap().parse().unwrap()
}

fn report(what: &str, time: Duration) {
    println!("{:>10.2} us  {what}", time.as_nanos() as f64 / 1_000.0);
}
