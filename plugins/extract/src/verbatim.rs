//! A constraint under which every value stands in the text as it is: the model chooses where it is, and cannot make one up.

use dunlin_guest::Error;

/// Pieces of a text that values can be made of; the automaton of all that can be cut out of it grows with them.
const MAX_PIECES: usize = 4096;

/// A grammar in the Lark dialect of llguidance: an object with these keys, in order, each a string or a number of the
/// text, or null.
///
/// # Errors
/// If the text is too long for it.
pub(crate) fn grammar(keys: &[String], text: &str) -> Result<String, Error> {
    let pieces = pieces(text);
    if pieces.len() > MAX_PIECES {
        return Err(Error::invalid(format!(
            "the text has {} words and signs, and values can be taken verbatim from {MAX_PIECES}: give less at once (lines=true), or verbatim=false",
            pieces.len()
        )));
    }
    // Strings of the grammar are written as JSON writes them.
    let members: Vec<String> =
        keys.iter().map(|key| format!("{} value", json(&format!("{}:", json(key))))).collect();
    Ok(format!(
        "start: \"{{\" {} \"}}\"\n\
         value: \"null\" | \"\\\"\" STRING \"\\\"\" | NUMBER\n\
         CUT: %regex {{\"substring_chunks\": {}}}\n\
         STRING: CUT & /(?s:.+)/\n\
         NUMBER: CUT & /-?(0|[1-9][0-9]*)(\\.[0-9]+)?/\n",
        members.join(" \",\" "),
        serde_json::Value::from(pieces),
    ))
}

/// Words, numbers, and every other character by itself, as they are written in a JSON string. A value begins and ends
/// where one of them does, so that no number and no word is cut short.
fn pieces(text: &str) -> Vec<String> {
    let mut pieces: Vec<String> = Vec::new();
    let mut last = Kind::Sign;
    for c in text.chars() {
        let kind = Kind::of(c);
        let written = json(&c.to_string());
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

fn json(text: &str) -> String {
    serde_json::Value::from(text).to_string()
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

    #[test]
    fn long_texts_are_refused_with_a_way_out() {
        let error = grammar(&["a".into()], &"a ".repeat(MAX_PIECES)).unwrap_err();
        let Error::InvalidArgument(reason) = error else { panic!("{error:?}") };
        assert!(reason.contains("verbatim=false") && reason.contains("8192"), "{reason}");
    }
}
