//! What emulated models say: nothing, but always the same, and in the form that is asked for.

use dunlin_engine_handle::{Constraint, EngineError, Generate, Score, Scored, StopReason, Token};
use serde_json::{Map, Value};

use crate::words::{END_OF_TURN, tokenize};

/// Free text ends at each token with a chance of one in this: so many tokens long on average.
const TURN_TOKENS: u64 = 160;

/// Deepest nesting of an answer in JSON.
const MAX_JSON_DEPTH: usize = 16;

/// Words begin with one of these and go on with some of those.
const BEGINNINGS: [&str; 8] = [" ba", " de", " ki", " lo", " mu", " na", " re", " si"];
const CONTINUATIONS: [&str; 8] = ["kal", "lin", "met", "nor", "pas", "rim", "tos", "vel"];

/// The answer to one generation.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Plan {
    /// Drawn by position, so that a text goes on the same after its first part became a part of the prompt.
    Free { seed: u64 },
    /// The constraint leaves no other.
    Fixed(Vec<Token>),
}

pub(crate) enum Next {
    Token(Token),
    End(StopReason),
}

impl Plan {
    /// # Errors
    /// Of constraints that cannot be met without a model.
    pub(crate) fn of(generate: &Generate) -> Result<Self, EngineError> {
        let fixed = |text: &str| Ok(Self::Fixed(tokenize(text)));
        match &generate.constraint {
            None => Ok(Self::Free { seed: generate.seed }),
            Some(Constraint::AnyJson) => fixed("{}"),
            Some(Constraint::JsonSchema(schema)) => fixed(&instance_of(schema)?),
            Some(Constraint::Choice(choices)) => match choices.len() as u64 {
                0 => Err(EngineError::Constraint("there is nothing to choose from".into())),
                count => fixed(&choices[(hash(generate.seed, 0) % count) as usize]),
            },
            Some(Constraint::Regex(_) | Constraint::Lark(_)) => Err(unsupported()),
        }
    }

    /// Token number `index` of the answer, at this position of the sequence.
    pub(crate) fn next(&self, position: u64, index: usize) -> Next {
        match self {
            Self::Fixed(tokens) => match tokens.get(index) {
                Some(&token) => Next::Token(token),
                None => Next::End(StopReason::ConstraintComplete),
            },
            Self::Free { seed } => match hash(*seed, position) {
                draw if index > 0 && draw % TURN_TOKENS == 0 => Next::End(StopReason::EndOfTurn),
                draw => Next::Token(syllable(draw)),
            },
        }
    }
}

fn syllable(draw: u64) -> Token {
    let of = if draw >> 32 & 1 == 0 { BEGINNINGS } else { CONTINUATIONS };
    tokenize(of[(draw >> 33) as usize % of.len()]).first().copied().unwrap_or(END_OF_TURN)
}

/// SplitMix64 (Steele, Lea, Flood 2014).
fn hash(seed: u64, position: u64) -> u64 {
    let mut z = seed.wrapping_add(position.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn unsupported() -> EngineError {
    EngineError::Unsupported(
        "an emulated engine answers to JSON and choices, not to expressions and grammars".into(),
    )
}

/// # Errors
/// Of a constraint that this engine could not meet.
pub(crate) fn check(constraint: &Constraint) -> Result<(), EngineError> {
    let generate = Generate { constraint: Some(constraint.clone()), ..Generate::default() };
    Plan::of(&generate).map(drop)
}

/// The shortest answer to a schema, by the keywords that matter for it: type, enum, const, required, properties, anyOf.
fn instance_of(schema: &str) -> Result<String, EngineError> {
    let parsed = serde_json::from_str(schema).map_err(|error| EngineError::Constraint(error.to_string()))?;
    match parsed {
        Value::Object(object) => Ok(instance(&object, MAX_JSON_DEPTH).to_string()),
        _ => Err(EngineError::Constraint("the schema is not a JSON object".into())),
    }
}

fn instance(schema: &Map<String, Value>, depth: usize) -> Value {
    let first = |key: &str| schema.get(key).and_then(Value::as_array).and_then(|list| list.first());
    if let Some(value) = schema.get("const").or_else(|| first("enum")) {
        return value.clone();
    }
    if let (Some(Value::Object(variant)), true) = (first("anyOf").or_else(|| first("oneOf")), depth > 0) {
        return instance(variant, depth - 1);
    }
    let kind = schema.get("type").and_then(|kind| kind.as_str().or_else(|| kind.get(0)?.as_str()));
    match kind {
        Some("string") => Value::from("emulated"),
        Some("number" | "integer") => schema.get("minimum").cloned().unwrap_or_else(|| Value::from(0)),
        Some("boolean") => Value::from(false),
        Some("null") => Value::Null,
        Some("array") => Value::Array(items(schema, depth)),
        _ => Value::Object(properties(schema, depth)),
    }
}

fn items(schema: &Map<String, Value>, depth: usize) -> Vec<Value> {
    let least = schema.get("minItems").and_then(Value::as_u64).unwrap_or(0).min(MAX_JSON_DEPTH as u64);
    match schema.get("items") {
        Some(Value::Object(item)) if depth > 0 => (0..least).map(|_| instance(item, depth - 1)).collect(),
        _ => Vec::new(),
    }
}

fn properties(schema: &Map<String, Value>, depth: usize) -> Map<String, Value> {
    let required = schema.get("required").and_then(Value::as_array).into_iter().flatten();
    let of = |name: &str| match schema.get("properties").and_then(|properties| properties.get(name)) {
        Some(Value::Object(property)) if depth > 0 => instance(property, depth - 1),
        _ => Value::Null,
    };
    required.filter_map(Value::as_str).map(|name| (name.to_owned(), of(name))).collect()
}

/// Log-probabilities that depend on the text of a candidate alone.
pub(crate) fn scores(score: &Score) -> Vec<Scored> {
    let scored = |(index, candidate): (u32, &String)| {
        let tokens = tokenize(candidate);
        let logprob = |token: Token| -0.1 - (hash(0, u64::from(token)) % 4000) as f32 / 1000.0;
        let token_logprobs: Vec<f32> = tokens.into_iter().chain([END_OF_TURN]).map(logprob).collect();
        let total: f32 = token_logprobs.iter().sum();
        let score = match score.normalize {
            dunlin_engine_handle::Normalize::PerToken => total / token_logprobs.len() as f32,
            _ => total,
        };
        Scored { index, score, token_logprobs }
    };
    (0..).zip(&score.candidates).map(scored).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::words::detokenize;

    fn answer(constraint: Constraint) -> Result<String, EngineError> {
        let Plan::Fixed(tokens) =
            Plan::of(&Generate { constraint: Some(constraint), ..Generate::default() })?
        else {
            panic!("a constraint was ignored");
        };
        Ok(String::from_utf8(detokenize(&tokens).unwrap()).unwrap())
    }

    #[test]
    fn schemas_are_met() {
        let check = |schema: &str, expected: &str| {
            assert_eq!(answer(Constraint::JsonSchema(schema.into())).as_deref(), Ok(expected), "{schema}");
        };
        check(r#"{"type":"string"}"#, r#""emulated""#);
        check(r#"{"enum":["ok","bad"]}"#, r#""ok""#);
        check(r#"{"type":["integer","null"],"minimum":3}"#, "3");
        check(r#"{"type":"array","items":{"type":"boolean"},"minItems":2}"#, "[false,false]");
        check(r#"{"anyOf":[{"const":7},{"type":"string"}]}"#, "7");
        check(
            r#"{"type":"object","properties":{"a":{"type":"number"},"b":{"type":"string"}},"required":["a"]}"#,
            r#"{"a":0}"#,
        );
        check(r#"{"required":["x"]}"#, r#"{"x":null}"#);
    }

    #[test]
    fn what_cannot_be_met_is_refused() {
        assert!(matches!(answer(Constraint::JsonSchema("[".into())), Err(EngineError::Constraint(_))));
        assert!(matches!(answer(Constraint::JsonSchema("3".into())), Err(EngineError::Constraint(_))));
        assert!(matches!(answer(Constraint::Choice(vec![])), Err(EngineError::Constraint(_))));
        assert!(matches!(answer(Constraint::Regex("a+".into())), Err(EngineError::Unsupported(_))));
        assert_eq!(answer(Constraint::Choice(vec!["only".into()])).as_deref(), Ok("only"));
    }

    #[test]
    fn free_text_goes_on_the_same_after_a_part_of_it() {
        let plan = Plan::Free { seed: 5 };
        let from = |start: u64, count: u64| -> Vec<Option<Token>> {
            let token = |index: u64| match plan.next(start + index, index as usize + 1) {
                Next::Token(token) => Some(token),
                Next::End(_) => None,
            };
            (0..count).map(token).collect()
        };
        assert_eq!(from(100, 400)[150..], from(250, 250)[..]);
        let ends = from(0, 16_000).into_iter().filter(Option::is_none).count();
        assert!((60..150).contains(&ends), "{ends} ends in 16000 tokens");
    }
}
