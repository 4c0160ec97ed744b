//! A wasmtime of one's own with a GGUF model: `embed COMPONENT MODEL.gguf DUNLIN-ENGINE [ARGUMENTS...]` runs a
//! command-line component that loads the model `default` by `wasi:nn`.

use std::env;

use dunlin_engine_handle::{Engine, Load, Patience, Program};
use dunlin_wasi_nn_backend::{Ggml, Model, Models};
use wasmtime::{
    Config, Result, Store,
    component::{Component, Linker, ResourceTable},
};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView, p2};
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

fn main() -> Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [component, model, engine, arguments @ ..] = &arguments[..] else {
        return Err(wasmtime::Error::msg("embed COMPONENT MODEL.gguf DUNLIN-ENGINE [ARGUMENTS...]"));
    };
    // The engine is a process, which tasks of this runtime watch.
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let load = Load { model: model.into(), ..Load::default() };
    let engine = runtime.block_on(async { Engine::start(Program::new(engine), load, Patience::default()) });

    let wasmtime = wasmtime::Engine::new(&Config::new())?;
    let mut linker = Linker::new(&wasmtime);
    p2::add_to_linker_sync(&mut linker)?;
    wit::add_to_linker(&mut linker, |state: &mut State| WasiNnView::new(&mut state.table, &mut state.nn))?;

    let models = Models::default().with("default", Model::new(engine));
    let state = State {
        table: ResourceTable::new(),
        wasi: WasiCtx::builder().inherit_stdio().arg(component).args(arguments).build(),
        nn: WasiNnCtx::new([Backend::from(Ggml)], Registry::from(models)),
    };
    let mut store = Store::new(&wasmtime, state);
    let component = Component::from_file(&wasmtime, component)?;
    let command = p2::bindings::sync::Command::instantiate(&mut store, &component, &linker)?;
    match command.wasi_cli_run().call_run(&mut store)? {
        Ok(()) => Ok(()),
        Err(()) => Err(wasmtime::Error::msg("the guest failed")),
    }
}
