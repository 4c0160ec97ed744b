//! How good a model's answers are: perplexity of a text, and multiple choice by likelihood.

use dunlin_engine_handle::{Engine, EngineError, Normalize, Score, Token, Tokenize};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Window of tokens, as llama.cpp's `llama-perplexity` takes it: the first half is context, the second is judged.
const WINDOW: usize = 512;
/// Bytes of a text.
const MAX_TEXT: usize = 16 << 20;
/// Windows of a text.
const MAX_WINDOWS: usize = 4096;

/// Why there is no figure.
#[derive(Debug, Error)]
pub enum QualityError {
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error("the text has {0} tokens: at least {WINDOW} are needed")]
    Short(usize),
    #[error("the text has {0} bytes, at most {MAX_TEXT} are possible")]
    Long(usize),
    #[error("the model's longest sequence is {0} tokens, {WINDOW} are needed")]
    Context(u32),
    #[error("line {0}: {1}")]
    Line(usize, String),
    #[error("there are no questions")]
    Nothing,
}

/// A question with its possible answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Choice {
    pub question: String,
    pub choices: Vec<String>,
    /// Position of the right one.
    pub answer: usize,
}

impl Choice {
    /// Reads a line of JSON each.
    ///
    /// # Errors
    /// With the line.
    pub fn parse(text: &str) -> Result<Vec<Self>, QualityError> {
        let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
        let read = |(at, line): (usize, &str)| {
            let choice: Self =
                serde_json::from_str(line).map_err(|error| QualityError::Line(at + 1, error.to_string()))?;
            if choice.answer >= choice.choices.len() {
                let reason = format!("answer {} of {} choices", choice.answer, choice.choices.len());
                return Err(QualityError::Line(at + 1, reason));
            }
            Ok(choice)
        };
        let choices: Vec<Self> = lines.map(read).collect::<Result<_, _>>()?;
        if choices.is_empty() { Err(QualityError::Nothing) } else { Ok(choices) }
    }
}

/// `exp` of the mean negative log-likelihood of the second half of each window of 512 tokens, given the first.
/// `progress`: windows done and all of them.
///
/// # Errors
/// [`QualityError`].
pub async fn perplexity(
    engine: &Engine,
    text: &str,
    mut progress: impl FnMut(usize, usize),
) -> Result<f64, QualityError> {
    if text.len() > MAX_TEXT {
        return Err(QualityError::Long(text.len()));
    }
    let model = engine.ready().await?;
    if (model.context_length as usize) < WINDOW + 2 {
        return Err(QualityError::Context(model.context_length));
    }
    let tokenize = Tokenize { text: text.to_owned(), add_special: true, parse_special: false };
    let tokens = engine.tokenize(tokenize).await?;
    let windows: Vec<&[Token]> = tokens.chunks_exact(WINDOW).take(MAX_WINDOWS).collect();
    if windows.is_empty() {
        return Err(QualityError::Short(tokens.len()));
    }
    let (mut sum, mut count) = (0.0, 0usize);
    for (at, window) in windows.iter().enumerate() {
        let (context, judged) = window.split_at(WINDOW / 2 + 1);
        let mut prompt = context.to_vec();
        if let Some(bos) = model.bos {
            prompt[0] = bos;
        }
        let bytes = engine.detokenize(judged.to_vec()).await?;
        let logprobs = score(engine, prompt, vec![String::from_utf8_lossy(&bytes).into_owned()]).await?;
        // The last one is of the end of turn, which the text does not have there.
        let of_text = logprobs.first().map_or(&[][..], |of| &of[..of.len().saturating_sub(1)]);
        sum -= of_text.iter().map(|logprob| f64::from(*logprob)).sum::<f64>();
        count += of_text.len();
        progress(at + 1, windows.len());
    }
    Ok((sum / count.max(1) as f64).exp())
}

/// Share of questions of which the right answer is the likeliest by token.
///
/// # Errors
/// [`QualityError`].
pub async fn accuracy(
    engine: &Engine,
    choices: &[Choice],
    mut progress: impl FnMut(usize, usize),
) -> Result<f64, QualityError> {
    let mut right = 0;
    for (at, choice) in choices.iter().enumerate() {
        let tokenize = Tokenize { text: choice.question.clone(), add_special: true, parse_special: false };
        let prompt = engine.tokenize(tokenize).await?;
        let logprobs = score(engine, prompt, choice.choices.clone()).await?;
        let mean = |of: &Vec<f32>| {
            let of = &of[..of.len().saturating_sub(1)];
            of.iter().sum::<f32>() / of.len().max(1) as f32
        };
        let best = (0..logprobs.len()).max_by(|a, b| mean(&logprobs[*a]).total_cmp(&mean(&logprobs[*b])));
        right += usize::from(best == Some(choice.answer));
        progress(at + 1, choices.len());
    }
    if choices.is_empty() { Err(QualityError::Nothing) } else { Ok(right as f64 / choices.len() as f64) }
}

/// Log-probabilities of the tokens of each candidate, in their order.
async fn score(
    engine: &Engine,
    prompt: Vec<Token>,
    candidates: Vec<String>,
) -> Result<Vec<Vec<f32>>, EngineError> {
    let score = Score {
        prompt,
        tenant: "dunlin:profile".to_owned(),
        public: 0,
        candidates,
        normalize: Normalize::PerToken,
        deadline_ms: None,
    };
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
        let line = r#"{"question":"2 + 2 =","choices":[" 3"," 4"],"answer":1}"#;
        assert_eq!(read(&format!("{line}\n\n{line}\n")).map(|choices| choices.len()), Ok(2));
        assert_eq!(read(&line.replace(":1}", ":2}")), Err("line 1: answer 2 of 2 choices".to_owned()));
        assert_eq!(read("\n"), Err("there are no questions".to_owned()));
        assert!(read(&format!("{line}\n{{")).is_err_and(|error| error.starts_with("line 2: ")));
    }
}
