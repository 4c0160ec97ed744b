//! `wasi:nn`: models for components by the draft standard. How prompts, options and answers are named is in
//! `wit/deps/nn/nn.wit`.

use dunlin_nn::{Elements, Ended, Fault, Inputs, Mode, Options, Output, outputs};
use wasmtime::component::{HasSelf, Linker, Resource};

use crate::{
    bindings::nn::wasi::nn::{
        errors::{self, ErrorCode, HostError},
        graph::{self, ExecutionTarget, GraphEncoding, HostGraph},
        inference::{self, HostGraphExecutionContext},
        tensor::{self, HostTensor, TensorType},
    },
    calls::{
        job::Job,
        nn::{Execution, Graph, Refusal},
    },
    invoke::{failure::table_trap, state::State},
};

/// As the guest made it; nothing about it is checked before it is used.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(unreachable_pub, reason = "the generated bindings export it, though they are private themselves")]
pub struct Tensor {
    dimensions: Vec<u32>,
    ty: TensorType,
    data: Vec<u8>,
}

/// What a guest is told of a call that failed.
#[derive(Debug, Clone)]
#[expect(unreachable_pub, reason = "the generated bindings export it, though they are private themselves")]
pub struct NnError(Fault);

/// The result of a call as the bindings want it: the error is a resource.
type Answer<T> = wasmtime::Result<Result<T, Resource<NnError>>>;

pub(crate) fn link(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    tensor::add_to_linker::<_, HasSelf<State>>(linker, |state| state)?;
    graph::add_to_linker::<_, HasSelf<State>>(linker, |state| state)?;
    inference::add_to_linker::<_, HasSelf<State>>(linker, |state| state)?;
    errors::add_to_linker::<_, HasSelf<State>>(linker, |state| state)
}

impl Tensor {
    fn bytes(&self) -> usize {
        self.data.len() + 4 * self.dimensions.len()
    }
}

impl State {
    /// Tensors are the guest's, though the host holds them.
    fn keep(&mut self, tensor: Tensor) -> wasmtime::Result<Resource<Tensor>> {
        self.limiter.hold(tensor.bytes())?;
        self.table.push(tensor).map_err(table_trap)
    }

    fn give(&mut self, tensor: Resource<Tensor>) -> wasmtime::Result<Tensor> {
        let tensor = self.table.delete(tensor)?;
        self.limiter.release(tensor.bytes());
        Ok(tensor)
    }

    fn answer<T: Send + 'static>(&mut self, result: Result<T, Refusal>) -> Answer<Resource<T>> {
        match result {
            Ok(made) => Ok(Ok(self.table.push(made).map_err(table_trap)?)),
            Err(Refusal::Fault(fault)) => Ok(Err(self.table.push(NnError(fault)).map_err(table_trap)?)),
            Err(Refusal::Trap(error)) => Err(error),
        }
    }
}

impl tensor::Host for State {}

impl HostTensor for State {
    fn new(
        &mut self,
        dimensions: Vec<u32>,
        ty: TensorType,
        data: Vec<u8>,
    ) -> wasmtime::Result<Resource<Tensor>> {
        self.job.count_call()?;
        self.keep(Tensor { dimensions, ty, data })
    }

    fn dimensions(&mut self, tensor: Resource<Tensor>) -> wasmtime::Result<Vec<u32>> {
        self.job.count_call()?;
        Ok(self.table.get(&tensor)?.dimensions.clone())
    }

    fn ty(&mut self, tensor: Resource<Tensor>) -> wasmtime::Result<TensorType> {
        self.job.count_call()?;
        Ok(self.table.get(&tensor)?.ty)
    }

    fn data(&mut self, tensor: Resource<Tensor>) -> wasmtime::Result<Vec<u8>> {
        self.job.count_call()?;
        Ok(self.table.get(&tensor)?.data.clone())
    }

    fn drop(&mut self, tensor: Resource<Tensor>) -> wasmtime::Result<()> {
        self.give(tensor).map(drop)
    }
}

impl graph::Host for State {
    async fn load(
        &mut self,
        builders: Vec<Vec<u8>>,
        encoding: GraphEncoding,
        _: ExecutionTarget,
    ) -> Answer<Resource<Graph>> {
        self.job.count_call()?;
        let loaded = load(&self.job, builders, encoding).await;
        self.answer(loaded)
    }

    async fn load_by_name(&mut self, name: String) -> Answer<Resource<Graph>> {
        self.job.count_call()?;
        let loaded = Graph::load(&self.job, &name, Options::default()).await;
        self.answer(loaded)
    }
}

/// A GGUF file, and options where they are given.
async fn load(job: &Job, builders: Vec<Vec<u8>>, encoding: GraphEncoding) -> Result<Graph, Refusal> {
    let mut builders = builders.into_iter();
    let (weights, options) = (builders.next().unwrap_or_default(), builders.next());
    let room = job.weights.room(weights.len())?;
    if builders.next().is_some() {
        return Err(Fault::InvalidArgument("more than a model and its options".into()).into());
    }
    if !matches!(encoding, GraphEncoding::Ggml | GraphEncoding::Autodetect) {
        return Err(Fault::InvalidEncoding(format!("{encoding:?}, and there is only ggml")).into());
    }
    let mut asked = Options::default();
    options.map_or(Ok(()), |options| asked.merge(&options))?;
    Graph::bring(job, room, weights, asked).await
}

impl HostGraph for State {
    fn init_execution_context(&mut self, graph: Resource<Graph>) -> Answer<Resource<Execution>> {
        self.job.count_call()?;
        let graph = self.table.get(&graph)?.clone();
        let execution = Execution::new(&mut self.job, &graph);
        self.answer(execution)
    }

    fn drop(&mut self, graph: Resource<Graph>) -> wasmtime::Result<()> {
        self.table.delete(graph)?;
        Ok(())
    }
}

impl inference::Host for State {}

impl HostGraphExecutionContext for State {
    async fn compute(
        &mut self,
        context: Resource<Execution>,
        inputs: Vec<(String, Resource<Tensor>)>,
    ) -> Answer<Vec<(String, Resource<Tensor>)>> {
        self.job.count_call()?;
        let inputs = self.inputs(inputs)?;
        let execution = self.table.get_mut(&context)?;
        let computed = match inputs {
            Ok(inputs) => compute(&self.job, execution, inputs).await,
            Err(fault) => Err(fault.into()),
        };
        let outputs = match computed {
            Ok(outputs) => outputs,
            Err(refusal) => return Ok(self.answer::<Tensor>(Err(refusal))?.map(|_| Vec::new())),
        };
        let mut named = Vec::new();
        for Output { name, dimensions, elements, data } in outputs {
            let ty = match elements {
                Elements::U8 => TensorType::U8,
                Elements::Fp32 => TensorType::Fp32,
            };
            named.push((name.to_owned(), self.keep(Tensor { dimensions, ty, data })?));
        }
        Ok(Ok(named))
    }

    fn drop(&mut self, context: Resource<Execution>) -> wasmtime::Result<()> {
        self.table.delete(context)?;
        Ok(())
    }
}

impl State {
    /// Takes the tensors out of the table: they are the host's now, whatever becomes of the call.
    fn inputs(&mut self, named: Vec<(String, Resource<Tensor>)>) -> wasmtime::Result<Result<Inputs, Fault>> {
        let mut inputs = Inputs::default();
        let mut fault = None;
        for (name, tensor) in named {
            let Tensor { ty, data, .. } = self.give(tensor)?;
            let elements = (ty == TensorType::U8).then_some(Elements::U8);
            if let Err(other) = inputs.take(&name, elements, data) {
                fault.get_or_insert(other);
            }
        }
        Ok(fault.map_or(Ok(inputs), Err))
    }
}

async fn compute(job: &Job, execution: &mut Execution, inputs: Inputs) -> Result<Vec<Output>, Refusal> {
    if let Some(options) = inputs.options {
        execution.configure(job, &options)?;
    }
    if let Some(prompt) = inputs.prompt {
        execution.set_prompt(job, prompt).await?;
    }
    let mut how = Ended::Complete;
    if execution.session.options().embedding {
        execution.embed(job).await?;
        return Ok(outputs(&execution.session, how));
    }
    execution.start(job, Mode::Whole)?;
    while execution.is_running() {
        match execution.advance(job).await? {
            None => {}
            Some(Ended::Cancelled) => return Err(Fault::Cancelled.into()),
            Some(Ended::Deadline) => return Err(Fault::Deadline.into()),
            Some(ended) => how = ended,
        }
    }
    Ok(outputs(&execution.session, how))
}

impl errors::Host for State {}

impl HostError for State {
    fn code(&mut self, error: Resource<NnError>) -> wasmtime::Result<ErrorCode> {
        self.job.count_call()?;
        Ok(match self.table.get(&error)?.0 {
            Fault::InvalidArgument(_) => ErrorCode::InvalidArgument,
            Fault::InvalidEncoding(_) => ErrorCode::InvalidEncoding,
            Fault::Unsupported(_) => ErrorCode::UnsupportedOperation,
            Fault::TooLarge(_) | Fault::PromptTooLong { .. } => ErrorCode::TooLarge,
            Fault::ModelNotFound(_) => ErrorCode::NotFound,
            Fault::Security(_) => ErrorCode::Security,
            Fault::Deadline => ErrorCode::Timeout,
            Fault::Cancelled | Fault::Busy | Fault::Runtime(_) => ErrorCode::RuntimeError,
        })
    }

    fn data(&mut self, error: Resource<NnError>) -> wasmtime::Result<String> {
        self.job.count_call()?;
        Ok(self.table.get(&error)?.0.to_string())
    }

    fn drop(&mut self, error: Resource<NnError>) -> wasmtime::Result<()> {
        self.table.delete(error)?;
        Ok(())
    }
}
