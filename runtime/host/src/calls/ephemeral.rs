//! `wasi_ephemeral_nn`: models for core modules, with the functions and numbers of the GGML guests that exist.
//!
//! A call answers with a number and puts its results where the guest says. Why it failed is in the guest's log.

mod contexts;
mod graphs;
pub(crate) mod memory;

use std::collections::BTreeMap;

use dunlin_nn::Fault;
use wasmtime::{Caller, Linker};
use wasmtime_wasi::p1::WasiP1Ctx;

use crate::{
    calls::{
        job::Job,
        nn::{Execution, Graph, Refusal},
        wasi::Clock,
    },
    invoke::{
        interrupt::Stop,
        log::GuestLog,
        state::{HasLimiter, Limiter},
        stdout::GuestOutput,
    },
};

const MODULE: &str = "wasi_ephemeral_nn";

/// Graphs loaded at a time.
const MAX_GRAPHS: usize = 64;

/// What the store of a core module holds beside the guest.
pub(crate) struct CoreState {
    pub(crate) job: Job,
    pub(crate) limiter: Limiter,
    pub(crate) wasi: WasiP1Ctx,
    pub(crate) clock: Clock,
    pub(crate) stdout: GuestOutput,
    /// A text was cut off by this, and what the guest makes of it is not all.
    pub(crate) cut: Option<Stop>,
    log: GuestLog,
    /// What one call may carry out of the guest, in bytes.
    call_bytes: usize,
    graphs: BTreeMap<u32, Graph>,
    contexts: BTreeMap<u32, Context>,
    /// Handles are never given out twice.
    next_handle: u32,
}

struct Context {
    graph: u32,
    execution: Execution,
}

/// How a call that did not fail ended, and with which number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    Done = 0,
    TooSmall = 7,
    EndOfSequence = 100,
    ContextFull = 101,
}

type Answered = Result<Answer, Refusal>;

impl CoreState {
    pub(crate) fn new(
        job: Job,
        limiter: Limiter,
        wasi: WasiP1Ctx,
        clock: Clock,
        stdout: GuestOutput,
        log: GuestLog,
        call_bytes: usize,
    ) -> Self {
        Self {
            job,
            limiter,
            wasi,
            clock,
            stdout,
            cut: None,
            log,
            call_bytes,
            graphs: BTreeMap::new(),
            contexts: BTreeMap::new(),
            next_handle: 1,
        }
    }

    fn handle(&mut self) -> u32 {
        let handle = self.next_handle;
        self.next_handle += 1;
        handle
    }

    fn graph(&self, graph: u32) -> Result<&Graph, Fault> {
        self.graphs.get(&graph).ok_or_else(|| Fault::InvalidArgument(format!("there is no graph {graph}")))
    }

    fn execution(&mut self, context: u32) -> Result<&mut Execution, Fault> {
        match self.contexts.get_mut(&context) {
            Some(context) => Ok(&mut context.execution),
            None => Err(Fault::InvalidArgument(format!("there is no execution context {context}"))),
        }
    }
}

impl HasLimiter for CoreState {
    fn limiter(&mut self) -> &mut Limiter {
        &mut self.limiter
    }
}

pub(crate) fn link(linker: &mut Linker<CoreState>) -> wasmtime::Result<()> {
    graphs::link(linker)?;
    contexts::link(linker)
}

/// The number of what came of a call. Every call ends with this.
fn number(caller: &mut Caller<'_, CoreState>, function: &str, answered: Answered) -> wasmtime::Result<i32> {
    match answered {
        Ok(answer) => Ok(answer as i32),
        Err(Refusal::Trap(error)) => Err(error),
        Err(Refusal::Fault(fault)) => {
            let state = caller.data_mut();
            state.cut = match fault {
                Fault::Cancelled => Some(Stop::Cancelled),
                Fault::Deadline => Some(Stop::Deadline),
                _ => state.cut,
            };
            state.log.note(&format!("{MODULE}.{function}: {fault}"));
            Ok(errno(&fault))
        }
    }
}

fn errno(fault: &Fault) -> i32 {
    match fault {
        Fault::InvalidArgument(_) => 1,
        Fault::InvalidEncoding(_) => 2,
        Fault::Busy => 4,
        Fault::Deadline | Fault::Cancelled | Fault::Runtime(_) => 5,
        Fault::Unsupported(_) | Fault::Security(_) => 6,
        Fault::TooLarge(_) => 7,
        Fault::PromptTooLong { .. } => 102,
        Fault::ModelNotFound(_) => 103,
    }
}

/// What a module without memory is told.
const MISSING_MEMORY: i32 = 3;
