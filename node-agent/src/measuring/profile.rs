//! A whole profile, as a scheduler orders it: nothing else runs here meanwhile.

use std::{path::Path, sync::Arc, time::Duration};

use dunlin_costs::Method;
use dunlin_engine_handle::{Load, ModelInfo};
use dunlin_gguf::Gguf;
use dunlin_profiler::{Depth, Joules, Points, Profile as Outcome, State, rows};
use dunlin_protocol::{
    Failure, FailureCode, HowToProfile, ProfileDepth, ProfileModel, ProfilePoints, Profiling,
    limits::{MAX_DOCUMENT, MAX_TEXT},
};
use dunlin_worker_handle::{Extras, Finding, Measure, Open, Profile};
use tokio_util::sync::CancellationToken;

use super::{metered, moments};
use crate::{LocalModel, node::Node, residents::id};

/// What runs may take so long to end; the scheduler hands over what does not.
const QUIET: Duration = Duration::from_mins(2);

/// How far a profile is, for whoever ordered it.
pub(crate) type Tell<'a> = &'a (dyn Fn(Profiling) + Send + Sync);

impl Node {
    /// Measures a model, keeps the rows, and gives them. `gone`: nobody hears of it any more, and other work may come.
    ///
    /// # Errors
    /// If something else is on, or the engine fails; what was measured before is kept.
    pub(crate) async fn profile(
        self: &Arc<Self>,
        order: ProfileModel,
        tell: Tell<'_>,
        gone: CancellationToken,
    ) -> Result<Outcome, Failure> {
        let Ok(_alone) = self.switching.try_lock() else {
            let text = format!("{} changes its mode, or is measured already", self.name);
            return Err(Failure::new(FailureCode::Conflict, text).retry_after_ms(5000));
        };
        let model = self.model(&order.model).ok_or_else(|| {
            Failure::new(
                FailureCode::NotFound,
                format!("{} is not on the disk of {}", order.model, self.name),
            )
        })?;
        let stop = gone.child_token();
        self.bench.may_stop(Some(stop.clone()));
        let done = self.profile_when_quiet(&model, &order.how, tell, &stop).await;
        self.bench.may_stop(None);
        self.tell();
        done
    }

    async fn profile_when_quiet(
        self: &Arc<Self>,
        model: &LocalModel,
        how: &HowToProfile,
        tell: Tell<'_>,
        stop: &CancellationToken,
    ) -> Result<Outcome, Failure> {
        let ready = async {
            let extras = self.material(how).await?;
            self.until_quiet(QUIET).await.map(|()| extras)
        };
        let extras = tokio::select! {
            ready = ready => ready?,
            () = stop.cancelled() => return Err(not_begun()),
        };
        let _engaged = self.bench.engage().await;
        self.residents.clear(model)?;
        let joules = self.metering.joules();
        let path = self.options.folder.join("profiles").join(format!("{}.json", model.digest));
        let identity = self.identity(model, &joules);
        let known = if how.again { None } else { State::read(&path, &identity).unwrap_or_default() };
        let mut state = known.unwrap_or_else(|| State::new(&identity, unix_seed()));
        tracing::info!(model = model.name, "a profile begins");
        let order = Profile { extras, ..self.order(model, how, state.clone(), joules.are_metered()) };
        let mut measuring = self.worker.measure(Measure::Profile(Box::new(order)));
        let (mut info, mut is_stopped) = (None::<Box<ModelInfo>>, false);
        let (mut judges, mut timed, mut unfit) = (false, None, None);
        let ended = loop {
            let finding = tokio::select! {
                finding = measuring.next() => finding,
                () = stop.cancelled(), if !is_stopped => {
                    is_stopped = true;
                    measuring.cancel();
                    continue;
                }
            };
            match finding {
                Some(Finding::Model(model)) => info = Some(model),
                Some(Finding::Task { running, done, total }) => {
                    tell(Profiling::Runs { running, done, total });
                }
                Some(Finding::Sample { sample, window }) => {
                    state.samples.push(metered(*sample, window.map(moments), &joules).await);
                    keep_state(&state, &path);
                }
                Some(Finding::Judged(judged)) => {
                    if !std::mem::replace(&mut judges, true) {
                        tracing::info!(model = model.name, "its answers are judged");
                    }
                    state.judged = *judged;
                    keep_state(&state, &path);
                }
                Some(Finding::Operators(found)) => timed = Some(*found),
                Some(Finding::Unfit(reason)) => unfit = Some(reason),
                Some(Finding::Note(note)) => tell(Profiling::Note(cut(note, MAX_TEXT))),
                Some(Finding::Ended(ended)) => break ended,
                None => break Err("the worker is gone".to_owned()),
            }
        };
        let broken = |code, reason: String| Err(Failure::new(code, format!("{}: {reason}", self.name)));
        let ended = match (unfit, ended) {
            (Some(reason), _) => broken(FailureCode::Invalid, reason),
            (None, Err(reason)) => broken(FailureCode::Engine, reason),
            (None, Ok(())) => Ok(()),
        };
        let Some(info) = info else { return Err(ended.err().unwrap_or_else(not_begun)) };
        let subject = self.subject(model, &info, self.options.threads, Method::Usual);
        let mut outcome = rows(&subject, &state, &joules);
        self.keep_rows(&outcome.rows).map_err(|error| Failure::new(FailureCode::Internal, error))?;
        // Rows of what was measured before it failed are rows all the same.
        ended.map_err(|Failure { code, text, .. }| {
            Failure::new(code, format!("{text}; what was measured is kept"))
        })?;
        match timed {
            Some(Ok(operators)) => outcome.operators = Some(operators),
            Some(Err(reason)) => outcome.notes.push(format!("operators are not timed: {reason}")),
            None => {}
        }
        tracing::info!(model = model.name, rows = outcome.rows.len(), "profiled");
        tell(Profiling::Measured { json: document(outcome.clone()), stopped: is_stopped });
        Ok(outcome)
    }

    /// What two meters read is not of one kind, nor are two modes.
    fn identity(&self, model: &LocalModel, joules: &Joules) -> String {
        let options = &self.options;
        let meter = joules.source().map_or_else(String::new, |source| format!(" by {source}"));
        format!("{} {} {} {}{meter}", model.digest, options.firmware, options.build, self.mode())
    }

    fn order(&self, model: &LocalModel, how: &HowToProfile, state: State, metered: bool) -> Profile {
        let files = match &self.options.emulation {
            Some(_) => Vec::new(),
            None => Gguf::open(&model.path).map(Gguf::into_parts).unwrap_or_default(),
        };
        let own = self.options.threads;
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get) as u16;
        // What an emulated board does is published for some thread counts only.
        let auto = match self.options.emulation {
            Some(_) => Points::Only(vec![own.prefill as u16, own.decode as u16]),
            None => Points::Auto { cores },
        };
        Profile {
            model: id(&model.digest),
            open: Open {
                load: Load { model: model.path.clone(), ..Load::default() },
                engine: self.engine(model),
            },
            files: files.into_iter().map(|part| part.path).collect(),
            depth: match how.depth {
                ProfileDepth::Quick => Depth::Quick,
                ProfileDepth::Standard => Depth::Standard,
                ProfileDepth::Full => Depth::Full,
            },
            points: match &how.points {
                ProfilePoints::Auto => auto,
                ProfilePoints::All => Points::All { cores },
                ProfilePoints::Only(threads) => Points::Only(threads.clone()),
            },
            state,
            budget_ms: how.budget_ms,
            metered,
            extras: Extras::default(),
        }
    }
}

fn not_begun() -> Failure {
    Failure::new(FailureCode::Cancelled, "stopped before it began")
}

fn keep_state(state: &State, path: &Path) {
    if let Err(error) = state.write(path) {
        tracing::warn!(%error, "what was measured is not kept for the next time");
    }
}

/// For people elsewhere; without its last cells, where a message has no room for all.
fn document(mut outcome: Outcome) -> String {
    loop {
        let json = serde_json::to_string(&outcome).unwrap_or_default();
        if json.len() <= MAX_DOCUMENT || outcome.cells.is_empty() {
            return cut(json, MAX_DOCUMENT);
        }
        outcome.cells.truncate(outcome.cells.len() * 3 / 4);
    }
}

fn cut(mut text: String, most: usize) -> String {
    text.truncate(text.floor_char_boundary(most));
    text
}

/// Draws the order of the runs: another one each time.
fn unix_seed() -> u64 {
    std::time::SystemTime::UNIX_EPOCH.elapsed().map_or(1, |since| since.as_nanos() as u64)
}
