//! What answers where.

use std::sync::Arc;

use axum::{
    Router,
    extract::{DefaultBodyLimit, MatchedPath, Request, State},
    middleware::{Next, from_fn_with_state},
    response::Response,
    routing::{get, post},
};
use http::{Method, StatusCode};

use crate::{
    anthropic, auth, console,
    desk::Desk,
    error::{Answered, ApiError},
    events, fleet, health, invocations,
    limits::MAX_BODY,
    metrics, ollama, openai, pipelines,
};

pub(crate) fn router(desk: Arc<Desk>) -> Router {
    let open = Router::new().route("/healthz", get(health::healthz)).route("/readyz", get(health::readyz));
    let guarded = Router::new()
        .route("/v1/models", get(openai::models::list))
        .route("/v1/models/{*name}", get(openai::models::one))
        .route("/v1/chat/completions", post(openai::chat::complete))
        .route("/v1/completions", post(openai::completions::complete))
        .route("/v1/embeddings", post(openai::embeddings::embed))
        .route("/v1/responses", post(openai::responses::respond))
        .route("/v1/messages", post(anthropic::messages))
        .route("/api/version", get(ollama::version))
        .route("/api/tags", get(ollama::tags))
        .route("/api/show", post(ollama::show))
        .route("/api/chat", post(ollama::chat))
        .route("/api/generate", post(ollama::generate))
        .route("/v1/pipelines", get(pipelines::list))
        .route("/v1/pipelines/{name}", post(pipelines::invoke))
        .route("/v1/invocations", get(invocations::list))
        .route("/v1/invocations/{id}", get(invocations::explain).delete(invocations::cancel))
        .layer(from_fn_with_state(desk.clone(), auth::guard));
    let of_operators = Router::new()
        .merge(console::questions())
        .route("/v1/fleet", get(fleet::fleet))
        .route("/v1/events", get(events::events))
        .route("/metrics", get(metrics::metrics))
        .layer(from_fn_with_state(desk.clone(), auth::guard_all));
    open.merge(console::files())
        .merge(guarded)
        .merge(of_operators)
        .fallback(nothing)
        .method_not_allowed_fallback(wrong_method)
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(from_fn_with_state(desk.clone(), bound))
        .with_state(desk)
}

/// No more at once than there is room for.
async fn bound(State(desk): State<Arc<Desk>>, request: Request, next: Next) -> Answered<Response> {
    let Ok(place) = desk.places.clone().try_acquire_owned() else {
        let error = ApiError::new(StatusCode::TOO_MANY_REQUESTS, "rate_limit_error", "too many requests at once");
        return Err(error.with_code("overloaded").retry_after(std::time::Duration::from_secs(1)));
    };
    let route = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned());
    let method = request.method().clone();
    let response = next.run(request).await;
    desk.metrics.answered(route.as_deref().unwrap_or("none"), method_name(&method), response.status().as_u16());
    // A body that is streamed keeps its place.
    Ok(response.map(|body| axum::body::Body::new(crate::desk::Placed::new(body, place))))
}

/// Anybody can invent methods.
fn method_name(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        Method::HEAD => "HEAD",
        _ => "other",
    }
}

async fn nothing(method: Method, uri: http::Uri) -> ApiError {
    let message = format!("Unknown request URL: {method} {}. GET /openapi.json lists what there is.", uri.path());
    ApiError::not_found(message).with_code("unknown_url")
}

async fn wrong_method(method: Method, uri: http::Uri) -> ApiError {
    let message = format!("Not allowed to {method} on {}.", uri.path());
    ApiError { status: StatusCode::METHOD_NOT_ALLOWED, ..ApiError::invalid(message).with_code("method_not_allowed") }
}
