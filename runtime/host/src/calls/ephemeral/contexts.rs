//! Prompts in, text out.

use dunlin_nn::{Ended, Fault, Mode};
use wasmtime::{Caller, Linker};

use super::{Answer, Answered, CoreState, MISSING_MEMORY, MODULE, memory, number};
use crate::calls::nn::Refusal;

/// Inputs and outputs by their index.
const PROMPT: u32 = 0;
const METADATA: u32 = 1;
const TEXT: u32 = 0;

/// Largest piece that `compute_single` gives: guests have little more room for one.
const MAX_PIECE_BYTES: usize = 64;

pub(super) fn link(linker: &mut Linker<CoreState>) -> wasmtime::Result<()> {
    linker.func_wrap_async(
        MODULE,
        "set_input",
        |mut caller, (context, index, tensor): (u32, u32, u32)| {
            Box::new(async move {
                caller.data().job.count_call()?;
                let Some((data, state)) = memory::split(&mut caller) else { return Ok(MISSING_MEMORY) };
                let input = input(data, tensor, state.call_bytes);
                let answered = set_input(state, context, index, input).await;
                number(&mut caller, "set_input", answered)
            })
        },
    )?;
    linker.func_wrap_async(MODULE, "compute", |mut caller: Caller<'_, CoreState>, (context,): (u32,)| {
        Box::new(async move {
            caller.data().job.count_call()?;
            let answered = compute(caller.data_mut(), context).await;
            number(&mut caller, "compute", answered)
        })
    })?;
    linker.func_wrap_async(
        MODULE,
        "compute_single",
        |mut caller: Caller<'_, CoreState>, (context,): (u32,)| {
            Box::new(async move {
                caller.data().job.count_call()?;
                let answered = compute_single(caller.data_mut(), context).await;
                number(&mut caller, "compute_single", answered)
            })
        },
    )?;
    linker.func_wrap(
        MODULE,
        "get_output",
        |caller: Caller<'_, CoreState>, context: u32, index: u32, room: u32, length: u32, written: u32| {
            get_output(caller, "get_output", context, index, (room, length), written)
        },
    )?;
    linker.func_wrap(
        MODULE,
        "get_output_single",
        |caller: Caller<'_, CoreState>, context: u32, index: u32, room: u32, length: u32, written: u32| {
            get_output(caller, "get_output_single", context, index, (room, length), written)
        },
    )?;
    linker.func_wrap(MODULE, "fini_single", |mut caller: Caller<'_, CoreState>, context: u32| {
        caller.data().job.count_call()?;
        let answered = caller.data_mut().execution(context).map_err(Into::into).map(|execution| {
            execution.stop();
            execution.session.finish_single();
            Answer::Done
        });
        number(&mut caller, "fini_single", answered)
    })?;
    Ok(())
}

/// The data of a tensor, out of the guest.
fn input(data: &[u8], tensor: u32, most: usize) -> Result<Vec<u8>, Fault> {
    let input = memory::tensor_data(data, tensor)?;
    if input.len() > most {
        return Err(Fault::TooLarge(format!("an input of {} bytes, at most {most} are taken", input.len())));
    }
    Ok(input.to_vec())
}

async fn set_input(
    state: &mut CoreState,
    context: u32,
    index: u32,
    input: Result<Vec<u8>, Fault>,
) -> Answered {
    let Some(of) = state.contexts.get_mut(&context) else {
        return Err(Fault::InvalidArgument(format!("there is no execution context {context}")).into());
    };
    match index {
        PROMPT => of.execution.set_prompt(&state.job, input?).await?,
        METADATA => of.execution.configure(&state.job, &input?)?,
        other => return Err(Fault::InvalidArgument(format!("there is no input {other}")).into()),
    }
    Ok(Answer::Done)
}

async fn compute(state: &mut CoreState, context: u32) -> Answered {
    let Some(of) = state.contexts.get_mut(&context) else {
        return Err(Fault::InvalidArgument(format!("there is no execution context {context}")).into());
    };
    let (execution, job) = (&mut of.execution, &state.job);
    if execution.session.options().embedding {
        execution.embed(job).await?;
        return Ok(Answer::Done);
    }
    let streams = execution.session.options().stream_stdout;
    execution.start(job, Mode::Whole)?;
    while execution.is_running() {
        let ended = execution.advance(job).await?;
        if execution.session.next_piece(usize::MAX)
            && streams
            && let Ok(piece) = std::str::from_utf8(execution.session.piece())
        {
            state.stdout.say(piece).await?;
        }
        if let Some(ended) = ended {
            execution.session.finish_single();
            return answer(ended, Answer::Done);
        }
    }
    Ok(Answer::Done)
}

async fn compute_single(state: &mut CoreState, context: u32) -> Answered {
    let Some(of) = state.contexts.get_mut(&context) else {
        return Err(Fault::InvalidArgument(format!("there is no execution context {context}")).into());
    };
    let (execution, job) = (&mut of.execution, &state.job);
    // One step may bring more than a guest has room for, and the end as well, which is told by the call after it.
    if execution.session.next_piece(MAX_PIECE_BYTES) {
        return Ok(Answer::Done);
    }
    if let Some(ended) = execution.session.ended() {
        execution.session.finish_single();
        return answer(ended, Answer::EndOfSequence);
    }
    if !execution.is_running() {
        execution.start(job, Mode::Single)?;
    }
    match execution.advance(job).await? {
        Some(ended) if !execution.session.next_piece(MAX_PIECE_BYTES) => {
            execution.session.finish_single();
            answer(ended, Answer::EndOfSequence)
        }
        Some(_) => Ok(Answer::Done),
        None => {
            execution.session.next_piece(MAX_PIECE_BYTES);
            Ok(Answer::Done)
        }
    }
}

fn answer(ended: Ended, complete: Answer) -> Answered {
    match ended {
        Ended::Complete => Ok(complete),
        Ended::Full => Ok(Answer::ContextFull),
        Ended::Cancelled => Err(Refusal::Fault(Fault::Cancelled)),
        Ended::Deadline => Err(Refusal::Fault(Fault::Deadline)),
    }
}

fn get_output(
    mut caller: Caller<'_, CoreState>,
    function: &str,
    context: u32,
    index: u32,
    room: (u32, u32),
    written: u32,
) -> wasmtime::Result<i32> {
    caller.data().job.count_call()?;
    let Some((data, state)) = memory::split(&mut caller) else { return Ok(MISSING_MEMORY) };
    let is_single = function == "get_output_single";
    let answered = state.execution(context).and_then(|execution| {
        let session = &execution.session;
        match (index, is_single) {
            (TEXT, false) => put(data, session.output(), room, written),
            (TEXT, true) => put(data, session.piece(), room, written),
            (METADATA, _) => put(data, session.metadata().as_bytes(), room, written),
            (other, _) => Err(Fault::InvalidArgument(format!("there is no output {other}"))),
        }
    });
    number(&mut caller, function, answered.map_err(Into::into))
}

/// What does not fit is left where it is, and the guest is told how much room it takes.
fn put(data: &mut [u8], output: &[u8], (room, length): (u32, u32), written: u32) -> Result<Answer, Fault> {
    memory::check_u32(data, written)?;
    memory::bytes(data, room, length)?;
    let size = u32::try_from(output.len()).unwrap_or(u32::MAX);
    let fits = size <= length;
    if fits {
        memory::write(data, room, output)?;
    }
    memory::write_u32(data, written, size)?;
    Ok(if fits { Answer::Done } else { Answer::TooSmall })
}
