//! `dunlin run`.

mod foreign;
mod limits;
pub(crate) mod report;
pub(crate) mod request;

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context;
use clap_complete::engine::ArgValueCandidates;
use dunlin_engine_handle::{Engine, ModelInfo};
use dunlin_host::{
    Chunk, Grants, Host, Invocation, InvokeError, ModelGrant, Outcome, PipelineSource, Usage, WeightsGrant,
};
use serde_json::json;
use tokio::sync::mpsc;

use self::{
    limits::LimitArguments,
    report::{Ended, Form, Report, Timings},
    request::RequestArguments,
};
use crate::{
    arguments::{Global, ModelArgument},
    completion,
    engine::{self, DeathWatch, EngineOptions},
    explain::{self, Circumstances},
    failure::{Exit, Failure, warn},
    folders::Folders,
    host::{self, Compiled},
    interrupt::Interrupt,
    pipelines,
    runtime::{SHUTDOWN, beside_engine, random_seed},
    store::{Catalog, Model},
    terminal::{self, STDOUT, output::printable, progress::Progress},
    usage,
};

/// Chunks that wait to be written; the pipeline waits when there are more.
const CHUNKS: usize = 64;

/// Last lines of its log that are shown where a pipeline failed.
const LOG_LINES: usize = 20;

const HELP: &str = "\
Examples:
  echo \"EXT4-fs error (device sda1)\" | dunlin run classify --param choices=ok,warning,critical
  dunlin run extract --param schema=@schema.json --input line.txt | jq .
  dunlin run summarize --input report.txt --deadline 2m
  dunlin run ./mine.wasm --model ./model.gguf --threads 4,2 --text \"Hello\"
  dunlin run ./ggml-guest.wasm --nn-model default=./model.gguf --args \"default 'Once upon a time'\"

Output:
  What the pipeline emits comes to stdout at once. Its answer follows, unless it is what was emitted already. A line with the \
  usage follows on stderr: prompt tokens (computed + cached), output tokens, TTFT (time to the first token, from the start of \
  the invocation), TPOT (median time per further token) and its inverse.

  --json gives one document: result, content_type, usage (times in microseconds), timings_ms (compile is null where it was \
  compiled before), pipeline, model, seed, notes, log. Where it failed, `error` stands in place of the result: kind, \
  exit_code, message, hint. --json-lines gives each chunk as it comes, {\"type\": \"text\" | \"json\" | \"progress\", ...}, and \
  the same document last, with \"type\": \"end\".";

/// Run a pipeline once, on some input
#[derive(Debug, clap::Args)]
#[command(after_long_help = format!("{HELP}\n\nExit codes:\n{}", Exit::TABLE))]
pub(crate) struct Run {
    /// A pipeline of `dunlin pipelines`, or the path of a component or of a core module
    #[arg(add = ArgValueCandidates::new(completion::pipelines))]
    #[arg(required_unless_present = "foreign_guests")]
    pipeline: Option<String>,
    #[command(flatten)]
    model: ModelArgument,
    #[command(flatten)]
    request: RequestArguments,
    /// One JSON document on stdout: the result, the usage, and what it was made with
    #[arg(long)]
    json: bool,
    /// JSON lines on stdout, as they come
    #[arg(long, conflicts_with = "json")]
    json_lines: bool,
    /// Write the document of --json to a file, beside what is shown
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Run all known guests of others in a folder, and show which of them work; a test of this host
    #[arg(long, value_name = "FOLDER", conflicts_with_all = ["pipeline", "json_lines", "report"])]
    foreign_guests: Option<PathBuf>,
    #[command(flatten)]
    limits: LimitArguments,
    #[command(flatten)]
    engine: EngineOptions,
    /// Where compiled pipelines are kept [default: $XDG_CACHE_HOME/dunlin/pipelines]
    #[arg(long, value_name = "FOLDER")]
    cache_dir: Option<PathBuf>,
}

impl Run {
    /// # Errors
    /// Whatever stands between the input and an answer.
    pub(crate) fn execute(&self, global: Global) -> anyhow::Result<()> {
        let ran = match &self.foreign_guests {
            Some(folder) => self.run_foreign(folder, global),
            None => self.run(global),
        };
        match ran {
            Ok(None) => Ok(()),
            Ok(Some(failure)) => Err(failure.into()),
            Err(error) => {
                // What fails before it runs is told to programs, too.
                match self.form() {
                    Form::Text => {}
                    Form::Json => terminal::print_json(&json!({ "error": Failure::of(&error).json() }))?,
                    Form::JsonLines => {
                        terminal::print(json!({ "type": "end", "error": Failure::of(&error).json() }))?;
                    }
                }
                Err(error)
            }
        }
    }

    fn form(&self) -> Form {
        match (self.json, self.json_lines) {
            (true, _) => Form::Json,
            (_, true) => Form::JsonLines,
            _ => Form::Text,
        }
    }

    /// The failure is that of a run that was reported; errors come from before it.
    fn run(&self, global: Global) -> anyhow::Result<Option<Failure>> {
        let began = Instant::now();
        let source = pipelines::find(self.pipeline.as_deref().unwrap_or_default())?;
        let folders = Folders::find()?;
        let nn_models = self.limits.nn_models()?;
        let arguments = self.request.arguments()?;
        // A program that is told by its arguments what to do needs no input, and one that reads none reads its end.
        let request = match arguments {
            Some(_) => self.request.read_if_given()?,
            None => self.request.read()?,
        };
        let compiled = self.cache_dir.clone().unwrap_or_else(|| folders.compiled());
        let seed = self.limits.seed.unwrap_or_else(random_seed);
        let runtime = beside_engine()?;
        let ended = runtime.block_on(async {
            let interrupt = Interrupt::watch()?;
            let asked = source.manifest().await.map_err(|error| explain::not_loaded(&error))?;
            let asked = asked.unwrap_or_default();
            let limits = self.limits.limits(&asked.budget)?;
            let granted = self.limits.granted(&asked)?;
            let catalog = Catalog::open(&folders);
            let models = models(&catalog, &self.model.model, &nn_models, &granted.models, &asked.models)?;
            let deadline = limits.wall_time;
            let progress = Progress::new(global.quiet);
            let opening = open(source, &compiled, models, &self.engine, &progress);
            let opened = interrupt.unless(opening).await?;
            if !global.quiet {
                opened.compiled.pipeline.notes().iter().for_each(|note| warn(note));
                asked.http.iter().filter(|destination| !granted.http.contains(destination)).for_each(
                    |missed| {
                        warn(&format!(
                            "it asks to send requests to {missed}, which was not granted (--grant http)"
                        ));
                    },
                );
            }
            let mut report = Report::new(self.form(), progress);
            let (output, chunks) = mpsc::channel(CHUNKS);
            let invocation = Invocation {
                arguments: arguments.unwrap_or_default(),
                limits,
                grants: Grants {
                    environment: granted.environment,
                    http: granted.http.into_iter().collect(),
                    public_prefixes: asked.public_prefixes,
                    weights: granted.weights_bytes.map(|bytes| weights(bytes, &self.engine)).transpose()?,
                    ..opened.grants()
                },
                seed,
                cancel: interrupt.token.clone(),
                ..Invocation::new(request, output)
            };
            let (outcome, written) = tokio::join!(
                opened.host.invoke(&opened.compiled.pipeline, invocation),
                write(chunks, &mut report, &interrupt),
            );
            written?;
            let told = Told { began, seed, deadline, global, report: self.report.as_deref() };
            opened.conclude(&outcome, &mut report, &interrupt, &told)
        });
        runtime.shutdown_timeout(SHUTDOWN);
        ended
    }
}

/// The models that a pipeline gets, by the names that it knows them by; the main one first. Where it asks for models by other
/// names, the one of `--model` has the first of them that is not granted otherwise.
fn models(
    catalog: &Catalog,
    main: &str,
    nn_models: &[(String, String)],
    granted: &[(String, String)],
    asked: &[String],
) -> anyhow::Result<Vec<(String, Model)>> {
    let given: Vec<&String> = nn_models.iter().chain(granted).map(|(name, _)| name).collect();
    let mut missing: Vec<&String> = asked.iter().filter(|name| !given.contains(name)).collect();
    let mut models = Vec::new();
    if nn_models.is_empty() {
        let main = catalog.find(main)?;
        let main_name = main.short_name();
        let own = missing.iter().position(|name| **name == main_name).or((!missing.is_empty()).then_some(0));
        models.push((own.map_or(main_name, |at| missing.remove(at).clone()), main));
    }
    if let Some(name) = missing.first() {
        return Err(Failure::usage(format!("it asks for a model {name:?}, which was not granted"))
            .hint(format!(
                "--grant model={name}=ALIAS, or =FILE; or --grant all if there is an alias {name:?}"
            ))
            .into());
    }
    for (name, model) in nn_models.iter().chain(granted) {
        // What is granted by name alone may be the main one.
        if models.iter().all(|(known, _)| known != name) {
            models.push((name.clone(), catalog.find(model)?));
        }
    }
    Ok(models)
}

/// Models that the guest brings are files in the system's folder for such while they load.
fn weights(bytes: u64, options: &EngineOptions) -> Result<WeightsGrant, Failure> {
    Ok(WeightsGrant { bytes, folder: std::env::temp_dir().into(), start: engine::starter(options)? })
}

/// Passes chunks on until there are no more. If nobody reads them, there need be no more.
async fn write(
    mut chunks: mpsc::Receiver<Chunk>,
    report: &mut Report,
    interrupt: &Interrupt,
) -> anyhow::Result<()> {
    while let Some(chunk) = chunks.recv().await {
        if let Err(error) = report.chunk(chunk) {
            interrupt.token.cancel();
            return Err(error).context(STDOUT);
        }
    }
    Ok(())
}

/// Everything that a run needs.
struct Opened {
    host: Host,
    compiled: Compiled,
    /// The one of `--model` first.
    models: Vec<Loaded>,
    load_time: Duration,
}

struct Loaded {
    /// For the pipeline.
    name: String,
    model: Model,
    engine: Engine,
    info: Arc<ModelInfo>,
    watch: DeathWatch,
}

/// Loads the models and compiles the pipeline side by side.
async fn open(
    source: PipelineSource,
    compiled: &Path,
    models: Vec<(String, Model)>,
    options: &EngineOptions,
    progress: &Progress,
) -> anyhow::Result<Opened> {
    let host = host::open(compiled)?;
    let began = Instant::now();
    let mut starting = Vec::new();
    for (name, model) in models {
        let engine = engine::start(&model, options)?;
        starting.push((name, model, engine));
    }
    let loading = async {
        let mut loaded = Vec::new();
        for (name, model, engine) in starting {
            let info = engine::ready(&engine, &model, progress).await?;
            let watch = DeathWatch::new(&engine);
            loaded.push(Loaded { name, model, engine, info, watch });
        }
        Ok((loaded, began.elapsed()))
    };
    let (compiled, (models, load_time)) = tokio::try_join!(host::load(&host, source, progress), loading)?;
    Ok(Opened { host, compiled, models, load_time })
}

/// What a report tells beside the outcome.
struct Told<'a> {
    began: Instant,
    seed: u64,
    deadline: Duration,
    global: Global,
    report: Option<&'a Path>,
}

impl Opened {
    fn grants(&self) -> Grants {
        let grant = |Loaded { name, model, engine, .. }: &Loaded| {
            ModelGrant::new(name, model.sha256.clone().unwrap_or_default(), engine.clone())
        };
        Grants { models: self.models.iter().map(grant).collect(), ..Grants::default() }
    }

    fn conclude(
        &self,
        outcome: &Outcome,
        report: &mut Report,
        interrupt: &Interrupt,
        told: &Told<'_>,
    ) -> anyhow::Result<Option<Failure>> {
        let main = &self.models[0];
        let pipeline = &self.compiled.pipeline;
        let engine_death = self.models.iter().find_map(|loaded| loaded.watch.death());
        let circumstances = Circumstances {
            pipeline: pipeline.name(),
            deadline: told.deadline,
            context: (main.info.context_length, main.info.trained_context),
            engine_death: engine_death.as_deref(),
        };
        let failure = match &outcome.result {
            // What a pipeline says after it was stopped is shown, but it is not all.
            Ok(_) => interrupt.token.is_cancelled().then(|| interrupt.failure()),
            Err(InvokeError::Cancelled) => Some(interrupt.failure()),
            Err(error) => Some(explain::not_run(error, &circumstances)),
        };
        let ended = Ended {
            outcome,
            failure: failure.as_ref(),
            pipeline,
            model: &main.model,
            info: &main.info,
            seed: told.seed,
            timings: Timings { began: told.began, compile: self.compiled.compile_time, load: self.load_time },
        };
        report.end(&ended).context(STDOUT)?;
        if let Some(path) = told.report {
            fs::write(path, format!("{:#}\n", ended.document()))
                .with_context(|| format!("cannot write the report {}", path.display()))?;
        }
        show_log(outcome, told.global);
        let is_idle = failure.is_some() && outcome.usage == Usage::default();
        if !told.global.quiet && !is_idle && report.form() == Form::Text {
            terminal::tell(usage::line(outcome));
        }
        Ok(failure)
    }
}

/// What the pipeline wrote to its stdout and stderr: where it failed, and for those who want to see more.
fn show_log(outcome: &Outcome, global: Global) {
    let lines: Vec<&str> = outcome.log.text.lines().filter(|line| !line.is_empty()).collect();
    if lines.is_empty() || (outcome.result.is_ok() && global.verbose == 0) {
        return;
    }
    let shown = if global.verbose > 0 { &lines } else { &lines[lines.len().saturating_sub(LOG_LINES)..] };
    for line in shown {
        terminal::tell(format_args!("log: {}", printable(line)));
    }
}
