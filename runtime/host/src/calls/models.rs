//! `dunlin:llm/models`: the granted models, their tokens and templates.

use std::sync::Arc;

use dunlin_engine_handle as engine;
use dunlin_engine_handle::{Engine, EngineError, MemoryKind, ModelInfo};
use wasmtime::component::Resource;

use crate::{
    ModelGrant,
    bindings::dunlin::llm::{
        models::{Features, Host, HostModel, Info, Memory},
        types::{Error, Message, Role, ToolCall, ToolDef},
    },
    invoke::{failure::Failure, state::State},
};

/// A granted model that can be served. Cheap to clone.
#[derive(Debug, Clone)]
#[expect(unreachable_pub, reason = "the generated bindings export it, though they are private themselves")]
pub struct Model {
    pub(crate) grant: Arc<ModelGrant>,
    pub(crate) info: Arc<ModelInfo>,
}

impl Model {
    pub(crate) async fn ready(grant: Arc<ModelGrant>) -> Result<Self, EngineError> {
        let info = grant.engine.ready().await?;
        Ok(Self { grant, info })
    }

    pub(crate) fn engine(&self) -> &Engine {
        &self.grant.engine
    }

    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.grant, &other.grant)
    }

    fn describe(&self) -> Info {
        Info {
            alias: self.grant.alias.clone(),
            digest: self.grant.digest.clone(),
            architecture: self.info.architecture.clone(),
            quantization: self.info.quantization.clone(),
            parameters: self.info.parameters,
            vocabulary: self.info.vocabulary,
            context_length: self.info.context_length,
            memory: memory(self.info.memory),
            features: features(self.info.features),
        }
    }
}

impl State {
    pub(crate) fn model(&self, model: &Resource<Model>) -> wasmtime::Result<Model> {
        Ok(self.table.get(model)?.clone())
    }
}

impl Host for State {
    async fn available(&mut self) -> wasmtime::Result<Vec<Info>> {
        self.job.count_call()?;
        let mut found = Vec::new();
        for grant in self.job.models.clone() {
            // A model that cannot be served is not available; one that is still loading when time is up is
            // not either.
            if let Ok(Ok(model)) = self.job.interrupt.unless_stopped(Model::ready(grant)).await {
                found.push(model.describe());
            }
        }
        Ok(found)
    }

    async fn open(&mut self, alias: String) -> Result<Resource<Model>, Failure> {
        self.job.count_call()?;
        let Some(grant) = self.job.models.iter().find(|grant| grant.alias == alias).cloned() else {
            return Err(Error::ModelNotFound(alias).into());
        };
        let model = self.job.interrupt.unless_stopped(Model::ready(grant)).await??;
        Ok(self.table.push(model)?)
    }
}

impl HostModel for State {
    fn info(&mut self, model: Resource<Model>) -> wasmtime::Result<Info> {
        self.job.count_call()?;
        Ok(self.model(&model)?.describe())
    }

    async fn tokenize(
        &mut self,
        model: Resource<Model>,
        text: String,
        parse_special: bool,
    ) -> Result<Vec<u32>, Failure> {
        self.job.count_call()?;
        let model = self.model(&model)?;
        let tokenize = engine::Tokenize { text, add_special: false, parse_special };
        Ok(self.job.interrupt.unless_stopped(model.engine().tokenize(tokenize)).await??)
    }

    async fn detokenize(&mut self, model: Resource<Model>, tokens: Vec<u32>) -> Result<Vec<u8>, Failure> {
        self.job.count_call()?;
        let model = self.model(&model)?;
        Ok(self.job.interrupt.unless_stopped(model.engine().detokenize(tokens)).await??)
    }

    async fn render(
        &mut self,
        model: Resource<Model>,
        messages: Vec<Message>,
        tools: Vec<ToolDef>,
        cue: bool,
    ) -> Result<String, Failure> {
        self.job.count_call()?;
        let model = self.model(&model)?;
        let rendering = model.engine().render(to_messages(messages), to_tools(tools), cue);
        Ok(self.job.interrupt.unless_stopped(rendering).await??.text)
    }

    fn drop(&mut self, model: Resource<Model>) -> wasmtime::Result<()> {
        self.table.delete(model)?;
        Ok(())
    }
}

pub(crate) fn to_messages(messages: Vec<Message>) -> Vec<engine::Message> {
    messages.into_iter().map(to_message).collect()
}

pub(crate) fn to_tools(tools: Vec<ToolDef>) -> Vec<engine::ToolDef> {
    let to_tool = |ToolDef { name, description, parameters_schema }| engine::ToolDef {
        name,
        description,
        parameters_schema,
    };
    tools.into_iter().map(to_tool).collect()
}

fn to_message(message: Message) -> engine::Message {
    let to_call = |ToolCall { id, name, arguments_json }| engine::ToolCall { id, name, arguments_json };
    engine::Message {
        role: match message.role {
            Role::System => engine::Role::System,
            Role::User => engine::Role::User,
            Role::Assistant => engine::Role::Assistant,
            Role::Tool => engine::Role::Tool,
        },
        content: message.content,
        tool_calls: message.tool_calls.into_iter().map(to_call).collect(),
        tool_call_id: message.tool_call_id,
    }
}

fn memory(kind: MemoryKind) -> Memory {
    match kind {
        MemoryKind::Attention => Memory::Attention,
        MemoryKind::SlidingWindow => Memory::SlidingWindow,
        MemoryKind::Recurrent => Memory::Recurrent,
        MemoryKind::Hybrid => Memory::Hybrid,
    }
}

/// What the engine can and what this host passes on: no snapshots and no reranking yet.
fn features(features: engine::Features) -> Features {
    [
        (features.fork, Features::FORK),
        (features.truncate, Features::TRUNCATE),
        (features.logprobs, Features::LOGPROBS),
        (features.constraints, Features::CONSTRAINTS),
        (features.forced_tokens, Features::FORCED_TOKENS),
        (features.tools, Features::TOOLS),
        (features.embeddings, Features::EMBEDDINGS),
    ]
    .into_iter()
    .filter_map(|(has, flag)| has.then_some(flag))
    .fold(Features::empty(), |all, flag| all | flag)
}
