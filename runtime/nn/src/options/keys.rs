//! The JSON of options, key by key.

use serde_json::{Map, Value};

use crate::Fault;

/// Options that change a text where they are on, and are not understood. Their effect is missing, which a guest should know.
const IGNORED: [(&str, Off); 8] = [
    ("mirostat", Off::Zero),
    ("dry-multiplier", Off::Zero),
    ("top-n-sigma", Off::NotPositive),
    ("samplers", Off::Empty),
    ("sampling-seq", Off::Empty),
    ("lora", Off::Empty),
    ("control-vector", Off::Empty),
    ("logit-bias", Off::Empty),
];

/// The value at which an option does nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Off {
    Zero,
    NotPositive,
    Empty,
}

impl Off {
    fn is(self, value: &Value) -> bool {
        match self {
            Self::Zero => value.as_f64() == Some(0.0),
            Self::NotPositive => value.as_f64().is_some_and(|number| number <= 0.0),
            Self::Empty => match value {
                Value::String(text) => text.is_empty(),
                Value::Array(list) => list.is_empty(),
                Value::Object(map) => map.is_empty(),
                _ => false,
            },
        }
    }
}

/// The keys of one JSON object. One that is null is one that is not there.
pub(super) struct Keys<'a>(pub(super) &'a Map<String, Value>);

impl Keys<'_> {
    fn find(&self, key: &str) -> Option<&Value> {
        self.0.get(key).filter(|value| !value.is_null())
    }

    pub(super) fn names_something(&self, key: &str) -> bool {
        self.find(key).is_some_and(|value| value.as_str() != Some(""))
    }

    pub(super) fn flag(&self, key: &str, into: &mut bool) -> Result<(), Fault> {
        if let Some(value) = self.find(key) {
            *into = value.as_bool().ok_or_else(|| wrong(key, "true or false"))?;
        }
        Ok(())
    }

    /// Also one that is written with a point, as some guests do.
    pub(super) fn integer(&self, key: &str) -> Result<Option<i64>, Fault> {
        let Some(value) = self.find(key) else { return Ok(None) };
        let whole = |number: f64| (number.trunc() == number && number.abs() < 1e15).then_some(number as i64);
        match value.as_i64().or_else(|| value.as_f64().and_then(whole)) {
            Some(integer) => Ok(Some(integer)),
            None => Err(wrong(key, "an integer")),
        }
    }

    pub(super) fn number(&self, key: &str, into: &mut f32) -> Result<(), Fault> {
        let Some(value) = self.find(key) else { return Ok(()) };
        match value.as_f64().map(|number| number as f32).filter(|number| number.is_finite()) {
            Some(number) => *into = number,
            None => return Err(wrong(key, "a number")),
        }
        Ok(())
    }

    /// Empty is none.
    pub(super) fn text(&self, key: &str, into: &mut Option<String>) -> Result<(), Fault> {
        let Some(value) = self.find(key) else { return Ok(()) };
        let text = value.as_str().ok_or_else(|| wrong(key, "text"))?;
        *into = Some(text.to_owned()).filter(|text| !text.is_empty());
        Ok(())
    }

    /// The schema itself, or its text.
    pub(super) fn schema(&self, into: &mut Option<String>) -> Result<(), Fault> {
        match self.find("json-schema") {
            None => Ok(()),
            Some(Value::Object(schema)) => {
                *into = Some(Value::Object(schema.clone()).to_string());
                Ok(())
            }
            Some(_) => self.text("json-schema", into),
        }
    }

    /// Options that are on and have no effect go into the list, those that are off out of it.
    pub(super) fn note_ignored(&self, ignored: &mut Vec<&'static str>) {
        for (key, off) in IGNORED {
            let Some(value) = self.find(key) else { continue };
            ignored.retain(|&other| other != key);
            if !off.is(value) {
                ignored.push(key);
            }
        }
    }
}

fn wrong(key: &str, wanted: &str) -> Fault {
    Fault::InvalidArgument(format!("the option {key} is not {wanted}"))
}
