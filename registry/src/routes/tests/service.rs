//! The server rather than keys: its token, limits and health.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::HttpBody;
use http_body::Frame;
use tokio::sync::Notify;

use super::*;

on_both! {
    the_service_token_guards_lookups_and_feed,
    answers_have_max_age,
    answers_name_their_key_hash,
    health_and_readiness_differ,
    health_is_answered_beyond_the_limit,
    requests_are_counted_by_route,
    answers_of_a_moment_share_their_memory,
}

async fn send(app: &App, path: &str, token: &str) -> Response<Bytes> {
    let request = Request::get(path).header(header::AUTHORIZATION, token);
    let request = request.body(Body::empty()).expect("request");
    exchange(app, request).await
}

async fn text(app: &App, path: &str) -> String {
    let body = send(app, path, "").await.into_body();
    String::from_utf8(body.to_vec()).expect("UTF-8")
}

async fn the_service_token_guards_lookups_and_feed(database: TestDatabase) {
    let guarded = App {
        service_token: Some(Token::new(b"service")),
        ..app(store_with_abc(&database).await)
    };
    let found = format!("/v1/key-hashes/{ABC}");
    let unknown = format!("/v1/key-hashes/{}", "0".repeat(64));
    let cases = [
        (&found[..], "Bearer service", 200),
        (&found, "Bearer admin-secret", 401),
        (&found, "", 401),
        (&unknown, "Bearer service", 404),
        (&unknown, "", 401),
        ("/v1/key-hashes/x", "", 401),
        ("/v1/changes", "Bearer service", 200),
        ("/v1/changes", "Bearer servic", 401),
        ("/admin/v1/keys", "Bearer service", 401),
        ("/admin/v1/keys", "Bearer admin-secret", 200),
        ("/healthz", "", 200),
        ("/readyz", "", 200),
        ("/metrics", "", 200),
        ("/openapi.json", "", 200),
    ];
    for (path, token, status) in cases {
        let got = send(&guarded, path, token).await.status();
        assert_eq!(got, status, "{path} {token:?}");
    }
}

async fn answers_have_max_age(database: TestDatabase) {
    let store = store_with_abc(&database).await;
    let duration = |text: &str| text.parse().ok();
    let app = App {
        max_age: MaxAge {
            active: duration("1m"),
            revoked: duration("1h"),
            not_found: duration("0s"),
        },
        ..app(store.clone())
    };
    let silent = App {
        max_age: MaxAge::default(),
        ..app.clone()
    };
    let (found, unknown) = (ABC.to_owned(), "0".repeat(64));
    let now = "2020-01-01T00:00:00Z".parse().expect("time");
    for (hash, revoke, status, max_age) in [
        (&found, false, 200, "max-age=60"),
        (&unknown, false, 404, "max-age=0"),
        (&found, true, 200, "max-age=3600"),
    ] {
        if revoke {
            store.keys.revoke("key_1", now).await.expect("revoke");
        }
        let path = format!("/v1/key-hashes/{hash}");
        let answer = send(&app, &path, "").await;
        assert_eq!(answer.status(), status);
        assert_eq!(answer.headers()[header::CACHE_CONTROL], max_age);
        let answer = send(&silent, &path, "").await;
        assert!(!answer.headers().contains_key(header::CACHE_CONTROL));
    }
    store.database.close().await;
    let failed = send(&app, &format!("/v1/key-hashes/{found}"), "").await;
    assert!(!failed.headers().contains_key(header::CACHE_CONTROL));
}

/// Each verdict has the header, whatever a cache may make of the answer.
async fn answers_name_their_key_hash(database: TestDatabase) {
    let store = store_with_abc(&database).await;
    let silent = app(store.clone());
    let cached = App {
        max_age: MaxAge {
            active: "1m".parse().ok(),
            revoked: "1h".parse().ok(),
            not_found: "1s".parse().ok(),
        },
        ..silent.clone()
    };
    let now = "2020-01-01T00:00:00Z".parse().expect("time");
    let unknown = "0".repeat(64);
    // The hash, the environment, and the status before and after the key is revoked and deleted.
    let cases = [
        (ABC, "", [200, 200, 404]),
        (ABC, "production", [404, 404, 404]),
        (&unknown, "", [404, 404, 404]),
    ];
    for step in 0..3 {
        match step {
            1 => drop(store.keys.revoke("key_1", now).await.expect("revoke")),
            2 => assert!(store.keys.delete("key_1", now).await.expect("delete")),
            _ => {}
        }
        for (hash, environment, statuses) in cases {
            for app in [&silent, &cached] {
                for method in [Method::GET, Method::HEAD] {
                    let request = Request::builder()
                        .method(method)
                        .uri(format!("/v1/key-hashes/{hash}"))
                        .header("x-keystile-environment", environment);
                    let answer = exchange(app, request.body(Body::empty()).expect("request")).await;
                    assert_eq!(answer.status(), statuses[step], "{step} {environment}");
                    assert_eq!(answer.headers()["x-keystile-key-hash"], *hash, "{step}");
                    assert_eq!(answer.headers()[header::VARY], "x-keystile-environment");
                }
            }
        }
    }
}

async fn health_and_readiness_differ(database: TestDatabase) {
    let app = app(store_with_abc(&database).await);
    assert_eq!(send(&app, "/healthz", "").await.status(), 200);
    assert_eq!(send(&app, "/readyz", "").await.status(), 200);
    app.database.close().await;
    assert_eq!(send(&app, "/healthz", "").await.status(), 200);
    assert_eq!(send(&app, "/readyz", "").await.status(), 503);
}

async fn requests_are_counted_by_route(database: TestDatabase) {
    let app = app(store_with_abc(&database).await);
    let unknown = "0".repeat(64);
    for path in [
        &format!("/v1/key-hashes/{ABC}")[..],
        &format!("/v1/key-hashes/{unknown}"),
        &format!("/v1/key-hashes/{unknown}"),
        "/made-up",
    ] {
        send(&app, path, "").await;
    }
    let metrics = text(&app, "/metrics").await;
    let lookups =
        "keystile_registry_requests_total{method=\"GET\",route=\"/v1/key-hashes/{key_hash}\"";
    for line in [
        &format!("{lookups},status=\"200\"}} 1")[..],
        &format!("{lookups},status=\"404\"}} 2"),
        "keystile_registry_requests_total{method=\"GET\",route=\"none\",status=\"400\"} 1",
        "keystile_registry_request_duration_seconds_count{route=\"/v1/key-hashes/{key_hash}\"} 3",
    ] {
        assert!(metrics.lines().any(|it| it == line), "{line}\n{metrics}");
    }
    assert!(!metrics.contains(ABC) && !metrics.contains(&unknown));
    assert!(!metrics.contains("made-up"), "{metrics}");
}

async fn answers_of_a_moment_share_their_memory(database: TestDatabase) {
    let app = app(store_with_abc(&database).await);
    let router = router(app, Offer::ALL);
    for path in ["/metrics", "/openapi.json"] {
        let get = || {
            let request = Request::get(path).body(Body::empty()).expect("request");
            exchange_with(router.clone(), request)
        };
        let started = std::time::Instant::now();
        let answers = [get().await.into_body(), get().await.into_body()];
        // On a busy machine, the first text may be stale by now.
        if path == "/openapi.json" || started.elapsed() < crate::http::metrics::FRESH {
            assert_eq!(answers[0].as_ptr(), answers[1].as_ptr(), "{path}");
        }
    }
}

/// A body that never arrives, and notifies when it is polled.
struct Never(Arc<Notify>);

impl HttpBody for Never {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        self.0.notify_one();
        Poll::Pending
    }
}

async fn health_is_answered_beyond_the_limit(database: TestDatabase) {
    let app = App {
        concurrency: 1,
        ..app(store_with_abc(&database).await)
    };
    let router = router(app, Offer::ALL);
    let get = |path: &str| {
        let request = Request::get(path).header(header::AUTHORIZATION, "Bearer admin-secret");
        let request = request.body(Body::empty()).expect("request");
        exchange_with(router.clone(), request)
    };
    let waits = Arc::new(Notify::new());
    let slow = Request::post("/admin/v1/keys").header(header::AUTHORIZATION, "Bearer admin-secret");
    let slow = slow.body(Body::new(Never(waits.clone()))).expect("request");
    let slow = tokio::spawn(exchange_with(router.clone(), slow));
    waits.notified().await;
    let lookup = format!("/v1/key-hashes/{ABC}");
    for path in [&lookup[..], "/v1/changes", "/admin/v1/keys"] {
        let refused = get(path).await;
        assert_eq!(refused.status(), 503, "{path}");
        assert_eq!(refused.headers()[header::RETRY_AFTER], "1", "{path}");
        assert_eq!(json_of(&refused), json!({"error": "overloaded"}), "{path}");
    }
    for path in ["/healthz", "/readyz", "/metrics", "/openapi.json"] {
        assert_eq!(get(path).await.status(), 200, "{path}");
    }
    slow.abort();
    assert!(slow.await.expect_err("aborted").is_cancelled());
    assert_eq!(get(&lookup).await.status(), 200);
}
