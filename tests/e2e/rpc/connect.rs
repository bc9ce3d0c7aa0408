//! Connect: with its client for Rust, which also speaks gRPC-Web, and byte for byte.

use buffa_types::google::protobuf::{Empty, EmptyView};
use connectrpc::client::{
    CallOptions, ClientConfig, HttpClient, call_server_stream, call_unary, call_unary_get,
};
use connectrpc::{CodecFormat, ConnectError, Protocol, Spec, StreamType};

use super::*;

/// A kind of call.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Unary,
    Get,
    Stream,
}

/// Makes each kind of call with each codec over HTTP/1.1, and checks the error.
fn check(
    listeners: &[&'static str],
    protocol: Protocol,
    kinds: &[Kind],
    codecs: &[CodecFormat],
) -> Result<()> {
    each(listeners, |stack, to, refused| {
        for kind in kinds {
            for codec in codecs {
                let config = ClientConfig::new(format!("http://{to}").parse()?)
                    .with_protocol(protocol)
                    .with_codec_format(*codec);
                let error = stack.runtime.block_on(called(&config, *kind, refused))?;
                let is_right = error.code.as_str() == refused.denial.connect_code()
                    && error.message.as_deref() == Some(&*refused.message)
                    && reported(&error) == Some(refused.denial.code());
                ensure!(is_right, "{kind:?}, {codec:?}: {error:?}");
            }
        }
        Ok(())
    })
}

async fn called(config: &ClientConfig, kind: Kind, refused: &Refused) -> Result<ConnectError> {
    const UNARY: Spec = Spec::client(PATH, StreamType::Unary);
    const STREAM: Spec = Spec::client(PATH, StreamType::ServerStream);

    let http = HttpClient::plaintext();
    let mut options = CallOptions::default();
    if let Some(key) = &refused.key {
        options = options.with_header("x-api-key", key);
    }
    let empty = Empty::default();
    let error = match kind {
        Kind::Unary => {
            let answer =
                call_unary::<_, _, EmptyView<'static>>(&http, config, UNARY, empty, options);
            answer.await.err()
        }
        Kind::Get => {
            let answer =
                call_unary_get::<_, _, EmptyView<'static>>(&http, config, UNARY, empty, options);
            answer.await.err()
        }
        Kind::Stream => {
            let answers = call_server_stream::<_, _, EmptyView<'static>>(
                &http, config, STREAM, empty, options,
            );
            match answers.await {
                Ok(mut answers) => answers.message().await.err(),
                Err(error) => Some(error),
            }
        }
    };
    error.context("not refused")
}

/// Returns the error code from the metadata of an error.
fn reported(error: &ConnectError) -> Option<&str> {
    let maps = [error.trailers(), error.response_headers()];
    let mut values = maps.iter().filter_map(|map| map.get("x-keystile-error"));
    values.next()?.to_str().ok()
}

const CODECS: [CodecFormat; 2] = [CodecFormat::Proto, CodecFormat::Json];

pub(super) fn unary() -> Result<()> {
    check(
        &CONNECT,
        Protocol::Connect,
        &[Kind::Unary, Kind::Get],
        &CODECS,
    )
}

pub(super) fn streams() -> Result<()> {
    check(
        &["plain", "bridge last"],
        Protocol::Connect,
        &[Kind::Stream],
        &CODECS,
    )?;
    // The bridge answers in the form for Protocol Buffers, whatever the codec was.
    let proto = [CodecFormat::Proto];
    check(
        &["bridge first"],
        Protocol::Connect,
        &[Kind::Stream],
        &proto,
    )
}

pub(super) fn grpc_web() -> Result<()> {
    let kinds = [Kind::Unary, Kind::Stream];
    check(&["plain"], Protocol::GrpcWeb, &kinds, &CODECS)?;
    // Envoy's filter knows only one codec.
    check(&GRPC_WEB, Protocol::GrpcWeb, &kinds, &[CodecFormat::Proto])
}

/// Statuses, content types and bodies, without Envoy's filter and with it behind Keystile.
pub(super) fn bytes() -> Result<()> {
    let version = ("connect-protocol-version", "1");
    each(&["plain", "bridge last"], |stack, to, refused| {
        let denial = refused.denial;
        let error = json!({"code": denial.connect_code(), "message": refused.message});
        for content_type in ["application/proto", "application/json"] {
            let headers = [version, ("content-type", content_type)];
            let response = call(stack, to, refused, &headers)?;
            ensure!(
                response.status == denial.status()
                    && response.header("content-type")? == Some("application/json")
                    && response.header("x-keystile-error")? == Some(denial.code())
                    && serde_json::from_slice::<Value>(&response.body)? == error,
                "{response:?}"
            );
        }
        for content_type in ["application/connect+proto", "application/connect+json"] {
            let response = call(stack, to, refused, &[("content-type", content_type)])?;
            let (flags, message) = unframed(&response.body)?;
            let end = json!({"error": error, "metadata": {"x-keystile-error": [denial.code()]}});
            ensure!(
                response.status == 200
                    && response.header("content-type")? == Some(content_type)
                    && flags == 2
                    && serde_json::from_str::<Value>(&message)? == end,
                "{response:?}"
            );
        }
        Ok(())
    })
}
