//! What answers where.

use std::sync::Arc;

use axum::{
    Router,
    body::Body,
    extract::{DefaultBodyLimit, MatchedPath, Request, State},
    middleware::{Next, from_fn_with_state},
    response::Response,
    routing::{MethodRouter, delete, get, post, put},
};
use http::{Method, StatusCode};

use crate::{
    anthropic, auth, console, deploy,
    desk::{Desk, Placed},
    error::{Answered, ApiError},
    events, fleet, health, invocations,
    limits::MAX_BODY,
    metrics, ollama, openai, openapi, pipelines, policies,
    span::HttpSpan,
};

pub(crate) fn router(desk: Arc<Desk>) -> Router {
    let guarded = for_callers().router.layer(from_fn_with_state(desk.clone(), auth::guard));
    let of_operators = for_operators().router.layer(from_fn_with_state(desk.clone(), auth::guard_all));
    for_everyone()
        .router
        .merge(console::files())
        .merge(guarded)
        .merge(of_operators)
        .fallback(nothing)
        .method_not_allowed_fallback(wrong_method)
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(from_fn_with_state(desk.clone(), bound))
        .with_state(desk)
}

/// Nothing of the fleet is in it.
fn for_everyone() -> Routes {
    Routes::default()
        .add("get", "/healthz", get(health::healthz))
        .add("get", "/readyz", get(health::readyz))
        .add("get", "/openapi.json", get(openapi::document))
}

/// Whoever has a key, or needs none.
fn for_callers() -> Routes {
    Routes::default()
        .add("get", "/v1/models", get(openai::models::list))
        .add("get", "/v1/models/{*name}", get(openai::models::one))
        .add("post", "/v1/chat/completions", post(openai::chat::complete))
        .add("post", "/v1/completions", post(openai::completions::complete))
        .add("post", "/v1/embeddings", post(openai::embeddings::embed))
        .add("post", "/v1/responses", post(openai::responses::respond))
        .add("post", "/v1/messages", post(anthropic::messages))
        .add("get", "/api/version", get(ollama::version))
        .add("get", "/api/tags", get(ollama::tags))
        .add("post", "/api/show", post(ollama::show))
        .add("post", "/api/chat", post(ollama::chat))
        .add("post", "/api/generate", post(ollama::generate))
        .add("get", "/v1/pipelines", get(pipelines::list))
        .add("post", "/v1/pipelines/{name}", post(pipelines::invoke))
        .add("get", "/v1/invocations", get(invocations::list))
        .add("get", "/v1/invocations/{id}", get(invocations::explain))
        .add("delete", "/v1/invocations/{id}", delete(invocations::cancel))
}

/// Whoever sees the whole fleet, and changes it.
fn for_operators() -> Routes {
    Routes::default()
        .add("get", "/v1/fleet", get(fleet::fleet))
        .add("post", "/v1/fleet/nodes/{name}/park", post(fleet::park))
        .add("post", "/v1/fleet/nodes/{name}/wake", post(fleet::wake))
        .add("get", "/v1/events", get(events::events))
        .add("get", "/metrics", get(metrics::metrics))
        .add("get", "/v1/policies", get(policies::list))
        .add("get", "/v1/policies/{name}", get(policies::one))
        .add("put", "/v1/policies/{name}", put(policies::set))
        .add("post", "/v1/policy-check", post(policies::check))
        .add("put", "/v1/pipelines/{name}", put(deploy::deploy))
}

/// A router, and what it routes.
#[derive(Default)]
struct Routes {
    router: Router<Arc<Desk>>,
    known: Vec<(&'static str, &'static str)>,
}

impl Routes {
    fn add(mut self, method: &'static str, path: &'static str, to: MethodRouter<Arc<Desk>>) -> Self {
        self.known.push((method, path));
        Self { router: self.router.route(path, to), ..self }
    }
}

/// Methods and paths, of all but the files of the console.
#[cfg(test)]
pub(crate) fn known() -> Vec<(&'static str, &'static str)> {
    [for_everyone(), for_callers(), for_operators()].into_iter().flat_map(|routes| routes.known).collect()
}

/// No more at once than there is room for.
async fn bound(State(desk): State<Arc<Desk>>, mut request: Request, next: Next) -> Answered<Response> {
    let Ok(place) = desk.places.clone().try_acquire_owned() else {
        let error =
            ApiError::new(StatusCode::TOO_MANY_REQUESTS, "rate_limit_error", "too many requests at once");
        return Err(error.with_code("overloaded").retry_after(std::time::Duration::from_secs(1)));
    };
    let route = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned());
    let route = route.as_deref().unwrap_or("none");
    let method = request.method().clone();
    let mut span = HttpSpan::begin(&desk, route, &mut request);
    let request = request.map(|body| desk.uploads.counted(body));
    let response = next.run(request).await;
    desk.metrics.answered(route, method_name(&method), response.status().as_u16());
    span.iter_mut().for_each(|span| span.answered(response.status()));
    // A body that is streamed keeps its place.
    Ok(response.map(|body| Body::new(Placed::new(body, place, span))))
}

/// Anybody can invent methods.
fn method_name(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        Method::HEAD => "HEAD",
        _ => "other",
    }
}

async fn nothing(method: Method, uri: http::Uri) -> ApiError {
    let message =
        format!("Unknown request URL: {method} {}. GET /openapi.json lists what there is.", uri.path());
    ApiError::not_found(message).with_code("unknown_url")
}

async fn wrong_method(method: Method, uri: http::Uri) -> ApiError {
    let message = format!("Not allowed to {method} on {}.", uri.path());
    ApiError {
        status: StatusCode::METHOD_NOT_ALLOWED,
        ..ApiError::invalid(message).with_code("method_not_allowed")
    }
}
