//! What a guest can call, one module per interface of `dunlin:llm`, both faces of wasi-nn, and WASI.

mod account;
mod cells;
pub(crate) mod constraints;
pub(crate) mod contexts;
mod conversation;
mod embeddings;
pub(crate) mod ephemeral;
pub(crate) mod generations;
pub(crate) mod http;
pub(crate) mod job;
pub(crate) mod models;
pub(crate) mod nn;
pub(crate) mod preview1;
mod sequence;
pub(crate) mod wasi;
pub(crate) mod wasi_nn;
pub(crate) mod weights;

use wasmtime::{
    Linker as CoreLinker,
    component::{HasSelf, Linker},
};

use crate::{
    bindings::dunlin::llm,
    calls::ephemeral::CoreState,
    invoke::{failure::Failure, state::State},
};

/// Everything that a core module can import.
pub(crate) fn link_core(linker: &mut CoreLinker<CoreState>) -> wasmtime::Result<()> {
    preview1::link(linker)?;
    ephemeral::link(linker)
}

/// Everything that a component can import.
pub(crate) fn link(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    wasi::link(linker)?;
    wasi_nn::link(linker)?;
    llm::types::add_to_linker::<_, HasSelf<State>>(linker, |state| state)?;
    llm::models::add_to_linker::<_, HasSelf<State>>(linker, |state| state)?;
    llm::constraints::add_to_linker::<_, HasSelf<State>>(linker, |state| state)?;
    llm::contexts::add_to_linker::<_, HasSelf<State>>(linker, |state| state)?;
    llm::embeddings::add_to_linker::<_, HasSelf<State>>(linker, |state| state)?;
    llm::job::add_to_linker::<_, HasSelf<State>>(linker, |state| state)
}

impl llm::types::Host for State {
    fn convert_error(&mut self, failure: Failure) -> wasmtime::Result<llm::types::Error> {
        match failure {
            Failure::Guest(error) => Ok(error),
            Failure::Trap(error) => Err(error),
        }
    }
}
