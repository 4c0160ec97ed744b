//! What is measured beside time and joules, where it is asked for: quality, operators.

use std::{
    fs,
    ops::ControlFlow,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use dunlin_engine_handle::Engine;
use dunlin_profiler::{
    Choice, JudgeError, Judged, MAX_QUALITY_BYTES, Material, Operators, QualityError, State, Tally, operators,
};
use dunlin_protocol::limits::{MAX_JUDGED, MAX_NAME};

use crate::{
    failure::{Exit, Failure},
    interrupt::Interrupt,
    terminal::progress::{Bar, Progress},
};

/// How often what was judged is written down.
const KEPT_EVERY: Duration = Duration::from_secs(2);
/// Digits of the content by which two texts of one name are told apart.
const DIGITS: usize = 8;

#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Extra measures")]
pub(crate) struct Extra {
    /// Also judge how well the model foresees this text
    #[arg(long, value_name = "TEXT")]
    perplexity: Option<PathBuf>,
    /// Also let the model choose among answers: a line of JSON for each question
    #[arg(long, value_name = "JSONL")]
    accuracy: Option<PathBuf>,
    /// Also tell which operators take the time of a step
    #[arg(long)]
    pub(super) operators: bool,
}

/// Where the model is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Here,
    Node,
}

/// What was read of it.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) text: Option<File>,
    pub(super) questions: Option<File>,
    material: Material,
    operators: bool,
}

/// A file that is text.
#[derive(Debug)]
pub(super) struct File {
    /// What figures say that they are of.
    pub(super) name: String,
    pub(super) text: String,
    pub(super) digest: blake3::Hash,
}

/// Where judging goes on, and how it ends.
pub(super) struct Judging<'a> {
    pub(super) state: &'a mut State,
    /// Where the state is kept.
    pub(super) path: &'a Path,
    pub(super) progress: &'a Progress,
    pub(super) interrupt: &'a Interrupt,
    pub(super) until: Option<Instant>,
}

impl Extra {
    /// # Errors
    /// If a file cannot be read, or is not what it should be.
    pub(super) fn read(&self, place: Place) -> anyhow::Result<Wanted> {
        let read = |path: &PathBuf| File::read(path, place);
        let text = self.perplexity.as_ref().map(read).transpose()?;
        let questions = self.accuracy.as_ref().map(read).transpose()?;
        let choices = questions.as_ref().zip(self.accuracy.as_ref()).map(|(file, path)| {
            let choices = Choice::parse(&file.text).map_err(|error| {
                Failure::usage(format!("{}: {error}", path.display()))
                    .hint("a line is {\"question\": \"2 + 2 =\", \"choices\": [\"3\", \"4\"], \"answer\": 1}")
            })?;
            anyhow::Ok((file.name.clone(), choices))
        });
        let text_of = text.as_ref().map(|file| (file.name.clone(), file.text.clone()));
        let material = Material { text: text_of, questions: choices.transpose()? };
        Ok(Wanted { text, questions, material, operators: self.operators })
    }
}

impl Wanted {
    /// Whether the text is long enough for this model: said before anything is measured.
    ///
    /// # Errors
    /// If it is not.
    pub(super) async fn check(&self, engine: &Engine) -> anyhow::Result<()> {
        Ok(self.material.check(engine).await.map_err(|error| not_judged(&error))?)
    }

    pub(super) const fn judges(&self) -> bool {
        !self.material.is_empty()
    }

    /// # Errors
    /// Of the engine, or if what was judged cannot be kept. Interrupted, it is kept.
    pub(super) async fn judge(&self, engine: &Engine, judging: Judging<'_>) -> anyhow::Result<()> {
        let Judging { state, path, progress, interrupt, until } = judging;
        let mut judged = state.judged.clone();
        let (mut bar, mut kept) = (None::<(String, Bar)>, Instant::now());
        let mut hear = |what: &str, tally: &Tally, judged: &Judged| {
            if bar.as_ref().is_none_or(|(of, _)| of != what) {
                bar = Some((what.to_owned(), progress.count(what, tally.total)));
            }
            bar.iter().for_each(|(_, bar)| bar.set_position(tally.done as u64));
            if kept.elapsed() >= KEPT_EVERY {
                state.judged.clone_from(judged);
                // What cannot be kept is told at the end.
                drop(state.write(path));
                kept = Instant::now();
            }
            let is_over = until.is_some_and(|until| Instant::now() >= until);
            if is_over || interrupt.token.is_cancelled() {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        };
        let done = self.material.judge(engine, &mut judged, &mut hear).await;
        state.judged = judged;
        state.write(path)?;
        done.map_err(|error| not_judged(&error))?;
        if !interrupt.token.is_cancelled() {
            return Ok(());
        }
        Err(interrupt.failure().hint("what was judged is kept: the same command goes on").into())
    }

    /// `None` if nobody asked; a reason where they cannot be timed.
    pub(super) async fn operators(
        &self,
        start: &(dyn Fn(bool) -> Engine + Send + Sync),
        threads: u16,
    ) -> Option<Result<Operators, String>> {
        if !self.operators {
            return None;
        }
        Some(operators(start, threads).await.map_err(|error| error.to_string()))
    }
}

fn not_judged(error: &JudgeError) -> Failure {
    match error.error {
        QualityError::Engine(_) => Failure::new(Exit::Failed, error.to_string()),
        _ => Failure::usage(error.to_string()),
    }
}

impl File {
    /// A text, with a name that says which it is.
    fn read(path: &Path, place: Place) -> anyhow::Result<Self> {
        let refused = |reason: String| Failure::usage(format!("{}: {reason}", path.display()));
        let bytes = fs::metadata(path).map_err(|error| refused(error.to_string()))?.len();
        let most = if place == Place::Node { MAX_JUDGED } else { MAX_QUALITY_BYTES };
        if bytes > most as u64 {
            return Err(too_long(path, bytes, place).into());
        }
        let text = fs::read_to_string(path).map_err(|error| refused(error.to_string()))?;
        if text.trim().is_empty() {
            return Err(refused("it is empty".to_owned()).into());
        }
        let digest = blake3::hash(text.as_bytes());
        let mut name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        name.truncate(name.floor_char_boundary(MAX_NAME - DIGITS - 1));
        Ok(Self { name: format!("{name} {}", &digest.to_hex()[..DIGITS]), text, digest })
    }
}

fn too_long(path: &Path, bytes: u64, place: Place) -> Failure {
    let of = format!("{}: it has {bytes} bytes", path.display());
    match place {
        Place::Here => Failure::usage(format!("{of}, at most {MAX_QUALITY_BYTES} are possible")),
        Place::Node => Failure::usage(format!("{of}, {MAX_JUDGED} travel to a node"))
            .hint("take a part of it, or measure on the board itself, without NODE: there more is possible"),
    }
}
