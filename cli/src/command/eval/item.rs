//! The items of an evaluation: what is asked, of which pipeline, and what is right.

use dunlin_host::Request;
use serde::Deserialize;
use serde_json::Value;

/// One line of the file.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(super) struct Item {
    #[serde(default)]
    pub(super) id: Value,
    pub(super) task: Task,
    #[serde(default)]
    pub(super) subtask: String,
    #[serde(default)]
    pub(super) split: String,
    /// The instruction; the text may follow it, as in a finished prompt.
    #[serde(default)]
    prompt: String,
    text: String,
    #[serde(default)]
    choices: Vec<String>,
    #[serde(default)]
    keys: Vec<String>,
    answer: Value,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Task {
    Classify,
    Extract,
    Qa,
    Summarize,
}

impl Task {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Classify => "classify",
            Self::Extract => "extract",
            Self::Qa => "qa",
            Self::Summarize => "summarize",
        }
    }

    /// The pipeline that does it.
    pub(super) fn pipeline(self) -> &'static str {
        match self {
            Self::Classify => "classify",
            Self::Extract => "extract",
            // Of one message, as it was trained: the pipeline `summarize` is for long texts.
            Self::Qa | Self::Summarize => "chat",
        }
    }
}

/// How good an answer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Mark {
    pub(super) right: bool,
    /// Of an extraction: keys, and how many of them are right.
    pub(super) fields: u32,
    pub(super) right_fields: u32,
}

impl Item {
    /// # Errors
    /// If it is not one.
    pub(super) fn parse(line: &str) -> Result<Self, String> {
        let mut item: Self = serde_json::from_str(line).map_err(|error| error.to_string())?;
        if let Some(instruction) = item.prompt.trim_end().strip_suffix(item.text.trim_end()) {
            item.prompt = instruction.trim_end().to_owned();
        }
        match item.task {
            Task::Classify if item.choices.len() < 2 => Err("an item to classify has choices".into()),
            Task::Extract if item.keys.is_empty() => Err("an item to extract has keys".into()),
            _ => Ok(item),
        }
    }

    pub(super) fn request(&self) -> Request {
        let mut params = Vec::new();
        let mut param = |name: &str, value: String| params.push((name.to_owned(), value));
        let body = match self.task {
            Task::Classify => {
                self.choices.iter().for_each(|choice| param("choices", choice.clone()));
                let question = self.question();
                if !question.is_empty() {
                    param("question", question);
                }
                self.text.clone()
            }
            Task::Extract => {
                param("keys", self.keys.join(","));
                let instruction = self.instruction();
                if !instruction.is_empty() {
                    param("instruction", instruction);
                }
                self.text.clone()
            }
            Task::Qa | Task::Summarize => {
                param("temperature", "0".into());
                format!("{}\n{}", self.prompt, self.text).trim().to_owned()
            }
        };
        Request { content_type: "text/plain; charset=utf-8".into(), body: body.into_bytes(), params }
    }

    /// The prompt without the list of choices, which the pipeline adds by itself.
    fn question(&self) -> String {
        let (last, others) =
            self.choices.split_last().map_or(("", &[][..]), |(last, others)| (last.as_str(), others));
        let list = format!("{} or {last}", others.join(", "));
        without_end(&self.prompt, &list)
    }

    /// The prompt without the list of keys.
    fn instruction(&self) -> String {
        without_end(&self.prompt, &self.keys.join(", "))
    }

    pub(super) fn chance(&self) -> f64 {
        match self.task {
            Task::Classify => 1.0 / self.choices.len() as f64,
            _ => 0.0,
        }
    }

    pub(super) fn mark(&self, answered: &[u8]) -> Mark {
        let answered = String::from_utf8_lossy(answered);
        if self.task == Task::Extract {
            return self.mark_fields(&answered);
        }
        let expected = self.answer.as_str().map_or_else(|| self.answer.to_string(), str::to_owned);
        Mark { right: squeezed(&answered) == squeezed(&expected), ..Mark::default() }
    }

    fn mark_fields(&self, answered: &str) -> Mark {
        let expected = match &self.answer {
            Value::String(text) => serde_json::from_str(text).unwrap_or(Value::Null),
            other => other.clone(),
        };
        let answered: Value = serde_json::from_str(answered).unwrap_or(Value::Null);
        let right =
            self.keys.iter().filter(|key| answered.get(*key) == expected.get(*key) && answered.is_object());
        let right_fields = right.count() as u32;
        Mark { right: answered == expected, fields: self.keys.len() as u32, right_fields }
    }
}

fn without_end(prompt: &str, end: &str) -> String {
    let seams = [' ', ':', '?', '.'];
    let prompt = prompt.trim().trim_end_matches(seams);
    prompt.strip_suffix(end).unwrap_or(prompt).trim_end_matches(seams).to_owned()
}

fn squeezed(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(json: &str) -> Item {
        Item::parse(json).unwrap()
    }

    fn params(item: &Item) -> Vec<(String, String)> {
        item.request().params
    }

    fn owned(params: &[(&str, &str)]) -> Vec<(String, String)> {
        params.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn a_prompt_becomes_the_parameters_of_its_pipeline() {
        let classify = item(
            r#"{"task":"classify","prompt":"Severity of this line: ok, warning or critical?","text":"x","choices":["ok","warning","critical"],"answer":"ok"}"#,
        );
        let expected = [
            ("choices", "ok"),
            ("choices", "warning"),
            ("choices", "critical"),
            ("question", "Severity of this line"),
        ];
        assert_eq!(params(&classify), owned(&expected));
        let extract = item(
            r#"{"task":"extract","prompt":"Extract as JSON: service, host","text":"x","keys":["service","host"],"answer":{}}"#,
        );
        assert_eq!(params(&extract), owned(&[("keys", "service,host"), ("instruction", "Extract as JSON")]));
        let qa =
            item(r#"{"task":"qa","prompt":"Which ip is named?","text":"from 10.0.0.1","answer":"10.0.0.1"}"#);
        assert_eq!(qa.request().body, b"Which ip is named?\nfrom 10.0.0.1");
        let finished =
            r#"{"task":"qa","prompt":"Which ip?\nfrom 10.0.0.1","text":"from 10.0.0.1","answer":""}"#;
        assert_eq!(item(finished).request().body, b"Which ip?\nfrom 10.0.0.1", "the text is not said twice");
    }

    #[test]
    fn answers_are_marked() {
        let extract =
            item(r#"{"task":"extract","text":"x","keys":["a","b"],"answer":"{\"a\": \"1\", \"b\": null}"}"#);
        let mark = |answer: &str| extract.mark(answer.as_bytes());
        assert_eq!(mark(r#"{"b":null,"a":"1"}"#), Mark { right: true, fields: 2, right_fields: 2 });
        assert_eq!(mark(r#"{"a":"2","b":null}"#), Mark { right: false, fields: 2, right_fields: 1 });
        assert_eq!(mark("no"), Mark { right: false, fields: 2, right_fields: 0 });
        let qa = item(r#"{"task":"qa","text":"x","answer":"10.0.0.1"}"#);
        assert!(qa.mark(b" 10.0.0.1\n").right && !qa.mark(b"10.0.0.2").right);
    }

    #[test]
    fn what_is_no_item_is_refused() {
        for wrong in [
            r#"{"task":"classify","text":"x","answer":"ok"}"#,
            r#"{"task":"sing","text":"","answer":""}"#,
            "{",
        ] {
            assert!(Item::parse(wrong).is_err(), "{wrong}");
        }
    }
}
