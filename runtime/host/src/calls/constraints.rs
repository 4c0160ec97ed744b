//! `dunlin:llm/constraints`: what generated text must look like, compiled before it is used.

use std::{collections::HashMap, sync::Arc};

use dunlin_engine_handle as engine;
use wasmtime::component::Resource;

use crate::{
    bindings::dunlin::llm::{
        constraints::{Host, HostConstraint, Spec},
        types::Error,
    },
    calls::models::Model,
    digest::Digest,
    invoke::{
        failure::{Failure, invalid},
        state::State,
    },
};

/// Bytes of one constraint.
const MAX_CONSTRAINT_BYTES: usize = 256 << 10;

/// Different constraints that one invocation may compile.
const MAX_COMPILED: usize = 128;

/// A constraint that the engine of a model took.
#[derive(Debug, Clone)]
#[expect(unreachable_pub, reason = "the generated bindings export it, though they are private themselves")]
pub struct Constraint(Arc<Compiled>);

#[derive(Debug)]
pub(crate) struct Compiled {
    model: Model,
    constraint: engine::Constraint,
    warnings: Vec<String>,
}

/// What was compiled in this invocation, by the digest of alias and constraint.
pub(crate) type Cache = HashMap<Digest, Constraint>;

impl Constraint {
    /// For a generation of `model`.
    pub(crate) fn for_model(&self, model: &Model) -> Result<engine::Constraint, Error> {
        if !self.0.model.is(model) {
            return Err(invalid(format!("the constraint was compiled for {:?}", self.0.model.grant.alias)));
        }
        Ok(self.0.constraint.clone())
    }
}

impl Host for State {}

impl HostConstraint for State {
    async fn compile(&mut self, model: Resource<Model>, spec: Spec) -> Result<Resource<Constraint>, Failure> {
        self.job.count_call()?;
        let model = self.model(&model)?;
        let constraint = checked(spec)?;
        let key = Digest::of(&(&model.grant.alias, &constraint));
        if let Some(known) = self.job.compiled.get(&key) {
            let known = known.clone();
            return Ok(self.table.push(known)?);
        }
        if self.job.compiled.len() >= MAX_COMPILED {
            let reason = format!("a job compiles at most {MAX_COMPILED} different constraints");
            return Err(Error::Constraint(reason).into());
        }
        let compiling = model.engine().compile(constraint.clone());
        let warnings = self.job.interrupt.unless_stopped(compiling).await??;
        let compiled = Constraint(Arc::new(Compiled { model, constraint, warnings }));
        self.job.compiled.insert(key, compiled.clone());
        Ok(self.table.push(compiled)?)
    }

    fn warnings(&mut self, constraint: Resource<Constraint>) -> wasmtime::Result<Vec<String>> {
        self.job.count_call()?;
        Ok(self.table.get(&constraint)?.0.warnings.clone())
    }

    fn drop(&mut self, constraint: Resource<Constraint>) -> wasmtime::Result<()> {
        self.table.delete(constraint)?;
        Ok(())
    }
}

fn checked(spec: Spec) -> Result<engine::Constraint, Error> {
    let (bytes, constraint) = match spec {
        Spec::AnyJson => (0, engine::Constraint::AnyJson),
        Spec::JsonSchema(text) => (text.len(), engine::Constraint::JsonSchema(text)),
        Spec::Regex(text) => (text.len(), engine::Constraint::Regex(text)),
        Spec::Lark(text) => (text.len(), engine::Constraint::Lark(text)),
        Spec::Choice(choices) if choices.is_empty() => {
            return Err(Error::Constraint("there is nothing to choose from".into()));
        }
        Spec::Choice(choices) => {
            (choices.iter().map(String::len).sum::<usize>(), engine::Constraint::Choice(choices))
        }
        Spec::ToolCall(_) => {
            return Err(Error::Unsupported("constraints to tool calls: use a JSON schema".into()));
        }
    };
    if bytes > MAX_CONSTRAINT_BYTES {
        return Err(Error::Constraint(format!("it has {bytes} bytes, more than {MAX_CONSTRAINT_BYTES}")));
    }
    Ok(constraint)
}
