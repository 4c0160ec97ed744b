//! What a core module sees of WASI preview 1: the same as a component does, by `wasi_snapshot_preview1`.

use std::time::Duration;

use wasmtime::{Caller, Linker};
use wasmtime_wasi::p1;

use crate::{
    InvokeError,
    calls::ephemeral::{CoreState, memory},
};

const MODULE: &str = "wasi_snapshot_preview1";

/// Entries of one list.
const MAX_POLLED: u32 = 4096;

const SUBSCRIPTION_BYTES: u32 = 48;
const EVENT_BYTES: u32 = 32;

const SUCCESS: i32 = 0;
const INVALID: i32 = 28;
const CLOCK: u8 = 0;
const FD_WRITE: u8 = 2;
const REALTIME: u32 = 0;
const MONOTONIC: u32 = 1;

pub(crate) fn link(linker: &mut Linker<CoreState>) -> wasmtime::Result<()> {
    p1::add_to_linker_async(linker, |state| &mut state.wasi)?;
    // Theirs waits for as long as it takes. Nothing else of preview 1 can wait: its streams are ours.
    linker.allow_shadowing(true);
    linker.func_wrap_async(
        MODULE,
        "poll_oneoff",
        |mut caller: Caller<'_, CoreState>, (subscriptions, events, count, written): (u32, u32, u32, u32)| {
            Box::new(async move { poll(&mut caller, subscriptions, events, count, written).await })
        },
    )?;
    linker.allow_shadowing(false);
    Ok(())
}

/// One subscription: what it is called, and how long it has to wait. Streams are always ready.
struct Subscription {
    userdata: u64,
    kind: u8,
    wait: Duration,
}

async fn poll(
    caller: &mut Caller<'_, CoreState>,
    subscriptions: u32,
    events: u32,
    count: u32,
    written: u32,
) -> wasmtime::Result<i32> {
    caller.data().job.count_call()?;
    let Some((data, state)) = memory::split(caller) else { return Ok(INVALID) };
    if count == 0 || count > MAX_POLLED {
        return Ok(INVALID);
    }
    let list = memory::bytes(data, subscriptions, count * SUBSCRIPTION_BYTES);
    let room = memory::bytes(data, events, count * EVENT_BYTES);
    let (Ok(list), Ok(_)) = (list, room) else { return Ok(INVALID) };
    let now = state.clock.now();
    let read = list.chunks_exact(SUBSCRIPTION_BYTES as usize).map(|entry| subscription(entry, now));
    let Some(read) = read.collect::<Option<Vec<_>>>() else { return Ok(INVALID) };
    let wait = read.iter().map(|subscription| subscription.wait).min().unwrap_or_default();
    if !wait.is_zero() {
        let interrupt = state.job.interrupt.clone();
        tokio::select! {
            biased;
            () = tokio::time::sleep(wait) => {}
            stop = interrupt.overdue() => return Err(InvokeError::from(stop).into()),
        }
    }
    let mut ready = Vec::new();
    for Subscription { userdata, kind, .. } in read.iter().filter(|subscription| subscription.wait <= wait) {
        let mut event = [0; EVENT_BYTES as usize];
        event[..8].copy_from_slice(&userdata.to_le_bytes());
        event[10] = *kind;
        event[16..24].copy_from_slice(&u64::from(*kind != CLOCK).to_le_bytes());
        ready.extend_from_slice(&event);
    }
    let Some((data, _)) = memory::split(caller) else { return Ok(INVALID) };
    let count = ready.len() as u32 / EVENT_BYTES;
    match memory::write(data, events, &ready).and_then(|()| memory::write_u32(data, written, count)) {
        Ok(()) => Ok(SUCCESS),
        Err(_) => Ok(INVALID),
    }
}

fn subscription(entry: &[u8], (wall, monotonic): (Duration, Duration)) -> Option<Subscription> {
    let userdata = u64::from_le_bytes(entry[..8].try_into().ok()?);
    let kind = entry[8];
    if kind > FD_WRITE {
        return None;
    }
    if kind != CLOCK {
        return Some(Subscription { userdata, kind, wait: Duration::ZERO });
    }
    let clock = u32::from_le_bytes(entry[16..20].try_into().ok()?);
    let wait = Duration::from_nanos(u64::from_le_bytes(entry[24..32].try_into().ok()?));
    let is_absolute = entry[40] & 1 != 0;
    let wait = match (clock, is_absolute) {
        (REALTIME | MONOTONIC, false) => wait,
        (REALTIME, true) => wait.saturating_sub(wall),
        (MONOTONIC, true) => wait.saturating_sub(monotonic),
        _ => return None,
    };
    Some(Subscription { userdata, kind, wait })
}
