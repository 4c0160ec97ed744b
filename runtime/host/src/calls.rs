//! What a guest can call, one module per interface of `dunlin:llm`, and WASI.

mod account;
mod cells;
pub(crate) mod constraints;
pub(crate) mod contexts;
mod conversation;
mod embeddings;
pub(crate) mod generations;
pub(crate) mod http;
pub(crate) mod job;
pub(crate) mod models;
mod sequence;
pub(crate) mod wasi;

use wasmtime::component::{HasSelf, Linker};

use crate::{
    bindings::dunlin::llm,
    invoke::{failure::Failure, state::State},
};

/// Everything that a pipeline can import.
pub(crate) fn link(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    wasi::link(linker)?;
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
