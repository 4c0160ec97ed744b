//! Output that must match: compiled once, followed token by token, failing closed.
//!
//! llguidance does the matching. This module gives it a token environment of ours, which tokenizes as the model does
//! (so that forced text is found), sets its limits, and turns every failure into an error: a generation whose
//! constraint fails ends; it never goes on unconstrained.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
};

use dunlin_engine_handle::{Constraint, Token};
use llguidance::{
    Matcher, ParserFactory,
    api::{ParserLimits, StopReason, TopLevelGrammar},
    earley::SlicedBiasComputer,
    toktrie::{InferenceCapabilities, SimpleVob, TokEnv, TokRxInfo, TokTrie, TokenizerEnv},
};
use serde_json::{Value, json};

use crate::llama::Model;

/// Largest text of a constraint, in bytes.
const MAX_TEXT: usize = 256 << 10;
/// Deepest nesting of brackets in a schema, a regex or a grammar.
const MAX_DEPTH: usize = 64;
const MAX_CHOICES: usize = 1024;
/// Compiled constraints that are remembered.
const MAX_COMPILED: usize = 64;

/// Limits of llguidance, in its own units; its documentation gives speeds for them. Together they bound a compile to
/// some tens of milliseconds, a mask to about twenty, and the memory of one constraint to about 50 MB.
fn limits() -> ParserLimits {
    ParserLimits {
        initial_lexer_fuel: 1_000_000,
        step_lexer_fuel: 200_000,
        step_max_items: 50_000,
        max_items_in_row: 2_000,
        max_lexer_states: 25_000,
        max_grammar_size: 200_000,
        precompute_large_lexemes: true,
        verbose_errors: false,
    }
}

/// Compiles constraints for one model.
pub(crate) struct Compiler {
    factory: ParserFactory,
    compiled: Mutex<VecDeque<(Constraint, Compiled)>>,
}

impl std::fmt::Debug for Compiler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Compiler").finish_non_exhaustive()
    }
}

/// A constraint that was accepted.
#[derive(Clone)]
pub struct Compiled {
    matcher: Box<Matcher>,
    pub warnings: Vec<String>,
}

impl std::fmt::Debug for Compiled {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Compiled").field("warnings", &self.warnings).finish_non_exhaustive()
    }
}

impl Compiler {
    /// Reads the vocabulary into a trie; some hundred milliseconds for a large one.
    ///
    /// # Errors
    /// A vocabulary that llguidance cannot work with.
    pub(crate) fn new(model: Arc<Model>) -> Result<Self, String> {
        let environment: TokEnv = Arc::new(Environment::new(model)?);
        let slices = SlicedBiasComputer::general_slices();
        let mut factory = ParserFactory::new(
            &environment,
            InferenceCapabilities { ff_tokens: true, ..Default::default() },
            &slices,
        )
        .map_err(|error| format!("no constraints with this vocabulary: {error:#}"))?;
        factory.quiet();
        *factory.limits_mut() = limits();
        Ok(Self { factory, compiled: Mutex::default() })
    }

    /// # Errors
    /// The sentence that says why the constraint is refused.
    pub(crate) fn compile(&self, constraint: &Constraint) -> Result<Compiled, String> {
        if let Some(compiled) = self.remembered(constraint) {
            return Ok(compiled);
        }
        let mut matcher = Box::new(Matcher::new(self.factory.create_parser(grammar(constraint)?)));
        if let Some(error) = matcher.get_error() {
            return Err(first_line(&error));
        }
        let compiled = Compiled { warnings: matcher.grammar_warnings(), matcher };
        compiled.guide().begin().map_err(|why| format!("no text satisfies it: {why}"))?;
        let mut remembered = self.compiled.lock().unwrap_or_else(PoisonError::into_inner);
        remembered.push_front((constraint.clone(), compiled.clone()));
        remembered.truncate(MAX_COMPILED);
        Ok(compiled)
    }

    fn remembered(&self, constraint: &Constraint) -> Option<Compiled> {
        let mut remembered = self.compiled.lock().unwrap_or_else(PoisonError::into_inner);
        let index = remembered.iter().position(|(known, _)| known == constraint)?;
        let entry = remembered.remove(index)?;
        let compiled = entry.1.clone();
        remembered.push_front(entry);
        Some(compiled)
    }
}

impl Compiled {
    /// Follows one generation from its start.
    pub fn guide(&self) -> Guide {
        Guide { matcher: self.matcher.clone() }
    }
}

/// Where one generation stands in its constraint.
pub struct Guide {
    matcher: Box<Matcher>,
}

impl std::fmt::Debug for Guide {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Guide")
    }
}

/// What a step along a constraint made known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Advanced {
    /// Tokens that must follow; the guide stands behind them.
    pub forced: Vec<Token>,
    /// Nothing may follow.
    pub complete: bool,
}

impl Guide {
    /// Takes note of tokens that were chosen; none at the start of a generation.
    ///
    /// # Errors
    /// The matcher failed; the generation must end.
    pub fn advance(&mut self, chosen: &[Token]) -> Result<Advanced, String> {
        self.matcher.consume_tokens(chosen).map_err(|error| first_line(&error.to_string()))?;
        let forced = if self.matcher.is_stopped() { Vec::new() } else { self.matcher.consume_ff_tokens() };
        if let Some(error) = self.matcher.get_error() {
            return Err(first_line(&error));
        }
        let complete = match self.matcher.stop_reason() {
            StopReason::NotStopped => false,
            StopReason::NoExtension | StopReason::EndOfSentence => true,
            reason => return Err(format!("the constraint gave up: {reason}")),
        };
        Ok(Advanced { forced, complete })
    }

    /// Goes as far as the choice of a first token.
    fn begin(&mut self) -> Result<(), String> {
        if self.advance(&[])?.complete { Ok(()) } else { self.mask().map(drop) }
    }

    /// The tokens that may come next.
    ///
    /// # Errors
    /// The matcher failed, or allows nothing; the generation must end.
    pub fn mask(&mut self) -> Result<Mask, String> {
        let allowed = self.matcher.compute_mask().map_err(|error| first_line(&error.to_string()))?;
        if allowed.is_zero() {
            return Err("the constraint allows no token".to_owned());
        }
        Ok(Mask(allowed))
    }
}

/// A set of allowed tokens.
#[derive(Debug, Clone)]
pub struct Mask(SimpleVob);

impl Mask {
    pub fn allows(&self, token: Token) -> bool {
        (token as usize) < self.0.len() && self.0.is_allowed(token)
    }

    /// Sets the logits of all other tokens to minus infinity.
    pub fn apply(&self, logits: &mut [f32]) {
        let words = self.0.as_slice().iter().copied().chain(std::iter::repeat(0));
        for (logits, word) in logits.chunks_mut(32).zip(words) {
            match word {
                0 => logits.fill(f32::NEG_INFINITY),
                u32::MAX => {}
                word => {
                    for (bit, logit) in logits.iter_mut().enumerate() {
                        if word & (1 << bit) == 0 {
                            *logit = f32::NEG_INFINITY;
                        }
                    }
                }
            }
        }
    }
}

fn grammar(constraint: &Constraint) -> Result<TopLevelGrammar, String> {
    match constraint {
        Constraint::AnyJson => Ok(TopLevelGrammar::from_json_schema(compact(json!({})))),
        Constraint::JsonSchema(text) => {
            check_text("schema", text)?;
            let schema: Value =
                serde_json::from_str(text).map_err(|error| format!("the schema is not JSON: {error}"))?;
            if !schema.is_object() && !schema.is_boolean() {
                return Err(format!("a schema is a JSON object, this is {}", kind(&schema)));
            }
            Ok(TopLevelGrammar::from_json_schema(compact(schema)))
        }
        Constraint::Regex(text) => {
            check_text("regex", text)?;
            Ok(TopLevelGrammar::from_regex(text))
        }
        Constraint::Lark(text) => {
            check_text("grammar", text)?;
            Ok(TopLevelGrammar::from_lark(text.clone()))
        }
        Constraint::Choice(choices) => choice(choices),
    }
}

/// Without room for white space: shorter, and more of it forced. A schema that says otherwise itself is left alone.
fn compact(mut schema: Value) -> Value {
    if let Value::Object(schema) = &mut schema {
        schema.entry("x-guidance").or_insert_with(|| json!({ "whitespace_flexible": false }));
    }
    schema
}

fn choice(choices: &[String]) -> Result<TopLevelGrammar, String> {
    match choices {
        [] => return Err("a choice among nothing".to_owned()),
        choices if choices.len() > MAX_CHOICES => {
            return Err(format!("{} choices, the limit is {MAX_CHOICES}", choices.len()));
        }
        choices if choices.iter().any(String::is_empty) => return Err("an empty choice".to_owned()),
        _ => {}
    }
    let quoted: Result<Vec<String>, _> = choices.iter().map(serde_json::to_string).collect();
    let lark = format!("start: {}", quoted.map_err(|error| error.to_string())?.join(" | "));
    check_text("choices", &lark)?;
    Ok(TopLevelGrammar::from_lark(lark))
}

fn check_text(what: &str, text: &str) -> Result<(), String> {
    if text.len() > MAX_TEXT {
        return Err(format!("the {what} has {} bytes, the limit is {MAX_TEXT}", text.len()));
    }
    let mut depth = 0usize;
    for byte in text.bytes() {
        match byte {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > MAX_DEPTH {
            return Err(format!("the {what} is nested deeper than {MAX_DEPTH}"));
        }
    }
    Ok(())
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().trim().to_owned()
}

/// The model's tokenizer, as llguidance wants to see it.
struct Environment {
    model: Arc<Model>,
    trie: TokTrie,
    canonical: bool,
}

impl Environment {
    fn new(model: Arc<Model>) -> Result<Self, String> {
        let vocab = model.vocab();
        let size = vocab.len();
        let ends: Vec<Token> = (0..size).filter(|&token| vocab.is_end(token)).collect();
        let Some(&first_end) = ends.first() else {
            return Err(
                "the model has no token that ends a turn, so constrained output could not end".to_owned()
            );
        };
        let words: Vec<Vec<u8>> = (0..size).map(|token| spelling(&model, token)).collect();
        let main_end = vocab.eot().or(vocab.eos()).unwrap_or(first_end);
        let trie = TokTrie::from(&TokRxInfo::new(size, main_end), &words);
        let ends: Vec<Token> =
            std::iter::once(main_end).chain(ends.into_iter().filter(|&end| end != main_end)).collect();
        let trie = trie.with_eos_tokens(&ends);
        let canonical = is_canonical(&model);
        Ok(Self { model, trie, canonical })
    }
}

/// The bytes of a token; control tokens marked as such, so that no text can spell them.
fn spelling(model: &Model, token: Token) -> Vec<u8> {
    let mut bytes = Vec::new();
    let vocab = model.vocab();
    if vocab.is_control(token) || vocab.is_end(token) {
        bytes.push(TokTrie::SPECIAL_TOKEN_MARKER);
        vocab.piece(token, true, &mut bytes);
    } else {
        vocab.piece(token, false, &mut bytes);
    }
    bytes
}

/// A piece of text in the middle of other text tokenizes to itself. Tokenizers that put a space before everything do
/// not, and then nothing is forced.
fn is_canonical(model: &Model) -> bool {
    ["\":", "a", "true,", "{\"key\":1}"].iter().all(|text| {
        let mut spelled = Vec::new();
        let tokens = model.vocab().tokenize(text, false, false).unwrap_or_default();
        for token in tokens {
            model.vocab().piece(token, false, &mut spelled);
        }
        spelled == text.as_bytes()
    })
}

/// Whether constraints on this model force tokens.
pub(crate) fn forces_tokens(model: &Model) -> bool {
    is_canonical(model)
}

impl TokenizerEnv for Environment {
    fn tok_trie(&self) -> &TokTrie {
        &self.trie
    }

    fn tokenize_bytes(&self, bytes: &[u8]) -> Vec<Token> {
        self.trie.tokenize_with_greedy_fallback(bytes, |text| {
            self.model.vocab().tokenize(text, false, false).unwrap_or_default()
        })
    }

    fn tokenize_is_canonical(&self) -> bool {
        self.canonical
    }
}
