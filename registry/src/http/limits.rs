//! How much at once, and for how long.

use axum::error_handling::HandleErrorLayer;
use axum::http::StatusCode;
use axum::{BoxError, Router};
use tower::ServiceBuilder;
use tower::limit::GlobalConcurrencyLimitLayer;
use tower::load_shed::LoadShedLayer;
use tower_http::timeout::TimeoutLayer;

use super::error::ApiError;
use crate::defaults::LONGEST_REQUEST;

/// Refuses requests beyond `concurrency` at once: to the filter, a refusal now is worth more than an
/// answer after it has given up. A request that takes too long is ended with a 503.
pub(super) fn limited<S: Clone + Send + Sync + 'static>(
    routes: Router<S>,
    concurrency: usize,
) -> Router<S> {
    routes.layer(
        ServiceBuilder::new()
            .layer(HandleErrorLayer::new(async |_: BoxError| {
                ApiError::Overloaded
            }))
            .layer(LoadShedLayer::new())
            .layer(GlobalConcurrencyLimitLayer::new(concurrency))
            .layer(TimeoutLayer::with_status_code(
                StatusCode::SERVICE_UNAVAILABLE,
                LONGEST_REQUEST,
            )),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;
    use axum::http::Request;
    use axum::routing::get;
    use tokio::sync::Notify;
    use tower::ServiceExt;

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
            assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
        }
        RELEASE.notify_one();
        let answered = waiting.await.expect("task").expect("infallible");
        assert_eq!(answered.status(), StatusCode::OK);
        let answered = send("/quick").await.expect("infallible");
        assert_eq!(answered.status(), StatusCode::OK);
    }
}
