//! How many requests are answered at once, and how long each may take.

use axum::error_handling::HandleErrorLayer;
use axum::{BoxError, Router};
use tower::ServiceBuilder;
use tower::limit::GlobalConcurrencyLimitLayer;
use tower::load_shed::LoadShedLayer;
use tower::timeout::TimeoutLayer;
use tower::timeout::error::Elapsed;

use super::error::ApiError;
use crate::defaults::LONGEST_REQUEST;

/// Limits routes to `concurrency` requests at once, and ends requests that take too long. Further
/// requests are refused immediately: to the filter, a refusal now is worth more than an answer
/// after its timeout.
pub(crate) fn limited<S: Clone + Send + Sync + 'static>(
    routes: Router<S>,
    concurrency: usize,
) -> Router<S> {
    routes.layer(
        ServiceBuilder::new()
            .layer(HandleErrorLayer::new(refusal))
            .layer(LoadShedLayer::new())
            .layer(GlobalConcurrencyLimitLayer::new(concurrency))
            .layer(TimeoutLayer::new(LONGEST_REQUEST)),
    )
}

async fn refusal(error: BoxError) -> ApiError {
    if error.is::<Elapsed>() {
        ApiError::TooSlow
    } else {
        ApiError::Overloaded
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::{Body, to_bytes};
    use axum::http::header::RETRY_AFTER;
    use axum::http::{Request, StatusCode};
    use axum::response::Response;
    use axum::routing::get;
    use serde_json::{Value, json};
    use tokio::sync::Notify;
    use tokio::time::Instant;
    use tower::ServiceExt;

    async fn assert_refused(answer: Response, error: &str) {
        assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(answer.headers()[RETRY_AFTER], "1");
        let body = to_bytes(answer.into_body(), 1024).await.expect("body");
        let body: Value = serde_json::from_slice(&body).expect("JSON");
        assert_eq!(body, json!({"error": error}));
    }

    #[tokio::test]
    async fn beyond_the_limit_requests_are_refused_at_once() {
        static STARTED: Notify = Notify::const_new();
        static RELEASE: Notify = Notify::const_new();
        async fn slow() {
            STARTED.notify_one();
            RELEASE.notified().await;
        }
        let routes = Router::new()
            .route("/slow", get(slow))
            .route("/quick", get(async || ()));
        let routes = limited(routes, 1);
        let send = |path: &str| {
            let request = Request::get(path).body(Body::empty()).expect("request");
            routes.clone().oneshot(request)
        };
        let waiting = tokio::spawn(send("/slow"));
        STARTED.notified().await;
        for path in ["/quick", "/slow"] {
            let refused = send(path).await.expect("infallible");
            assert_refused(refused, "overloaded").await;
        }
        RELEASE.notify_one();
        let answered = waiting.await.expect("task").expect("infallible");
        assert_eq!(answered.status(), StatusCode::OK);
        let answered = send("/quick").await.expect("infallible");
        assert_eq!(answered.status(), StatusCode::OK);
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_takes_too_long_is_ended() {
        let routes = Router::new()
            .route("/stuck", get(std::future::pending::<()>))
            .route("/quick", get(async || ()));
        let routes = limited(routes, 1);
        let send = |path: &str| {
            let request = Request::get(path).body(Body::empty()).expect("request");
            routes.clone().oneshot(request)
        };
        let started = Instant::now();
        assert_refused(send("/stuck").await.expect("infallible"), "timeout").await;
        assert_eq!(started.elapsed().as_secs(), LONGEST_REQUEST.as_secs());
        // It no longer counts against the limit.
        let answered = send("/quick").await.expect("infallible");
        assert_eq!(answered.status(), StatusCode::OK);
    }
}
