//! One invocation of the guest that does what its input says.

use std::{path::Path, sync::OnceLock, time::Duration};

use dunlin_engine_handle::{
    Engine,
    fake::{Fake, Script, ScriptEnd},
};
use dunlin_host::{
    CacheConfig, Chunk, Compile, Host, HostConfig, Invocation, InvokeError, Limits, ModelGrant, Node,
    Outcome, Pipeline, PipelineSource, Request,
};
use tokio::sync::mpsc;

/// A host for all tests. What it compiles is kept for the next process.
pub(crate) fn host() -> Host {
    static HOST: OnceLock<Host> = OnceLock::new();
    let cache = CacheConfig::new(Path::new(env!("CARGO_TARGET_TMPDIR")).join("compiled"));
    HOST.get_or_init(|| Host::new(HostConfig::new(Compile::InProcess).cache(cache)).unwrap()).clone()
}

/// The guest that does as its input says.
pub(crate) async fn script() -> Pipeline {
    let source = PipelineSource::bytes("script", dunlin_host_guests::SCRIPT);
    host().load(source).await.unwrap()
}

/// A fake that says this, whatever it is asked.
pub(crate) fn saying(text: &str) -> Fake {
    let script = Script::say(text);
    Fake::default().answering(move |_| script.clone())
}

/// A fake that says a word and then nothing more.
pub(crate) fn hanging() -> Fake {
    Fake::default().answering(|_| Script::say("word ").then(ScriptEnd::Hang))
}

/// What is asked of a guest, and what it is given.
pub(crate) struct Scene {
    pub(crate) invocation: Invocation,
    chunks: mpsc::Receiver<Chunk>,
}

impl Scene {
    /// With nothing granted.
    pub(crate) fn bare(input: &str) -> Self {
        let (output, chunks) = mpsc::channel(1024);
        let request = Request { body: input.into(), ..Request::default() };
        let mut invocation = Invocation::new(request, output);
        invocation.node = Node { id: "shed".into(), class: "pi5-8g".into(), on_battery: false };
        Self { invocation, chunks }
    }

    /// With this model, called `demo`, which the script opens first.
    pub(crate) fn new(engine: &Engine, input: &str) -> Self {
        let mut scene = Self::bare(&format!("open demo\n{input}"));
        scene.invocation.grants.models.push(demo(engine));
        scene
    }

    pub(crate) fn limits(mut self, change: impl FnOnce(&mut Limits)) -> Self {
        change(&mut self.invocation.limits);
        self
    }

    pub(crate) fn wall_time(self, wall_time: Duration) -> Self {
        self.limits(|limits| limits.wall_time = wall_time)
    }

    pub(crate) fn seed(mut self, seed: u64) -> Self {
        self.invocation.seed = seed;
        self
    }

    pub(crate) async fn outcome(self) -> Outcome {
        host().invoke(&script().await, self.invocation).await
    }

    /// What came of each command, the opening aside.
    pub(crate) async fn transcript(self) -> Vec<String> {
        transcript(&self.outcome().await)
    }

    pub(crate) async fn error(self) -> InvokeError {
        self.outcome().await.result.unwrap_err()
    }

    /// What was emitted, and how it ended.
    pub(crate) async fn chunks(mut self) -> (Vec<Chunk>, Outcome) {
        let outcome = host().invoke(&script().await, self.invocation).await;
        let mut chunks = Vec::new();
        while let Ok(chunk) = self.chunks.try_recv() {
            chunks.push(chunk);
        }
        (chunks, outcome)
    }
}

pub(crate) fn demo(engine: &Engine) -> ModelGrant {
    let mut grant = ModelGrant::new("demo", "d1e5", engine.clone());
    grant.operating_point = "cpu-2".into();
    grant
}

pub(crate) fn transcript(outcome: &Outcome) -> Vec<String> {
    let response = outcome.result.as_ref().unwrap_or_else(|error| panic!("{error}\n{}", outcome.log.text));
    let text = String::from_utf8(response.body.clone()).unwrap();
    text.lines().map(str::to_owned).filter(|line| line != "ok").collect()
}

/// Each line of the script but those that only say `ok` must come to what is expected.
pub(crate) async fn check(fake: &Fake, script: &str, expected: &[&str]) {
    let engine = fake.start();
    assert_eq!(Scene::new(&engine, script).transcript().await, expected);
}
