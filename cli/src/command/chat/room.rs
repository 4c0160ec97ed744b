//! Where a conversation takes place: the model, the pipeline, the settings, and what was said.

use std::{path::Path, sync::Arc, time::Duration};

use anyhow::Context;
use dunlin_engine_handle::{Engine, ModelInfo};
use dunlin_gguf::Grouped;
use dunlin_host::{
    Grants, Host, Invocation, InvokeError, ModelGrant, Outcome, Pipeline, PipelineError, Request, Usage,
};
use serde_json::Value;
use tokio::{runtime::Runtime, sync::mpsc};
use tokio_util::sync::CancellationToken;

use super::{
    Chat, answer,
    conversation::{Conversation, Turn},
    slash::{COMMANDS, KEYS, Slash},
};
use crate::{
    arguments::Global,
    engine::{self, DeathWatch, EngineOptions},
    explain::{self, Circumstances},
    failure::{Exit, Failure},
    folders::Folders,
    host, pipelines,
    runtime::{random_seed, runtime},
    store::{Catalog, Model},
    terminal::{self, STDOUT, counted, keys::UnseenControlKeys, progress::Progress, style},
    usage,
};

/// An answer may take this long.
const PATIENCE: Duration = Duration::from_hours(1);

/// Chunks that wait to be shown.
const CHUNKS: usize = 64;

/// Of the context, what is left when the oldest turns are forgotten; so that it does not happen at every turn.
const REMEMBERED: f64 = 0.6;

/// What Ctrl-C does while there is an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CtrlC {
    StopsTheAnswer,
    EndsTheCommand,
}

/// What to do after a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    Listen,
    Leave,
}

pub(super) struct Room {
    runtime: Runtime,
    host: Host,
    pipeline: Pipeline,
    catalog: Catalog,
    options: EngineOptions,
    progress: Progress,
    quiet: bool,
    ctrl_c: CtrlC,
    partner: Partner,
    conversation: Conversation,
    settings: Settings,
    /// The question of the last answer, or of the one that failed.
    last_question: Option<String>,
    last: Option<Outcome>,
    total: Usage,
}

/// The model that answers.
struct Partner {
    model: Model,
    engine: Engine,
    info: Arc<ModelInfo>,
}

/// What came of an answer, whole or not.
struct Said {
    text: String,
    engine_death: Option<String>,
}

#[derive(Debug, Clone, Copy)]
struct Settings {
    temperature: Option<f32>,
    seed: Option<u64>,
    max_tokens: u32,
}

impl Room {
    /// Loads the model and the pipeline.
    ///
    /// # Errors
    /// Of either.
    pub(super) fn open(
        chat: &Chat,
        catalog: Catalog,
        folders: &Folders,
        global: Global,
        ctrl_c: CtrlC,
    ) -> anyhow::Result<Self> {
        let model = catalog.find(&chat.model.model)?;
        let runtime = runtime()?;
        let progress = Progress::new(global.quiet);
        let compiled = chat.cache_dir.clone().unwrap_or_else(|| folders.compiled());
        let host = host::open(&compiled)?;
        let (partner, compiled) = runtime.block_on(async {
            let loading = async { load(model, &chat.engine, &progress).await };
            let source = pipelines::find("chat")?;
            let compiling = async { Ok(host::load(&host, source, &progress).await?) };
            tokio::try_join!(loading, compiling)
        })?;
        Ok(Self {
            runtime,
            host,
            pipeline: compiled.pipeline,
            catalog,
            options: chat.engine,
            progress,
            quiet: global.quiet,
            ctrl_c,
            partner,
            conversation: Conversation { system: chat.system.clone(), turns: Vec::new() },
            settings: Settings {
                temperature: chat.temperature,
                seed: chat.seed,
                max_tokens: chat.max_tokens,
            },
            last_question: None,
            last: None,
            total: Usage::default(),
        })
    }

    pub(super) fn model_names(&self) -> Vec<String> {
        self.catalog.names()
    }

    pub(super) fn greet(&self) {
        if !self.quiet {
            self.note(&format!("{} · /help says what can be done, Ctrl-D leaves", self.partner.describe()));
        }
    }

    /// A line of the person, and what follows from it.
    ///
    /// # Errors
    /// What keeps it from being done.
    pub(super) fn hear(&mut self, line: &str) -> anyhow::Result<Next> {
        match Slash::parse(line) {
            _ if line.is_empty() => {}
            None => self.ask(line.to_owned())?,
            Some(Err(reason)) => return Err(Failure::usage(reason).into()),
            Some(Ok(Slash::Leave)) => return Ok(Next::Leave),
            Some(Ok(slash)) => self.obey(slash)?,
        }
        Ok(Next::Listen)
    }

    fn obey(&mut self, slash: Slash) -> anyhow::Result<()> {
        match slash {
            Slash::Help => self.help(),
            Slash::Model(None) => self.note(&format!(
                "{}; there are {}",
                self.partner.describe(),
                self.catalog.names().join(", ")
            )),
            Slash::Model(Some(name)) => self.change_model(&name)?,
            Slash::System(system) => {
                self.conversation.system = system;
                self.note("from the next answer on");
            }
            Slash::Retry => self.retry()?,
            Slash::Clear => {
                self.conversation.turns.clear();
                self.note("forgotten");
            }
            Slash::Usage => self.usage(),
            Slash::Save(path) => self.save(&path)?,
            Slash::Seed(seed) => self.settings.seed = seed,
            Slash::Temperature(temperature) => self.settings.temperature = Some(temperature),
            Slash::Leave => {}
        }
        Ok(())
    }

    /// Something about the conversation that is not part of it.
    fn note(&self, text: &str) {
        let faint = style::FAINT;
        terminal::tell(format_args!("{faint}{text}{faint:#}"));
    }

    fn help(&self) {
        let name = style::NAME;
        for (command, takes, does) in COMMANDS {
            let blank = " ".repeat(20_usize.saturating_sub(command.len() + takes.len()));
            terminal::tell(format_args!("  {name}{command}{name:#} {takes}{blank}{does}"));
        }
        terminal::tell(KEYS);
    }

    fn change_model(&mut self, name: &str) -> anyhow::Result<()> {
        let model = self.catalog.find(name)?;
        let (options, progress) = (self.options, self.progress.clone());
        let loading = async {
            tokio::select! {
                loaded = load(model, &options, &progress) => loaded,
                _ = tokio::signal::ctrl_c(), if self.ctrl_c == CtrlC::StopsTheAnswer => {
                    Err(Failure::new(Exit::Interrupted, "interrupted: the model stays").into())
                }
            }
        };
        self.partner = self.runtime.block_on(loading)?;
        self.note(&self.partner.describe());
        Ok(())
    }

    fn retry(&mut self) -> anyhow::Result<()> {
        let Some(question) = self.last_question.clone() else {
            return Err(Failure::usage("there is no question to answer again").into());
        };
        if self.conversation.turns.last().is_some_and(|turn| turn.question == question) {
            self.conversation.turns.pop();
        }
        self.ask(question)
    }

    fn save(&self, path: &Path) -> anyhow::Result<()> {
        let is_json = path.extension().is_some_and(|extension| extension == "json");
        let text = if is_json {
            serde_json::to_string_pretty(&self.conversation.messages())? + "\n"
        } else {
            self.conversation.markdown()
        };
        std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
        let hint = if is_json { "; `dunlin run chat --input` goes on from there" } else { "" };
        self.note(&format!(
            "{} in {}{hint}",
            counted(self.conversation.turns.len(), "answer"),
            path.display()
        ));
        Ok(())
    }

    fn usage(&self) {
        let Some(last) = &self.last else { return self.note("nothing was asked yet") };
        terminal::tell(usage::line(last));
        let Usage { prompt_tokens, cached_tokens, output_tokens, generations, .. } = self.total;
        self.note(&format!(
            "{} in all: {prompt_tokens} + {cached_tokens} cached prompt tokens, {output_tokens} output tokens",
            counted(generations as usize, "answer")
        ));
        self.note(&format!(
            "context: {} of {} tokens",
            Grouped(held(&last.usage)),
            Grouped(self.partner.info.context_length.into())
        ));
    }

    /// Asks the model, and remembers what it said. Forgets what is oldest as long as it is too much.
    fn ask(&mut self, question: String) -> anyhow::Result<()> {
        self.last_question = Some(question.clone());
        self.make_room(&question);
        loop {
            let (outcome, said) = self.invoke(&question)?;
            if let Err(InvokeError::Pipeline(PipelineError::PromptTooLong { tokens, possible })) =
                outcome.result
            {
                let share = REMEMBERED * f64::from(possible) / f64::from(tokens.max(1));
                if self.forget(share, &question) {
                    continue;
                }
                let message =
                    format!("this message alone has {tokens} tokens, and the context takes {possible}");
                return Err(Failure::new(Exit::Failed, message)
                    .hint("shorten it, or start with --context N")
                    .into());
            }
            return self.conclude(question, outcome, said);
        }
    }

    /// Before a question whose answer would find no room.
    fn make_room(&mut self, question: &str) {
        let Some(last) = &self.last else { return };
        let context = u64::from(self.partner.info.context_length);
        let held = held(&last.usage);
        let wanted = u64::from(self.settings.max_tokens).min(context / 4);
        if held + wanted > context && !self.conversation.turns.is_empty() {
            let share = REMEMBERED * (context as f64) / held as f64;
            self.forget(share.min(1.0), question);
        }
    }

    /// False if there was nothing left to forget.
    fn forget(&mut self, share: f64, question: &str) -> bool {
        let forgotten = self.conversation.forget_to(share, question);
        if forgotten > 0 {
            let what = counted(forgotten, "answer");
            self.note(&format!("(the context is full: the oldest {what} and their questions are forgotten)"));
        }
        forgotten > 0
    }

    /// After a death it is loaded again.
    fn wait_for_engine(&self) -> anyhow::Result<()> {
        let Partner { model, engine, .. } = &self.partner;
        let back = async {
            engine::restarted(engine).await;
            engine::ready(engine, model, &self.progress).await
        };
        let loading = async {
            tokio::select! {
                loaded = back => loaded.map(drop),
                _ = tokio::signal::ctrl_c(), if self.ctrl_c == CtrlC::StopsTheAnswer => {
                    Err(Failure::new(Exit::Interrupted, "interrupted"))
                }
            }
        };
        Ok(self.runtime.block_on(loading)?)
    }

    fn invoke(&mut self, question: &str) -> anyhow::Result<(Outcome, Said)> {
        self.wait_for_engine()?;
        let (output, mut chunks) = mpsc::channel(CHUNKS);
        let invocation = Invocation { cancel: CancellationToken::new(), ..self.invocation(question, output) };
        let cancel = invocation.cancel.clone();
        let (stop, ctrl_c) = (cancel.clone(), self.ctrl_c);
        let waiting = self.progress.wait("thinking");
        let _unseen = UnseenControlKeys::new();
        self.runtime.block_on(async {
            let watch = DeathWatch::new(&self.partner.engine);
            let watching = tokio::spawn(async move {
                if ctrl_c == CtrlC::StopsTheAnswer && tokio::signal::ctrl_c().await.is_ok() {
                    stop.cancel();
                }
            });
            let showing = async {
                let shown = answer::show(&mut chunks, waiting).await;
                if shown.is_err() {
                    cancel.cancel();
                    chunks.close();
                }
                shown
            };
            let (outcome, said) = tokio::join!(self.host.invoke(&self.pipeline, invocation), showing);
            watching.abort();
            Ok((outcome, Said { text: said.context(STDOUT)?, engine_death: watch.death() }))
        })
    }

    fn invocation(&self, question: &str, output: mpsc::Sender<dunlin_host::Chunk>) -> Invocation {
        let param = |name: &str, value: String| (name.to_owned(), value);
        let mut params =
            vec![param("json", "true".into()), param("max_tokens", self.settings.max_tokens.to_string())];
        params.extend(
            self.settings.temperature.map(|temperature| param("temperature", temperature.to_string())),
        );
        let request = Request {
            content_type: "application/json".into(),
            body: self.conversation.asking(question).to_string().into_bytes(),
            params,
        };
        let mut invocation = Invocation::new(request, output);
        let Partner { model, engine, .. } = &self.partner;
        let grant =
            ModelGrant::new(model.short_name(), model.sha256.clone().unwrap_or_default(), engine.clone());
        invocation.grants = Grants::default().model(grant);
        invocation.limits.wall_time = PATIENCE;
        invocation.seed = self.settings.seed.unwrap_or_else(random_seed);
        invocation
    }

    fn conclude(&mut self, question: String, outcome: Outcome, said: Said) -> anyhow::Result<()> {
        add(&mut self.total, &outcome.usage);
        let is_blank = said.text.trim().is_empty();
        if !is_blank {
            self.conversation.turns.push(Turn { question, answer: said.text });
        }
        let result = match &outcome.result {
            Ok(response) => {
                if is_blank {
                    self.note("(the answer is empty)");
                }
                if was_cut(&response.body) {
                    let tokens = counted(outcome.usage.output_tokens as usize, "token");
                    self.note(&format!("(cut after {tokens}; --max-tokens allows more)"));
                }
                Ok(())
            }
            Err(InvokeError::Cancelled) => {
                self.note("(stopped)");
                Ok(())
            }
            Err(error) => Err(self.explain(error, said.engine_death.as_deref()).into()),
        };
        self.last = Some(outcome);
        result
    }

    fn explain(&self, error: &InvokeError, engine_death: Option<&str>) -> Failure {
        let info = &self.partner.info;
        let circumstances = Circumstances {
            pipeline: self.pipeline.name(),
            deadline: PATIENCE,
            context: (info.context_length, info.trained_context),
            engine_death,
        };
        explain::not_run(error, &circumstances)
    }
}

impl Partner {
    fn describe(&self) -> String {
        let Self { model, info, .. } = self;
        format!(
            "{} ({} parameters, {}, context of {} tokens)",
            model.name,
            Grouped(info.parameters),
            info.quantization,
            Grouped(info.context_length.into())
        )
    }
}

async fn load(model: Model, options: &EngineOptions, progress: &Progress) -> anyhow::Result<Partner> {
    let engine = engine::start(&model, options)?;
    let info = engine::ready(&engine, &model, progress).await?;
    Ok(Partner { model, engine, info })
}

/// Tokens in the context after an answer.
fn held(usage: &Usage) -> u64 {
    u64::from(usage.prompt_tokens) + u64::from(usage.cached_tokens) + u64::from(usage.output_tokens)
}

fn add(total: &mut Usage, usage: &Usage) {
    total.generations += usage.generations;
    total.prompt_tokens += usage.prompt_tokens;
    total.cached_tokens += usage.cached_tokens;
    total.output_tokens += usage.output_tokens;
}

fn was_cut(body: &[u8]) -> bool {
    serde_json::from_slice::<Value>(body).is_ok_and(|message| message["finish_reason"] == "length")
}
