//! `GET /openapi.json`: everything that the server answers, as OpenAPI. The document is written by
//! hand. Tests compare it with the routes and their answers.

use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Extension, Router};

use crate::server::SharedBody;

pub(crate) const DOCUMENT: &str = include_str!("../../openapi.json");

pub(crate) fn routes() -> Router {
    Router::new().route("/openapi.json", get(openapi))
}

/// Returns the document.
async fn openapi() -> impl IntoResponse {
    let kind = [(CONTENT_TYPE, "application/json")];
    (kind, Extension(SharedBody), DOCUMENT)
}
