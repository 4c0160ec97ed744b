//! Bodies of requests: read within bounds, and then field by field, so that what is wrong has a name.

use std::{ops::RangeInclusive, time::Duration};

use axum::body::Body;
use bytes::BytesMut;
use http::{HeaderMap, StatusCode};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde_json::{Map, Value};
use tokio::time::{Instant, timeout_at};

use crate::{
    error::{Answered, ApiError},
    limits::{BODY_GRACE, BODY_RATE, MAX_BODY},
    uploads,
};

/// Deepest nesting of a body: schemas are nested, and nothing needs more.
const MAX_DEPTH: usize = 64;

/// Bodies of more bytes are read by a thread of their own: a megabyte takes tens of milliseconds.
const ASIDE: usize = 64 << 10;

/// A JSON object whose fields are taken one by one; what nobody took is not known.
#[derive(Debug)]
pub(crate) struct Fields(Map<String, Value>);

/// # Errors
/// Too large, too slow, or broken off.
pub(crate) async fn bytes(body: Body) -> Answered<bytes::Bytes> {
    let (mut body, mut bytes, began) = (Limited::new(body, MAX_BODY), BytesMut::new(), Instant::now());
    loop {
        // Who sends a lot has time for it, who sends a byte now and then has not.
        let until = began + BODY_GRACE + Duration::from_secs_f64(bytes.len() as f64 / BODY_RATE);
        match timeout_at(until, body.frame()).await {
            Ok(None) => return Ok(bytes.freeze()),
            Ok(Some(Ok(frame))) => {
                frame.data_ref().into_iter().for_each(|data| bytes.extend_from_slice(data))
            }
            Ok(Some(Err(error))) if error.is::<LengthLimitError>() => return Err(too_large()),
            Ok(Some(Err(error))) if uploads::made_way(&*error) => return Err(ApiError::made_way()),
            Ok(Some(Err(error))) => return Err(ApiError::invalid(format!("the body broke off: {error}"))),
            Err(_) => return Err(too_slow(bytes.len())),
        }
    }
}

fn too_slow(received: usize) -> ApiError {
    let message = format!(
        "the body is too slow: {received} bytes came so far, it may take {} s and a second for each {} kB",
        BODY_GRACE.as_secs(),
        BODY_RATE / 1e3
    );
    ApiError { status: StatusCode::REQUEST_TIMEOUT, ..ApiError::invalid(message) }
        .with_code("request_timeout")
}

pub(crate) fn too_large() -> ApiError {
    let message = format!("the request is larger than {} kB", MAX_BODY / 1000);
    ApiError { status: StatusCode::PAYLOAD_TOO_LARGE, ..ApiError::invalid(message) }
        .with_code("request_too_large")
}

/// # Errors
/// As [`bytes`], and where it is no JSON object.
pub(crate) async fn fields(body: Body) -> Answered<Fields> {
    let bytes = bytes(body).await?;
    if bytes.len() <= ASIDE {
        return parsed(&bytes);
    }
    // Streams of others do not wait for it.
    tokio::task::spawn_blocking(move || parsed(&bytes)).await.unwrap_or_else(|error| {
        Err(ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "server_error", error.to_string()))
    })
}

fn parsed(bytes: &[u8]) -> Answered<Fields> {
    check_depth(bytes)?;
    match serde_json::from_slice(bytes) {
        Ok(Value::Object(fields)) => Ok(Fields(fields)),
        Ok(_) => {
            Err(ApiError::invalid("the body of the request has to be a JSON object")
                .with_code("invalid_json"))
        }
        Err(error) => {
            Err(ApiError::invalid(format!("We could not parse the JSON body of your request: {error}"))
                .with_code("invalid_json"))
        }
    }
}

/// Before it is parsed: what is nested deeper than a stack is refused by the bytes alone.
fn check_depth(bytes: &[u8]) -> Answered<()> {
    let (mut depth, mut quoted, mut escaped) = (0_usize, false, false);
    for byte in bytes {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'{' | b'[' if !quoted => depth += 1,
            b'}' | b']' if !quoted => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > MAX_DEPTH {
            return Err(ApiError::invalid(format!("the body is nested deeper than {MAX_DEPTH} levels"))
                .with_code("invalid_json"));
        }
    }
    Ok(())
}

impl Fields {
    #[cfg(test)]
    pub(crate) fn new(fields: Map<String, Value>) -> Self {
        Self(fields)
    }

    /// What is there, and stays.
    pub(crate) fn peek(&self, name: &str) -> Option<&Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    /// What is there; null is as if it were not.
    pub(crate) fn take(&mut self, name: &str) -> Option<Value> {
        self.0.remove(name).filter(|value| !value.is_null())
    }

    /// # Errors
    /// If it is no text.
    pub(crate) fn text(&mut self, name: &str) -> Answered<Option<String>> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(wrong(name, "a string", &other)),
        }
    }

    /// # Errors
    /// If it is neither true nor false.
    pub(crate) fn flag(&mut self, name: &str) -> Answered<Option<bool>> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(flag)),
            Some(other) => Err(wrong(name, "true or false", &other)),
        }
    }

    /// # Errors
    /// If it is no number in this range.
    pub(crate) fn number(&mut self, name: &str, range: RangeInclusive<f64>) -> Answered<Option<f64>> {
        let Some(value) = self.take(name) else { return Ok(None) };
        let number = value.as_f64().ok_or_else(|| wrong(name, "a number", &value))?;
        in_range(name, number, &range)
    }

    /// # Errors
    /// If it is no whole number in this range.
    pub(crate) fn integer(&mut self, name: &str, range: RangeInclusive<i64>) -> Answered<Option<i64>> {
        let Some(value) = self.take(name) else { return Ok(None) };
        // 5.0 is what some languages write for 5.
        let whole = value.as_f64().filter(|number| number.fract() == 0.0).map(|number| number as i64);
        let number = value.as_i64().or(whole).ok_or_else(|| wrong(name, "an integer", &value))?;
        in_range(name, number, &range)
    }

    /// # Errors
    /// If it is no list.
    pub(crate) fn list(&mut self, name: &str) -> Answered<Option<Vec<Value>>> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::Array(list)) => Ok(Some(list)),
            Some(other) => Err(wrong(name, "an array", &other)),
        }
    }

    /// # Errors
    /// If it is no object.
    pub(crate) fn object(&mut self, name: &str) -> Answered<Option<Self>> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::Object(fields)) => Ok(Some(Self(fields))),
            Some(other) => Err(wrong(name, "an object", &other)),
        }
    }

    /// A field that says nothing about what is to be done.
    pub(crate) fn ignore(&mut self, names: &[&str]) {
        for name in names {
            self.0.remove(*name);
        }
    }

    /// Fields that ask for what is not possible here.
    ///
    /// # Errors
    /// Names the first one that asks.
    pub(crate) fn refuse(&mut self, names: &[(&str, &str)]) -> Answered<()> {
        for (name, why) in names {
            match self.take(name) {
                None | Some(Value::Bool(false)) => {}
                Some(Value::Array(list)) if list.is_empty() => {}
                Some(_) => {
                    return Err(ApiError::unsupported(*name, format!("'{name}' is not supported: {why}")));
                }
            }
        }
        Ok(())
    }

    /// # Errors
    /// Names the first field that nobody took.
    pub(crate) fn done(self) -> Answered<()> {
        match self.0.into_iter().next() {
            None => Ok(()),
            Some((name, _)) => Err(ApiError {
                code: Some("unknown_parameter"),
                ..ApiError::invalid_field(&name, format!("Unknown parameter: '{name}'."))
            }),
        }
    }
}

fn in_range<T: PartialOrd + std::fmt::Display>(
    name: &str,
    number: T,
    range: &RangeInclusive<T>,
) -> Answered<Option<T>> {
    if range.contains(&number) {
        return Ok(Some(number));
    }
    let (least, most) = (range.start(), range.end());
    Err(ApiError::invalid_field(name, format!("Invalid '{name}': {number} is not from {least} to {most}.")))
}

pub(crate) fn wrong(name: &str, expected: &str, found: &Value) -> ApiError {
    let found = match found {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    };
    ApiError {
        code: Some("invalid_type"),
        ..ApiError::invalid_field(
            name,
            format!("Invalid type for '{name}': expected {expected}, but got {found}."),
        )
    }
}

/// A field that has to be there.
pub(crate) fn missing(name: &str) -> ApiError {
    ApiError {
        code: Some("missing_required_parameter"),
        ..ApiError::invalid_field(name, format!("Missing required parameter: '{name}'."))
    }
}

/// A number in a header.
///
/// # Errors
/// If it is none, or 0, or more than a day.
pub(crate) fn milliseconds(headers: &HeaderMap, name: &'static str) -> Answered<Option<u64>> {
    const DAY: u64 = Duration::from_hours(24).as_millis() as u64;
    let Some(value) = headers.get(name) else { return Ok(None) };
    let number = value.to_str().ok().and_then(|text| text.trim().parse::<u64>().ok());
    match number.filter(|number| (1..=DAY).contains(number)) {
        Some(number) => Ok(Some(number)),
        None => Err(ApiError::invalid_field(
            name,
            format!("the header {name} is a number of milliseconds, from 1 to {DAY}"),
        )),
    }
}

#[cfg(test)]
mod tests {
    use futures_util::stream;
    use tokio::time::sleep;

    use super::*;

    fn of(json: &str) -> Fields {
        Fields::new(serde_json::from_str(json).unwrap())
    }

    #[track_caller]
    fn check<T: std::fmt::Debug>(answered: Answered<T>, code: &str, message: &str) {
        let error = answered.unwrap_err();
        assert_eq!(
            (error.status.as_u16(), error.code.unwrap(), error.message.as_str()),
            (400, code, message)
        );
    }

    #[test]
    fn fields_have_their_types_and_ranges() {
        let mut fields = of(r#"{"a": "x", "b": 3, "c": null, "d": 5.0, "e": 1.5}"#);
        assert_eq!(fields.text("c").unwrap(), None);
        assert_eq!(fields.integer("d", 0..=9).unwrap(), Some(5));
        check(
            fields.number("a", 0.0..=1.0),
            "invalid_type",
            "Invalid type for 'a': expected a number, but got a string.",
        );
        check(fields.number("b", 0.0..=2.0), "invalid_value", "Invalid 'b': 3 is not from 0 to 2.");
        check(
            fields.integer("e", 0..=2),
            "invalid_type",
            "Invalid type for 'e': expected an integer, but got a number.",
        );
        fields.done().unwrap();
        check(of(r#"{"temprature": 1}"#).done(), "unknown_parameter", "Unknown parameter: 'temprature'.");
        let refused = of(r#"{"audio": {}}"#).refuse(&[("audio", "text only")]);
        check(refused, "unsupported_parameter", "'audio' is not supported: text only");
    }

    #[tokio::test]
    async fn bodies_are_bounded() {
        let code = async |body: Vec<u8>| fields(Body::from(body)).await.err().and_then(|error| error.code);
        assert_eq!(code(b"{}".to_vec()).await, None);
        assert_eq!(code(b"[]".to_vec()).await, Some("invalid_json"));
        assert_eq!(code(b"{".to_vec()).await, Some("invalid_json"));
        assert_eq!(code("[".repeat(100_000).into_bytes()).await, Some("invalid_json"));
        assert_eq!(code(vec![b' '; MAX_BODY + 1]).await, Some("request_too_large"));
        assert_eq!(code(format!(r#"{{"a": "{}"}}"#, "[".repeat(100)).into_bytes()).await, None);
    }

    /// Pieces of so many bytes, one a second, for half a minute.
    fn trickling(piece: usize) -> Body {
        Body::from_stream(stream::unfold(0, move |number| async move {
            sleep(Duration::from_secs(1)).await;
            (number < 30).then(|| (Ok::<_, axum::Error>(vec![b' '; piece]), number + 1))
        }))
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_has_time_by_what_it_brings() {
        let error = bytes(trickling(1)).await.unwrap_err();
        assert_eq!((error.status.as_u16(), error.code), (408, Some("request_timeout")));
        assert!(error.message.contains("5 bytes came"), "{error:?}");
        assert_eq!(bytes(trickling(30_000)).await.unwrap().len(), 900_000);
    }
}
