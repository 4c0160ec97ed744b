//! What goes wrong, as clients of OpenAI expect to be told.

use std::time::Duration;

use axum::{
    Json,
    response::{IntoResponse, Response},
};
use dunlin_protocol::{Failure, FailureCode};
use http::{HeaderValue, StatusCode, header::RETRY_AFTER};
use serde_json::{Value, json};

use crate::uploads::MadeWay;

pub(crate) type Answered<T = Response> = Result<T, ApiError>;

/// An answer that is none: `{"error": {"message", "type", "param", "code"}}`.
#[derive(Debug, Clone)]
pub(crate) struct ApiError {
    pub(crate) status: StatusCode,
    /// `invalid_request_error`, `server_error`, ...
    pub(crate) kind: &'static str,
    pub(crate) code: Option<&'static str>,
    /// The field of the request that it is about.
    pub(crate) param: Option<String>,
    pub(crate) message: String,
    pub(crate) retry_after: Option<Duration>,
    /// More for programs, beside the error.
    pub(crate) more: Option<Box<(&'static str, Value)>>,
}

/// A client that is gone gets no answer; nginx calls that so.
const CLIENT_CLOSED: u16 = 499;

impl ApiError {
    pub(crate) fn new(status: StatusCode, kind: &'static str, message: impl Into<String>) -> Self {
        let message = message.into();
        Self { status, kind, code: None, param: None, message, retry_after: None, more: None }
    }

    /// The request cannot be answered as it is.
    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_request_error", message)
    }

    /// The same, because of one field.
    pub(crate) fn invalid_field(param: impl Into<String>, message: impl Into<String>) -> Self {
        Self { param: Some(param.into()), code: Some("invalid_value"), ..Self::invalid(message) }
    }

    /// A field that is understood, and that nobody here can do.
    pub(crate) fn unsupported(param: impl Into<String>, message: impl Into<String>) -> Self {
        Self { code: Some("unsupported_parameter"), ..Self::invalid_field(param, message) }
    }

    pub(crate) fn model_not_found(model: &str, known: &[String]) -> Self {
        let message = match known {
            [] => format!(
                "The model `{model}` does not exist: this fleet has no model yet (`dunlin model add`)."
            ),
            known => format!("The model `{model}` does not exist. There are: {}.", known.join(", ")),
        };
        Self {
            status: StatusCode::NOT_FOUND,
            code: Some("model_not_found"),
            param: Some("model".into()),
            ..Self::invalid(message)
        }
    }

    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        Self { status: StatusCode::NOT_FOUND, code: Some("not_found"), ..Self::invalid(message) }
    }

    pub(crate) fn unavailable(message: impl Into<String>, retry_after: Duration) -> Self {
        let error = Self::new(StatusCode::SERVICE_UNAVAILABLE, "server_error", message);
        Self { code: Some("unavailable"), retry_after: Some(retry_after), ..error }
    }

    /// The body was still on its way when others came.
    pub(crate) fn made_way() -> Self {
        Self::unavailable(MadeWay.to_string(), Duration::from_secs(1)).with_code("overloaded")
    }

    #[must_use]
    pub(crate) fn with_code(mut self, code: &'static str) -> Self {
        self.code = Some(code);
        self
    }

    #[must_use]
    pub(crate) fn retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }

    /// As OpenAI writes it.
    pub(crate) fn document(&self) -> Value {
        let mut error = json!({
            "message": self.message,
            "type": self.kind,
            "param": self.param,
            "code": self.code,
        });
        if let Some((name, value)) = self.more.as_deref() {
            error[*name] = value.clone();
        }
        json!({ "error": error })
    }

    /// The answer with this body, and what every answer of this kind has.
    pub(crate) fn respond(&self, document: Value) -> Response {
        let mut response = (self.status, Json(document)).into_response();
        if let Some(wait) = self.retry_after {
            // In whole seconds, and not at once.
            let seconds = wait.as_millis().div_ceil(1000).max(1);
            if let Ok(value) = HeaderValue::from_str(&seconds.to_string()) {
                response.headers_mut().insert(RETRY_AFTER, value);
            }
        }
        response
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        self.respond(self.document())
    }
}

impl From<Failure> for ApiError {
    fn from(failure: Failure) -> Self {
        use FailureCode as Code;
        let text = failure.text.as_str();
        let (status, kind, code) = match failure.code {
            Code::Pipeline if is_too_long(text) => (400, INVALID, "context_length_exceeded"),
            Code::Pipeline if text.contains("constraint refused") => (400, INVALID, "invalid_schema"),
            Code::Pipeline if text.contains("not supported: ") => (400, INVALID, "unsupported_value"),
            Code::Pipeline if text.contains("backend: ") => (500, SERVER, "engine_error"),
            Code::Invalid | Code::Malformed | Code::Pipeline => (400, INVALID, "invalid_value"),
            Code::Unsupported => (400, INVALID, "unsupported_value"),
            Code::NotFound => (404, INVALID, "not_found"),
            Code::Conflict => (409, INVALID, "conflict"),
            Code::Forbidden | Code::TokenSpent => (403, "permission_error", "forbidden"),
            Code::Exhausted => (400, INVALID, "limit_reached"),
            Code::Quarantined => (422, INVALID, "quarantined"),
            Code::Overloaded => (429, "rate_limit_error", "overloaded"),
            Code::NoFit => (503, SERVER, "no_fit"),
            Code::Unavailable | Code::Load | Code::Memory | Code::DiskFull | Code::Interrupted => {
                (503, SERVER, "unavailable")
            }
            Code::Deadline => (504, SERVER, "deadline_exceeded"),
            Code::Cancelled => (CLIENT_CLOSED, INVALID, "cancelled"),
            Code::Engine
            | Code::Internal
            | Code::NotResumable
            | Code::Version
            | Code::StaleEpoch
            | Code::DigestMismatch
            | Code::Unknown => (500, SERVER, "internal_error"),
        };
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let wait = failure.retry_after_ms.map(Duration::from_millis);
        let comes_back = matches!(status.as_u16(), 429 | 503).then_some(Duration::from_secs(1));
        Self {
            code: Some(code),
            retry_after: wait.or(comes_back),
            ..Self::new(status, kind, failure.to_string())
        }
    }
}

const INVALID: &str = "invalid_request_error";
const SERVER: &str = "server_error";

fn is_too_long(text: &str) -> bool {
    (text.contains("the prompt has ") && text.contains("the model takes at most"))
        || text.contains("the context is full")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(code: FailureCode, text: &str, expected: (u16, &str)) {
        let error = ApiError::from(Failure::new(code, text));
        assert_eq!((error.status.as_u16(), error.code.unwrap_or_default()), expected, "{code:?} {text}");
    }

    #[test]
    fn each_failure_has_its_status() {
        let long =
            "the pipeline answered with an error: the prompt has 9000 tokens, the model takes at most 512";
        check(FailureCode::Pipeline, long, (400, "context_length_exceeded"));
        check(FailureCode::Pipeline, "constraint refused: no", (400, "invalid_schema"));
        check(FailureCode::Pipeline, "invalid argument: top_p", (400, "invalid_value"));
        check(FailureCode::NotFound, "", (404, "not_found"));
        check(FailureCode::Overloaded, "", (429, "overloaded"));
        check(FailureCode::NoFit, "", (503, "no_fit"));
        check(FailureCode::Deadline, "", (504, "deadline_exceeded"));
        check(FailureCode::Cancelled, "", (499, "cancelled"));
        check(FailureCode::Engine, "", (500, "internal_error"));
    }

    #[test]
    fn whoever_may_come_back_is_told_when() {
        let failure = Failure::new(FailureCode::Overloaded, "full").retry_after_ms(1200);
        let response = ApiError::from(failure).into_response();
        assert_eq!(
            (response.status().as_u16(), &response.headers()[RETRY_AFTER]),
            (429, &HeaderValue::from_static("2"))
        );
    }
}
