//! One invocation of a command-line guest.

use std::time::Duration;

use dunlin_engine_handle::{Engine, fake::Fake};
use dunlin_host::{
    Chunk, Invocation, InvokeError, Limits, ModelGrant, Outcome, Pipeline, PipelineSource, Request,
};
use tokio::sync::mpsc;

use crate::scene::host;

/// A core module that uses models as the GGML guests do.
pub(crate) async fn ggml() -> Pipeline {
    host().load(PipelineSource::bytes("ggml", dunlin_host_guests::GGML)).await.unwrap()
}

/// A component that uses models by `wasi:nn`.
pub(crate) async fn component() -> Pipeline {
    host().load(PipelineSource::bytes("component", dunlin_host_guests::COMPONENT)).await.unwrap()
}

/// What a program is called with.
pub(crate) struct Program {
    pub(crate) invocation: Invocation,
    chunks: mpsc::Receiver<Chunk>,
}

impl Program {
    /// With this model, called `default`.
    pub(crate) fn new(engine: &Engine, arguments: &[&str]) -> Self {
        let mut program = Self::bare(arguments);
        program.invocation.grants.models.push(ModelGrant::new("default", "d1e5", engine.clone()));
        program
    }

    pub(crate) fn bare(arguments: &[&str]) -> Self {
        let (output, chunks) = mpsc::channel(1024);
        let mut invocation = Invocation::new(Request::default(), output);
        invocation.arguments = arguments.iter().map(|&argument| argument.to_owned()).collect();
        Self { invocation, chunks }
    }

    pub(crate) fn input(mut self, text: &str) -> Self {
        self.invocation.request.body = text.into();
        self
    }

    pub(crate) fn limits(mut self, change: impl FnOnce(&mut Limits)) -> Self {
        change(&mut self.invocation.limits);
        self
    }

    pub(crate) fn wall_time(self, wall_time: Duration) -> Self {
        self.limits(|limits| limits.wall_time = wall_time)
    }

    pub(crate) async fn outcome(self, program: Pipeline) -> Outcome {
        host().invoke(&program, self.invocation).await
    }

    /// What came while it ran, and how it ended.
    pub(crate) async fn chunks(mut self, program: Pipeline) -> (Vec<String>, Outcome) {
        let outcome = host().invoke(&program, self.invocation).await;
        let text = |chunk| match chunk {
            Chunk::Text(text) => text,
            other => panic!("{other:?}"),
        };
        (std::iter::from_fn(|| self.chunks.try_recv().ok()).map(text).collect(), outcome)
    }

    pub(crate) async fn output(self, program: Pipeline) -> String {
        answer(&self.outcome(program).await)
    }

    pub(crate) async fn error(self, program: Pipeline) -> InvokeError {
        self.outcome(program).await.result.unwrap_err()
    }
}

pub(crate) fn answer(outcome: &Outcome) -> String {
    let response = outcome.result.as_ref().unwrap_or_else(|error| panic!("{error}\n{}", outcome.log.text));
    String::from_utf8(response.body.clone()).unwrap()
}

/// What the module prints must be this.
pub(crate) async fn check(fake: &Fake, arguments: &[&str], expected: &str) {
    let engine = fake.start();
    assert_eq!(Program::new(&engine, arguments).output(ggml().await).await, expected, "{arguments:?}");
}
