//! Who asks.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::Response,
};
use dunlin_protocol::Usage;
use http::{HeaderMap, StatusCode, header};

use crate::{
    desk::Desk,
    error::{Answered, ApiError},
    keys::Account,
};

/// Whoever needs no key.
const LOCAL: &str = "local";

/// Who asks, and what they may see.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    pub(crate) tenant: String,
    /// Whether the invocations of others, and the fleet, are to be seen.
    pub(crate) sees_all: bool,
    /// `None`: no key was needed.
    account: Option<Arc<Account>>,
}

impl Caller {
    /// Somebody on this machine.
    pub(crate) fn local() -> Self {
        Self { tenant: LOCAL.to_owned(), sees_all: true, account: None }
    }

    /// Whose invocations it sees; `None`: all.
    pub(crate) fn sees(&self) -> Option<String> {
        (!self.sees_all).then(|| self.tenant.clone())
    }

    pub(crate) fn may_use(&self, model: &str) -> bool {
        self.account.as_ref().is_none_or(|account| account.may_use(model))
    }

    /// One more request that makes work.
    ///
    /// # Errors
    /// If something of the key is used up.
    pub(crate) fn admit(&self) -> Answered<()> {
        self.account.as_ref().map_or(Ok(()), |account| account.admit())
    }

    pub(crate) fn settle(&self, usage: &Usage) {
        if let Some(account) = &self.account {
            account.settle(usage);
        }
    }
}

/// Lets in whoever has a key, or needs none.
pub(crate) async fn guard(
    State(desk): State<Arc<Desk>>,
    mut request: Request,
    next: Next,
) -> Answered<Response> {
    let caller = identify(&desk, request.headers())?;
    request.extensions_mut().insert(caller);
    Ok(next.run(request).await)
}

/// Also lets in only those who see the fleet.
pub(crate) async fn guard_all(
    State(desk): State<Arc<Desk>>,
    mut request: Request,
    next: Next,
) -> Answered<Response> {
    let caller = identify(&desk, request.headers())?;
    if !caller.sees_all {
        let message = "this key does not see the fleet: `dunlin key new --sees-all` makes one that does";
        return Err(ApiError::new(StatusCode::FORBIDDEN, "permission_error", message).with_code("forbidden"));
    }
    request.extensions_mut().insert(caller);
    Ok(next.run(request).await)
}

fn identify(desk: &Desk, headers: &HeaderMap) -> Answered<Caller> {
    let shown = key(headers);
    if let Some((name, account)) = shown.and_then(|key| desk.keys.find(key)) {
        return Ok(Caller { tenant: name, sees_all: account.allowance.sees_all, account: Some(account) });
    }
    if !desk.options.needs_key && desk.is_local() {
        // Clients send some key where none is needed.
        check_origin(headers)?;
        return Ok(Caller::local());
    }
    Err(unauthorized(match shown {
        None => {
            "You didn't provide an API key: send it as `Authorization: Bearer KEY`; `dunlin key new` makes one."
        }
        Some(_) => "Incorrect API key provided: it is not known, was removed, or has expired.",
    }))
}

/// As clients of OpenAI and of Anthropic send it.
fn key(headers: &HeaderMap) -> Option<&str> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let bearer = text("authorization").and_then(|value| {
        let (scheme, key) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then_some(key.trim())
    });
    bearer.or_else(|| text("x-api-key"))
}

/// Where no key is needed, a page of another site must not be able to ask by the browser of this machine.
fn check_origin(headers: &HeaderMap) -> Answered<()> {
    let text = |name| headers.get(name).and_then(|value: &http::HeaderValue| value.to_str().ok());
    let host = text(header::HOST).unwrap_or("localhost");
    if !is_this_machine(host) {
        let message =
            format!("a request without a key is answered on localhost only, and this one names {host:?}");
        return Err(
            ApiError::new(StatusCode::FORBIDDEN, "permission_error", message).with_code("forbidden_host")
        );
    }
    match text(header::ORIGIN).map(|origin| origin.split_once("://").map_or(origin, |(_, host)| host)) {
        Some(origin) if origin != host => {
            let message = format!("a page of {origin:?} may not ask without a key");
            Err(ApiError::new(StatusCode::FORBIDDEN, "permission_error", message)
                .with_code("forbidden_origin"))
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
