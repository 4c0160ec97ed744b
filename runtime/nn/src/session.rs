//! What is kept of one execution context: its options, its prompt, and what came of it.

use std::{fmt::Write as _, ops::Range};

use dunlin_engine_handle::{Delta, Generate, ModelInfo, StopReason, Token, Tokenize};

use crate::{Fault, Options};

/// Tokens of the context that no prompt may take, for an answer to have room.
const ANSWER_ROOM: u32 = 4;

/// Which way the text is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// All of it, as the options say.
    Whole,
    /// Token by token. Length and end are the guest's affair.
    Single,
}

/// What to ask the engine for, and what bounds it.
#[derive(Debug, Clone, PartialEq)]
pub struct Planned {
    pub generate: Generate,
    /// Where the text ends for want of tokens, it ends too early.
    pub is_cut_short: bool,
}

/// How a text ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    Complete,
    /// There was no room for more.
    Full,
    Cancelled,
    Deadline,
}

/// One execution context. Nothing of it is shared with others, of the same model or not.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Session {
    options: Options,
    text: String,
    prompt: Option<Vec<Token>>,
    output: Vec<u8>,
    embedding: Vec<f32>,
    /// Of the output, what is given out now; what comes before it was given out already.
    piece: Range<usize>,
    output_tokens: u32,
    is_cut_short: bool,
    ended: Option<Ended>,
}

impl Session {
    pub fn new(options: Options) -> Self {
        Self { options, ..Self::default() }
    }

    pub fn options(&self) -> &Options {
        &self.options
    }

    /// Takes options over, before or after a prompt.
    ///
    /// # Errors
    /// As [`Options::merge`].
    pub fn configure(&mut self, json: &[u8]) -> Result<(), Fault> {
        self.options.merge(json)
    }

    /// What to ask the engine about a prompt. Guests have applied a chat template already, whose control tokens are
    /// spelled out in it.
    ///
    /// # Errors
    /// [`Fault::InvalidArgument`] if it is not UTF-8.
    pub fn tokenize(prompt: Vec<u8>) -> Result<Tokenize, Fault> {
        let text = String::from_utf8(prompt)
            .map_err(|error| Fault::InvalidArgument(format!("the prompt is not UTF-8: {error}")))?;
        Ok(Tokenize { text, add_special: true, parse_special: true })
    }

    /// A new prompt; what came of the one before is forgotten.
    pub fn set_prompt(&mut self, text: String, tokens: Vec<Token>) {
        *self = Self {
            options: std::mem::take(&mut self.options),
            text,
            prompt: Some(tokens),
            ..Self::default()
        };
    }

    /// The prompt as text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Tokens of the prompt.
    ///
    /// # Errors
    /// [`Fault::InvalidArgument`] before there is one.
    pub fn prompt(&self) -> Result<&[Token], Fault> {
        self.prompt.as_deref().ok_or_else(|| Fault::InvalidArgument("no prompt was set before".into()))
    }

    /// What to ask the engine for. `seed` is taken where the options name none; of tokens, at most `allowed`.
    ///
    /// # Errors
    /// [`Fault::PromptTooLong`], and what is wrong with a constraint.
    pub fn plan(&self, mode: Mode, model: &ModelInfo, seed: u64, allowed: u64) -> Result<Planned, Fault> {
        let prompt = self.prompt()?;
        let tokens = u32::try_from(prompt.len()).unwrap_or(u32::MAX);
        let context = self.options.context(model);
        let possible = context.saturating_sub(ANSWER_ROOM);
        if tokens > possible {
            return Err(Fault::PromptTooLong { tokens, possible });
        }
        let room = u64::from(context - tokens).min(allowed);
        let wanted = match mode {
            Mode::Whole => u64::try_from(self.options.n_predict).unwrap_or(u64::MAX),
            Mode::Single => u64::MAX,
        };
        let stop = self.options.reverse_prompt.iter().filter(|_| mode == Mode::Whole);
        let generate = Generate {
            prompt: prompt.to_vec(),
            max_tokens: u32::try_from(wanted.min(room)).unwrap_or(u32::MAX),
            sampling: Some(self.options.sampling(model)),
            seed: self.options.seed.unwrap_or(seed),
            stop: stop.cloned().collect(),
            constraint: self.options.constraint()?,
            ..Generate::default()
        };
        Ok(Planned { generate, is_cut_short: wanted > room })
    }

    /// A text begins as it was planned.
    pub fn begin(&mut self, planned: &Planned) {
        self.output.clear();
        self.embedding.clear();
        self.piece = 0..0;
        self.output_tokens = 0;
        self.is_cut_short = planned.is_cut_short;
        self.ended = None;
    }

    /// The engine said something.
    pub fn take(&mut self, delta: &Delta) -> Option<Ended> {
        self.output.extend_from_slice(delta.text.as_bytes());
        self.output_tokens = self.output_tokens.saturating_add(delta.tokens.len() as u32);
        self.ended = delta.finish.as_ref().map(|finish| match finish.reason {
            StopReason::ContextFull => Ended::Full,
            StopReason::MaxTokens if self.is_cut_short => Ended::Full,
            StopReason::Cancelled => Ended::Cancelled,
            StopReason::Deadline => Ended::Deadline,
            StopReason::MaxTokens
            | StopReason::EndOfTurn
            | StopReason::StopString
            | StopReason::ConstraintComplete => Ended::Complete,
        });
        self.ended
    }

    /// How the text ended, if it did.
    pub fn ended(&self) -> Option<Ended> {
        self.ended
    }

    /// An embedding came.
    pub fn embed(&mut self, vector: Vec<f32>) {
        self.output = embedding_json(&vector).into_bytes();
        self.embedding = vector;
        self.finish_single();
    }

    /// What was generated so far, or the embedding as JSON.
    pub fn output(&self) -> &[u8] {
        &self.output
    }

    /// Empty where there is none.
    pub fn embedding(&self) -> &[f32] {
        &self.embedding
    }

    /// Goes on to the next piece of the output, of at most `most` bytes and whole characters. Says whether there is any:
    /// there is none while a character is not complete, and one step may bring many.
    pub fn next_piece(&mut self, most: usize) -> bool {
        let start = self.piece.end;
        let rest = &self.output[start..];
        let is_boundary = |length: &usize| rest.get(*length).is_none_or(|byte| byte & 0xc0 != 0x80);
        let length = (0..=rest.len().min(most)).rev().find(is_boundary).unwrap_or(0);
        self.piece = start..start + length;
        length > 0
    }

    /// The piece that [`Self::next_piece`] went on to.
    pub fn piece(&self) -> &[u8] {
        &self.output[self.piece.clone()]
    }

    /// Nothing of what came is given out piece by piece any more.
    pub fn finish_single(&mut self) {
        self.piece = self.output.len()..self.output.len();
        self.ended = None;
    }

    /// As JSON, at any time. The build of llama.cpp is not told: nothing may depend on it.
    pub fn metadata(&self) -> String {
        let input_tokens = self.prompt.as_ref().map_or(0, Vec::len);
        format!(
            r#"{{"input_tokens": {input_tokens}, "output_tokens": {}, "llama_build_number": 0, "llama_commit": "unknown"}}"#,
            self.output_tokens
        )
    }
}

/// Ten significant digits, as guests know it.
fn embedding_json(vector: &[f32]) -> String {
    let mut json = format!(r#"{{"n_embedding": {}, "embedding": ["#, vector.len());
    for (index, value) in vector.iter().enumerate() {
        let comma = if index == 0 { "" } else { "," };
        // Writing to a string does not fail.
        let _ = write!(json, "{comma}{value:.9e}");
    }
    json + "]}"
}

#[cfg(test)]
mod tests {
    use dunlin_engine_handle::{CallId, Finish, Usage, fake::Fake};

    use super::*;

    fn session(options: &str, prompt: usize) -> Session {
        let mut session = Session::default();
        session.configure(options.as_bytes()).unwrap();
        session.set_prompt("x".repeat(prompt), vec![120; prompt]);
        session
    }

    fn delta(text: &str, reason: Option<StopReason>) -> Delta {
        let tokens = text.bytes().map(u32::from).collect();
        let finish = reason.map(|reason| Finish { reason, usage: Usage::default() });
        Delta { id: CallId(0), tokens, text: text.into(), logprobs: Vec::new(), finish }
    }

    #[track_caller]
    fn plans(options: &str, prompt: usize, mode: Mode, allowed: u64) -> (u32, bool) {
        let planned = session(options, prompt).plan(mode, &Fake::default().model, 1, allowed).unwrap();
        (planned.generate.max_tokens, planned.is_cut_short)
    }

    #[test]
    fn the_shortest_of_what_is_wanted_what_fits_and_what_is_allowed() {
        assert_eq!(plans(r#"{"n-predict": 10, "ctx-size": 100}"#, 50, Mode::Whole, 1000), (10, false));
        assert_eq!(plans(r#"{"n-predict": 60, "ctx-size": 100}"#, 50, Mode::Whole, 1000), (50, true));
        assert_eq!(plans(r#"{"n-predict": -1, "ctx-size": 100}"#, 50, Mode::Whole, 1000), (50, true));
        assert_eq!(plans(r#"{"n-predict": 10, "ctx-size": 100}"#, 50, Mode::Single, 1000), (50, true));
        assert_eq!(plans(r#"{"n-predict": 10}"#, 50, Mode::Whole, 5), (5, true));
        assert_eq!(plans("{}", 4000, Mode::Whole, 1000), (96, true));
    }

    #[test]
    fn a_prompt_leaves_room_for_an_answer() {
        let plan =
            |prompt| session(r#"{"ctx-size": 100}"#, prompt).plan(Mode::Whole, &Fake::default().model, 1, 9);
        assert!(plan(96).is_ok());
        assert_eq!(plan(97), Err(Fault::PromptTooLong { tokens: 97, possible: 96 }));
        let none = Session::default().plan(Mode::Whole, &Fake::default().model, 1, 9);
        assert!(matches!(none, Err(Fault::InvalidArgument(_))));
    }

    #[test]
    fn a_text_grows_and_ends() {
        let mut session = session("{}", 3);
        assert_eq!(session.take(&delta("Hello", None)), None);
        assert_eq!(session.take(&delta(" you", Some(StopReason::EndOfTurn))), Some(Ended::Complete));
        assert_eq!(session.output(), b"Hello you");
        let metadata: serde_json::Value = serde_json::from_str(&session.metadata()).unwrap();
        assert_eq!((&metadata["input_tokens"], &metadata["output_tokens"]), (&3.into(), &9.into()));
        session.set_prompt("y".into(), vec![121]);
        assert_eq!((session.output(), session.ended()), (&b""[..], None));
    }

    #[test]
    fn running_out_of_room_is_told_from_being_long_enough() {
        let mut session = session("{}", 3);
        let planned = |is_cut_short| Planned { generate: Generate::default(), is_cut_short };
        session.begin(&planned(false));
        assert_eq!(session.take(&delta("x", Some(StopReason::MaxTokens))), Some(Ended::Complete));
        session.begin(&planned(true));
        assert_eq!(session.take(&delta("x", Some(StopReason::MaxTokens))), Some(Ended::Full));
        assert_eq!(session.output(), b"x");
    }

    #[test]
    fn pieces_are_short_and_whole() {
        let mut session = session("{}", 3);
        let mut pieces = Vec::new();
        for text in ["a", "", "bcé\u{20ac}x"] {
            session.take(&delta(text, None));
            while session.next_piece(4) {
                pieces.push(String::from_utf8(session.piece().to_vec()).unwrap());
            }
        }
        assert_eq!(pieces, ["a", "bcé", "\u{20ac}x"]);
        session.take(&delta("more", None));
        session.finish_single();
        assert!(!session.next_piece(4));
        session.set_prompt("y".into(), vec![121]);
        assert!(session.piece().is_empty() && !session.next_piece(4));
    }

    #[test]
    fn an_embedding_is_json_and_numbers() {
        let mut session = session(r#"{"embedding": true}"#, 3);
        session.embed(vec![0.6, -0.8]);
        assert_eq!(session.embedding(), [0.6, -0.8]);
        let json: serde_json::Value = serde_json::from_slice(session.output()).unwrap();
        assert_eq!(json["n_embedding"], 2);
        assert!((json["embedding"][1].as_f64().unwrap() + 0.8).abs() < 1e-7);
        assert!(session.metadata().contains(r#""output_tokens": 0"#));
    }
}
