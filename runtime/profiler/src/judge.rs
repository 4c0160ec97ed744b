//! All by which a model's answers are judged, one after the other.

use std::ops::ControlFlow;

use dunlin_engine_handle::Engine;
use thiserror::Error;

use crate::{Choice, Judged, QualityError, Tally, accuracy, perplexity, windows};

/// A text and a set of questions, each with the name that figures say they are of.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Material {
    pub text: Option<(String, String)>,
    pub questions: Option<(String, Vec<Choice>)>,
}

/// Why there is no figure, and of what.
#[derive(Debug, Error)]
#[error("{of}: {error}")]
pub struct JudgeError {
    pub of: String,
    #[source]
    pub error: QualityError,
}

/// Hears what is judged and how far it is, after each window or question, with all that is known by then. A break ends what is
/// judged; what comes after it is begun.
pub type Hear<'a> = &'a mut (dyn FnMut(&str, &Tally, &Judged) -> ControlFlow<()> + Send);

impl Material {
    pub const fn is_empty(&self) -> bool {
        self.text.is_none() && self.questions.is_none()
    }

    /// Whether the text is long enough for this model: to be said before anything is measured.
    ///
    /// # Errors
    /// If it is not, and of the engine.
    pub async fn check(&self, engine: &Engine) -> Result<(), JudgeError> {
        if let Some((of, text)) = &self.text {
            windows(engine, text).await.map_err(|error| JudgeError { of: of.clone(), error })?;
        }
        Ok(())
    }

    /// Goes on from what is known, and adds to it.
    ///
    /// # Errors
    /// Of the engine, or if a question cannot be judged; what was judged before is in `judged`.
    pub async fn judge(
        &self,
        engine: &Engine,
        judged: &mut Judged,
        hear: Hear<'_>,
    ) -> Result<(), JudgeError> {
        if let Some((of, text)) = &self.text {
            let (what, known) = (format!("perplexity of {of}"), judged.text.clone());
            let mut keep = |tally: &Tally| {
                judged.text = Some(tally.clone());
                hear(&what, tally, judged)
            };
            let tally = perplexity(engine, of, text, known, &mut keep).await;
            judged.text = Some(tally.map_err(|error| JudgeError { of: of.clone(), error })?);
        }
        if let Some((of, choices)) = &self.questions {
            let (what, known) = (format!("questions of {of}"), judged.questions.clone());
            let mut keep = |tally: &Tally| {
                judged.questions = Some(tally.clone());
                hear(&what, tally, judged)
            };
            let tally = accuracy(engine, of, choices, known, &mut keep).await;
            judged.questions = Some(tally.map_err(|error| JudgeError { of: of.clone(), error })?);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use dunlin_engine_handle::{Score, fake::Fake};

    use super::*;

    const LINE: &str = r#"{"question":"2 + 2 =","choices":["3","4"],"answer":1}"#;

    fn material(text: &str) -> Material {
        let questions = Choice::parse(&format!("{LINE}\n{LINE}\n{LINE}\n")).unwrap();
        Material {
            text: Some(("text".to_owned(), text.to_owned())),
            questions: Some(("set".to_owned(), questions)),
        }
    }

    fn engine() -> Engine {
        // One nat for what is judged of a window, and the second choice is the better one.
        let score = |score: &Score| (0..score.tokens.len()).map(|at| at as f32 - 1.0).collect();
        Fake::default().scoring(score).start()
    }

    #[tokio::test]
    async fn what_was_broken_off_goes_on_and_all_of_it_is_judged() {
        let (engine, material) = (engine(), material(&"a".repeat(3 * 512)));
        let (mut judged, mut heard) = (Judged::default(), Vec::new());
        let mut hear = |what: &str, tally: &Tally, _: &Judged| {
            heard.push(format!("{what}: {} of {}", tally.done, tally.total));
            ControlFlow::Break(())
        };
        material.judge(&engine, &mut judged, &mut hear).await.unwrap();
        assert_eq!(heard, ["perplexity of text: 1 of 3", "questions of set: 1 of 3"]);
        let mut hear = |_: &str, _: &Tally, _: &Judged| ControlFlow::Continue(());
        material.judge(&engine, &mut judged, &mut hear).await.unwrap();
        let done = |tally: &Option<Tally>| tally.as_ref().map(|tally| (tally.done, tally.count));
        assert_eq!((done(&judged.text), done(&judged.questions)), (Some((3, 3)), Some((3, 3))));
        let figures = judged.figures();
        assert_eq!(figures.accuracy.map(|of| of.value), Some(1.0));
        assert!(figures.perplexity.is_some_and(|of| (of.value - 1f64.exp()).abs() < 1e-6));
    }

    #[tokio::test]
    async fn a_text_that_is_too_short_is_named() {
        let error = material("too short").check(&engine()).await.unwrap_err();
        assert_eq!(error.to_string(), "text: the text has 10 tokens: at least 512 are needed");
    }
}
