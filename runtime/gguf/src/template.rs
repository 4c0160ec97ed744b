use std::collections::BTreeMap;

use serde::Serialize;
use thiserror::Error;

use crate::metadata::{KeyFault, Metadata};
use crate::text::{Grouped, Quoted};
use crate::value::{MAX_KEPT_STRING, Value};

/// Bytes of one chat template; the longest in the wild has about 20,000.
pub const MAX_TEMPLATE_BYTES: usize = MAX_KEPT_STRING;

/// Blocks within blocks, or brackets within brackets; the deepest in the wild have 12.
const MAX_DEPTH: u32 = 48;

/// Named templates beside the plain one.
const MAX_TEMPLATES: usize = 32;

const KEY: &str = "tokenizer.chat_template";

/// How messages become a prompt: Jinja, as the model's makers wrote it, checked for size and depth only.
#[derive(Clone, Debug, Default, Serialize)]
pub struct ChatTemplates {
    /// The one to take unless another is asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default: Option<String>,
    /// Others by name, such as `tool_use` and `rag`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub named: BTreeMap<String, String>,
}

/// What is wrong with a chat template.
#[derive(Debug, Error)]
pub enum TemplateFault {
    #[error("its chat template {key} is {} bytes long, more than {}", Grouped(*length), Grouped(MAX_TEMPLATE_BYTES as u64))]
    TooLong { key: Quoted, length: u64 },
    #[error("its chat template {key} nests more than {MAX_DEPTH} blocks or brackets")]
    TooDeep { key: Quoted },
    #[error("it has {count} chat templates, more than {MAX_TEMPLATES}")]
    TooMany { count: usize },
    #[error(transparent)]
    Key(#[from] KeyFault),
}

impl ChatTemplates {
    pub(crate) fn read(metadata: &Metadata) -> Result<Self, TemplateFault> {
        let mut templates = Self::default();
        for (key, value) in metadata.iter() {
            let Some(rest) = key.strip_prefix(KEY) else { continue };
            match rest.strip_prefix('.') {
                _ if rest.is_empty() => templates.default = Some(checked(key, value)?.to_owned()),
                Some(name) => {
                    templates.named.insert(name.to_owned(), checked(key, value)?.to_owned());
                }
                None => {}
            }
        }
        match templates.named.len() {
            count if count > MAX_TEMPLATES => Err(TemplateFault::TooMany { count }),
            _ => Ok(templates),
        }
    }
}

fn checked<'a>(key: &str, value: &'a Value) -> Result<&'a str, TemplateFault> {
    let text = match value {
        Value::String(text) => text,
        Value::LongString(length) => return Err(TemplateFault::TooLong { key: key.into(), length: *length }),
        other => return Err(crate::metadata::wrong_type(key, other, "a string").into()),
    };
    if depth(text) > MAX_DEPTH {
        return Err(TemplateFault::TooDeep { key: key.into() });
    }
    Ok(text)
}

/// Deepest nesting of blocks or, within a tag, of brackets: what a parser that descends recursively would reach.
fn depth(template: &str) -> u32 {
    let (mut blocks, mut deepest, mut rest) = (0, 0, template);
    while let Some(open) = rest.find('{') {
        rest = &rest[open + 1..];
        let (close, is_block) = match rest.as_bytes().first() {
            Some(b'%') => ("%}", true),
            Some(b'{') => ("}}", false),
            _ => continue,
        };
        let (tag, behind) = rest[1..].split_once(close).unwrap_or((&rest[1..], ""));
        if is_block {
            blocks = after_block(blocks, tag);
        }
        deepest = deepest.max(blocks).max(brackets(tag));
        rest = behind;
    }
    deepest
}

fn after_block(blocks: u32, tag: &str) -> u32 {
    let tag = tag.trim_start_matches(['-', '+']).trim_start();
    let word = tag.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next().unwrap_or("");
    match word {
        "if" | "for" | "macro" | "call" | "filter" | "with" | "block" | "generation" | "raw" => blocks + 1,
        "set" if !tag.contains('=') => blocks + 1,
        _ if word.starts_with("end") => blocks.saturating_sub(1),
        _ => blocks,
    }
}

/// Deepest nesting of brackets, those in quoted text counted too: a bound, not a parse.
fn brackets(tag: &str) -> u32 {
    let (mut open, mut deepest) = (0u32, 0);
    for letter in tag.chars() {
        match letter {
            '(' | '[' | '{' => open += 1,
            ')' | ']' | '}' => open = open.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(open);
    }
    deepest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depth_counts_open_blocks_and_brackets() {
        for (template, expected) in [
            ("plain text, { no } tags", 0),
            ("{% if a %}{% for b in c %}x{% endfor %}{% endif %}{% if d %}{% endif %}", 2),
            ("{%- set x = 1 -%}{% set y %}text{% endset %}", 1),
            ("{{ f(g(h([1, [2]]))) }}", 5),
            ("{% if", 1),
        ] {
            assert_eq!(depth(template), expected, "{template}");
        }
    }

    #[test]
    fn nothing_closes_what_was_not_opened() {
        assert_eq!(depth(&"{% endif %}".repeat(10)), 0);
        assert_eq!(depth(&"{% if a %}".repeat(1_000)), 1_000);
    }
}
