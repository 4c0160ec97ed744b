//! What is measured beside time and joules, where it is asked for: quality, operators.

use std::{
    fs,
    ops::ControlFlow,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use dunlin_engine_handle::Engine;
use dunlin_profiler::{
    Choice, MAX_QUALITY_BYTES, Operators, QualityError, State, Tally, accuracy, operators, perplexity,
    windows,
};

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
    #[arg(long, value_name = "TEXT", conflicts_with = "nodes")]
    perplexity: Option<PathBuf>,
    /// Also let the model choose among answers: a line of JSON for each question
    #[arg(long, value_name = "JSONL", conflicts_with = "nodes")]
    accuracy: Option<PathBuf>,
    /// Also tell which operators take the time of a step
    #[arg(long, conflicts_with = "nodes")]
    operators: bool,
}

/// What was read of it.
#[derive(Debug)]
pub(super) struct Wanted {
    text: Option<(String, String)>,
    questions: Option<(String, Vec<Choice>)>,
    operators: bool,
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
    pub(super) fn read(&self) -> anyhow::Result<Wanted> {
        let text = self.perplexity.as_deref().map(read).transpose()?;
        let questions = self.accuracy.as_deref().map(|path| {
            let (name, text) = read(path)?;
            let choices = Choice::parse(&text).map_err(|error| {
                Failure::usage(format!("{}: {error}", path.display()))
                    .hint("a line is {\"question\": \"2 + 2 =\", \"choices\": [\"3\", \"4\"], \"answer\": 1}")
            })?;
            anyhow::Ok((name, choices))
        });
        Ok(Wanted { text, questions: questions.transpose()?, operators: self.operators })
    }
}

impl Wanted {
    /// Whether the text is long enough for this model: said before anything is measured.
    ///
    /// # Errors
    /// If it is not.
    pub(super) async fn check(&self, engine: &Engine) -> anyhow::Result<()> {
        if let Some((name, text)) = &self.text {
            windows(engine, text).await.map_err(|error| not_judged(name, error))?;
        }
        Ok(())
    }

    pub(super) const fn judges(&self) -> bool {
        self.text.is_some() || self.questions.is_some()
    }

    /// # Errors
    /// Of the engine, or if what was judged cannot be kept. Interrupted, it is kept.
    pub(super) async fn judge(&self, engine: &Engine, mut judging: Judging<'_>) -> anyhow::Result<()> {
        if let Some((name, text)) = &self.text {
            let bar = judging.progress.count(&format!("perplexity of {name}"), 1);
            let known = judging.state.judged.text.take();
            let tally = {
                let mut keep = judging.keeping(bar, |judging, tally| judging.state.judged.text = Some(tally));
                perplexity(engine, name, text, known, &mut keep).await
            };
            judging.state.judged.text = Some(tally.map_err(|error| not_judged(name, error))?);
            judging.ends()?;
        }
        if let Some((name, choices)) = &self.questions {
            let bar = judging.progress.count(&format!("questions of {name}"), 1);
            let known = judging.state.judged.questions.take();
            let tally = {
                let mut keep =
                    judging.keeping(bar, |judging, tally| judging.state.judged.questions = Some(tally));
                accuracy(engine, name, choices, known, &mut keep).await
            };
            judging.state.judged.questions = Some(tally.map_err(|error| not_judged(name, error))?);
            judging.ends()?;
        }
        Ok(())
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

impl Judging<'_> {
    /// Shows how far it is, keeps what was judged from time to time, and ends it in time.
    fn keeping<'b>(
        &'b mut self,
        bar: Bar,
        put: impl Fn(&mut Self, Tally) + Send + 'b,
    ) -> impl FnMut(&Tally) -> ControlFlow<()> + Send + 'b {
        let mut kept = Instant::now();
        move |tally| {
            bar.set_total(tally.total as u64);
            bar.set_position(tally.done as u64);
            if kept.elapsed() >= KEPT_EVERY {
                put(self, tally.clone());
                // What cannot be kept is told at the end.
                drop(self.state.write(self.path));
                kept = Instant::now();
            }
            let is_over = self.until.is_some_and(|until| Instant::now() >= until);
            if is_over || self.interrupt.token.is_cancelled() {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        }
    }

    fn ends(&self) -> anyhow::Result<()> {
        self.state.write(self.path)?;
        if !self.interrupt.token.is_cancelled() {
            return Ok(());
        }
        Err(self.interrupt.failure().hint("what was judged is kept: the same command goes on").into())
    }
}

fn not_judged(name: &str, error: QualityError) -> Failure {
    match error {
        QualityError::Engine(error) => Failure::new(Exit::Failed, format!("{name}: {error}")),
        error => Failure::usage(format!("{name}: {error}")),
    }
}

/// A text, with a name that says which it is.
fn read(path: &Path) -> anyhow::Result<(String, String)> {
    let refused = |reason: String| Failure::usage(format!("{}: {reason}", path.display()));
    let bytes = fs::metadata(path).map_err(|error| refused(error.to_string()))?.len();
    if bytes > MAX_QUALITY_BYTES as u64 {
        return Err(refused(format!("it has {bytes} bytes, at most {MAX_QUALITY_BYTES} are possible")).into());
    }
    let text = fs::read_to_string(path).map_err(|error| refused(error.to_string()))?;
    let digest = blake3::hash(text.as_bytes()).to_hex();
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    Ok((format!("{name} {}", &digest[..DIGITS]), text))
}
