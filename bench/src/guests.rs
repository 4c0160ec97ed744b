//! The whole way of a token: a pipeline in the host, and the engine process behind it.

use std::time::{Duration, Instant};

use dunlin_engine_handle::Engine;
use dunlin_host::{
    Compile, Host, HostConfig, Invocation, ModelGrant, Pipeline, PipelineSource, Request, Usage,
};
use tokio::sync::mpsc;

/// A pipeline and the engine that it is granted, as `model`.
#[derive(Debug)]
pub(crate) struct Guest {
    host: Host,
    pipeline: Pipeline,
    engine: Engine,
}

/// What the caller of a pipeline saw.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) first_chunk: Duration,
    pub(crate) last_chunk: Duration,
    pub(crate) usage: Usage,
}

impl Seen {
    /// Tokens a second after the first.
    pub(crate) fn decode_rate(&self) -> f64 {
        f64::from(self.usage.output_tokens - 1) / (self.last_chunk - self.first_chunk).as_secs_f64()
    }
}

impl Guest {
    pub(crate) async fn start(name: &str, component: &'static [u8], engine: Engine) -> anyhow::Result<Self> {
        let host = Host::new(HostConfig::new(Compile::InProcess))?;
        let pipeline = host.load(PipelineSource::bytes(name, component)).await?;
        Ok(Self { host, pipeline, engine })
    }

    /// `params`: names and values. `None` if it emitted nothing: a random model may end at once.
    pub(crate) async fn run(&self, input: String, params: &[(&str, &str)]) -> anyhow::Result<Option<Seen>> {
        let (output, mut chunks) = mpsc::channel(256);
        let params = params.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
        let request = Request { body: input.into(), params, ..Request::default() };
        let mut invocation = Invocation::new(request, output);
        invocation.grants.models.push(ModelGrant::new("model", "", self.engine.clone()));
        let began = Instant::now();
        let (outcome, seen) = tokio::join!(self.host.invoke(&self.pipeline, invocation), async {
            let (mut first, mut last) = (None, Duration::ZERO);
            while chunks.recv().await.is_some() {
                last = began.elapsed();
                first.get_or_insert(last);
            }
            first.map(|first| (first, last))
        });
        outcome.result?;
        let usage = outcome.usage;
        Ok(seen.map(|(first_chunk, last_chunk)| Seen { first_chunk, last_chunk, usage }))
    }
}
