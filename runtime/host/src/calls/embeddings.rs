//! `dunlin:llm/embeddings`: texts as vectors.

use wasmtime::component::Resource;

use crate::{
    bindings::dunlin::llm::{embeddings::Host, types::Error},
    calls::models::Model,
    invoke::{
        failure::{Failure, invalid},
        state::State,
    },
};

/// Texts of one call.
const MAX_TEXTS: usize = 4096;

impl Host for State {
    async fn embed(&mut self, model: Resource<Model>, texts: Vec<String>) -> Result<Vec<Vec<f32>>, Failure> {
        self.job.count_call()?;
        let model = self.model(&model)?;
        if texts.len() > MAX_TEXTS {
            return Err(invalid(format!("{} texts at once, at most {MAX_TEXTS}", texts.len())).into());
        }
        if texts.is_empty() {
            return Ok(Vec::new());
        }
        Ok(self.job.interrupt.unless_stopped(model.engine().embed(texts)).await??)
    }

    fn rerank(&mut self, _: Resource<Model>, _: String, _: Vec<String>) -> Result<Vec<f32>, Failure> {
        self.job.count_call()?;
        Err(Error::Unsupported("reranking: no engine does it yet".into()).into())
    }
}
