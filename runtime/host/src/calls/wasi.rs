//! What a guest sees of WASI: no files, no sockets (HTTP is in `http.rs`), clocks and randomness of ours. A pipeline has an empty stdin,
//! and a log for what it writes; a command-line guest has arguments, its request as stdin, and its stdout for the
//! answer.

use std::time::{Duration, SystemTime};

use tokio::time::Instant;
use wasmtime::component::{HasSelf, Linker, Resource};
use wasmtime_wasi::{
    HostMonotonicClock, HostWallClock, WasiCtxBuilder,
    p2::{
        self, DynPollable,
        bindings::io::poll::{self, Host, HostPollable},
        pipe::MemoryInputPipe,
    },
};

use crate::{
    InvokeError,
    invoke::{log::GuestLog, seed::Seed, state::State, stdout::GuestOutput},
};

/// Bytes that one call may ask of randomness.
const MAX_RANDOM_BYTES: u64 = 64 << 10;

/// Entries of one poll list.
const MAX_POLLED: usize = 4096;

/// All interfaces of WASI 0.2, because guests of some languages import them all. Most of them answer that
/// there is nothing.
pub(crate) fn link(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    p2::add_to_linker_async(linker)?;
    // Theirs waits for as long as it takes. Nothing else of WASI does: its streams are ours or end with the
    // invocation (those of HTTP), and sockets are denied.
    linker.allow_shadowing(true);
    poll::add_to_linker::<State, HasSelf<State>>(linker, |state| state)?;
    linker.allow_shadowing(false);
    Ok(())
}

pub(crate) fn context(
    clock: Clock,
    seed: &Seed,
    environment: &[(String, String)],
    log: &GuestLog,
) -> WasiCtxBuilder {
    let insecure_seed = u128::from_le_bytes(seed.stream("wasi insecure seed").take());
    let mut context = WasiCtxBuilder::new();
    context
        .envs(environment)
        .stdout(log.clone())
        .stderr(log.clone())
        .secure_random(seed.stream("wasi random"))
        .insecure_random(seed.stream("wasi insecure random"))
        .insecure_random_seed(insecure_seed)
        .max_random_size(MAX_RANDOM_BYTES)
        .wall_clock(clock)
        .monotonic_clock(clock)
        .allow_tcp(false)
        .allow_udp(false)
        .allow_ip_name_lookup(false);
    context
}

/// What is different for a program that is run from a command line.
pub(crate) fn command(
    context: &mut WasiCtxBuilder,
    name: &str,
    arguments: &[String],
    input: Vec<u8>,
    output: &GuestOutput,
) {
    context.arg(name).args(arguments).stdin(MemoryInputPipe::new(input)).stdout(output.clone());
}

/// Both clocks go on from the start of the invocation; a step of the node's clock does not reach the guest.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    began: Instant,
    wall: SystemTime,
}

impl Clock {
    pub(crate) fn new(began: Instant) -> Self {
        Self { began, wall: SystemTime::now() }
    }

    /// Wall and monotonic.
    pub(crate) fn now(&self) -> (Duration, Duration) {
        (HostWallClock::now(self), Duration::from_nanos(HostMonotonicClock::now(self)))
    }
}

const RESOLUTION: Duration = Duration::from_micros(1);

impl HostMonotonicClock for Clock {
    fn resolution(&self) -> u64 {
        RESOLUTION.as_nanos() as u64
    }

    fn now(&self) -> u64 {
        self.began.elapsed().as_micros() as u64 * 1_000
    }
}

impl HostWallClock for Clock {
    fn resolution(&self) -> Duration {
        RESOLUTION
    }

    fn now(&self) -> Duration {
        let wall = self.wall + self.began.elapsed();
        wall.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
    }
}

impl State {
    /// Waits with a guest that has no error to be answered with: it is trapped when its time is up.
    async fn unless_overdue<T>(
        &mut self,
        wait: impl AsyncFnOnce(&mut Self) -> wasmtime::Result<T>,
    ) -> wasmtime::Result<T> {
        let interrupt = self.job.interrupt.clone();
        tokio::select! {
            biased;
            result = wait(self) => result,
            stop = interrupt.overdue() => Err(InvokeError::from(stop).into()),
        }
    }
}

impl Host for State {
    async fn poll(&mut self, pollables: Vec<Resource<DynPollable>>) -> wasmtime::Result<Vec<u32>> {
        self.job.count_call()?;
        if pollables.len() > MAX_POLLED {
            return Err(InvokeError::Handles.into());
        }
        self.unless_overdue(async |state| Host::poll(&mut state.table, pollables).await).await
    }
}

impl HostPollable for State {
    async fn ready(&mut self, pollable: Resource<DynPollable>) -> wasmtime::Result<bool> {
        self.job.count_call()?;
        HostPollable::ready(&mut self.table, pollable).await
    }

    async fn block(&mut self, pollable: Resource<DynPollable>) -> wasmtime::Result<()> {
        self.job.count_call()?;
        self.unless_overdue(async |state| HostPollable::block(&mut state.table, pollable).await).await
    }

    fn drop(&mut self, pollable: Resource<DynPollable>) -> wasmtime::Result<()> {
        HostPollable::drop(&mut self.table, pollable)
    }
}
