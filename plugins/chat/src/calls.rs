//! Calls of functions in the text of an answer, found as it comes. Three ways to write them are understood: between
//! `<tool_call>` and `</tool_call>` (Hermes, Qwen), behind `[TOOL_CALLS]` (Mistral), and as JSON that is the whole answer
//! (Llama, and answers that have to be a call).

use dunlin_guest::{Event, ToolCall};
use serde_json::Value;

pub(crate) const OPEN: &str = "<tool_call>";
pub(crate) const CLOSE: &str = "</tool_call>";
const LIST: &str = "[TOOL_CALLS]";
const PYTHON: &str = "<|python_tag|>";

/// Bytes of one call; what is longer is text.
const MAX_CALL: usize = 256 << 10;

/// Takes pieces of text, and gives what they say.
#[derive(Debug)]
pub(crate) struct Listener {
    /// Of the functions that there are.
    names: Vec<String>,
    /// What is not told yet.
    held: String,
    place: Place,
    calls: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Nothing but white space so far.
    Start,
    Text,
    /// Within `<tool_call>`.
    Call,
    /// Behind `</tool_call>`: white space there separates calls, and is not part of the answer.
    Between,
    /// JSON to the end.
    Whole,
}

impl Listener {
    pub(crate) fn new(names: Vec<String>) -> Self {
        Self { names, held: String::new(), place: Place::Start, calls: 0 }
    }

    pub(crate) fn hear(&mut self, piece: &str) -> Vec<Event> {
        self.held += piece;
        let mut said = Vec::new();
        while let Some(event) = self.step() {
            said.extend(event);
        }
        said
    }

    /// What was held back when the answer ended.
    pub(crate) fn end(&mut self) -> Vec<Event> {
        let held = std::mem::take(&mut self.held);
        let found = match self.place {
            Place::Whole | Place::Call => self.read(&held),
            Place::Start | Place::Text => None,
            Place::Between => return Vec::new(),
        };
        match found {
            Some(calls) => calls,
            None if held.is_empty() => Vec::new(),
            // The text had this mark; it was cut before the other.
            None if self.place == Place::Call => vec![Event::Text(format!("{OPEN}{held}"))],
            None => vec![Event::Text(held)],
        }
    }

    /// One step further; nothing, where more has to come first.
    fn step(&mut self) -> Option<Vec<Event>> {
        match self.place {
            Place::Start => {
                let begun = self.held.trim_start();
                if begun.is_empty() || [OPEN, LIST, PYTHON].iter().any(|mark| is_part(begun, mark)) {
                    return None;
                }
                if let Some(rest) = begun.strip_prefix(LIST).or_else(|| begun.strip_prefix(PYTHON)) {
                    self.held = rest.to_owned();
                    self.place = Place::Whole;
                } else if begun.starts_with('{') {
                    self.place = Place::Whole;
                } else {
                    self.place = Place::Text;
                }
                Some(Vec::new())
            }
            Place::Text => {
                if let Some(at) = self.held.find(OPEN) {
                    let before = self.held[..at].to_owned();
                    self.held.drain(..at + OPEN.len());
                    self.place = Place::Call;
                    return Some(text(before.trim_end()));
                }
                // White space before a call is no part of the answer either.
                let told = self.held[..self.held.len() - held_back(&self.held, OPEN)].trim_end().len();
                let told: String = self.held.drain(..told).collect();
                (!told.is_empty()).then(|| text(&told))
            }
            Place::Call => {
                let Some(at) = self.held.find(CLOSE) else {
                    return (self.held.len() > MAX_CALL).then(|| self.give_up());
                };
                let inner = self.held[..at].to_owned();
                self.held.drain(..at + CLOSE.len());
                self.place = Place::Between;
                Some(self.read(&inner).unwrap_or_else(|| text(&format!("{OPEN}{inner}{CLOSE}"))))
            }
            Place::Between => {
                let rest = self.held.trim_start();
                if rest.is_empty() {
                    return None;
                }
                self.held = rest.to_owned();
                self.place = Place::Text;
                Some(Vec::new())
            }
            Place::Whole => (self.held.len() > MAX_CALL).then(|| self.give_up()),
        }
    }

    fn give_up(&mut self) -> Vec<Event> {
        self.place = Place::Text;
        text(&std::mem::take(&mut self.held))
    }

    /// The calls that some JSON is; nothing, where it is none.
    fn read(&mut self, json: &str) -> Option<Vec<Event>> {
        let value: Value = serde_json::from_str(json.trim()).ok()?;
        let list = match value {
            Value::Array(list) => list,
            one => vec![one],
        };
        let calls = list.iter().map(|call| self.call(call)).collect::<Option<Vec<_>>>()?;
        (!calls.is_empty()).then(|| {
            let numbered = calls.into_iter().map(|mut call| {
                call.id = format!("call_{}", self.calls);
                self.calls += 1;
                Event::ToolCall(call)
            });
            numbered.collect()
        })
    }

    fn call(&self, value: &Value) -> Option<ToolCall> {
        let name = value.get("name")?.as_str()?;
        if !self.names.iter().any(|known| known == name) {
            return None;
        }
        let arguments = value.get("arguments").or_else(|| value.get("parameters"));
        let arguments_json = match arguments {
            Some(Value::String(text)) => text.clone(),
            Some(arguments) => arguments.to_string(),
            None => "{}".to_owned(),
        };
        Some(ToolCall { id: String::new(), name: name.to_owned(), arguments_json })
    }
}

fn text(text: &str) -> Vec<Event> {
    if text.is_empty() { Vec::new() } else { vec![Event::Text(text.to_owned())] }
}

/// Whether `text` may still become `mark`.
fn is_part(text: &str, mark: &str) -> bool {
    text.len() < mark.len() && mark.starts_with(text)
}

/// How many bytes at the end may be the beginning of `mark`.
fn held_back(text: &str, mark: &str) -> usize {
    let longest = mark.len().min(text.len());
    (1..=longest)
        .rev()
        .find(|&length| {
            text.is_char_boundary(text.len() - length) && mark.starts_with(&text[text.len() - length..])
        })
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The same for any division into pieces.
    #[track_caller]
    fn check(answer: &str, expected: &[&str]) {
        for size in 1..=answer.len() {
            let mut listener = Listener::new(vec!["restart".into(), "status".into()]);
            let mut events = Vec::new();
            let mut rest = answer;
            while !rest.is_empty() {
                let (piece, left) = rest.split_at(rest.ceil_char_boundary(size.min(rest.len())));
                events.extend(listener.hear(piece));
                rest = left;
            }
            events.extend(listener.end());
            let mut said: Vec<String> = Vec::new();
            for event in events {
                match event {
                    Event::Text(text) => match said.last_mut().filter(|last| last.starts_with("text ")) {
                        Some(last) => *last += &text,
                        None => said.push(format!("text {text}")),
                    },
                    Event::ToolCall(call) => {
                        said.push(format!("{} {}({})", call.id, call.name, call.arguments_json))
                    }
                    other => panic!("{other:?}"),
                }
            }
            assert_eq!(said, expected, "pieces of {size}");
        }
    }

    #[test]
    fn calls_between_marks() {
        check(
            "I will.\n<tool_call>\n{\"name\": \"restart\", \"arguments\": {\"unit\": \"sshd\"}}\n</tool_call>\n<tool_call>{\"name\": \"status\"}</tool_call>",
            &["text I will.", "call_0 restart({\"unit\":\"sshd\"})", "call_1 status({})"],
        );
    }

    #[test]
    fn calls_that_are_the_whole_answer() {
        check(r#"{"name": "restart", "parameters": {"unit": "ü"}}"#, &["call_0 restart({\"unit\":\"ü\"})"]);
        check(r#"[TOOL_CALLS] [{"name": "status", "arguments": {}}]"#, &["call_0 status({})"]);
    }

    #[test]
    fn text_is_text() {
        check("a < b <tool> c", &["text a < b <tool> c"]);
        check(r#"{"name": "somebody"}"#, &[r#"text {"name": "somebody"}"#]);
        check("<tool_call>{broken</tool_call> x", &["text <tool_call>{broken</tool_call>x"]);
        check("It ends <tool_c", &["text It ends <tool_c"]);
    }
}
