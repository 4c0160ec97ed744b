//! How good a model's answers are: perplexity of a text, and multiple choice by likelihood, as `llama-perplexity` counts both.

use std::ops::ControlFlow;

use dunlin_costs::Quality;
use dunlin_engine_handle::{Engine, EngineError, Score, Token, Tokenize};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Window of tokens, as `llama-perplexity` takes it: the first half is context, the second is judged.
const WINDOW: usize = 512;
/// Bytes of a text, and of a set of questions.
pub const MAX_QUALITY_BYTES: usize = 64 << 20;
/// Questions of a set, and choices of a question.
const MAX_QUESTIONS: usize = 200_000;
const MAX_CHOICES: usize = 128;
const TENANT: &str = "dunlin:profile";

/// Why there is no figure.
#[derive(Debug, Error)]
pub enum QualityError {
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error("the text has {0} tokens: at least {WINDOW} are needed")]
    Short(usize),
    #[error("the model's longest sequence is {0} tokens, {WINDOW} are needed")]
    Context(u32),
    #[error("line {0}: {1}")]
    Line(usize, String),
    #[error("there are no questions")]
    Nothing,
    #[error("there are more than {MAX_QUESTIONS} questions")]
    Many,
    #[error("question {0}: this model reads its answers apart from the first token on")]
    Apart(usize),
}

/// What was judged so far: of a text its tokens, by their negative log-likelihood; of a set its questions, by 1 or 0.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Tally {
    /// The text or the set, by name and content.
    pub of: String,
    /// Windows, or questions.
    pub done: usize,
    pub total: usize,
    pub count: u64,
    pub sum: f64,
    pub squares: f64,
    /// Of guessing: the share of questions that would be answered rightly.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chance: Option<f64>,
}

/// What is known of a model's answers.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Judged {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<Tally>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub questions: Option<Tally>,
}

/// A figure with its standard error.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Judgement {
    pub value: f64,
    pub error: f64,
    pub of: String,
    /// Windows, or questions: those that were judged, and all.
    pub done: usize,
    pub total: usize,
    /// Of guessing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chance: Option<f64>,
}

/// The figures of a model.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Judgements {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub perplexity: Option<Judgement>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accuracy: Option<Judgement>,
}

impl Tally {
    /// What is left of `of` to judge: this goes on, or another one begins.
    fn go_on(this: Option<Self>, of: &str, total: usize) -> Self {
        let fits = |tally: &Self| tally.of == of && tally.total == total;
        this.filter(fits).unwrap_or_else(|| Self { of: of.to_owned(), total, ..Self::default() })
    }

    fn add(&mut self, value: f64) {
        self.count += 1;
        self.sum += value;
        self.squares += value * value;
    }

    fn mean(&self) -> Option<Judgement> {
        let count = self.count as f64;
        let value = (self.count > 0).then(|| self.sum / count)?;
        let variance = (self.squares / count - value * value).max(0.0);
        Some(Judgement {
            value,
            error: (variance / (count - 1.0).max(1.0)).sqrt(),
            of: self.of.clone(),
            done: self.done,
            total: self.total,
            chance: self.chance,
        })
    }

    /// `None` before the first window.
    pub fn perplexity(&self) -> Option<Judgement> {
        let mean = self.mean()?;
        Some(Judgement { value: mean.value.exp(), error: mean.error * mean.value.exp(), ..mean })
    }

    /// `None` before the first question.
    pub fn accuracy(&self) -> Option<Judgement> {
        self.mean()
    }

    /// As in `corpus.txt 1f2e3d4c, 40 windows`.
    fn source(&self, unit: &str) -> String {
        let all = if self.done == self.total { String::new() } else { format!(" of {}", self.total) };
        format!("{}, {}{all} {unit}", self.of, self.done)
    }
}

impl Judged {
    pub fn figures(&self) -> Judgements {
        Judgements {
            perplexity: self.text.as_ref().and_then(Tally::perplexity),
            accuracy: self.questions.as_ref().and_then(Tally::accuracy),
        }
    }

    /// For a row.
    pub fn quality(&self) -> Quality {
        let of = |tally: Option<&Tally>, figure: fn(&Tally) -> Option<Judgement>, unit: &str| {
            let value = tally.and_then(figure).map(|of| of.value);
            (value, tally.filter(|_| value.is_some()).map(|tally| tally.source(unit)))
        };
        let (perplexity, perplexity_of) =
            of(self.text.as_ref(), Tally::perplexity, &format!("windows of {WINDOW}"));
        let (accuracy, accuracy_of) = of(self.questions.as_ref(), Tally::accuracy, "questions");
        Quality { perplexity, perplexity_of, accuracy, accuracy_of }
    }
}

/// A question with its possible answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    question: String,
    choices: Vec<String>,
    /// Position of the right one, from 0.
    answer: usize,
}

/// A line of a set; what else is in it is of no account.
#[derive(Deserialize)]
struct Line {
    #[serde(alias = "prompt")]
    question: String,
    choices: Vec<String>,
    answer: Answer,
}

/// Which choice is the right one.
#[derive(Deserialize)]
#[serde(untagged)]
enum Answer {
    Position(usize),
    Text(String),
}

impl Choice {
    /// Reads a line of JSON each.
    ///
    /// # Errors
    /// With the line.
    pub fn parse(text: &str) -> Result<Vec<Self>, QualityError> {
        let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
        let read = |(at, line): (usize, &str)| {
            let line: Line =
                serde_json::from_str(line).map_err(|error| QualityError::Line(at + 1, error.to_string()))?;
            Self::of(line).map_err(|reason| QualityError::Line(at + 1, reason))
        };
        let choices: Vec<Self> = lines.take(MAX_QUESTIONS + 1).map(read).collect::<Result<_, _>>()?;
        match choices.len() {
            0 => Err(QualityError::Nothing),
            count if count > MAX_QUESTIONS => Err(QualityError::Many),
            _ => Ok(choices),
        }
    }

    fn of(Line { question, choices, answer }: Line) -> Result<Self, String> {
        let count = choices.len();
        if !(2..=MAX_CHOICES).contains(&count) {
            return Err(format!("{count} choices; 2 to {MAX_CHOICES} are possible"));
        }
        if question.is_empty() || choices.iter().any(String::is_empty) {
            return Err("a question or a choice is empty".to_owned());
        }
        let answer = match answer {
            Answer::Position(at) if at < count => at,
            Answer::Position(at) => return Err(format!("answer {at} of {count} choices, counted from 0")),
            Answer::Text(text) => {
                let found = choices.iter().position(|choice| *choice == text);
                found.ok_or_else(|| format!("the answer {text:?} is none of the choices"))?
            }
        };
        Ok(Self { question, choices, answer })
    }
}

/// Hears after each window or question; breaks it off.
pub type Keep<'a> = &'a mut (dyn FnMut(&Tally) -> ControlFlow<()> + Send);

/// Judges the tokens of the second half of each window of 512 tokens, given the first; each window begins as the model wants a
/// sequence to begin. `known`: what an earlier try came to.
///
/// # Errors
/// [`QualityError`].
pub async fn perplexity(
    engine: &Engine,
    of: &str,
    text: &str,
    known: Option<Tally>,
    keep: Keep<'_>,
) -> Result<Tally, QualityError> {
    let (model, tokens) = (engine.ready().await?, windows(engine, text).await?);
    let windows: Vec<&[Token]> = tokens.chunks_exact(WINDOW).collect();
    // Models that want a token at the start of a sequence had it added.
    let start = tokens.first().copied().filter(|first| model.bos == Some(*first));
    let mut tally = Tally::go_on(known, of, windows.len());
    for window in &windows[tally.done..] {
        let (context, judged) = window.split_at(WINDOW / 2 + 1);
        let mut prompt = context.to_vec();
        prompt[0] = start.unwrap_or(prompt[0]);
        let logprobs = score(engine, prompt, vec![judged.to_vec()]).await?;
        logprobs.iter().flatten().for_each(|logprob| tally.add(-f64::from(*logprob)));
        tally.done += 1;
        if keep(&tally).is_break() {
            break;
        }
    }
    Ok(tally)
}

/// The tokens of a text of which there is a window at least.
///
/// # Errors
/// [`QualityError::Short`], [`QualityError::Context`] and those of the engine.
pub async fn windows(engine: &Engine, text: &str) -> Result<Vec<Token>, QualityError> {
    let model = engine.ready().await?;
    if (model.context_length as usize) < WINDOW {
        return Err(QualityError::Context(model.context_length));
    }
    let tokens = tokenize(engine, text).await?;
    if tokens.len() < WINDOW { Err(QualityError::Short(tokens.len())) } else { Ok(tokens) }
}

/// Judges by whether the right answer is the likeliest by token, after its question and a space. What all answers of a question
/// begin with is part of the question.
///
/// # Errors
/// [`QualityError`].
pub async fn accuracy(
    engine: &Engine,
    of: &str,
    choices: &[Choice],
    known: Option<Tally>,
    keep: Keep<'_>,
) -> Result<Tally, QualityError> {
    let mut tally = Tally::go_on(known, of, choices.len());
    let guessed: f64 = choices.iter().map(|choice| 1.0 / choice.choices.len() as f64).sum();
    tally.chance = Some(guessed / choices.len().max(1) as f64);
    for choice in &choices[tally.done..] {
        let right = is_right(engine, choice).await?.ok_or(QualityError::Apart(tally.done + 1))?;
        tally.add(if right { 1.0 } else { 0.0 });
        tally.done += 1;
        if keep(&tally).is_break() {
            break;
        }
    }
    Ok(tally)
}

/// `None` where the answers share no token to begin with.
async fn is_right(engine: &Engine, choice: &Choice) -> Result<Option<bool>, EngineError> {
    let mut whole = Vec::new();
    for answer in &choice.choices {
        whole.push(tokenize(engine, &format!("{} {answer}", choice.question)).await?);
    }
    let shared = shared_start(&whole);
    if shared == 0 {
        return Ok(None);
    }
    let candidates = whole.iter().map(|tokens| tokens[shared..].to_vec()).collect();
    let logprobs = score(engine, whole[0][..shared].to_vec(), candidates).await?;
    let mean = |of: &Vec<f32>| of.iter().sum::<f32>() / of.len().max(1) as f32;
    let means: Vec<f32> = logprobs.iter().map(mean).collect();
    // Of two alike, the first.
    let best = (0..means.len()).rev().max_by(|a, b| means[*a].total_cmp(&means[*b]));
    Ok(Some(best == Some(choice.answer)))
}

/// Tokens that all begin with; each has one more at least.
fn shared_start(whole: &[Vec<Token>]) -> usize {
    let shortest = whole.iter().map(Vec::len).min().unwrap_or(0);
    let same = |at: &usize| whole.iter().all(|tokens| tokens[*at] == whole[0][*at]);
    let shared = (0..shortest).take_while(same).count();
    shared.min(shortest.saturating_sub(1))
}

async fn tokenize(engine: &Engine, text: &str) -> Result<Vec<Token>, EngineError> {
    let tokenize = Tokenize { text: text.to_owned(), add_special: true, parse_special: false };
    engine.tokenize(tokenize).await
}

/// Log-probabilities of the tokens of each candidate, in their order.
async fn score(
    engine: &Engine,
    prompt: Vec<Token>,
    tokens: Vec<Vec<Token>>,
) -> Result<Vec<Vec<f32>>, EngineError> {
    let score = Score { prompt, tenant: TENANT.to_owned(), tokens, ..Score::default() };
    let mut scored = engine.score(score).await?;
    scored.sort_by_key(|scored| scored.index);
    Ok(scored.into_iter().map(|scored| scored.token_logprobs).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_are_read_a_line_each() {
        let read = |text: &str| Choice::parse(text).map_err(|error| error.to_string());
        let line = r#"{"question":"2 + 2 =","choices":["3","4"],"answer":1}"#;
        assert_eq!(read(&format!("{line}\n\n{line}\n")).map(|choices| choices.len()), Ok(2));
        assert_eq!(
            read(&line.replace(":1}", ":2}")),
            Err("line 1: answer 2 of 2 choices, counted from 0".to_owned())
        );
        assert_eq!(
            read(&line.replace(r#","4""#, "")),
            Err("line 1: 1 choices; 2 to 128 are possible".to_owned())
        );
        assert_eq!(read(&line.replace(":1}", r#":"4"}"#)).map(|choices| choices.len()), Ok(1));
        assert_eq!(
            read(&line.replace(":1}", r#":"5"}"#)),
            Err("line 1: the answer \"5\" is none of the choices".to_owned())
        );
        assert_eq!(read("\n"), Err("there are no questions".to_owned()));
        assert!(read(&format!("{line}\n{{")).is_err_and(|error| error.starts_with("line 2: ")));
    }

    #[test]
    fn a_tally_goes_on_with_what_it_is_of_and_says_how_sure_it_is() {
        let mut tally = Tally::go_on(None, "a", 4);
        [1.0, 1.0, 0.0, 1.0].into_iter().for_each(|value| tally.add(value));
        tally.done = 4;
        let accuracy = tally.accuracy().unwrap();
        // sqrt(p (1 - p) / (n - 1))
        assert_eq!((accuracy.value, accuracy.error), (0.75, 0.25));
        let perplexity = tally.perplexity().unwrap();
        assert!((perplexity.value - 0.75f64.exp()).abs() < 1e-12);
        assert!((perplexity.error - 0.25 * 0.75f64.exp()).abs() < 1e-12);
        assert_eq!(Tally::go_on(Some(tally.clone()), "a", 4), tally);
        assert_eq!(Tally::go_on(Some(tally.clone()), "b", 4).count, 0);
        let judged = Judged { questions: Some(Tally { done: 3, ..tally }), text: None };
        assert_eq!(judged.quality().accuracy_of.as_deref(), Some("a, 3 of 4 questions"));
        assert_eq!(judged.quality().perplexity, None);
    }

    #[test]
    fn what_all_answers_begin_with_is_no_answer() {
        assert_eq!(shared_start(&[vec![1, 2, 3], vec![1, 2, 4]]), 2);
        // One is the beginning of the other: it keeps its last token.
        assert_eq!(shared_start(&[vec![1, 2], vec![1, 2, 4]]), 1);
        assert_eq!(shared_start(&[vec![1, 3], vec![2, 3]]), 0);
    }
}
