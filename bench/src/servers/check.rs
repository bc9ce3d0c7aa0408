//! The gRPC service of `ext_authz`, `envoy.service.auth.v3.Authorization`, with only those fields
//! of its messages that are needed.

use std::collections::HashMap;
use std::future::{Ready, ready};

use hyper::body::Incoming;
use tonic::body::Body;
use tonic::server::{Grpc, UnaryService};
use tonic_prost::ProstCodec;

use super::auth::{IDENTITY, is_good};

/// The path of its only method.
pub(super) const PATH: &str = "/envoy.service.auth.v3.Authorization/Check";

/// Answers a request to [`PATH`].
pub(super) async fn answer(request: hyper::Request<Incoming>) -> hyper::Response<Body> {
    let codec = ProstCodec::<CheckResponse, CheckRequest>::default();
    Grpc::new(codec).unary(Check, request).await
}

#[derive(Clone, PartialEq, prost::Message)]
struct CheckRequest {
    #[prost(message, tag = "1")]
    attributes: Option<AttributeContext>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct AttributeContext {
    #[prost(message, tag = "4")]
    request: Option<RequestAttributes>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct RequestAttributes {
    #[prost(message, tag = "2")]
    http: Option<HttpRequest>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct HttpRequest {
    #[prost(map = "string, string", tag = "3")]
    headers: HashMap<String, String>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct CheckResponse {
    #[prost(message, tag = "1")]
    status: Option<RpcStatus>,
    #[prost(message, tag = "3")]
    ok_response: Option<OkResponse>,
}

/// `google.rpc.Status`.
#[derive(Clone, PartialEq, prost::Message)]
struct RpcStatus {
    #[prost(int32, tag = "1")]
    code: i32,
}

#[derive(Clone, PartialEq, prost::Message)]
struct OkResponse {
    #[prost(message, repeated, tag = "2")]
    headers: Vec<HeaderValueOption>,
    #[prost(string, repeated, tag = "5")]
    headers_to_remove: Vec<String>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct HeaderValueOption {
    #[prost(message, tag = "1")]
    header: Option<Header>,
    #[prost(int32, tag = "3")]
    append_action: i32,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Header {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(string, tag = "2")]
    value: String,
}

struct Check;

impl UnaryService<CheckRequest> for Check {
    type Response = CheckResponse;
    type Future = Ready<Result<tonic::Response<CheckResponse>, tonic::Status>>;

    fn call(&mut self, request: tonic::Request<CheckRequest>) -> Self::Future {
        ready(Ok(tonic::Response::new(decide(request.get_ref()))))
    }
}

fn decide(request: &CheckRequest) -> CheckResponse {
    const OK: i32 = 0;
    const UNAUTHENTICATED: i32 = 16;
    const OVERWRITE_IF_EXISTS_OR_ADD: i32 = 2;

    let attributes = request.attributes.as_ref();
    let http = attributes.and_then(|attributes| attributes.request.as_ref()?.http.as_ref());
    let credential = http.and_then(|http| http.headers.get("authorization"));
    if !is_good(credential.map(String::as_bytes)) {
        return CheckResponse {
            status: Some(RpcStatus {
                code: UNAUTHENTICATED,
            }),
            ok_response: None,
        };
    }
    let headers = IDENTITY.map(|(key, value)| HeaderValueOption {
        header: Some(Header {
            key: key.to_owned(),
            value: value.to_owned(),
        }),
        append_action: OVERWRITE_IF_EXISTS_OR_ADD,
    });
    CheckResponse {
        status: Some(RpcStatus { code: OK }),
        ok_response: Some(OkResponse {
            headers: headers.into(),
            headers_to_remove: vec!["authorization".to_owned()],
        }),
    }
}
