//! gRPC-Web: with tonic's client, and byte for byte.

use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use tonic::Status;
use tonic::codegen::http::uri::PathAndQuery;
use tonic_web::GrpcWebClientService;

use super::*;
use crate::numbers::Numbers;

pub(super) fn tonic() -> Result<()> {
    each(&GRPC_WEB, |stack, to, refused| {
        let status = stack.runtime.block_on(called(to, refused))?;
        let error = status.metadata().get("x-keystile-error");
        ensure!(
            i32::from(status.code()).to_string() == refused.denial.grpc_status()
                && status.message() == refused.message
                && error.is_some_and(|error| error == refused.denial.code()),
            "{status:?}"
        );
        Ok(())
    })
}

/// Makes a unary call over HTTP/1.1, as browsers would, and returns its status.
async fn called(to: SocketAddr, refused: &Refused) -> Result<Status> {
    let http = Client::builder(TokioExecutor::new()).build_http();
    let origin = format!("http://{to}").parse()?;
    let mut client = tonic::client::Grpc::with_origin(GrpcWebClientService::new(http), origin);
    client.ready().await?;
    let mut request = tonic::Request::new(1);
    if let Some(key) = &refused.key {
        request.metadata_mut().insert("x-api-key", key.parse()?);
    }
    let path = PathAndQuery::from_static(PATH);
    let answer = client.unary(request, path, Numbers).await;
    answer.err().context("not refused")
}

/// A form of request, and the content type of the response.
struct Form {
    content_type: &'static str,
    accept: Option<&'static str>,
    expected: &'static str,
}

const FORMS: [Form; 5] = [
    Form {
        content_type: "application/grpc-web",
        accept: None,
        expected: "application/grpc-web+proto",
    },
    Form {
        content_type: "application/grpc-web+proto",
        accept: None,
        expected: "application/grpc-web+proto",
    },
    Form {
        content_type: "application/grpc-web-text",
        accept: Some("application/grpc-web-text"),
        expected: "application/grpc-web-text+proto",
    },
    Form {
        content_type: "application/grpc-web-text+proto",
        accept: Some("application/grpc-web-text+proto"),
        expected: "application/grpc-web-text+proto",
    },
    Form {
        content_type: "application/grpc-web+proto",
        accept: Some("application/grpc-web-text"),
        expected: "application/grpc-web-text+proto",
    },
];

/// The content types, and the frame. With `grpc_web` in front, everything is in the headers instead.
pub(super) fn bytes() -> Result<()> {
    each(&GRPC_WEB, |stack, to, refused| {
        for form in &FORMS {
            let mut headers = vec![("content-type", form.content_type)];
            headers.extend(form.accept.map(|accept| ("accept", accept)));
            let response = call(stack, to, refused, &headers)?;
            let is_first = to == stack.envoy.listener("grpc_web first")?;
            check(&response, refused, form, is_first).with_context(|| format!("{headers:?}"))?;
        }
        Ok(())
    })
}

fn check(response: &Response, refused: &Refused, form: &Form, in_headers: bool) -> Result<()> {
    ensure!(response.status == 200, "{response:?}");
    let content_type = response.header("content-type")?;
    ensure!(content_type == Some(form.expected), "{response:?}");
    let fields = [
        ("grpc-status", refused.denial.grpc_status().to_owned()),
        ("grpc-message", refused.message.clone()),
        ("x-keystile-error", refused.denial.code().to_owned()),
    ];
    for (name, value) in &fields {
        let expected = in_headers.then_some(&**value);
        ensure!(response.header(name)? == expected, "{name}: {response:?}");
    }
    if in_headers {
        ensure!(response.body.is_empty(), "{response:?}");
        return Ok(());
    }
    let frame = match form.expected.contains("-text") {
        true => Base64::decode_vec(&response.text())
            .ok()
            .context("no base64")?,
        false => response.body.clone(),
    };
    let trailers: String = fields
        .iter()
        .map(|(name, value)| format!("{name}:{value}\r\n"))
        .collect();
    ensure!(unframed(&frame)? == (0x80, trailers), "{response:?}");
    Ok(())
}
