//! Several draws of one answer, and which of them most agree on. The README has the parameters.

mod tally;

use dunlin_guest::{
    Constraint, Context, Error, Event, Generation, Message, Model, Options, Pipeline, Request, Response,
    Sampling, Spec, StopReason, job,
    poll::{self, Pollable},
};
use dunlin_plugin_parameters::{Asked, CHOICES, Choices, Fallback, JSON, MODEL, Parameter};
use tally::Tally;

/// Events taken at once; what there is less is not waited for.
const BATCH: u32 = 64;

const MAX_VOTERS: u32 = 64;

const N: Parameter = Parameter::with_default("n", "5", "how many answers to draw");
const TEMPERATURE: Parameter = Parameter::with_default("temperature", "0.8", "how freely to draw");
const MAX_TOKENS: Parameter =
    Parameter::with_default("max_tokens", "64", "most tokens of an answer; one that is longer has no vote");
const QUESTION: Parameter = Parameter::optional("question", "what is asked, said before the input");
const LABELS: Parameter = Parameter { fallback: Fallback::Nothing, ..CHOICES };
const REGEX: Parameter = Parameter::optional("regex", "what an answer has to look like");

pub const SUMMARY: &str = "Several draws of one answer, and which of them most agree on.";
pub const PARAMETERS: &[Parameter] = &[N, TEMPERATURE, MAX_TOKENS, QUESTION, LABELS, REGEX, JSON, MODEL];

/// What is asked where there are choices and no question.
const QUESTION_OF_CHOICES: &str = "Which one fits";

/// The pipeline.
#[derive(Debug)]
pub struct Vote;

#[cfg(target_family = "wasm")]
dunlin_guest::export!(Vote);

impl Pipeline for Vote {
    fn run(request: Request) -> Result<Response, Error> {
        let asked = Asked::new(&request, PARAMETERS)?;
        let text = asked.text()?;
        let choices = Choices::read(&asked)?;
        let question = prompt(text, asked.value(&QUESTION), choices.as_ref());
        let spec = spec(choices, asked.value(&REGEX))?;
        let n = asked.number(&N, 1..=MAX_VOTERS)?;
        let temperature = asked.number(&TEMPERATURE, 0.01..=5.0)?;
        let max_tokens = asked.number(&MAX_TOKENS, 1..=1_000_000)?;
        let json = asked.flag(&JSON)?;
        let model = asked.model()?;
        let options = Options {
            max_tokens,
            sampling: Some(Sampling { temperature, ..Sampling::default() }),
            ..Options::default()
        };
        let tally = draw(&model, &question, n, &options, spec.as_ref())?;
        let Some(winner) = tally.winner() else {
            return Err(Error::invalid(format!(
                "none of {n} answers ended within max_tokens={max_tokens}: raise it, or say what to choose from"
            )));
        };
        Ok(if json {
            Response::json(tally.json(winner))
        } else {
            Response::text(format!("{} ({} of {} votes)", winner.text, winner.votes(), tally.cast()))
        })
    }
}

fn prompt(text: &str, question: Option<&str>, choices: Option<&Choices>) -> String {
    match (choices, question) {
        (Some(choices), question) => choices.question(question.unwrap_or(QUESTION_OF_CHOICES), text),
        (None, Some(question)) => format!("{question}\n{text}"),
        (None, None) => text.to_owned(),
    }
}

fn spec(choices: Option<Choices>, regex: Option<&str>) -> Result<Option<Spec>, Error> {
    match (choices, regex) {
        (Some(_), Some(_)) => Err(Error::invalid(
            "\"choices\" and \"regex\" are both given: one says what an answer looks like",
        )),
        (Some(choices), None) => Ok(Some(Spec::Choice(choices.labels().to_vec()))),
        (None, regex) => Ok(regex.map(|regex| Spec::Regex(regex.to_owned()))),
    }
}

/// Branches that share the prompt draw until it is decided; those that are not needed any more are cancelled.
fn draw(model: &Model, prompt: &str, n: u32, options: &Options, spec: Option<&Spec>) -> Result<Tally, Error> {
    let constraint = spec.map(|spec| Constraint::compile(model, spec)).transpose()?;
    let context = Context::create(model)?;
    context.append_messages(&[Message::user(prompt)], &[], true)?;
    let branches = context.fork(n)?;
    let voters = branches.iter().enumerate().map(|(number, branch)| {
        let generation = branch.generate(options, constraint.as_ref())?;
        Ok(Voter { number, ready: generation.subscribe(), generation, text: String::new() })
    });
    let mut voters = voters.collect::<Result<Vec<_>, Error>>()?;
    let mut tally = Tally::new(n as usize);
    while !tally.is_decided() {
        let ready = poll::poll(&voters.iter().map(|voter| &voter.ready).collect::<Vec<_>>());
        // From the last, so that the places of the others stay.
        for place in ready.into_iter().rev() {
            let Some(stop) = voters[place as usize].listen()? else { continue };
            let voter = voters.swap_remove(place as usize);
            voter.cast(stop, &mut tally)?;
            job::emit(&job::Chunk::Progress(tally.heard() as f32 / n as f32))?;
        }
    }
    Ok(tally)
}

/// One branch, and what it has said so far.
struct Voter {
    number: usize,
    generation: Generation,
    ready: Pollable,
    text: String,
}

impl Voter {
    /// Takes what is there; gives why it stopped, once it has.
    fn listen(&mut self) -> Result<Option<StopReason>, Error> {
        let events = self.generation.next(BATCH)?;
        if events.is_empty() {
            return Err(Error::Backend("a generation ended without saying why".into()));
        }
        let mut stop = None;
        for event in events {
            match event {
                Event::Text(text) => self.text += &text,
                Event::Finish((reason, _)) => stop = Some(reason),
                Event::Reasoning(_) | Event::Tokens(_) | Event::ToolCall(_) => {}
            }
        }
        Ok(stop)
    }

    fn cast(self, stop: StopReason, tally: &mut Tally) -> Result<(), Error> {
        match stop {
            StopReason::Cancelled => return Err(Error::Cancelled),
            StopReason::Deadline => return Err(Error::Deadline),
            // Half an answer is none.
            StopReason::MaxTokens | StopReason::ContextFull => tally.abstain(),
            StopReason::EndOfTurn
            | StopReason::StopString
            | StopReason::ConstraintComplete
            | StopReason::ToolCalls => {
                tally.vote(self.number, &self.text);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_prompt_is_the_input_with_what_is_asked() {
        assert_eq!(prompt("2+2?", None, None), "2+2?");
        assert_eq!(prompt("disk full", Some("How bad?"), None), "How bad?\ndisk full");
    }

    #[test]
    fn an_answer_looks_like_one_thing() {
        assert!(matches!(spec(None, None), Ok(None)));
        assert!(matches!(spec(None, Some("[0-9]+")), Ok(Some(Spec::Regex(regex))) if regex == "[0-9]+"));
    }
}
