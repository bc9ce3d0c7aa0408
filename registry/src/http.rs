//! The lookup service, as the filter calls it.

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::Serialize;
use serde_json::json;
use tracing::error;

use crate::record::{Record, Status};
use crate::store::Store;
use crate::timestamp::Timestamp;

/// The routes.
pub(crate) fn router(store: Store) -> Router {
    Router::new()
        .route("/v1/key-hashes/{key_hash}", get(lookup))
        .route("/healthz", get(health))
        .fallback(unknown_route)
        .method_not_allowed_fallback(method_not_allowed)
        .with_state(store)
}

/// A record as the filter reads it: these fields and no others.
#[derive(Serialize)]
struct Answer {
    key_id: String,
    status: Status,
    account_id: String,
    environment: Option<String>,
    expires_at: Option<Timestamp>,
    endpoints: Option<Vec<String>>,
}

impl From<Record> for Answer {
    fn from(record: Record) -> Self {
        Self {
            status: record.status(),
            key_id: record.key_id,
            account_id: record.account_id,
            environment: record.environment,
            expires_at: record.expires_at,
            endpoints: record.endpoints,
        }
    }
}

/// Why a lookup has no record to give.
#[derive(Debug)]
enum LookupError {
    InvalidKeyHash,
    NotFound,
    Unavailable(sqlx::Error),
}

impl IntoResponse for LookupError {
    fn into_response(self) -> Response {
        match self {
            Self::InvalidKeyHash => refusal(
                StatusCode::BAD_REQUEST,
                "invalid_key_hash",
                "a key hash is 64 lowercase hexadecimal digits",
            ),
            Self::NotFound => bare_error(StatusCode::NOT_FOUND, "not_found"),
            Self::Unavailable(cause) => {
                error!(%cause, "a lookup failed");
                bare_error(StatusCode::SERVICE_UNAVAILABLE, "unavailable")
            }
        }
    }
}

async fn lookup(
    State(store): State<Store>,
    key_hash: Result<Path<String>, PathRejection>,
) -> Result<Json<Answer>, LookupError> {
    let Path(key_hash) = key_hash.map_err(|_| LookupError::InvalidKeyHash)?;
    let hash = parse_hash(&key_hash).ok_or(LookupError::InvalidKeyHash)?;
    match store.find(&hash).await {
        Ok(Some(record)) => Ok(Json(record.into())),
        Ok(None) => Err(LookupError::NotFound),
        Err(cause) => Err(LookupError::Unavailable(cause)),
    }
}

async fn health() -> impl IntoResponse {
    Json(json!({"status": "ok"}))
}

/// Deliberately not 404. To the filter, 404 is the verdict "no record of this hash"; with it, a
/// lookup path that is configured wrongly would look like a denial of every key there is.
async fn unknown_route() -> Response {
    refusal(
        StatusCode::BAD_REQUEST,
        "unknown_route",
        "lookups are at /v1/key-hashes/{key_hash}",
    )
}

async fn method_not_allowed() -> Response {
    refusal(
        StatusCode::METHOD_NOT_ALLOWED,
        "method_not_allowed",
        "this path answers GET",
    )
}

/// The hash's bytes. Uppercase is refused: the contract has one spelling of each hash.
fn parse_hash(hex: &str) -> Option<[u8; 32]> {
    let digits = |byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    if hex.len() != 64 || !hex.bytes().all(digits) {
        return None;
    }
    const_hex::decode_to_array(hex).ok()
}

fn bare_error(status: StatusCode, error: &str) -> Response {
    (status, Json(json!({"error": error}))).into_response()
}

fn refusal(status: StatusCode, error: &str, message: &str) -> Response {
    (status, Json(json!({"error": error, "message": message}))).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::Preview;
    use crate::test_database::{TestDatabase, on_both};
    use axum::body::{Body, to_bytes};
    use axum::http::{Method, Request, header};
    use keystile::credential::KeyHasher;
    use serde_json::Value;
    use tower::ServiceExt;

    /// SHA-256 of "abc" (FIPS 180-2, appendix B.1).
    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    on_both! {
        lookups,
        refusals,
        a_failing_database_is_503_and_says_nothing_more,
    }

    async fn store_with_abc(database: &TestDatabase) -> Store {
        let store = Store::open(&database.url).await.expect("open");
        let record = Record {
            key_id: "key_1".to_owned(),
            preview: Preview {
                head: "aw_ABCDE".to_owned(),
                tail: "WXYZ".to_owned(),
            },
            account_id: "acct_1".to_owned(),
            name: Some("a name".to_owned()),
            environment: None,
            expires_at: "2020-01-01T00:00:00Z".parse().ok(),
            endpoints: Some(vec!["/v1/astro".to_owned()]),
            created_at: "2019-01-01T00:00:00Z".parse().expect("time"),
            revoked_at: None,
        };
        let hash = KeyHasher::default().hash(b"abc");
        store.insert(&record, &hash).await.expect("insert");
        store
    }

    async fn answer(router: &Router, method: Method, path: &str) -> (StatusCode, Value) {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .body(Body::empty())
            .expect("request");
        let response = router.clone().oneshot(request).await.expect("infallible");
        let status = response.status();
        assert_eq!(
            response.headers()[header::CONTENT_TYPE],
            "application/json",
            "{path}"
        );
        let body = to_bytes(response.into_body(), 4096).await.expect("body");
        (status, serde_json::from_slice(&body).expect("JSON"))
    }

    async fn lookups(database: TestDatabase) {
        let store = store_with_abc(&database).await;
        let router = router(store);
        let lookup = |hash: &str| format!("/v1/key-hashes/{hash}");
        let found = json!({
            "key_id": "key_1",
            "status": "active",
            "account_id": "acct_1",
            "environment": null,
            "expires_at": "2020-01-01T00:00:00Z",
            "endpoints": ["/v1/astro"],
        });
        assert_eq!(
            answer(&router, Method::GET, &lookup(ABC)).await,
            (StatusCode::OK, found),
            "an expired key is active here"
        );

        let absent = answer(&router, Method::GET, &lookup(&"0".repeat(64))).await;
        assert_eq!(
            absent,
            (StatusCode::NOT_FOUND, json!({"error": "not_found"}))
        );
        let healthy = answer(&router, Method::GET, "/healthz").await;
        assert_eq!(healthy, (StatusCode::OK, json!({"status": "ok"})));
    }

    async fn refusals(database: TestDatabase) {
        let store = store_with_abc(&database).await;
        let router = router(store);
        let lookup = |hash: &str| format!("/v1/key-hashes/{hash}");
        let invalid_hashes = [
            ABC[1..].to_owned(),
            format!("{ABC}0"),
            ABC.to_uppercase(),
            format!("0x{}", &ABC[2..]),
            "g".repeat(64),
            "%ff".to_owned(),
        ]
        .map(|hash| (Method::GET, lookup(&hash), 400, "invalid_key_hash"));
        let unknown_routes = [
            lookup(""),
            lookup(&format!("{ABC}/")),
            format!("/v2/key-hashes/{ABC}"),
            "/".to_owned(),
        ]
        .map(|path| (Method::GET, path, 400, "unknown_route"));
        let wrong_methods = [
            (Method::POST, lookup(ABC), 405, "method_not_allowed"),
            (Method::DELETE, lookup(ABC), 405, "method_not_allowed"),
            (
                Method::POST,
                "/healthz".to_owned(),
                405,
                "method_not_allowed",
            ),
            (Method::POST, "/".to_owned(), 400, "unknown_route"),
        ];
        for (method, path, status, error) in invalid_hashes
            .into_iter()
            .chain(unknown_routes)
            .chain(wrong_methods)
        {
            let (got, body) = answer(&router, method.clone(), &path).await;
            assert_eq!(got, status, "{method} {path}");
            assert_eq!(body["error"], error, "{method} {path}");
        }
    }

    async fn a_failing_database_is_503_and_says_nothing_more(database: TestDatabase) {
        let store = store_with_abc(&database).await;
        store.close().await;
        for hash in [ABC.to_owned(), "0".repeat(64)] {
            let path = format!("/v1/key-hashes/{hash}");
            assert_eq!(
                answer(&router(store.clone()), Method::GET, &path).await,
                (
                    StatusCode::SERVICE_UNAVAILABLE,
                    json!({"error": "unavailable"})
                )
            );
        }
    }
}
