//! The same guest by both ways to the same engine: by Dunlin's host, and by `wasmtime-wasi-nn`.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use dunlin_engine_handle::{
    Engine,
    fake::{Fake, Script},
};
use dunlin_host::{Compile, Host, HostConfig, Invocation, ModelGrant, PipelineSource, Request};
use dunlin_wasi_nn_backend::{Ggml, Model, Models};
use tokio::{runtime::Runtime, sync::mpsc};
use wasmtime::{
    Config, Store,
    component::{Component, Linker, ResourceTable},
};
use wasmtime_wasi::{
    WasiCtx, WasiCtxView, WasiView,
    p2::{self, pipe::MemoryOutputPipe},
};
use wasmtime_wasi_nn::{
    Backend, Registry,
    wit::{self, WasiNnCtx, WasiNnView},
};

struct State {
    table: ResourceTable,
    wasi: WasiCtx,
    nn: WasiNnCtx,
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

fn by_wasmtime(engine: Engine, arguments: &[&str]) -> String {
    let wasmtime = wasmtime::Engine::new(&Config::new()).unwrap();
    let mut linker = Linker::new(&wasmtime);
    p2::add_to_linker_sync(&mut linker).unwrap();
    wit::add_to_linker(&mut linker, |state: &mut State| WasiNnView::new(&mut state.table, &mut state.nn))
        .unwrap();
    let stdout = MemoryOutputPipe::new(1 << 20);
    let models = Models::default().with("default", Model::new(engine));
    let state = State {
        table: ResourceTable::new(),
        wasi: WasiCtx::builder().stdout(stdout.clone()).arg("component").args(arguments).build(),
        nn: WasiNnCtx::new([Backend::from(Ggml)], Registry::from(models)),
    };
    let mut store = Store::new(&wasmtime, state);
    let component = Component::new(&wasmtime, dunlin_host_guests::COMPONENT).unwrap();
    let command = p2::bindings::sync::Command::instantiate(&mut store, &component, &linker).unwrap();
    // How it ended is in what it printed.
    drop(command.wasi_cli_run().call_run(&mut store));
    String::from_utf8(stdout.contents().to_vec()).unwrap()
}

async fn by_host(engine: Engine, arguments: &[&str]) -> String {
    let host = Host::new(HostConfig::new(Compile::InProcess)).unwrap();
    let source = PipelineSource::bytes("component", dunlin_host_guests::COMPONENT);
    let component = host.load(source).await.unwrap();
    let (output, mut chunks) = mpsc::channel(1024);
    let mut invocation = Invocation::new(Request::default(), output);
    invocation.arguments = arguments.iter().map(|&argument| argument.to_owned()).collect();
    invocation.grants.models.push(ModelGrant::new("default", "", engine));
    let outcome = host.invoke(&component, invocation).await;
    match outcome.result {
        Ok(response) => String::from_utf8(response.body).unwrap(),
        Err(_) => std::iter::from_fn(|| chunks.try_recv().ok())
            .map(|chunk| match chunk {
                dunlin_host::Chunk::Text(text) => text,
                other => panic!("{other:?}"),
            })
            .collect(),
    }
}

#[test]
fn both_ways_say_the_same() {
    let runtime = Runtime::new().unwrap();
    // What is asked for decides what is said, so that a difference in the asking shows.
    let fake = Fake::default().answering(|generate| {
        let sampling = generate.sampling.clone().unwrap_or_default();
        let stop = generate.stop.join(",");
        let constraint = &generate.constraint;
        Script::say(&format!(
            "{} tokens at most, t={} p={} k={} seed={} stop={stop} {constraint:?}",
            generate.max_tokens, sampling.temperature, sampling.top_p, sampling.top_k, generate.seed
        ))
    });
    let calls: [&[&str]; 6] = [
        &["default", "prompt=hello", r#"options={"seed": 4}"#],
        &[
            "default",
            "0=hello",
            r#"1={"seed": 4, "n-predict": 20, "temp": 0.5, "reverse-prompt": "USER"}"#,
            "then",
            "0=again",
        ],
        &["default", "prompt=hello", r#"options={"seed": 4, "grammar": "root ::= [a-z]+", "top-p": 0.0}"#],
        &[
            "default",
            "prompt=hello",
            r#"options={"seed": 4, "json-schema": {"type": "object"}}"#,
            "then",
            "then",
        ],
        &["default", "prompt=hello", r#"options={"embedding": true}"#],
        &["default", "prompt=hello", r#"options={"seed": 4, "ctx-size": 20}"#],
    ];
    for arguments in calls {
        let engine = runtime.block_on(async { fake.start() });
        let ours = runtime.block_on(by_host(engine.clone(), arguments));
        assert!(ours.contains("metadata"), "{ours}");
        assert_eq!(by_wasmtime(engine, arguments), ours, "{arguments:?}");
    }
}

#[test]
fn both_ways_refuse_the_same() {
    let runtime = Runtime::new().unwrap();
    // That crate has one code for all that a backend refuses, and not our sentences.
    for arguments in
        [&["other", "prompt=x"][..], &["bytes:GGUF"], &["default", "options={", "prompt=x"], &["default"]]
    {
        let engine = runtime.block_on(async { Fake::default().start() });
        let ours = runtime.block_on(by_host(engine.clone(), arguments));
        let theirs = by_wasmtime(engine, arguments);
        assert!(ours.starts_with("ErrorCode::") && theirs.starts_with("ErrorCode::"), "{ours} {theirs}");
    }
}
