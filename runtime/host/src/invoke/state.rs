//! What the store of one invocation holds beside the guest.

use wasmtime::{ResourceLimiter, component::ResourceTable};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

use crate::{
    InvokeError, Limits,
    calls::{http::Http, job::Job},
};

/// Handles of the host's own for every one that the guest holds: a pollable has another behind it.
const ENTRIES_PER_HANDLE: usize = 2;

/// Core instances in one component: those of a Python interpreter are some thirty.
pub(crate) const MAX_CORE_INSTANCES: u32 = 64;
pub(crate) const MAX_MEMORIES: u32 = 4;
pub(crate) const MAX_TABLES: u32 = 16;

pub(crate) struct State {
    pub(crate) table: ResourceTable,
    pub(crate) job: Job,
    pub(crate) limiter: Limiter,
    pub(crate) http: Http,
    wasi: WasiCtx,
}

impl State {
    pub(crate) fn new(job: Job, limits: &Limits, wasi: WasiCtx, http: Http) -> Self {
        let mut table = ResourceTable::new();
        table.set_max_capacity(limits.handles as usize * ENTRIES_PER_HANDLE);
        Self { table, job, limiter: Limiter::new(limits), http, wasi }
    }
}

/// A store's data that says how much memory its guest may have.
pub(crate) trait HasLimiter: Send + 'static {
    fn limiter(&mut self) -> &mut Limiter;
}

impl HasLimiter for State {
    fn limiter(&mut self) -> &mut Limiter {
        &mut self.limiter
    }
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

/// Traps a guest that wants more memory than it may have. (Were the growth to fail, it would depend on the
/// node how the guest goes on.)
#[derive(Debug)]
pub(crate) struct Limiter {
    memory: Sum,
    tables: Sum,
}

/// Of all memories, or of all tables, of one guest.
#[derive(Debug)]
struct Sum {
    now: u64,
    limit: u64,
}

impl Sum {
    fn grow(&mut self, from: usize, to: usize, error: InvokeError) -> wasmtime::Result<bool> {
        let now = self.now.saturating_add((to - from) as u64);
        if now > self.limit {
            return Err(error.into());
        }
        self.now = now;
        Ok(true)
    }
}

impl Limiter {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            memory: Sum { now: 0, limit: limits.memory_bytes },
            tables: Sum { now: 0, limit: limits.table_elements },
        }
    }

    /// Memory of the host's own that the guest keeps occupied counts as its own.
    pub(crate) fn hold(&mut self, bytes: usize) -> wasmtime::Result<()> {
        let limit_bytes = self.memory.limit;
        self.memory.grow(0, bytes, InvokeError::Memory { limit_bytes }).map(drop)
    }

    pub(crate) fn release(&mut self, bytes: usize) {
        self.memory.now = self.memory.now.saturating_sub(bytes as u64);
    }

    pub(crate) fn memory_bytes(&self) -> u64 {
        self.memory.now
    }
}

impl ResourceLimiter for Limiter {
    fn memory_growing(&mut self, from: usize, to: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        let limit_bytes = self.memory.limit;
        self.memory.grow(from, to, InvokeError::Memory { limit_bytes })
    }

    fn memory_grow_failed(&mut self, _error: wasmtime::Error) -> wasmtime::Result<()> {
        Err(InvokeError::Memory { limit_bytes: self.memory.limit }.into())
    }

    fn table_growing(&mut self, from: usize, to: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        let limit = self.tables.limit;
        self.tables.grow(from, to, InvokeError::Table { limit })
    }

    fn table_grow_failed(&mut self, _error: wasmtime::Error) -> wasmtime::Result<()> {
        Err(InvokeError::Table { limit: self.tables.limit }.into())
    }

    fn instances(&self) -> usize {
        MAX_CORE_INSTANCES as usize
    }

    fn tables(&self) -> usize {
        MAX_TABLES as usize
    }

    fn memories(&self) -> usize {
        MAX_MEMORIES as usize
    }
}
