//! On this machine alone.

use std::{
    path::{Path, PathBuf},
    time::Instant,
};

use dunlin_costs::{
    Backend, KvType, Memory, Method, Mode, ModelDigest, NodeClass, Origin, Quantisation, RowKey, Thermal,
};
use dunlin_engine_handle::{Load, ModelInfo, Patience, Program, Threads};
use dunlin_profiler::{
    Bench, Campaign, Joules, Lock, Machine, Plan, Profile as Outcome, ProfileError, Progress as Done, State,
    StateError, Subject, Task, Watcher, keep, profile, rows,
};
use serde_json::json;

use super::{
    Profile,
    extra::{Judging, Place, Wanted},
    show::show,
};
use crate::{
    arguments::Global,
    board,
    engine::{self, EngineOptions},
    failure::{Exit, Failure},
    fleet::models::digest_of,
    folders::Folders,
    interrupt::Interrupt,
    runtime::{SHUTDOWN, random_seed, runtime},
    store::{Catalog, Model},
    table_file,
    terminal::{
        self,
        progress::{Bar, Progress},
    },
    version,
};

impl Profile {
    /// # Errors
    /// If the model does not load, or the table cannot be written. Interrupted, what was measured is kept.
    pub(super) fn here(&self, global: Global) -> anyhow::Result<()> {
        let folders = Folders::find()?;
        let model = Catalog::open(&folders).find(&self.model.model)?;
        let output = self.output.clone().unwrap_or_else(|| folders.costs());
        // A table that is none is better said before than after.
        table_file::read(&output)?;
        let wanted = self.extra.read(Place::Here)?;
        let runtime = runtime()?;
        let measured = runtime.block_on(self.measure(&folders, &model, &wanted, global));
        runtime.shutdown_timeout(SHUTDOWN);
        let outcome = measured?;
        if !outcome.rows.is_empty() {
            write(&outcome, &output).map_err(|error| {
                Failure::new(Exit::Failed, format!("{error:#}"))
                    .hint("what was measured is kept: the same command writes them elsewhere by -o")
            })?;
        }
        self.show(&outcome, &output, global)
    }

    async fn measure(
        &self,
        folders: &Folders,
        model: &Model,
        wanted: &Wanted,
        global: Global,
    ) -> anyhow::Result<Outcome> {
        let interrupt = Interrupt::watch()?;
        let progress = Progress::new(global.quiet);
        let digest = match model.sha256.as_deref().map(str::parse::<ModelDigest>) {
            Some(Ok(digest)) => digest,
            _ => ModelDigest::new(digest_of(&model.path)?.0),
        };
        // What the file says of itself, as the engine has it.
        let options = EngineOptions { threads: None, context: self.context };
        let first = engine::start(model, &options)?;
        let waiting = async { anyhow::Ok(engine::ready(&first, model, &progress).await?) };
        let info = interrupt.unless(waiting).await?;
        interrupt.unless(wanted.check(&first)).await?;
        first.drain().await;
        let subject = self.subject(model, digest, &info);
        let joules = Joules::find(Path::new("/"), &self.meters.read(folders)?)?;
        let meter = joules.source().map_or_else(String::new, |source| format!(" by {source}"));
        // What two meters read is not of one kind.
        let identity = format!("{digest} {} context {}{meter}", subject.source, info.context_length);
        let path = folders.state.join("profiles").join(format!("{digest}.json"));
        let state = if self.again { None } else { State::read(&path, &identity)? };
        let state = state.unwrap_or_else(|| State::new(&identity, self.seed.unwrap_or_else(random_seed)));
        let plan = Plan::new(self.depth(), &self.points, info.context_length);
        let mut campaign = Campaign::new(plan, state, self.budget, joules.are_metered());
        let load = Load { model: model.path.clone(), context: self.context.unwrap_or(0), ..Load::default() };
        let program = Program::new(engine::executable()?);
        let start_as = move |times_operators| {
            let load = Load { times_operators, ..load.clone() };
            dunlin_engine_handle::Engine::start(program.clone(), load, Patience::default())
        };
        let start = || start_as(false);
        let until = self.budget.map(|budget| Instant::now() + budget);
        let files = dunlin_gguf::Gguf::open(&model.path).map(|gguf| gguf.into_parts()).unwrap_or_default();
        let bench = Bench {
            start: &start,
            files: files.into_iter().map(|part| part.path).collect(),
            joules: &joules,
            senses: &Machine::default(),
            machine: Machine::default(),
            stop: interrupt.token.clone(),
        };
        let mut watcher =
            Terminal { path: path.clone(), bar: progress.count(&model.name, 1), notes: Vec::new() };
        let done = profile(&bench, &mut campaign, &mut watcher).await;
        let notes = std::mem::take(&mut watcher.notes);
        drop(watcher);
        match done {
            Ok(()) => {}
            Err(ProfileError::Interrupted) => {
                return Err(interrupt
                    .failure()
                    .hint("what was measured is kept: the same command goes on")
                    .into());
            }
            Err(error) => return Err(error.into()),
        }
        let fastest = campaign.threads().1.last().copied().unwrap_or(1);
        let mut state = campaign.into_state();
        if wanted.judges() {
            let engine = start();
            let judging =
                Judging { state: &mut state, path: &path, progress: &progress, interrupt: &interrupt, until };
            let judged = wanted.judge(&engine, judging).await;
            engine.drain().await;
            judged?;
        }
        let timed = interrupt.unless(async { Ok(wanted.operators(&start_as, fastest).await) }).await?;
        let mut outcome = rows(&subject, &state, &joules);
        outcome.notes.splice(0..0, notes);
        match timed {
            Some(Ok(operators)) => outcome.operators = Some(operators),
            Some(Err(reason)) => outcome.notes.push(format!("operators are not timed: {reason}")),
            None => {}
        }
        Ok(outcome)
    }

    fn subject(&self, model: &Model, digest: ModelDigest, info: &ModelInfo) -> Subject {
        let threads: Threads = board::threads();
        let firmware = board::firmware(threads);
        Subject {
            name: model.short_name(),
            origin: Origin::Measured,
            method: Method::Usual,
            source: format!("{firmware}, Dunlin {}", version::SHORT),
            date: jiff::Zoned::now().date().to_string(),
            key: RowKey {
                class: NodeClass::new(&board::class()),
                model: digest,
                mode: Mode::new(&board::mode()),
                thermal: Thermal::Cool,
                prefill_threads: threads.prefill as u16,
                decode_threads: threads.decode as u16,
                backend: Backend::Cpu,
                quantisation: Quantisation::new(&info.quantization),
                kv_type: KvType::new("f16"),
                context: info.context_length,
                firmware,
                runtime: version::SHORT.to_owned(),
            },
            memory: Memory {
                weights_bytes: info.weights_bytes,
                kv_bytes_per_token: info.kv_bytes_per_token,
                ..Memory::default()
            },
        }
    }

    fn show(&self, outcome: &Outcome, output: &Path, global: Global) -> anyhow::Result<()> {
        if self.json {
            let keys: Vec<_> = outcome.rows.iter().map(|row| &row.key).collect();
            return terminal::print_json(&json!({ "profile": outcome, "rows": keys, "table": output }));
        }
        show(outcome, global)?;
        if !global.quiet && !outcome.rows.is_empty() {
            let rows = terminal::counted(outcome.rows.len(), "row");
            terminal::tell(format_args!("{rows} in {}", output.display()));
        }
        Ok(())
    }
}

/// Beside what is there by then. What was measured again replaces what was measured before.
fn write(outcome: &Outcome, output: &Path) -> anyhow::Result<()> {
    let _lock = Lock::of(output)?;
    let mut table = table_file::read(output)?;
    keep(&mut table, &outcome.rows);
    table_file::write(&table, output)
}

/// Shows how far it is, and keeps each run.
struct Terminal {
    path: PathBuf,
    bar: Bar,
    notes: Vec<String>,
}

impl Watcher for Terminal {
    fn begins(&mut self, task: Task, progress: Done) {
        self.bar.set_total(u64::from(progress.total));
        if let Task::Run { cell, .. } = task {
            self.bar.say(&cell.to_string());
        }
        self.bar.set_position(u64::from(progress.done));
    }

    fn keep(&mut self, state: &State) -> Result<(), StateError> {
        state.write(&self.path)
    }

    fn note(&mut self, text: &str) {
        self.notes.push(text.to_owned());
    }
}
