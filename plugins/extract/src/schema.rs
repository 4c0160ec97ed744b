//! The schema of the answer, and the keys that the prompt asks for.

use dunlin_guest::Error;
use serde_json::{Map, Value, json};

/// Keys that a prompt lists; the model has the schema to hold it to the others.
const MAX_KEYS: usize = 64;

/// Characters of a string whose length the schema leaves open: a model that repeats itself comes to an end.
pub(crate) const MAX_VALUE_LENGTH: u32 = 256;

/// Keywords under which a schema has others: by name, in a list, and alone.
const NAMED: [&str; 4] = ["properties", "patternProperties", "$defs", "definitions"];
const LISTED: [&str; 4] = ["anyOf", "oneOf", "allOf", "prefixItems"];
const ALONE: [&str; 2] = ["items", "additionalProperties"];

/// What says by itself how a string ends.
pub(crate) const FORMED: [&str; 5] = ["maxLength", "enum", "const", "pattern", "format"];

/// Objects within objects that keys are looked for in.
const MAX_DEPTH: usize = 4;

/// A JSON schema.
#[derive(Debug)]
pub(crate) struct Schema {
    pub(crate) text: String,
    value: Value,
    /// Where it is of keys alone.
    pub(crate) names: Option<Vec<String>>,
}

impl Schema {
    /// From a schema, or from keys alone.
    ///
    /// # Errors
    /// If there is neither or both, or it is not a JSON object.
    pub(crate) fn read(schema: Option<&str>, keys: Option<&str>) -> Result<Self, Error> {
        match (schema, keys) {
            (Some(text), None) => Self::parse(text),
            (None, Some(keys)) => Self::of_keys(keys),
            (None, None) => Err(Error::invalid(
                "the parameter \"schema\" is missing: a JSON schema of the answer, or \"keys\", as in keys=service,host,ip",
            )),
            (Some(_), Some(_)) => {
                Err(Error::invalid("\"schema\" and \"keys\" are both given: one says what to extract"))
            }
        }
    }

    fn parse(text: &str) -> Result<Self, Error> {
        let mut value: Value = serde_json::from_str(text)
            .map_err(|error| Error::invalid(format!("the parameter \"schema\" is not JSON: {error}")))?;
        if !value.is_object() {
            return Err(Error::invalid("the parameter \"schema\" is not a JSON schema: it is not an object"));
        }
        bound(&mut value);
        Ok(Self { text: value.to_string(), value, names: None })
    }

    /// Strings, numbers or null, all of them there.
    fn of_keys(keys: &str) -> Result<Self, Error> {
        let keys: Vec<&str> = keys.split(',').map(str::trim).collect();
        if keys.iter().any(|key| key.is_empty()) {
            return Err(Error::invalid("the parameter \"keys\": one of them is empty"));
        }
        let value = json!({ "type": ["string", "number", "null"], "maxLength": MAX_VALUE_LENGTH });
        let properties: Map<String, Value> =
            keys.iter().map(|key| ((*key).to_owned(), value.clone())).collect();
        if properties.len() < keys.len() {
            return Err(Error::invalid("the parameter \"keys\": one of them is there twice"));
        }
        let value = json!({ "type": "object", "properties": properties, "required": keys, "additionalProperties": false });
        let names = keys.iter().map(|key| (*key).to_owned()).collect();
        Ok(Self { text: value.to_string(), value, names: Some(names) })
    }

    pub(crate) const fn root(&self) -> &Value {
        &self.value
    }

    /// The keys as the prompt lists them: in order, those of inner objects after a dot, each with its description.
    pub(crate) fn keys(&self) -> String {
        let mut keys = Vec::new();
        self.collect(&self.value, "", 0, &mut keys);
        keys.join(", ")
    }

    fn collect(&self, schema: &Value, path: &str, depth: usize, keys: &mut Vec<String>) {
        if keys.len() == MAX_KEYS {
            return;
        }
        let schema = self.resolve(schema);
        let properties =
            schema.get("properties").and_then(Value::as_object).filter(|inner| !inner.is_empty());
        if let Some(properties) = properties.filter(|_| depth < MAX_DEPTH) {
            for (name, inner) in properties {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                self.collect(inner, &path, depth + 1, keys);
            }
        } else if let Some(items) = schema.get("items").filter(|_| depth < MAX_DEPTH) {
            self.collect(items, &format!("{path}[]"), depth + 1, keys);
        } else if !path.is_empty() {
            let description = schema.get("description").and_then(Value::as_str);
            keys.push(description.map_or_else(|| path.to_owned(), |text| format!("{path} ({text})")));
        }
    }

    /// What a reference within this schema points to; what cannot be found stays as it is.
    pub(crate) fn resolve<'a>(&'a self, schema: &'a Value) -> &'a Value {
        let reference =
            schema.get("$ref").and_then(Value::as_str).and_then(|reference| reference.strip_prefix('#'));
        reference.and_then(|pointer| self.value.pointer(pointer)).unwrap_or(schema)
    }
}

/// Gives every string an end that the schema gives none.
fn bound(schema: &mut Value) {
    let Some(fields) = schema.as_object_mut() else { return };
    let is_string = |kind: &Value| kind == "string";
    let holds_strings = fields.get("type").is_some_and(|kind| {
        is_string(kind) || kind.as_array().is_some_and(|kinds| kinds.iter().any(is_string))
    });
    if holds_strings && !FORMED.iter().any(|keyword| fields.contains_key(*keyword)) {
        fields.insert("maxLength".into(), MAX_VALUE_LENGTH.into());
    }
    for (keyword, value) in fields {
        let keyword = keyword.as_str();
        match value {
            Value::Object(named) if NAMED.contains(&keyword) => named.values_mut().for_each(bound),
            Value::Array(listed) if LISTED.contains(&keyword) => listed.iter_mut().for_each(bound),
            alone if ALONE.contains(&keyword) => bound(alone),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(schema: &Value, keys: &str) {
        assert_eq!(Schema::read(Some(&schema.to_string()), None).unwrap().keys(), keys);
    }

    #[test]
    fn keys_are_listed_in_order() {
        check(
            &json!({"type": "object", "properties": {"service": {"type": "string"}, "host": {}, "ip": {}}}),
            "service, host, ip",
        );
    }

    #[test]
    fn descriptions_are_told() {
        check(
            &json!({"properties": {"unit": {"type": "string", "description": "of systemd"}, "status": {}}}),
            "unit (of systemd), status",
        );
    }

    #[test]
    fn inner_keys_have_dots() {
        check(
            &json!({"properties": {
                "device": {"type": "object", "properties": {"name": {}, "port": {"properties": {"number": {}}}}},
                "errors": {"type": "array", "items": {"type": "object", "properties": {"code": {}}}},
                "tags": {"type": "array", "items": {"type": "string"}},
            }}),
            "device.name, device.port.number, errors[].code, tags[]",
        );
        check(&json!({"type": "array", "items": {"properties": {"ip": {}}}}), "[].ip");
    }

    #[test]
    fn references_are_followed_and_endless_ones_end() {
        check(
            &json!({"properties": {"source": {"$ref": "#/$defs/host"}, "gone": {"$ref": "#/nowhere"}}, "$defs": {"host": {"properties": {"ip": {}}}}}),
            "source.ip, gone",
        );
        check(
            &json!({"properties": {"next": {"$ref": "#"}, "x": {}}}),
            "next.next.next.next, next.next.next.x, next.next.x, next.x, x",
        );
    }

    #[test]
    fn a_schema_without_keys_lists_none() {
        check(&json!({"type": "string"}), "");
        check(&json!({"anyOf": [{"type": "string"}, {"type": "null"}]}), "");
    }

    #[test]
    fn many_keys_are_cut() {
        let properties: Map<String, Value> = (0..100).map(|n| (format!("k{n}"), json!({}))).collect();
        let schema = json!({ "properties": properties }).to_string();
        assert!(Schema::read(Some(&schema), None).unwrap().keys().ends_with("k62, k63"));
    }

    #[test]
    fn keys_alone_make_a_schema() {
        let schema = Schema::read(None, Some("service, ip")).unwrap();
        assert_eq!(
            schema.text,
            r#"{"type":"object","properties":{"service":{"type":["string","number","null"],"maxLength":256},"ip":{"type":["string","number","null"],"maxLength":256}},"required":["service","ip"],"additionalProperties":false}"#
        );
        assert_eq!(schema.keys(), "service, ip");
    }

    #[test]
    fn strings_without_an_end_get_one() {
        let schema = json!({
            "type": "object",
            "properties": {
                "type": {"type": "string"},
                "short": {"type": "string", "maxLength": 9},
                "one": {"enum": ["a", "b"], "type": "string"},
                "list": {"type": "array", "items": {"type": ["string", "null"]}},
                "either": {"anyOf": [{"type": "integer"}, {"$ref": "#/$defs/name"}]},
            },
            "$defs": {"name": {"type": "string"}},
        });
        let bounded = Schema::read(Some(&schema.to_string()), None).unwrap().value;
        let length = |pointer: &str| bounded.pointer(pointer).unwrap().get("maxLength").cloned();
        assert_eq!(length("/properties/type"), Some(256.into()));
        assert_eq!(length("/properties/short"), Some(9.into()));
        assert_eq!(length("/properties/one"), None);
        assert_eq!(length("/properties/list/items"), Some(256.into()));
        assert_eq!(length("/$defs/name"), Some(256.into()));
        assert_eq!((length(""), length("/properties")), (None, None));
    }

    #[test]
    fn what_is_no_schema_is_refused() {
        let refused = |schema, keys| match Schema::read(schema, keys) {
            Err(Error::InvalidArgument(why)) => why,
            other => panic!("{other:?}"),
        };
        assert_eq!(
            refused(Some("{"), None),
            "the parameter \"schema\" is not JSON: EOF while parsing an object at line 1 column 1"
        );
        assert_eq!(
            refused(Some("[]"), None),
            "the parameter \"schema\" is not a JSON schema: it is not an object"
        );
        assert_eq!(refused(None, Some("a,,b")), "the parameter \"keys\": one of them is empty");
        assert_eq!(refused(None, Some("a,b,a")), "the parameter \"keys\": one of them is there twice");
        assert!(refused(None, None).starts_with("the parameter \"schema\" is missing"));
        assert!(refused(Some("{}"), Some("a")).starts_with("\"schema\" and \"keys\" are both given"));
    }
}
