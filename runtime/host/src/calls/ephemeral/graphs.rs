//! Loading, unloading, and making contexts.

use dunlin_nn::{Fault, Options};
use tokio::sync::OwnedSemaphorePermit;
use wasmtime::{Caller, Linker};

use super::{Answer, Answered, Context, CoreState, MAX_GRAPHS, MISSING_MEMORY, MODULE, memory, number};
use crate::calls::{
    job::Job,
    nn::{Execution, Graph},
};

pub(super) fn link(linker: &mut Linker<CoreState>) -> wasmtime::Result<()> {
    linker.func_wrap_async(
        MODULE,
        "load",
        |mut caller, (builders, count, encoding, _target, graph): (u32, u32, u32, u32, u32)| {
            Box::new(async move {
                caller.data().job.count_call()?;
                let Some((data, state)) = memory::split(&mut caller) else { return Ok(MISSING_MEMORY) };
                let bringing = Bringing::read(data, &state.job, (builders, count), encoding, graph);
                let answered = load(&mut caller, bringing, graph).await;
                number(&mut caller, "load", answered)
            })
        },
    )?;
    linker.func_wrap_async(
        MODULE,
        "load_by_name",
        |mut caller, (name, length, graph): (u32, u32, u32)| {
            Box::new(async move {
                let Some(data) = enter(&mut caller)? else { return Ok(MISSING_MEMORY) };
                let named = named(data, (name, length), None, graph);
                let answered = load_by_name(&mut caller, named, graph).await;
                number(&mut caller, "load_by_name", answered)
            })
        },
    )?;
    linker.func_wrap_async(
        MODULE,
        "load_by_name_with_config",
        |mut caller, (name, length, config, config_length, graph): (u32, u32, u32, u32, u32)| {
            Box::new(async move {
                let Some(data) = enter(&mut caller)? else { return Ok(MISSING_MEMORY) };
                let named = named(data, (name, length), Some((config, config_length)), graph);
                let answered = load_by_name(&mut caller, named, graph).await;
                number(&mut caller, "load_by_name_with_config", answered)
            })
        },
    )?;
    linker.func_wrap(MODULE, "init_execution_context", init_execution_context)?;
    linker.func_wrap(MODULE, "unload", |mut caller: Caller<'_, CoreState>, graph: u32| {
        caller.data().job.count_call()?;
        let answered = unload(caller.data_mut(), graph);
        number(&mut caller, "unload", answered)
    })?;
    linker.func_wrap(
        MODULE,
        "finalize_execution_context",
        |mut caller: Caller<'_, CoreState>, context: u32| {
            caller.data().job.count_call()?;
            let state = caller.data_mut();
            let answered = state.execution(context).map(drop).map_err(Into::into).map(|()| {
                state.contexts.remove(&context);
                Answer::Done
            });
            number(&mut caller, "finalize_execution_context", answered)
        },
    )?;
    Ok(())
}

/// Counts the call, and gives the memory if there is one.
fn enter<'a>(caller: &'a mut Caller<'_, CoreState>) -> wasmtime::Result<Option<&'a mut [u8]>> {
    caller.data().job.count_call()?;
    Ok(memory::split(caller).map(|(data, _)| data))
}

/// What a guest brings: a model, and options. Read and checked before anything is waited for.
struct Bringing {
    room: OwnedSemaphorePermit,
    weights: Vec<u8>,
    options: Options,
}

impl Bringing {
    fn read(
        data: &[u8],
        job: &Job,
        (builders, count): (u32, u32),
        encoding: u32,
        graph: u32,
    ) -> Result<Self, Fault> {
        let too_many = || Fault::InvalidArgument(format!("{count} builders"));
        let pairs = memory::bytes(data, builders, count.checked_mul(8).ok_or_else(too_many)?)?;
        memory::check_u32(data, graph)?;
        let builder = |index: usize| {
            let pair = pairs.get(8 * index..8 * index + 8)?;
            let word = |at: usize| u32::from_le_bytes([pair[at], pair[at + 1], pair[at + 2], pair[at + 3]]);
            Some(memory::bytes(data, word(0), word(4)))
        };
        let weights = builder(0).transpose()?.unwrap_or_default();
        let room = job.weights.room(weights.len())?;
        if count > 2 {
            return Err(too_many());
        }
        if !ENCODINGS.contains(&encoding) {
            return Err(Fault::InvalidEncoding(format!("{encoding}, and there is only GGML")));
        }
        let mut options = Options::default();
        if let Some(json) = builder(1).transpose()? {
            options.merge(json)?;
        }
        Ok(Self { room, weights: weights.to_vec(), options })
    }
}

/// GGML, and the number by which a guest leaves it to the host.
const ENCODINGS: [u32; 2] = [6, 5];

async fn load(caller: &mut Caller<'_, CoreState>, bringing: Result<Bringing, Fault>, graph: u32) -> Answered {
    let Bringing { room, weights, options } = bringing?;
    let state = caller.data_mut();
    check_count(state)?;
    let loaded = Graph::bring(&state.job, room, weights, options).await?;
    let handle = state.handle();
    state.graphs.insert(handle, loaded);
    put(caller, graph, handle)
}

fn check_count(state: &CoreState) -> Result<(), Fault> {
    if state.graphs.len() >= MAX_GRAPHS {
        let reason = format!("{MAX_GRAPHS} graphs are loaded, which is the most; unload some");
        return Err(Fault::TooLarge(reason));
    }
    Ok(())
}

/// A name and options, read and checked before anything is waited for.
fn named(
    data: &[u8],
    (name, length): (u32, u32),
    config: Option<(u32, u32)>,
    graph: u32,
) -> Result<(String, Options), Fault> {
    memory::check_u32(data, graph)?;
    let name = memory::text(data, name, length)?.to_owned();
    let mut options = Options::default();
    if let Some((config, length)) = config {
        options.merge(memory::bytes(data, config, length)?)?;
    }
    Ok((name, options))
}

async fn load_by_name(
    caller: &mut Caller<'_, CoreState>,
    named: Result<(String, Options), Fault>,
    graph: u32,
) -> Answered {
    let (name, options) = named?;
    let state = caller.data_mut();
    check_count(state)?;
    let loaded = Graph::load(&state.job, &name, options).await?;
    let handle = state.handle();
    state.graphs.insert(handle, loaded);
    put(caller, graph, handle)
}

fn init_execution_context(
    mut caller: Caller<'_, CoreState>,
    graph: u32,
    context: u32,
) -> wasmtime::Result<i32> {
    let Some(data) = enter(&mut caller)? else { return Ok(MISSING_MEMORY) };
    let room = memory::check_u32(data, context);
    let answered = init(&mut caller, graph, room, context);
    number(&mut caller, "init_execution_context", answered)
}

fn init(caller: &mut Caller<'_, CoreState>, graph: u32, room: Result<(), Fault>, context: u32) -> Answered {
    room?;
    let state = caller.data_mut();
    let of = state.graph(graph)?.clone();
    let execution = Execution::new(&mut state.job, &of)?;
    let handle = state.handle();
    state.contexts.insert(handle, Context { graph, execution });
    put(caller, context, handle)
}

/// The graph goes with all of its contexts.
fn unload(state: &mut CoreState, graph: u32) -> Answered {
    state.graph(graph)?;
    state.graphs.remove(&graph);
    state.contexts.retain(|_, context| context.graph != graph);
    Ok(Answer::Done)
}

fn put(caller: &mut Caller<'_, CoreState>, at: u32, handle: u32) -> Answered {
    if let Some((data, _)) = memory::split(caller) {
        memory::write_u32(data, at, handle)?;
    }
    Ok(Answer::Done)
}
