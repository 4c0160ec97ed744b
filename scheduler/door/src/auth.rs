//! Who asks.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::Response,
};
use http::{HeaderMap, StatusCode, header};

use crate::{
    desk::Desk,
    error::{Answered, ApiError},
};

/// Whoever needs no key.
const LOCAL: &str = "local";

/// Who asks, and what they may see.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    pub(crate) tenant: String,
    /// Whether the invocations of others, and the fleet, are to be seen.
    pub(crate) sees_all: bool,
}

impl Caller {
    /// Somebody on this machine.
    pub(crate) fn local() -> Self {
        Self { tenant: LOCAL.to_owned(), sees_all: true }
    }

    pub(crate) fn may_use(&self, _model: &str) -> bool {
        true
    }

    pub(crate) fn settle(&self, _usage: &dunlin_protocol::Usage) {}

    /// Whose invocations it sees; `None`: all.
    pub(crate) fn sees(&self) -> Option<String> {
        (!self.sees_all).then(|| self.tenant.clone())
    }
}

/// Lets in whoever has a key, or needs none.
pub(crate) async fn guard(State(desk): State<Arc<Desk>>, mut request: Request, next: Next) -> Answered<Response> {
    let caller = identify(&desk, request.headers())?;
    request.extensions_mut().insert(caller);
    Ok(next.run(request).await)
}

fn identify(desk: &Desk, headers: &HeaderMap) -> Answered<Caller> {
    if desk.options.needs_key || !desk.is_local() {
        return Err(unauthorized("an API key is needed here: `dunlin key new` makes one"));
    }
    check_origin(headers)?;
    Ok(Caller::local())
}

/// Where no key is needed, a page of another site must not be able to ask by the browser of this machine.
fn check_origin(headers: &HeaderMap) -> Answered<()> {
    let text = |name| headers.get(name).and_then(|value: &http::HeaderValue| value.to_str().ok());
    let host = text(header::HOST).unwrap_or("localhost");
    if !is_this_machine(host) {
        let message = format!("a request without a key is answered on localhost only, and this one names {host:?}");
        return Err(ApiError::new(StatusCode::FORBIDDEN, "permission_error", message).with_code("forbidden_host"));
    }
    match text(header::ORIGIN).map(|origin| origin.split_once("://").map_or(origin, |(_, host)| host)) {
        Some(origin) if origin != host => {
            let message = format!("a page of {origin:?} may not ask without a key");
            Err(ApiError::new(StatusCode::FORBIDDEN, "permission_error", message).with_code("forbidden_origin"))
        }
        _ => Ok(()),
    }
}

fn is_this_machine(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(v6) => v6.split(']').next().unwrap_or_default(),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    name == "localhost" || name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn unauthorized(message: &str) -> ApiError {
    ApiError::new(StatusCode::UNAUTHORIZED, "authentication_error", message).with_code("invalid_api_key")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(headers: &[(header::HeaderName, &str)], code: Option<&str>) {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(name.clone(), value.parse().unwrap());
        }
        assert_eq!(check_origin(&map).err().and_then(|error| error.code), code, "{headers:?}");
    }

    #[test]
    fn pages_of_others_do_not_ask_without_a_key() {
        let host = |name| (header::HOST, name);
        check(&[host("127.0.0.1:8080")], None);
        check(&[host("[::1]:8080")], None);
        check(&[host("localhost:8080"), (header::ORIGIN, "http://localhost:8080")], None);
        check(&[host("evil.example:8080")], Some("forbidden_host"));
        check(&[host("127.0.0.1:8080"), (header::ORIGIN, "https://evil.example")], Some("forbidden_origin"));
        check(&[host("127.0.0.1:8080"), (header::ORIGIN, "null")], Some("forbidden_origin"));
    }
}
