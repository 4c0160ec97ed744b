//! Text in, JSON out that is valid under a schema; or nothing. The README has the parameters.

mod compact;
mod schema;
mod verbatim;

use dunlin_guest::{
    Answer, Budget, Constraint, Context, Error, Generation, Message, Model, Options, Pipeline, Request,
    Response, Spec, StopReason, job,
};
use dunlin_plugin_generations::{Need, in_order};
use dunlin_plugin_parameters::{Asked, LINES, Line, MODEL, Parameter, lines};
use schema::Schema;

/// What the template of a model may add around one message, in tokens; a rough bound, only to know when to wait.
const TEMPLATE_TOKENS: usize = 256;

const SCHEMA: Parameter = Parameter::optional("schema", "JSON schema of the answer; this or keys is needed");
const KEYS: Parameter = Parameter::optional(
    "keys",
    "names with commas between them: a schema of strings and numbers that may be null",
);
const VERBATIM: Parameter = Parameter::optional(
    "verbatim",
    "values stand in the text as they are, so that the model cannot make one up: with keys unless it is false, with a schema (its strings) if it is true",
);
const INSTRUCTION: Parameter =
    Parameter::with_default("instruction", "Extract as JSON", "what to do, said before the keys");
const MAX_TOKENS: Parameter = Parameter::with_default("max_tokens", "512", "most tokens of one document");

pub const SUMMARY: &str = "Text in, JSON out that is valid under a schema.";
pub const PARAMETERS: &[Parameter] = &[SCHEMA, KEYS, VERBATIM, INSTRUCTION, MAX_TOKENS, LINES, MODEL];

/// The pipeline.
#[derive(Debug)]
pub struct Extract;

#[cfg(target_family = "wasm")]
dunlin_guest::export!(Extract);

impl Pipeline for Extract {
    fn run(request: Request) -> Result<Response, Error> {
        let asked = Asked::new(&request, PARAMETERS)?;
        let text = asked.text()?;
        let schema = Schema::read(asked.value(&SCHEMA), asked.value(&KEYS))?;
        let max_tokens = asked.number(&MAX_TOKENS, 1..=1_000_000)?;
        let verbatim = match asked.value(&VERBATIM) {
            None => schema.names.is_some(),
            Some(_) => asked.flag(&VERBATIM)?,
        };
        let each_line = asked.flag(&LINES)?;
        let model = asked.model()?;
        let job = Job {
            head: head(asked.value(&INSTRUCTION), &schema.keys()),
            constraint: match schema.names {
                Some(names) if verbatim => Held::Keys(names),
                None if verbatim => Held::Text(schema),
                _ => Held::Schema(constraint(&model, schema)?),
            },
            model,
            max_tokens,
        };
        if each_line { job.lines(text) } else { job.document(text) }
    }
}

/// What is the same for every line.
struct Job {
    model: Model,
    constraint: Held,
    /// What the prompt begins with.
    head: String,
    max_tokens: u32,
}

/// What the answer is held to.
enum Held {
    Schema(Constraint),
    /// An object with these keys and with values from the text, whichever it is.
    Keys(Vec<String>),
    /// A document under the schema with strings from the text.
    Text(Schema),
}

impl Job {
    fn document(&self, text: &str) -> Result<Response, Error> {
        let answer = self.start(text)?.finish()?.unless_stopped()?;
        Ok(Response::json(self.whole(&answer)?))
    }

    fn lines(&self, text: &str) -> Result<Response, Error> {
        let mut documents = String::new();
        in_order(
            lines(text),
            |line| Need {
                tokens: self.max_tokens,
                prompt: self.head.len() + line.text.len() + TEMPLATE_TOKENS,
            },
            |line| self.start(line.text).map_err(|error| of_line(*line, error)),
            |line, answer| {
                let document = self.whole(&answer).map_err(|error| of_line(line, error))?;
                documents += &document;
                documents.push('\n');
                job::emit(&job::Chunk::Json(document))
            },
        )?;
        Ok(Response { content_type: "application/x-ndjson".into(), body: documents.into_bytes() })
    }

    fn start(&self, text: &str) -> Result<Generation, Error> {
        let context = Context::create(&self.model)?;
        context.append_messages(&[Message::user(format!("{}\n{text}", self.head))], &[], true)?;
        let options = Options { max_tokens: self.max_tokens, ..Options::default() };
        let grammar = match &self.constraint {
            Held::Schema(constraint) => return context.generate(&options, Some(constraint)),
            Held::Keys(keys) => verbatim::grammar(keys, text)?,
            Held::Text(schema) => verbatim::under(schema, text)?,
        };
        let constraint = kept(Constraint::compile(&self.model, &Spec::Lark(grammar))?)?;
        context.generate(&options, Some(&constraint))
    }

    /// The document on one line, if all of it is there.
    fn whole(&self, answer: &Answer) -> Result<String, Error> {
        match answer.stop {
            StopReason::MaxTokens if answer.usage.output_tokens < self.max_tokens => {
                Err(Error::Exhausted(Budget::Tokens))
            }
            StopReason::MaxTokens => Err(Error::invalid(format!(
                "the document did not end within max_tokens={}, so there is none: raise it, or ask for less",
                self.max_tokens
            ))),
            StopReason::ContextFull => Err(Error::invalid(format!(
                "the document did not end before the context of {} tokens was full, so there is none: give less text, or ask for less",
                self.model.info().context_length
            ))),
            _ => compact::compact(&answer.text).map_err(|why| {
                Error::Backend(format!("the engine ended a document that is not JSON: {why}"))
            }),
        }
    }
}

fn constraint(model: &Model, schema: Schema) -> Result<Constraint, Error> {
    kept(Constraint::compile(model, &Spec::JsonSchema(schema.text))?)
}

fn kept(constraint: Constraint) -> Result<Constraint, Error> {
    // What cannot be enforced could be wrong in the answer.
    match constraint.warnings().as_slice() {
        [] => Ok(constraint),
        warnings => {
            Err(Error::Constraint(format!("the schema would not be kept to: {}", warnings.join("; "))))
        }
    }
}

fn head(instruction: Option<&str>, keys: &str) -> String {
    let instruction = instruction.unwrap_or_default().trim_end_matches([':', ' ']);
    if keys.is_empty() { format!("{instruction}:") } else { format!("{instruction}: {keys}") }
}

/// Of errors that come from one line, which one.
fn of_line(line: Line<'_>, error: Error) -> Error {
    let number = line.number;
    match error {
        Error::InvalidArgument(reason) => Error::invalid(format!("line {number}: {reason}")),
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
    fn the_prompt_begins_with_the_keys() {
        assert_eq!(head(Some("Extract as JSON"), "service, host"), "Extract as JSON: service, host");
        assert_eq!(head(Some("Who did it:"), "user"), "Who did it: user");
        assert_eq!(head(Some("As JSON"), ""), "As JSON:");
    }

    #[test]
    fn errors_of_a_line_name_it() {
        let said = |error| match of_line(Line { number: 7, text: "" }, error) {
            Error::InvalidArgument(reason) => reason,
            other => format!("{other:?}"),
        };
        assert_eq!(said(Error::invalid("too much")), "line 7: too much");
        assert_eq!(
            said(Error::PromptTooLong((9, 8))),
            "line 7: the prompt has 9 tokens, the model takes at most 8"
        );
        assert_eq!(said(Error::Deadline), "Error::Deadline");
    }
}
