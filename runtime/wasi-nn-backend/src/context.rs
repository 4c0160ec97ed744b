//! One execution context of a guest.

use std::sync::Arc;

use dunlin_engine_handle::ModelInfo;
use dunlin_nn::{Elements, Ended, Fault, Inputs, Mode, Output, Session, outputs};
use wasmtime_wasi_nn::{
    Tensor,
    backend::{BackendError, BackendExecutionContext, Id, NamedTensor},
    wit::types::TensorType,
};

use crate::{Model, block::block_on, failed};

pub(crate) struct Context {
    model: Model,
    info: Arc<ModelInfo>,
    session: Session,
    generations: u64,
    outputs: Vec<Output>,
}

impl Context {
    pub(crate) fn new(model: Model, info: Arc<ModelInfo>) -> Self {
        Self { model, info, session: Session::default(), generations: 0, outputs: Vec::new() }
    }

    async fn take(&mut self, inputs: Inputs) -> Result<(), Fault> {
        if let Some(options) = inputs.options {
            self.session.configure(&options)?;
        }
        if let Some(prompt) = inputs.prompt {
            let tokenize = Session::tokenize(prompt)?;
            let text = tokenize.text.clone();
            self.session.set_prompt(text, self.model.engine.tokenize(tokenize).await?);
        }
        Ok(())
    }

    async fn run(&mut self) -> Result<(), Fault> {
        self.outputs.clear();
        let ended =
            if self.session.options().embedding { self.embed().await? } else { self.generate().await? };
        self.outputs = outputs(&self.session, ended);
        Ok(())
    }

    async fn embed(&mut self) -> Result<Ended, Fault> {
        self.session.prompt()?;
        let vectors = self.model.engine.embed(vec![self.session.text().to_owned()]).await?;
        self.session.embed(vectors.into_iter().next().unwrap_or_default());
        Ok(Ended::Complete)
    }

    async fn generate(&mut self) -> Result<Ended, Fault> {
        let mut planned = self.session.plan(Mode::Whole, &self.info, self.generations, u64::MAX)?;
        self.generations += 1;
        self.session.begin(&planned);
        if planned.generate.max_tokens == 0 {
            return Ok(Ended::Complete);
        }
        planned.generate.tenant.clone_from(&self.model.tenant);
        planned.generate.deadline_ms = Some(self.model.deadline.as_millis() as u64);
        let mut generation = self.model.engine.generate(planned.generate);
        while let Some(delta) = generation.next().await {
            match self.session.take(&delta?) {
                None => {}
                Some(Ended::Deadline) => return Err(Fault::Deadline),
                Some(Ended::Cancelled) => return Err(Fault::Cancelled),
                Some(ended) => return Ok(ended),
            }
        }
        Err(Fault::Runtime("the engine said nothing more".into()))
    }
}

impl BackendExecutionContext for Context {
    fn set_input(&mut self, id: Id, tensor: &Tensor) -> Result<(), BackendError> {
        let mut inputs = Inputs::default();
        take(&mut inputs, &name(&id), tensor.clone()).map_err(|fault| failed(&fault))?;
        block_on(self.take(inputs)).map_err(|fault| failed(&fault))
    }

    fn compute(
        &mut self,
        inputs: Option<Vec<NamedTensor>>,
    ) -> Result<Option<Vec<NamedTensor>>, BackendError> {
        let is_named = inputs.is_some();
        let computed = block_on(async {
            let mut taken = Inputs::default();
            for NamedTensor { name, tensor } in inputs.unwrap_or_default() {
                take(&mut taken, &name, tensor)?;
            }
            self.take(taken).await?;
            self.run().await
        });
        computed.map_err(|fault| failed(&fault))?;
        let named = |output: &Output| NamedTensor { name: output.name.to_owned(), tensor: tensor(output) };
        Ok(is_named.then(|| self.outputs.iter().map(named).collect()))
    }

    fn get_output(&mut self, id: Id) -> Result<Tensor, BackendError> {
        let name = name(&id);
        match self.outputs.iter().find(|output| output.name == name) {
            Some(output) => Ok(tensor(output)),
            None => Err(failed(&Fault::InvalidArgument(format!("there is no output {name:?}")))),
        }
    }
}

fn name(id: &Id) -> String {
    match id {
        Id::Index(index) => index.to_string(),
        Id::Name(name) => name.clone(),
    }
}

fn take(inputs: &mut Inputs, name: &str, tensor: Tensor) -> Result<(), Fault> {
    let elements = (tensor.ty == TensorType::U8).then_some(Elements::U8);
    inputs.take(name, elements, tensor.data)
}

fn tensor(output: &Output) -> Tensor {
    let ty = match output.elements {
        Elements::U8 => TensorType::U8,
        Elements::Fp32 => TensorType::Fp32,
    };
    Tensor::new(output.dimensions.clone(), ty, output.data.clone())
}
