//! The answers of the routes, on both databases.

mod admin;
mod openapi;
mod service;

use super::*;
use crate::http::auth::Token;
use crate::http::metrics::Metrics;
use crate::record::{LookupView, Record};
use crate::test_database::{TestDatabase, on_both};
use crate::test_store::{Store, record};
use axum::body::{Body, Bytes, to_bytes};
use axum::http::{Method, Request, Response, StatusCode, header};
use keystile::request::key_hash::KeyHasher;
use serde_json::{Value, json};
use tower::ServiceExt;

/// SHA-256 of "abc" (FIPS 180-2, appendix B.1).
const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

on_both! {
    lookups,
    refusals,
    a_failing_database_is_503_and_says_nothing_more,
    the_feed,
}

async fn store_with_abc(database: &TestDatabase) -> Store {
    let store = Store::open(&database.url).await.expect("open");
    insert_abc(&store).await;
    store
}

async fn insert_abc(store: &Store) {
    let hash = KeyHasher::default().hash(b"abc");
    store.keys.insert(&abc(), &hash).await.expect("insert");
}

fn abc() -> Record {
    Record {
        name: Some("a name".to_owned()),
        environment: None,
        expires_at: "2020-01-01T00:00:00Z".parse().ok(),
        endpoints: Some(vec!["/v1/astro".to_owned()]),
        created_at: "2019-01-01T00:00:00Z".parse().expect("time"),
        ..record("key_1")
    }
}

fn app(store: Store) -> App {
    App {
        database: store.database,
        keys: store.keys,
        lookups: store.lookups,
        admin_token: Some(Token::new(b"admin-secret")),
        service_token: None,
        max_age: MaxAge::default(),
        concurrency: 8,
        metrics: Metrics::new(),
    }
}

/// Returns the complete answer to a request, and checks it against the OpenAPI document.
async fn exchange(app: &App, request: Request<Body>) -> Response<Bytes> {
    exchange_with(router(app.clone(), Offer::ALL), request).await
}

/// The same with a router that several requests can share, and so its limits.
async fn exchange_with(router: Router, request: Request<Body>) -> Response<Bytes> {
    let (method, uri) = (request.method().clone(), request.uri().clone());
    let (head, body) = router
        .oneshot(request)
        .await
        .expect("infallible")
        .into_parts();
    let body = to_bytes(body, 1 << 20).await.expect("body");
    let answer = Response::from_parts(head, body);
    openapi::assert_documented(&method, &uri, &answer);
    answer
}

fn json_of(answer: &Response<Bytes>) -> Value {
    serde_json::from_slice(answer.body()).expect("JSON")
}

/// Returns the answer to a request without a body or a token.
async fn answer(app: &App, method: Method, path: &str) -> (StatusCode, Value) {
    let request = Request::builder().method(method).uri(path);
    let request = request.body(Body::empty()).expect("request");
    let answer = exchange(app, request).await;
    assert_eq!(
        answer.headers()[header::CONTENT_TYPE],
        "application/json",
        "{path}"
    );
    (answer.status(), json_of(&answer))
}

async fn lookups(database: TestDatabase) {
    let store = store_with_abc(&database).await;
    let app = app(store);
    let lookup = |hash: &str| format!("/v1/key-hashes/{hash}");
    let (status, found) = answer(&app, Method::GET, &lookup(ABC)).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(found, json!(LookupView::from(abc())));
    assert_eq!(found["expires_at"], "2020-01-01T00:00:00Z");
    assert_eq!(found["status"], "active", "an expired key is active here");

    let absent = answer(&app, Method::GET, &lookup(&"0".repeat(64))).await;
    assert_eq!(
        absent,
        (StatusCode::NOT_FOUND, json!({"error": "not_found"}))
    );
    // The record belongs to no environment.
    for (environment, status) in [
        ("production", StatusCode::NOT_FOUND),
        ("", StatusCode::OK),
        ("\u{e4}", StatusCode::NOT_FOUND),
    ] {
        let request = Request::get(lookup(ABC)).header("x-keystile-environment", environment);
        let answer = exchange(&app, request.body(Body::empty()).expect("request")).await;
        assert_eq!(answer.status(), status, "{environment:?}");
        if status == StatusCode::NOT_FOUND {
            assert_eq!(json_of(&answer), absent.1, "{environment:?}");
        }
    }
    let healthy = answer(&app, Method::GET, "/healthz").await;
    assert_eq!(healthy, (StatusCode::OK, json!({"status": "ok"})));
}

async fn refusals(database: TestDatabase) {
    let store = store_with_abc(&database).await;
    let app = app(store);
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
    let feed = [
        "limit=0",
        "limit=1001",
        "limit=-1",
        "limit=all",
        "limit=",
        "limit=1&limit=2",
    ]
    .map(|query| {
        let error = if query.contains('&') {
            "invalid_query"
        } else {
            "invalid_limit"
        };
        (Method::GET, format!("/v1/changes?{query}"), 400, error)
    });
    for (method, path, status, error) in invalid_hashes
        .into_iter()
        .chain(unknown_routes)
        .chain(wrong_methods)
        .chain(feed)
    {
        let (got, body) = answer(&app, method.clone(), &path).await;
        assert_eq!(got, status, "{method} {path}");
        assert_eq!(body["error"], error, "{method} {path}");
    }
}

async fn a_failing_database_is_503_and_says_nothing_more(database: TestDatabase) {
    let store = store_with_abc(&database).await;
    store.database.close().await;
    let lookup = |hash: &str| format!("/v1/key-hashes/{hash}");
    for path in [
        lookup(ABC),
        lookup(&"0".repeat(64)),
        "/v1/changes".to_owned(),
        "/readyz".to_owned(),
    ] {
        assert_eq!(
            answer(&app(store.clone()), Method::GET, &path).await,
            (
                StatusCode::SERVICE_UNAVAILABLE,
                json!({"error": "unavailable"})
            )
        );
    }
}

async fn the_feed(database: TestDatabase) {
    let store = Store::open(&database.url).await.expect("open");
    let app = app(store.clone());
    let get = async |query: &str| answer(&app, Method::GET, &format!("/v1/changes{query}")).await;
    let cursor_of = |answer: &Value| answer["cursor"].as_str().expect("cursor").to_owned();
    let start = cursor_of(&get("").await.1);
    insert_abc(&store).await;
    let (status, reset) = get("").await;
    assert_eq!(status, StatusCode::OK);
    let newest = cursor_of(&reset);
    let parts: Vec<_> = newest.split('-').collect();
    let [feed_id, "1", token] = parts[..] else {
        panic!("{newest}");
    };
    assert_eq!(
        reset,
        json!({"cursor": newest, "changes": [], "reset": true})
    );
    let other = "0".repeat(32);
    let with_number = |number: &str| format!("{feed_id}-{number}-{token}");
    let foreign = [
        String::new(),
        "oops".to_owned(),
        "%00-1".to_owned(),
        "%ff".to_owned(),
        format!("{other}-1-{token}"),
        format!("{feed_id}-1-{other}"),
        format!("{feed_id}-1-%00"),
        format!("{feed_id}-1-{token}%00"),
        format!("%00{newest}"),
        "x".repeat(10_000),
        // The format of earlier versions.
        format!("{feed_id}-1"),
        format!("{feed_id}-2"),
        format!("{feed_id}-{}", i64::MAX),
        with_number("2"),
        with_number("-1"),
        with_number("01"),
        with_number("%2B1"),
        with_number("%201"),
        with_number("1%00"),
        with_number(&i64::MAX.to_string()),
        with_number(&(i64::MAX - 1).to_string()),
        with_number(&i64::MIN.to_string()),
        with_number("9223372036854775808"),
        with_number(&"9".repeat(400)),
    ];
    for cursor in foreign {
        let got = get(&format!("?after={cursor}")).await;
        assert_eq!(got, (StatusCode::OK, reset.clone()), "{cursor}");
    }

    let now = "2020-01-01T00:00:00Z".parse().expect("time");
    store.keys.revoke("key_1", now).await.expect("revoke");
    store.keys.delete("key_1", now).await.expect("delete");
    let change = |kind| json!({"key_hash": ABC, "kind": kind});
    let (created, revoked, deleted) = (change("created"), change("revoked"), change("deleted"));
    let cases = [
        (1, json!([created])),
        (2, json!([created, revoked])),
        (3, json!([created, revoked, deleted])),
        (1000, json!([created, revoked, deleted])),
    ];
    let mut ends = Vec::new();
    for (limit, changes) in cases {
        let (status, page) = get(&format!("?after={start}&limit={limit}")).await;
        assert_eq!(status, StatusCode::OK, "{limit}: {page}");
        assert_eq!(
            (&page["changes"], &page["reset"]),
            (&changes, &json!(false)),
            "{limit}"
        );
        ends.push(cursor_of(&page));
    }
    assert_eq!(ends[0], newest);
    let (_, rest) = get(&format!("?after={}&limit=2", ends[1])).await;
    assert_eq!(
        rest,
        json!({"cursor": ends[2], "changes": [deleted], "reset": false})
    );
    let request = Request::get(format!("/v1/changes?after={}", ends[2]));
    let request = request.body(Body::empty()).expect("request");
    let nothing = exchange(&app, request).await;
    assert_eq!(nothing.status(), StatusCode::NO_CONTENT);
    assert!(nothing.body().is_empty());
}
