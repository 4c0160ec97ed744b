//! One invocation of a pipeline, and what came of it in words.

use std::{
    path::Path,
    sync::{Arc, OnceLock},
    time::Duration,
};

use dunlin_engine_handle::{
    Call, Engine, Generate,
    fake::{self, Fake, Script},
};
use dunlin_host::{
    CacheConfig, Chunk, Compile, Host, HostConfig, Invocation, Limits, ModelGrant, Outcome, PipelineSource,
    Request,
};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// A host for all tests. What it compiles is kept for the next process.
pub(crate) fn host() -> Host {
    static HOST: OnceLock<Host> = OnceLock::new();
    let cache = CacheConfig::new(Path::new(env!("CARGO_TARGET_TMPDIR")).join("compiled"));
    HOST.get_or_init(|| Host::new(HostConfig::new(Compile::InProcess).cache(cache)).unwrap()).clone()
}

/// A fake that answers by the text of its prompt.
pub(crate) fn answering(answer: impl Fn(&str) -> Script + Send + Sync + 'static) -> Fake {
    Fake::default().answering(move |generate: &Generate| answer(&fake::text(&generate.prompt)))
}

/// A fake that says this, whatever it is asked.
pub(crate) fn saying(text: &'static str) -> Fake {
    answering(move |_| Script::say(text))
}

/// A fake whose context has so many tokens, each of a byte.
pub(crate) fn with_context(mut fake: Fake, tokens: u32) -> Fake {
    fake.model.context_length = tokens;
    fake
}

/// What was generated, call by call.
pub(crate) fn generations(fake: &Fake) -> Vec<Generate> {
    let generate = |call| if let Call::Generate(generate) = call { Some(generate) } else { None };
    fake.calls().into_iter().filter_map(generate).collect()
}

/// What the model was shown, call by call.
pub(crate) fn prompts(fake: &Fake) -> Vec<String> {
    generations(fake).iter().map(|generate| fake::text(&generate.prompt)).collect()
}

/// What a pipeline is asked, and what it is given.
pub(crate) struct Scene {
    plugin: &'static str,
    invocation: Invocation,
    chunks: mpsc::Receiver<Chunk>,
}

impl Scene {
    /// With nothing granted.
    pub(crate) fn bare(plugin: &'static str, body: impl Into<Vec<u8>>) -> Self {
        let (output, chunks) = mpsc::channel(4096);
        let request = Request { body: body.into(), ..Request::default() };
        Self { plugin, invocation: Invocation::new(request, output), chunks }
    }

    /// With this model, called `demo`.
    pub(crate) fn new(fake: &Fake, plugin: &'static str, body: impl Into<Vec<u8>>) -> Self {
        Self::bare(plugin, body).grant("demo", &fake.start())
    }

    pub(crate) fn grant(mut self, alias: &str, engine: &Engine) -> Self {
        self.invocation.grants.models.push(ModelGrant::new(alias, "d1e5", engine.clone()));
        self
    }

    pub(crate) fn param(mut self, name: &str, value: &str) -> Self {
        self.invocation.request.params.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn json(mut self) -> Self {
        self.invocation.request.content_type = "application/json".into();
        self
    }

    pub(crate) fn limits(mut self, change: impl FnOnce(&mut Limits)) -> Self {
        change(&mut self.invocation.limits);
        self
    }

    pub(crate) fn cancel(&self) -> CancellationToken {
        self.invocation.cancel.clone()
    }

    pub(crate) async fn run(self) -> Told {
        self.run_watched(|_| ()).await
    }

    /// Shows each chunk when it comes.
    pub(crate) async fn run_watched(mut self, mut watch: impl FnMut(&Chunk)) -> Told {
        let plugin = dunlin_plugins::find(self.plugin).unwrap();
        let pipeline = host().load(PipelineSource::bytes(plugin.name, plugin.bytes)).await.unwrap();
        let host = host();
        let invoking = host.invoke(&pipeline, self.invocation);
        tokio::pin!(invoking);
        let mut chunks = Vec::new();
        let outcome = loop {
            tokio::select! {
                biased;
                Some(chunk) = self.chunks.recv() => {
                    watch(&chunk);
                    chunks.push(chunk);
                }
                outcome = &mut invoking => break outcome,
            }
        };
        while let Ok(chunk) = self.chunks.try_recv() {
            chunks.push(chunk);
        }
        Told { chunks, outcome }
    }

    /// What it told, line by line.
    pub(crate) async fn told(self) -> Vec<String> {
        self.run().await.lines()
    }

    /// The error alone.
    pub(crate) async fn error(self) -> String {
        self.run().await.outcome.result.unwrap_err().to_string()
    }
}

/// What came of an invocation.
pub(crate) struct Told {
    pub(crate) chunks: Vec<Chunk>,
    pub(crate) outcome: Outcome,
}

impl Told {
    /// A line for each chunk, and one for the response or the error.
    pub(crate) fn lines(&self) -> Vec<String> {
        let chunk = |chunk: &Chunk| match chunk {
            Chunk::Text(text) => format!("text {text:?}"),
            Chunk::Json(json) => format!("json {json}"),
            Chunk::Progress(share) => format!("progress {share}"),
        };
        let end = match &self.outcome.result {
            Ok(response) => {
                let kind =
                    response.content_type.strip_suffix("; charset=utf-8").unwrap_or(&response.content_type);
                format!("{kind}: {}", String::from_utf8_lossy(&response.body))
            }
            Err(error) => format!("error: {error}"),
        };
        self.chunks.iter().map(chunk).chain([end]).collect()
    }

    pub(crate) fn wall_time(&self) -> Duration {
        self.outcome.spent.wall_time
    }
}

/// One after the other, each time it is asked.
pub(crate) fn in_turn(scripts: impl IntoIterator<Item = Script>) -> Fake {
    let scripts: Arc<std::sync::Mutex<Vec<Script>>> =
        Arc::new(std::sync::Mutex::new(scripts.into_iter().collect()));
    answering(move |_| scripts.lock().unwrap().remove(0))
}
