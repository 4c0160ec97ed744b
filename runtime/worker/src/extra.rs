//! What a campaign measures beside time and joules: how good answers are, and which operators take the time.

use std::{ops::ControlFlow, time::Duration};

use dunlin_profiler::{Choice, JudgeError, Judged, Material, QualityError, Tally, operators};
use dunlin_worker_handle::{Extras, Finding};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::measure::{Findings, Start, Timing};

/// How often it is told what was judged.
const TOLD_EVERY: Duration = Duration::from_millis(500);

/// As it can be measured.
#[derive(Debug)]
pub(crate) struct Extra {
    pub(crate) material: Material,
    operators: bool,
}

impl Extra {
    /// # Errors
    /// With the line of a question that is none.
    pub(crate) fn of(Extras { text, questions, operators }: Extras) -> Result<Self, JudgeError> {
        let questions = questions.map(|(of, lines)| match Choice::parse(&lines) {
            Ok(choices) => Ok((of, choices)),
            Err(error) => Err(JudgeError { of, error }),
        });
        Ok(Self { material: Material { text, questions: questions.transpose()? }, operators })
    }
}

impl Findings {
    /// On engines of their own. What was judged goes on from `known`; the last windows and questions are begun before `until`.
    pub(crate) async fn extras(
        &self,
        start: &Start,
        extra: &Extra,
        (known, threads): (Judged, u16),
        until: Option<Instant>,
        stop: CancellationToken,
    ) -> Result<(), String> {
        if !extra.material.is_empty() {
            let mut judged = known;
            let done = tokio::select! {
                biased;
                () = stop.cancelled() => None,
                done = self.judge(start, &extra.material, &mut judged, until) => Some(done),
            };
            self.tell(Finding::Judged(Box::new(judged)));
            match done {
                Some(Ok(())) => {}
                Some(Err(error)) => return self.refuse(&error),
                None => return Ok(()),
            }
        }
        if extra.operators {
            self.tell(Finding::Task { running: "operators".to_owned(), done: 0, total: 1 });
            let start = |timed| start(if timed { Timing::Operators } else { Timing::No });
            let timed = tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                timed = operators(&start, threads) => timed,
            };
            self.tell(Finding::Operators(Box::new(timed.map_err(|error| error.to_string()))));
        }
        Ok(())
    }

    async fn judge(
        &self,
        start: &Start,
        material: &Material,
        judged: &mut Judged,
        until: Option<Instant>,
    ) -> Result<(), JudgeError> {
        let engine = start(Timing::No);
        let mut told: Option<Instant> = None;
        let mut hear = |what: &str, tally: &Tally, judged: &Judged| {
            if told.is_none_or(|at| at.elapsed() >= TOLD_EVERY) || tally.done == tally.total {
                told = Some(Instant::now());
                let (done, total) = (tally.done as u32, tally.total as u32);
                self.tell(Finding::Task { running: what.to_owned(), done, total });
                self.tell(Finding::Judged(Box::new(judged.clone())));
            }
            match until {
                Some(until) if Instant::now() >= until => ControlFlow::Break(()),
                _ => ControlFlow::Continue(()),
            }
        };
        let done = material.judge(&engine, judged, &mut hear).await;
        engine.drain().await;
        done
    }

    /// What an engine did wrong is another thing than what was sent.
    pub(crate) fn refuse(&self, error: &JudgeError) -> Result<(), String> {
        if matches!(error.error, QualityError::Engine(_)) {
            return Err(error.to_string());
        }
        self.tell(Finding::Unfit(error.to_string()));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_that_are_none_are_named_with_their_line() {
        let questions = |lines: &str| {
            let extras =
                Extras { questions: Some(("set".to_owned(), lines.to_owned())), ..Extras::default() };
            Extra::of(extras).map(|extra| extra.material.questions.map_or(0, |(_, choices)| choices.len()))
        };
        let line = r#"{"question":"2 + 2 =","choices":["3","4"],"answer":1}"#;
        assert_eq!(questions(&format!("{line}\n{line}")).map_err(|error| error.to_string()), Ok(2));
        let error = questions(&format!("{line}\nno\n")).unwrap_err().to_string();
        assert!(error.starts_with("set: line 2: "), "{error}");
    }
}
