//! From an invocation to the guest's code and back, for each kind of guest.

use wasmtime::{Engine, InstancePre, Store, UpdateDeadline};
use wasmtime_wasi::{I32Exit, WasiCtxBuilder, p2::bindings::CommandPre};

use super::trapped;
use crate::{
    InvokeError, Limits, Pipeline, PipelineError, Request, Response,
    bindings::{PipelinePre, exports::dunlin::llm::handler as wit},
    calls::{
        ephemeral::CoreState,
        http::Http,
        job::{Job, Meters},
        wasi::{self, Clock},
    },
    host::Inner,
    invoke::{
        interrupt::{Interrupt, Stop},
        log::GuestLog,
        state::{HasLimiter, Limiter, State},
        stdout::GuestOutput,
    },
    load::Kind,
};

/// The function that a core module begins with.
pub(crate) const START: &str = "_start";

/// Everything that goes in with one invocation.
pub(super) struct Entry {
    pub(super) request: Request,
    pub(super) arguments: Vec<String>,
    pub(super) limits: Limits,
    pub(super) interrupt: Interrupt,
    pub(super) clock: Clock,
    pub(super) log: GuestLog,
    pub(super) wasi: WasiCtxBuilder,
    pub(super) job: Job,
    pub(super) http: Http,
}

/// How it ended, and the guest's memory at its end, in bytes.
type Ended = (Result<Response, InvokeError>, u64);

impl Entry {
    /// All that the guest started has ended when this returns.
    pub(super) async fn enter(self, host: &Inner, pipeline: &Pipeline) -> Ended {
        match pipeline.kind() {
            Kind::Pipeline(pre) => self.pipeline(&host.engine, pre).await,
            Kind::Command(pre) => self.command(&host.engine, pre, pipeline.name()).await,
            Kind::Module(pre) => self.module(&host.engine, pre, pipeline.name()).await,
        }
    }

    async fn pipeline(self, engine: &Engine, pre: &PipelinePre<State>) -> Ended {
        let Self { request, limits, interrupt, mut wasi, job, http, .. } = self;
        let meters = job.meters.clone();
        let state = State::new(job, &limits, wasi.build(), http);
        let mut store = store(engine, state, &limits, &interrupt);
        let answer = async {
            let instance = pre.instantiate_async(&mut store).await?;
            let Request { content_type, body, params } = request;
            let request = wit::Request { content_type, body, params };
            instance.dunlin_llm_handler().call_run(&mut store, &request).await
        };
        let answer = answer
            .await
            .map(|answer| answer.map(|wit::Response { content_type, body }| Response { content_type, body }));
        let memory_bytes = store.data().limiter.memory_bytes();
        drop(store);
        let result = judge(answer, &interrupt).and_then(|response| within_budget(response, &meters));
        (result, memory_bytes)
    }

    async fn command(self, engine: &Engine, pre: &CommandPre<State>, name: &str) -> Ended {
        let Self { request, arguments, limits, interrupt, mut wasi, job, http, .. } = self;
        let stdout = GuestOutput::new(&job);
        wasi::command(&mut wasi, name, &arguments, request.body, &stdout);
        let state = State::new(job, &limits, wasi.build(), http);
        let mut store = store(engine, state, &limits, &interrupt);
        let returned = async {
            let instance = pre.instantiate_async(&mut store).await?;
            instance.wasi_cli_run().call_run(&mut store).await
        };
        let exited = match returned.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(())) => Err(InvokeError::Exited(1)),
            Err(error) => exit(&error),
        };
        let memory_bytes = store.data().limiter.memory_bytes();
        drop(store);
        (answered(exited, None, &stdout, &interrupt).await, memory_bytes)
    }

    async fn module(self, engine: &Engine, pre: &InstancePre<CoreState>, name: &str) -> Ended {
        let Self { request, arguments, limits, interrupt, clock, log, mut wasi, job, http: _ } = self;
        let stdout = GuestOutput::new(&job);
        wasi::command(&mut wasi, name, &arguments, request.body, &stdout);
        let limiter = Limiter::new(&limits);
        let wasi = wasi.build_p1();
        let state = CoreState::new(job, limiter, wasi, clock, stdout.clone(), log, limits.call_bytes);
        let mut store = store(engine, state, &limits, &interrupt);
        let returned = async {
            let instance = pre.instantiate_async(&mut store).await?;
            instance.get_typed_func::<(), ()>(&mut store, START)?.call_async(&mut store, ()).await
        };
        let exited = returned.await.or_else(|error| exit(&error));
        let (memory_bytes, cut) = (store.data().limiter.memory_bytes(), store.data().cut);
        drop(store);
        (answered(exited, cut, &stdout, &interrupt).await, memory_bytes)
    }
}

fn store<T: HasLimiter>(engine: &Engine, state: T, limits: &Limits, interrupt: &Interrupt) -> Store<T> {
    let mut store = Store::new(engine, state);
    store.limiter(|state| state.limiter());
    store.set_hostcall_fuel(limits.call_bytes);
    store.set_max_component_handles(limits.handles as usize);
    store.set_epoch_deadline(1);
    let mut watch = interrupt.watch();
    store.epoch_deadline_callback(move |_| match watch.overdue() {
        Some(stop) => Err(InvokeError::from(stop).into()),
        // Others on this thread have their turn.
        None => Ok(UpdateDeadline::YieldCustom(1, Box::pin(tokio::task::yield_now()))),
    });
    store
}

/// A program that ends by exiting does so by a trap; with 0, all is well.
fn exit(error: &wasmtime::Error) -> Result<(), InvokeError> {
    match error.downcast_ref() {
        Some(I32Exit(0)) => Ok(()),
        _ => Err(trapped(error)),
    }
}

/// What a command-line guest wrote is its answer. One that was told to stop and failed for that did not fail by
/// itself; and one that passes a text off as whole that was cut did not answer.
async fn answered(
    exited: Result<(), InvokeError>,
    cut: Option<Stop>,
    stdout: &GuestOutput,
    interrupt: &Interrupt,
) -> Result<Response, InvokeError> {
    let body = stdout.finish().await;
    match (exited, cut, interrupt.check()) {
        (_, Some(stop), _) => return Err(stop.into()),
        (Err(InvokeError::Trap { .. } | InvokeError::Exited(_)), None, Err(stop)) => return Err(stop.into()),
        (exited, None, _) => exited?,
    }
    let is_text = std::str::from_utf8(&body).is_ok();
    let content_type = if is_text { "text/plain; charset=utf-8" } else { "application/octet-stream" };
    Ok(Response { content_type: content_type.into(), body })
}

fn within_budget(response: Response, meters: &Meters) -> Result<Response, InvokeError> {
    meters.emitted_bytes.take((response.content_type.len() + response.body.len()) as u64)?;
    Ok(response)
}

/// A pipeline that passes the end of its invocation on says the same as one that had to be trapped.
fn judge(
    answer: wasmtime::Result<Result<Response, wit::Error>>,
    interrupt: &Interrupt,
) -> Result<Response, InvokeError> {
    let error = match answer {
        Ok(Ok(response)) => return Ok(response),
        Ok(Err(error)) => PipelineError::from(error),
        Err(trap) => return Err(trapped(&trap)),
    };
    Err(match (error, interrupt.check()) {
        (PipelineError::Deadline, Err(Stop::Deadline)) => InvokeError::Deadline,
        (PipelineError::Cancelled, Err(Stop::Cancelled)) => InvokeError::Cancelled,
        (PipelineError::Exhausted(budget), _) => InvokeError::Exhausted(budget),
        (error, _) => InvokeError::Pipeline(error),
    })
}
