//! Text of any length in, a short text out: what fits is summarized at once; what does not, in pieces, then the
//! summaries of the pieces in the same way. The README has the parameters.

mod split;

use dunlin_guest::{Context, Error, Generation, Message, Model, Options, Pipeline, Request, Response, job};
use dunlin_plugin_generations::{Need, in_order};
use dunlin_plugin_parameters::{Asked, MODEL, Parameter};

/// A piece of fewer tokens than this is not worth a summary.
const MIN_CHUNK_TOKENS: u32 = 32;

/// Tokens that may come to a prompt where its parts meet.
const SEAM_TOKENS: u32 = 8;

/// The summary of a piece has at most this part of its tokens, so that each round is left with much less than it had.
const SHRINK: u32 = 4;

/// Rounds; more text than this many shrink is more than a body holds.
const MAX_ROUNDS: usize = 12;

const MAX_TOKENS: Parameter = Parameter::with_default("max_tokens", "128", "most tokens of the summary");
const CHUNK_TOKENS: Parameter = Parameter::optional(
    "chunk_tokens",
    "most tokens of the text read at once; as many as the model takes, if not given",
);
const INSTRUCTION: Parameter =
    Parameter::with_default("instruction", "Summarize in one sentence", "what to do, said before the text");
const STYLE: Parameter = Parameter::optional("style", "how to do it, said after the instruction");

pub const SUMMARY: &str = "Text of any length in, a short text out.";
pub const PARAMETERS: &[Parameter] = &[MAX_TOKENS, CHUNK_TOKENS, INSTRUCTION, STYLE, MODEL];

/// The pipeline.
#[derive(Debug)]
pub struct Summarize;

#[cfg(target_family = "wasm")]
dunlin_guest::export!(Summarize);

impl Pipeline for Summarize {
    fn run(request: Request) -> Result<Response, Error> {
        let asked = Asked::new(&request, PARAMETERS)?;
        let text = asked.text()?;
        let head = head(asked.value(&INSTRUCTION).unwrap_or_default(), asked.value(&STYLE));
        let max_tokens = asked.number(&MAX_TOKENS, 1..=1_000_000)?;
        let chunk_tokens = asked.number_if_given(&CHUNK_TOKENS, MIN_CHUNK_TOKENS..=1_000_000)?;
        let model = asked.model()?;
        let frame = count(&model, &model.render(&[Message::user(&head)], &[], true)?)? as u32;
        let chunk = chunk(model.info().context_length, frame, max_tokens, chunk_tokens)?;
        Job { model, head, max_tokens, chunk }.run(text)
    }
}

struct Job {
    model: Model,
    /// What the prompt begins with.
    head: String,
    max_tokens: u32,
    /// Most tokens of a piece.
    chunk: u32,
}

impl Job {
    fn run(&self, text: &str) -> Result<Response, Error> {
        let mut text = text.to_owned();
        let mut progress = Progress::default();
        for _ in 0..MAX_ROUNDS {
            let pieces = split::split(&text, self.chunk as usize, &|piece| count(&self.model, piece))?;
            if let [piece] = pieces[..] {
                let answer = self.start(piece, self.max_tokens)?.stream()?.unless_stopped()?;
                return Ok(Response::text(answer.text));
            }
            text = self.round(&pieces, &mut progress)?;
            if text.is_empty() {
                return Err(Error::Backend("the model had nothing to say of any part of the text".into()));
            }
        }
        Err(Error::Backend(format!("the summaries of {MAX_ROUNDS} rounds still do not fit the model")))
    }

    /// The summaries of all pieces, one on a line.
    fn round(&self, pieces: &[&str], progress: &mut Progress) -> Result<String, Error> {
        let max_tokens = self.max_tokens.min(self.chunk / SHRINK);
        let prompt = |piece: &str| self.head.len() + piece.len();
        let mut summaries = Vec::new();
        in_order(
            pieces,
            |piece| Need { tokens: max_tokens, prompt: prompt(piece) },
            |piece| self.start(piece, max_tokens),
            |_, answer| {
                summaries.push(answer.text.trim().to_owned());
                job::emit(&job::Chunk::Progress(progress.within_round(summaries.len(), pieces.len())))
            },
        )?;
        progress.end_round(pieces.len());
        summaries.retain(|summary| !summary.is_empty());
        Ok(summaries.join("\n"))
    }

    fn start(&self, piece: &str, max_tokens: u32) -> Result<Generation, Error> {
        let context = Context::create(&self.model)?;
        context.append_messages(&[Message::user(format!("{}{piece}", self.head))], &[], true)?;
        context.generate(&Options { max_tokens, ..Options::default() }, None)
    }
}

fn count(model: &Model, text: &str) -> Result<usize, Error> {
    Ok(model.tokenize(text, true)?.len())
}

fn head(instruction: &str, style: Option<&str>) -> String {
    let instruction = instruction.trim_end_matches([':', ' ']);
    match style {
        Some(style) => format!("{instruction}, {style}:\n"),
        None => format!("{instruction}:\n"),
    }
}

/// Tokens of text that fit beside the `frame` of the prompt and an answer of `max_tokens`; fewer, if so many are wanted.
fn chunk(context_length: u32, frame: u32, max_tokens: u32, wanted: Option<u32>) -> Result<u32, Error> {
    let taken = frame.saturating_add(max_tokens).saturating_add(SEAM_TOKENS);
    let room = context_length.saturating_sub(taken);
    if room < MIN_CHUNK_TOKENS {
        return Err(Error::invalid(format!(
            "the model's context of {context_length} tokens leaves {room} for text beside {frame} of the prompt and max_tokens={max_tokens}: lower max_tokens"
        )));
    }
    match wanted {
        Some(wanted) if wanted > room => Err(Error::invalid(format!(
            "the parameter \"chunk_tokens\" is {wanted}: the model's context of {context_length} tokens has room for {room} at a time"
        ))),
        wanted => Ok(wanted.unwrap_or(room)),
    }
}

/// Goes up only, and reaches 1 with the last pass, however many rounds there are before.
#[derive(Debug, Default)]
struct Progress {
    /// When the round began.
    before: f32,
}

impl Progress {
    fn within_round(&self, done: usize, pieces: usize) -> f32 {
        // One more pass at least comes after these.
        self.before + (1.0 - self.before) * done as f32 / (pieces + 1) as f32
    }

    fn end_round(&mut self, pieces: usize) {
        self.before = self.within_round(pieces, pieces);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_prompt_begins_with_the_instruction() {
        assert_eq!(head("Summarize in one sentence", None), "Summarize in one sentence:\n");
        assert_eq!(head("Say what broke: ", Some("for a child")), "Say what broke, for a child:\n");
    }

    #[test]
    fn a_piece_leaves_room_for_the_prompt_and_the_answer() {
        assert_eq!(chunk(4096, 20, 128, None).unwrap(), 3940);
        assert_eq!(chunk(4096, 20, 128, Some(500)).unwrap(), 500);
        let refused = |wanted, max_tokens| match chunk(512, 20, max_tokens, wanted) {
            Err(Error::InvalidArgument(why)) => why,
            other => panic!("{other:?}"),
        };
        assert_eq!(
            refused(Some(400), 128),
            "the parameter \"chunk_tokens\" is 400: the model's context of 512 tokens has room for 356 at a time"
        );
        assert_eq!(
            refused(None, u32::MAX),
            "the model's context of 512 tokens leaves 0 for text beside 20 of the prompt and max_tokens=4294967295: lower max_tokens"
        );
    }

    #[test]
    fn progress_goes_up() {
        let mut progress = Progress::default();
        let mut shown = Vec::new();
        for pieces in [3, 1] {
            shown.extend((1..=pieces).map(|done| progress.within_round(done, pieces)));
            progress.end_round(pieces);
        }
        assert_eq!(shown, [0.25, 0.5, 0.75, 0.875]);
    }
}
