//! GBNF, the grammars of llama.cpp, as grammars of the engine, which are a dialect of Lark.
//!
//! GBNF knows characters only; Lark has terminals, which are regular and matched greedily, and rules made of them.
//! Whatever is regular here becomes one terminal, as large as it can be: a grammar without recursion becomes a single
//! one and means exactly the same. In a recursive grammar, a terminal takes all that it can take, also where GBNF
//! would have let what follows begin earlier.

mod lark;
mod parse;
mod tails;

use std::collections::BTreeMap;

use thiserror::Error;

/// Largest grammar, in bytes.
const MAX_BYTES: usize = 256 << 10;
const MAX_RULES: usize = 2048;
/// Deepest nesting of parentheses.
const MAX_DEPTH: usize = 48;
/// Most repetitions that a count may ask for.
const MAX_REPETITIONS: u32 = 2000;

/// Why a grammar is refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum GbnfError {
    #[error("line {line}: {what}")]
    Syntax { line: usize, what: String },
    #[error("there is no rule {0:?}")]
    NoRule(String),
    #[error("it has more than {0}")]
    TooLarge(&'static str),
}

/// The same grammar in Lark.
///
/// # Errors
/// What is not GBNF, a rule that is not there, and limits of size and depth.
pub fn to_lark(grammar: &str) -> Result<String, GbnfError> {
    if grammar.len() > MAX_BYTES {
        return Err(GbnfError::TooLarge("256 kiB"));
    }
    let mut rules = parse::parse(grammar)?;
    if rules.len() > MAX_RULES {
        return Err(GbnfError::TooLarge("2048 rules"));
    }
    if !rules.contains_key(ROOT) {
        return Err(GbnfError::NoRule(ROOT.into()));
    }
    for (name, node) in &mut rules {
        *node = tails::unrolled(name, std::mem::replace(node, Node::empty()));
    }
    Ok(lark::write(&rules))
}

const ROOT: &str = "root";

type Rules = BTreeMap<String, Node>;

/// A part of a grammar.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Node {
    Literal(String),
    /// A set of characters, in the syntax of regexes.
    Class(String),
    Rule(String),
    Sequence(Vec<Self>),
    Choice(Vec<Self>),
    Repeat {
        node: Box<Self>,
        least: u32,
        /// `None`: any number.
        most: Option<u32>,
    },
}

impl Node {
    fn empty() -> Self {
        Self::Sequence(Vec::new())
    }

    fn sequence(mut nodes: Vec<Self>) -> Self {
        if nodes.len() == 1 { nodes.remove(0) } else { Self::Sequence(nodes) }
    }

    fn choice(mut nodes: Vec<Self>) -> Self {
        if nodes.len() == 1 { nodes.remove(0) } else { Self::Choice(nodes) }
    }

    fn repeat(node: Self, least: u32, most: Option<u32>) -> Self {
        Self::Repeat { node: Box::new(node), least, most }
    }

    /// Whether this holds for a rule that is named anywhere in it.
    fn names_any(&self, holds: &impl Fn(&str) -> bool) -> bool {
        match self {
            Self::Literal(_) | Self::Class(_) => false,
            Self::Rule(name) => holds(name),
            Self::Sequence(nodes) | Self::Choice(nodes) => nodes.iter().any(|node| node.names_any(holds)),
            Self::Repeat { node, .. } => node.names_any(holds),
        }
    }
}

#[cfg(test)]
mod tests;
