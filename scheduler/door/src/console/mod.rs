//! The console: a page about the fleet, and what it asks beside the APIs that everyone has.

mod files;
mod questions;

use std::sync::Arc;

use axum::{
    Router,
    routing::{get, post, put},
};

use crate::desk::Desk;

/// The page itself: the same for everyone, and without anything of the fleet.
pub(crate) fn files() -> Router<Arc<Desk>> {
    Router::new()
        .route("/", get(files::entrance))
        .route("/console", get(files::entrance))
        .route("/console/", get(files::page))
        .route("/console/{*path}", get(files::file))
}

/// What only the console asks; to be put behind the guard.
pub(crate) fn questions() -> Router<Arc<Desk>> {
    Router::new()
        .route("/console/api/policies", get(questions::policies))
        .route("/console/api/policies/check", post(questions::check))
        .route("/console/api/policies/{name}", get(questions::policy).put(questions::set_policy))
        .route("/console/api/pipelines", get(questions::pipelines))
        .route("/console/api/pipelines/{name}", put(questions::deploy))
}
