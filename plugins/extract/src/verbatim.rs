//! A constraint under which every value stands in the text as it is: the model chooses where it is, and cannot make one up.

use dunlin_guest::Error;
use serde_json::{Map, Value, json};

use crate::schema::{FORMED, MAX_VALUE_LENGTH, Schema};

/// Pieces of a text that values can be made of; the automaton of all that can be cut out of it grows with them.
const MAX_PIECES: usize = 4096;

/// A grammar in the Lark dialect of llguidance: an object with these keys, in order, each a string or a number of the
/// text, or null.
///
/// # Errors
/// If the text is too long for it.
pub(crate) fn grammar(keys: &[String], text: &str) -> Result<String, Error> {
    // Strings of the grammar are written as JSON writes them.
    let members: Vec<String> = keys.iter().map(|key| format!("{} value", member(key))).collect();
    Ok(format!(
        "start: \"{{\" {} \"}}\"\n\
         value: \"null\" | \"\\\"\" STRING \"\\\"\" | NUMBER\n\
         {}\
         STRING: CUT & /(?s:.+)/\n\
         NUMBER: CUT & /-?(0|[1-9][0-9]*)(\\.[0-9]+)?/\n",
        members.join(" \",\" "),
        cut(text)?,
    ))
}

/// The same under a schema: each string of an object whose form the schema leaves open is one of the text; all else is as
/// the schema says.
///
/// # Errors
/// If the text is too long for it, or the schema has no properties.
pub(crate) fn under(schema: &Schema, text: &str) -> Result<String, Error> {
    let mut grammar = Grammar { schema, letters: text.chars().count(), lengths: Vec::new() };
    let root = grammar.object(schema.root(), 0).ok_or_else(|| {
        Error::invalid("verbatim=true is for schemas with \"properties\", which this one has not")
    })?;
    let strings: String =
        grammar.lengths.iter().enumerate().map(|(at, length)| string(at, length.as_ref())).collect();
    Ok(format!("start: {root}\n{}{strings}", cut(text)?))
}

/// Objects within objects that strings are looked for in.
const MAX_DEPTH: usize = 8;

/// Most letters of a string of which the schema says nothing.
const MAX_LENGTH: u64 = MAX_VALUE_LENGTH as u64;

/// What a schema becomes.
struct Grammar<'a> {
    schema: &'a Schema,
    /// Of the text.
    letters: usize,
    /// Of strings, least and most letters where there may be too many or too few; the number of one is in its name.
    lengths: Vec<Option<(u64, u64)>>,
}

impl Grammar<'_> {
    fn object(&mut self, schema: &Value, depth: usize) -> Option<String> {
        let properties = schema.get("properties")?.as_object().filter(|_| depth < MAX_DEPTH)?;
        let members: Vec<String> = properties
            .iter()
            .map(|(key, inner)| format!("{} {}", member(key), self.value(inner, depth + 1)))
            .collect();
        (!members.is_empty()).then(|| format!("\"{{\" {} \"}}\"", members.join(" \",\" ")))
    }

    fn value(&mut self, schema: &Value, depth: usize) -> String {
        let schema = self.schema.resolve(schema);
        if let Some(object) = self.object(schema, depth) {
            return object;
        }
        let either = ["anyOf", "oneOf"].iter().find_map(|keyword| schema.get(keyword)?.as_array());
        if let Some(either) = either.filter(|_| depth < MAX_DEPTH) {
            let of: Vec<String> = either.iter().map(|one| self.value(one, depth + 1)).collect();
            return format!("({})", of.join(" | "));
        }
        if FORMED.iter().any(|keyword| *keyword != "maxLength" && schema.get(keyword).is_some()) {
            return self.as_it_is(schema);
        }
        match schema.get("type") {
            Some(Value::String(kind)) if kind == "string" => self.string(schema),
            Some(Value::Array(kinds)) if kinds.iter().any(|kind| kind == "string") => {
                let mut of = vec![self.string(schema)];
                for kind in kinds.iter().filter(|kind| *kind != "string") {
                    let fields = schema.as_object().into_iter().flatten();
                    let others = fields.filter(|(keyword, _)| !keyword.ends_with("Length"));
                    let mut other: Map<String, Value> = others.map(|(k, v)| (k.clone(), v.clone())).collect();
                    other.insert("type".into(), kind.clone());
                    of.push(self.as_it_is(&other.into()));
                }
                format!("({})", of.join(" | "))
            }
            _ => self.as_it_is(schema),
        }
    }

    /// One of the text, or none where it may be empty: what is not in the text cannot be said.
    fn string(&mut self, schema: &Value) -> String {
        let bound = |keyword| schema.get(keyword).and_then(Value::as_u64);
        let (least, most) = (bound("minLength").unwrap_or(0), bound("maxLength").unwrap_or(MAX_LENGTH));
        let fits = least <= 1 && most >= self.letters as u64;
        let length = (!fits).then_some((least.max(1), most.max(1)));
        let at = self.lengths.iter().position(|known| *known == length).unwrap_or_else(|| {
            self.lengths.push(length);
            self.lengths.len() - 1
        });
        let some = format!("\"\\\"\" STRING_{at} \"\\\"\"");
        if least == 0 { format!("({some} | \"\\\"\\\"\")") } else { some }
    }

    fn as_it_is(&self, schema: &Value) -> String {
        let mut schema = schema.clone();
        if let (Some(fields), Some(root)) = (schema.as_object_mut(), self.schema.root().as_object()) {
            for keyword in ["$defs", "definitions"] {
                if let Some(of) = root.get(keyword) {
                    fields.entry(keyword).or_insert_with(|| of.clone());
                }
            }
            fields.entry("x-guidance").or_insert_with(|| json!({ "whitespace_flexible": false }));
        }
        format!("%json {schema}")
    }
}

/// A letter may be written as an escape.
fn string(at: usize, length: Option<&(u64, u64)>) -> String {
    match length {
        None => format!("STRING_{at}: CUT & /(?s:.+)/\n"),
        Some((least, most)) => {
            format!(
                "STRING_{at}: CUT & /(?s:([^\\\\]|\\\\[\"\\\\bfnrt]|\\\\u[0-9a-f]{{4}}){{{least},{most}}})/\n"
            )
        }
    }
}

/// Whatever can be cut out of the text.
fn cut(text: &str) -> Result<String, Error> {
    let pieces = pieces(text);
    if pieces.len() > MAX_PIECES {
        return Err(Error::invalid(format!(
            "the text has {} words and signs, and values can be taken verbatim from {MAX_PIECES}: give less at once (lines=true), or verbatim=false",
            pieces.len()
        )));
    }
    Ok(format!("CUT: %regex {{\"substring_chunks\": {}}}\n", Value::from(pieces)))
}

/// A key and its colon.
fn member(key: &str) -> String {
    json_string(&format!("{}:", json_string(key)))
}

/// Words, numbers, and every other character by itself, as they are written in a JSON string. A value begins and ends
/// where one of them does, so that no number and no word is cut short.
fn pieces(text: &str) -> Vec<String> {
    let mut pieces: Vec<String> = Vec::new();
    let mut last = Kind::Sign;
    for c in text.chars() {
        let kind = Kind::of(c);
        let written = json_string(&c.to_string());
        let written = &written[1..written.len() - 1];
        match pieces.last_mut() {
            Some(piece) if kind != Kind::Sign && kind == last => *piece += written,
            _ => pieces.push(written.to_owned()),
        }
        last = kind;
    }
    pieces
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Letter,
    Digit,
    Sign,
}

impl Kind {
    fn of(c: char) -> Self {
        if c.is_ascii_digit() {
            Self::Digit
        } else if c.is_alphanumeric() {
            Self::Letter
        } else {
            Self::Sign
        }
    }
}

fn json_string(text: &str) -> String {
    Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_cut_at_the_ends_of_words_and_numbers() {
        assert_eq!(
            pieces("sda1: 94.5% of /héllo"),
            ["sda", "1", ":", " ", "94", ".", "5", "%", " ", "of", " ", "/", "héllo"]
        );
        assert_eq!(pieces("a\"b\\\n\u{1}"), ["a", "\\\"", "b", "\\\\", "\\n", "\\u0001"]);
        assert!(pieces("").is_empty());
    }

    #[test]
    fn a_grammar_has_the_keys_in_order() {
        assert_eq!(
            grammar(&["user".into(), "a \"b\"".into()], "x 1").unwrap(),
            r#"start: "{" "\"user\":" value "," "\"a \\\"b\\\"\":" value "}"
value: "null" | "\"" STRING "\"" | NUMBER
CUT: %regex {"substring_chunks": ["x"," ","1"]}
STRING: CUT & /(?s:.+)/
NUMBER: CUT & /-?(0|[1-9][0-9]*)(\.[0-9]+)?/
"#
        );
    }

    #[track_caller]
    fn check(schema: &Value, expected: &str) {
        let schema = Schema::read(Some(&schema.to_string()), None).unwrap();
        assert_eq!(under(&schema, "a 1").unwrap(), expected);
    }

    #[test]
    fn strings_of_a_schema_are_of_the_text_and_the_rest_is_as_it_says() {
        check(
            &json!({"type": "object", "properties": {
                "ip": {"type": "string"},
                "level": {"enum": ["low", "high"]},
                "at": {"type": "object", "properties": {"host": {"type": ["string", "null"], "maxLength": 2}}},
                "user": {"anyOf": [{"$ref": "#/$defs/name"}, {"type": "null"}]},
            }, "$defs": {"name": {"type": "string", "minLength": 1}}}),
            r#"start: "{" "\"ip\":" ("\"" STRING_0 "\"" | "\"\"") "," "\"level\":" %json {"enum":["low","high"],"$defs":{"name":{"type":"string","minLength":1,"maxLength":256}},"x-guidance":{"whitespace_flexible":false}} "," "\"at\":" "{" "\"host\":" (("\"" STRING_1 "\"" | "\"\"") | %json {"type":"null","$defs":{"name":{"type":"string","minLength":1,"maxLength":256}},"x-guidance":{"whitespace_flexible":false}}) "}" "," "\"user\":" ("\"" STRING_0 "\"" | %json {"type":"null","$defs":{"name":{"type":"string","minLength":1,"maxLength":256}},"x-guidance":{"whitespace_flexible":false}}) "}"
CUT: %regex {"substring_chunks": ["a"," ","1"]}
STRING_0: CUT & /(?s:.+)/
STRING_1: CUT & /(?s:([^\\]|\\["\\bfnrt]|\\u[0-9a-f]{4}){1,2})/
"#,
        );
    }

    #[test]
    fn a_schema_without_properties_has_nothing_to_take_from_the_text() {
        let schema = Schema::read(Some(r#"{"type": "array"}"#), None).unwrap();
        let Err(Error::InvalidArgument(reason)) = under(&schema, "a") else { panic!("it is refused") };
        assert!(reason.contains("\"properties\""), "{reason}");
    }

    #[test]
    fn long_texts_are_refused_with_a_way_out() {
        let error = grammar(&["a".into()], &"a ".repeat(MAX_PIECES)).unwrap_err();
        let Error::InvalidArgument(reason) = error else { panic!("{error:?}") };
        assert!(reason.contains("verbatim=false") && reason.contains("8192"), "{reason}");
    }
}
