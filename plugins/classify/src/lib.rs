//! Which of these labels fits: by score, without sampling a token. The README has the parameters.

mod verdict;

use dunlin_guest::{Context, Error, Message, Model, Normalize, Pipeline, Request, Response, job};
use dunlin_plugin_parameters::{Asked, CHOICES, Choices, JSON, LINES, MODEL, Parameter, lines};
use verdict::Verdict;

const QUESTION: Parameter =
    Parameter::with_default("question", "Which one fits", "what is asked, said before the choices");
const NORMALIZE: Parameter = Parameter::with_default(
    "normalize",
    "total",
    "compare likelihoods in total, per-token, or unconditional: less their own",
);

pub const SUMMARY: &str = "Which of these labels fits: by score, without sampling a token.";
pub const PARAMETERS: &[Parameter] = &[CHOICES, QUESTION, NORMALIZE, LINES, JSON, MODEL];

/// The pipeline.
#[derive(Debug)]
pub struct Classify;

#[cfg(target_family = "wasm")]
dunlin_guest::export!(Classify);

impl Pipeline for Classify {
    fn run(request: Request) -> Result<Response, Error> {
        let asked = Asked::new(&request, PARAMETERS)?;
        let text = asked.text()?;
        let choices = Choices::needed(&asked)?;
        let normalize = normalize(asked.value(&NORMALIZE).unwrap_or_default())?;
        let shape = if asked.flag(&JSON)? { Shape::Json } else { Shape::Label };
        let each_line = asked.flag(&LINES)?;
        let question = asked.value(&QUESTION).unwrap_or_default();
        let job = Job { model: asked.model()?, choices, question, normalize, shape };
        if each_line { job.lines(text) } else { job.text(text) }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    Label,
    Json,
}

/// What is the same for every line.
struct Job<'a> {
    model: Model,
    choices: Choices,
    question: &'a str,
    normalize: Normalize,
    shape: Shape,
}

impl Job<'_> {
    fn text(&self, text: &str) -> Result<Response, Error> {
        let verdict = self.judge(text)?;
        Ok(match self.shape {
            Shape::Label => Response::text(verdict.label()),
            Shape::Json => Response::json(verdict.json(None)),
        })
    }

    /// Each verdict is told when it is known.
    fn lines(&self, text: &str) -> Result<Response, Error> {
        let mut all = String::new();
        for line in lines(text) {
            let verdict = self.judge(line.text).map_err(|error| of_line(line.number, error))?;
            let (told, chunk) = match self.shape {
                Shape::Label => {
                    let told = format!("{}\n", verdict.label());
                    (told.clone(), job::Chunk::Text(told))
                }
                Shape::Json => {
                    let json = verdict.json(Some(line.number));
                    (format!("{json}\n"), job::Chunk::Json(json))
                }
            };
            job::emit(&chunk)?;
            all += &told;
        }
        let content_type = match self.shape {
            Shape::Label => "text/plain; charset=utf-8",
            Shape::Json => "application/x-ndjson",
        };
        Ok(Response { content_type: content_type.into(), body: all.into_bytes() })
    }

    fn judge(&self, text: &str) -> Result<Verdict<'_>, Error> {
        let context = Context::create(&self.model)?;
        context.append_messages(&[Message::user(self.choices.question(self.question, text))], &[], true)?;
        let scored = context.score(self.choices.labels(), self.normalize)?;
        Verdict::new(self.choices.labels(), &scored)
    }
}

fn normalize(name: &str) -> Result<Normalize, Error> {
    match name {
        "total" => Ok(Normalize::Total),
        "per-token" => Ok(Normalize::PerToken),
        "unconditional" => Ok(Normalize::Unconditional),
        other => Err(Error::invalid(format!(
            "the parameter \"normalize\" is {other:?}: it is total, per-token or unconditional"
        ))),
    }
}

fn of_line(number: usize, error: Error) -> Error {
    match error {
        Error::PromptTooLong((tokens, possible)) => Error::invalid(format!(
            "line {number}: the prompt has {tokens} tokens, the model takes at most {possible}"
        )),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_way_to_compare_has_a_name() {
        assert_eq!(normalize("per-token").unwrap(), Normalize::PerToken);
        let Err(Error::InvalidArgument(why)) = normalize("mean") else { panic!("it is refused") };
        assert_eq!(why, "the parameter \"normalize\" is \"mean\": it is total, per-token or unconditional");
    }
}
