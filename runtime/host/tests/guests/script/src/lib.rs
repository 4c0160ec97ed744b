//! A guest for tests. Each line of its input is a command; its answer has one line for each, with what came
//! of it.
//!
//! Contexts, constraints, generations and pollables are numbered as they are made, each kind from 0.

mod bombs;
mod calls;
mod nn;
mod talk;
mod wasi;

use dunlin_guest::{
    Constraint, Context, Error, Generation, Model, Pipeline, Request, Response, poll::Pollable,
};

struct Script;

impl Pipeline for Script {
    fn run(request: Request) -> Result<Response, Error> {
        let mut actor = Actor::default();
        let mut transcript = String::new();
        for line in request.text()?.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let said = actor.act(line).unwrap_or_else(|error| format!("{error:?}"));
            transcript += said.trim_end();
            transcript.push('\n');
        }
        match actor.last_error {
            Some(error) => Err(error),
            None => Ok(Response::text(transcript)),
        }
    }
}

dunlin_guest::export!(Script);

/// What a script has made so far.
#[derive(Default)]
struct Actor {
    model: Option<Model>,
    contexts: Vec<Option<Context>>,
    constraints: Vec<Option<Constraint>>,
    generations: Vec<Option<Generation>>,
    pollables: Vec<Option<Pollable>>,
    /// Set by `fail`: what the run ends with.
    last_error: Option<Error>,
}

/// What came of a command, as text.
type Said = Result<String, Error>;

impl Actor {
    fn act(&mut self, line: &str) -> Said {
        let (command, rest) = line.split_once(' ').unwrap_or((line, ""));
        if let Some(said) = bombs::act(self, command, rest) {
            return said;
        }
        if let Some(said) = wasi::act(command, rest).or_else(|| nn::act(command, rest)) {
            return Ok(said);
        }
        if let Some(said) = talk::act(command, rest) {
            return said;
        }
        calls::act(self, command, rest)
    }
}

/// The thing with this number.
fn nth<'a, T>(things: &'a [Option<T>], number: &str) -> Result<&'a T, Error> {
    let thing = number.parse::<usize>().ok().and_then(|index| things.get(index)?.as_ref());
    thing.ok_or_else(|| Error::invalid(format!("there is no {number}")))
}

/// Keeps it and gives its number.
fn keep<T>(things: &mut Vec<Option<T>>, thing: T) -> String {
    things.push(Some(thing));
    (things.len() - 1).to_string()
}
