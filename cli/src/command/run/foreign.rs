//! `dunlin run --foreign-guests`: guests of others, known by their digest or by their name, each called as it wants to be.
//!
//! They are not part of this repository; a folder with some of them is given.

mod known;

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context;
use dunlin_engine_handle::{Engine, Message, Role};
use dunlin_host::{
    AskedBudget, Chunk, Grants, Host, Invocation, InvokeError, ModelGrant, Outcome, PipelineSource, Request,
};
use serde::Serialize;
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;

use self::known::{End, KNOWN, Known, PROMPT};
use super::Run;
use crate::{
    arguments::Global,
    engine,
    failure::{Exit, Failure},
    folders::Folders,
    host,
    interrupt::Interrupt,
    runtime::{SHUTDOWN, beside_engine},
    store::Catalog,
    terminal::{
        self,
        progress::Progress,
        style,
        table::{Align, Cell, Table},
    },
};

/// Files that are looked at, and how deep they may lie.
const MAX_FILES: usize = 500;
const MAX_DEPTH: usize = 5;

/// Text that is kept of what a guest says.
const SHOWN: usize = 60;

impl Run {
    /// The failure is that of guests that did not pass.
    pub(super) fn run_foreign(&self, folder: &Path, global: Global) -> anyhow::Result<Option<Failure>> {
        let files = find(folder)?;
        let folders = Folders::find()?;
        let name =
            self.limits.nn_models()?.into_iter().next().map_or(self.model.model.clone(), |(_, model)| model);
        let model = Catalog::open(&folders).find(&name)?;
        let limits = self.limits.limits(&AskedBudget::default())?;
        let seed = self.limits.seed.unwrap_or(0);
        let compiled = self.cache_dir.clone().unwrap_or_else(|| folders.compiled());
        let runtime = beside_engine()?;
        let ended = runtime.block_on(async {
            let interrupt = Interrupt::watch()?;
            let progress = Progress::new(global.quiet);
            let host = host::open(&compiled)?;
            let engine = engine::start(&model, &self.engine)?;
            interrupt.unless(async { Ok(engine::ready(&engine, &model, &progress).await?) }).await?;
            let prompt = prompt(&engine).await;
            let grant = ModelGrant::new("default", model.sha256.clone().unwrap_or_default(), engine);
            let (output, _) = mpsc::channel(1);
            let template = Invocation {
                limits,
                seed,
                cancel: interrupt.token.clone(),
                ..Invocation::new(Request::default(), output)
            };
            let mut rows = Vec::new();
            for file in &files {
                let running = run(&host, file, &grant, &prompt, &template);
                rows.push(interrupt.unless(running).await?);
            }
            report(&rows, self.json)
        });
        runtime.shutdown_timeout(SHUTDOWN);
        ended
    }
}

/// Guests hand prompts over as they are, so they are given one as the model wants it: after others, some models never end
/// their answer, and a guest that gets `ContextFull` gives up.
async fn prompt(engine: &Engine) -> String {
    let message =
        Message { role: Role::User, content: PROMPT.to_owned(), tool_calls: Vec::new(), tool_call_id: None };
    engine.render(vec![message], Vec::new(), true).await.map_or(PROMPT.to_owned(), |rendered| rendered.text)
}

/// What became of one file.
#[derive(Debug, Serialize)]
struct Row {
    file: PathBuf,
    sha256: String,
    /// `None` for a file that is not known, which is not run.
    guest: Option<&'static str>,
    known_by: Option<KnownBy>,
    passed: bool,
    output_tokens: u32,
    wall_ms: u64,
    /// Why it did not pass, or the end of what it said.
    note: String,
}

/// How a file was recognised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum KnownBy {
    Digest,
    /// Another build of it, by its name.
    Name,
}

fn recognise(file: &Path, digest: &str) -> Option<(&'static Known, KnownBy)> {
    let stem = file.file_stem()?.to_string_lossy();
    let by_digest = KNOWN.iter().find(|known| digest.starts_with(known.sha256));
    let by_name = || KNOWN.iter().find(|known| known.is_called(&stem));
    by_digest.map(|known| (known, KnownBy::Digest)).or_else(|| Some((by_name()?, KnownBy::Name)))
}

/// The guests in a folder, by their paths.
///
/// # Errors
/// If the folder cannot be read, or there is none of them in it.
fn find(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    collect(folder, 0, &mut found).with_context(|| format!("cannot read {}", folder.display()))?;
    if found.is_empty() {
        let failure = Failure::usage(format!("there is no .wasm file in {}", folder.display()));
        return Err(failure.hint("give the folder of the checkout that the guests are in").into());
    }
    found.sort();
    Ok(found)
}

fn collect(folder: &Path, depth: usize, found: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let (path, kind) = (entry.path(), entry.file_type()?);
        if kind.is_dir() && depth < MAX_DEPTH {
            collect(&path, depth + 1, found)?;
        } else if kind.is_file()
            && found.len() < MAX_FILES
            && path.extension().is_some_and(|end| end == "wasm")
        {
            found.push(path);
        }
    }
    Ok(())
}

/// Runs one file, if it is known.
///
/// # Errors
/// If it cannot be read.
async fn run(
    host: &Host,
    file: &Path,
    grant: &ModelGrant,
    prompt: &str,
    template: &Invocation,
) -> anyhow::Result<Row> {
    let bytes = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    let digest: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    let recognised = recognise(file, &digest);
    let mut row = Row {
        file: file.to_owned(),
        sha256: digest,
        guest: recognised.map(|(known, _)| known.name),
        known_by: recognised.map(|(_, by)| by),
        passed: false,
        output_tokens: 0,
        wall_ms: 0,
        note: String::new(),
    };
    let Some((known, _)) = recognised else { return Ok(row) };
    let pipeline = match host.load(PipelineSource::bytes(known.name, bytes)).await {
        Ok(pipeline) => pipeline,
        Err(error) => {
            row.note = error.to_string();
            return Ok(row);
        }
    };
    let (output, mut chunks) = mpsc::channel(64);
    let invocation = invocation(known, grant, prompt, template, output);
    let (outcome, said) = tokio::join!(host.invoke(&pipeline, invocation), async {
        let mut said = String::new();
        while let Some(chunk) = chunks.recv().await {
            if let Chunk::Text(text) = chunk {
                said += &text;
            }
        }
        said
    });
    row.output_tokens = outcome.usage.output_tokens;
    row.wall_ms = outcome.spent.wall_time.as_millis() as u64;
    match verdict(known, &outcome, &said) {
        Ok(()) => (row.passed, row.note) = (true, last_words(&said)),
        Err(why) => row.note = why,
    }
    Ok(row)
}

fn invocation(
    known: &Known,
    grant: &ModelGrant,
    prompt: &str,
    template: &Invocation,
    output: mpsc::Sender<Chunk>,
) -> Invocation {
    let request = Request { body: known.input.into(), ..Request::default() };
    let models = if known.has_model { vec![grant.clone()] } else { Vec::new() };
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    let environment = known.environment.iter().map(owned).collect();
    let mut limits = template.limits.clone();
    if known.end == End::Stopped {
        limits.wall_time = limits.wall_time.min(INTERACTIVE);
    }
    Invocation {
        arguments: known
            .arguments
            .iter()
            .map(|&argument| if argument == PROMPT { prompt } else { argument }.to_owned())
            .collect(),
        grants: Grants { models, environment, ..Grants::default() },
        limits,
        seed: template.seed,
        cancel: template.cancel.child_token(),
        ..Invocation::new(request, output)
    }
}

/// For guests that ask for more for ever.
const INTERACTIVE: Duration = Duration::from_secs(20);

fn verdict(known: &Known, outcome: &Outcome, said: &str) -> Result<(), String> {
    match (&outcome.result, known.end) {
        (Ok(_), _) | (Err(InvokeError::Deadline), End::Stopped) => {}
        (Err(error), _) => {
            let log = outcome.log.text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default();
            return Err(format!("{error}: {log}"));
        }
    }
    match said.contains(known.says) && (outcome.usage.output_tokens > 0 || !known.generates) {
        true => Ok(()),
        false => Err(format!("it said only {:?}", last_words(said))),
    }
}

fn last_words(said: &str) -> String {
    let line = said.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default();
    line.chars().take(SHOWN).collect()
}

/// Shows what became of them.
///
/// # Errors
/// If one of the known ones did not pass, or the reader of the output went away.
fn report(rows: &[Row], json: bool) -> anyhow::Result<Option<Failure>> {
    if json {
        terminal::print_json(&rows)?;
    } else {
        let columns = [
            ("GUEST", Align::Left),
            ("SHA-256", Align::Left),
            ("", Align::Left),
            ("TOKENS", Align::Right),
            ("MS", Align::Right),
            ("LAST WORDS", Align::Left),
        ];
        let mut table = Table::new(columns);
        for row in rows {
            table.row(cells(row));
        }
        terminal::print(table)?;
    }
    let known = rows.iter().filter(|row| row.guest.is_some());
    let failed = known.clone().filter(|row| !row.passed).count();
    let total = known.count();
    let missing = KNOWN.len()
        - KNOWN.iter().filter(|known| rows.iter().any(|row| row.guest == Some(known.name))).count();
    if !json {
        terminal::tell(format_args!(
            "{} of {total} known guests passed; {missing} of {} are not here",
            total - failed,
            KNOWN.len()
        ));
    }
    Ok((failed > 0)
        .then(|| Failure::new(Exit::Failed, format!("{failed} of {total} known guests did not pass"))))
}

fn cells(row: &Row) -> [Cell; 6] {
    let name = row.guest.map_or_else(|| row.file.display().to_string(), str::to_owned);
    let verdict = match (row.guest, row.passed) {
        (None, _) => Cell::from("not known"),
        (Some(_), true) => Cell::from("passed"),
        (Some(_), false) => Cell::styled("failed", style::BAD),
    };
    [
        Cell::styled(name, style::NAME),
        row.sha256[..8].into(),
        verdict,
        row.output_tokens.to_string().into(),
        row.wall_ms.to_string().into(),
        row.note.clone().into(),
    ]
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_list_is_one_of_different_guests() {
        let names: BTreeSet<&str> = KNOWN.iter().map(|known| known.name).collect();
        let digests: BTreeSet<&str> = KNOWN.iter().map(|known| known.sha256).collect();
        assert_eq!((names.len(), digests.len(), KNOWN.len()), (19, 19, 19));
        assert!(
            digests.iter().all(|digest| digest.len() == 8 && digest.chars().all(|c| c.is_ascii_hexdigit()))
        );
    }

    #[test]
    fn guests_are_known_by_digest_and_by_name() {
        let known =
            |file: &str, digest: &str| recognise(Path::new(file), digest).map(|(known, by)| (known.name, by));
        assert_eq!(known("x.wasm", "e808cd04f00d"), Some(("basic", KnownBy::Digest)));
        assert_eq!(known("a/wasmedge-ggml-basic.wasm", "00"), Some(("basic", KnownBy::Name)));
        assert_eq!(known("wasmedge-ggml-llama-embedding.wasm", "00"), Some(("embedding", KnownBy::Name)));
        assert_eq!(known("llama-chat.wasm", "00"), Some(("llama-chat", KnownBy::Name)));
        assert_eq!(known("chat.wasm", "00"), None);
    }

    #[test]
    fn folders_are_searched() {
        let folder = tempfile::tempdir().unwrap();
        assert!(find(folder.path()).is_err());
        fs::create_dir_all(folder.path().join("a/b")).unwrap();
        for name in ["a/b/two.wasm", "one.wasm", "a/readme.md"] {
            fs::write(folder.path().join(name), "").unwrap();
        }
        let names: Vec<_> = find(folder.path()).unwrap();
        assert_eq!(names, [folder.path().join("a/b/two.wasm"), folder.path().join("one.wasm")]);
    }
}
