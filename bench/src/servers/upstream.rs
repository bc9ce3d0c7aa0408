//! The API behind Envoy. It returns the same small response to every request, except to those that
//! ask which headers it got.

use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::{Request, Response};
use tonic::body::Body;

const BODY: &str = r#"{"success":true,"message":"success","data":{"life_path":7,"expression":3,"soul_urge":11,"birthday":17,"maturity":1},"request_id":"req_01J9ZQ4M7T5V8W2X3Y6Z0A1B2C"}"#;

/// The end of paths whose response lists the names of the request's headers.
pub(crate) const HEADERS: &str = "/headers";

/// Answers a request.
pub(super) async fn answer(request: Request<Incoming>) -> Response<Body> {
    if request.uri().path().ends_with(HEADERS) {
        let names: Vec<_> = request.headers().keys().map(HeaderName::as_str).collect();
        return Response::new(Body::new(Full::from(names.join("\n"))));
    }
    let mut response = Response::new(Body::new(Full::from(BODY)));
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, json);
    response
}
