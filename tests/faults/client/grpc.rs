//! gRPC as its clients see it, with tonic's client: unary calls, and streams in both directions.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context as Tasks, Poll};

use anyhow::{Context, Result, ensure};
use futures_util::{Stream, StreamExt};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use keystile_e2e::counters::{Counters, End};
use keystile_e2e::envoy::{self, Listener, http2_cluster};
use keystile_e2e::keys::{hash, made_up_key};
use keystile_e2e::recording_upstream::{ENTITLED, RecordingUpstream};
use keystile_e2e::scripted_auth::{Script, answer};
use keystile_e2e::serving::Serving;
use keystile_e2e::stack::Setup;
use libtest_mimic::Trial;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::codegen::{Service, http::uri::PathAndQuery};
use tonic::metadata::{AsciiMetadataKey, AsciiMetadataValue};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status, Streaming};

use super::held::Held;
use super::patient;
use crate::numbers::Numbers;
use crate::range::{self, OnDemand, Range, Steady, key_id, known_key, plugin, unknown_key};

const LISTENER: &str = "grpc";

/// The number of messages in a stream.
const MESSAGES: u64 = 100;

fn setup() -> Result<Setup> {
    Ok(Setup {
        upstreams: |runtime, recorder| {
            let serving = runtime.block_on(serve(recorder.clone()))?;
            Ok(vec![(
                patient(http2_cluster("grpc", serving.address)),
                serving,
            )])
        },
        edit: Box::new(|config| {
            let http = envoy::http_settings(config)?;
            let routes = http
                .pointer_mut("/route_config/virtual_hosts/0/routes")
                .and_then(Value::as_array_mut)
                .context("no routes")?;
            let route = json!({"match": {"prefix": "/", "grpc": {}}, "route": {"cluster": "grpc"}});
            routes.insert(0, route);
            Ok(())
        }),
        ..range::setup(vec![Listener::new(LISTENER, &plugin(&json!({})))])
    })
}

type Pinned<T> = Pin<Box<dyn Future<Output = T> + Send>>;
type Answers = Pin<Box<dyn Stream<Item = Result<u64, Status>> + Send>>;

/// The methods of the service.
#[derive(Clone, Copy)]
enum Method {
    /// Takes a number and returns the next one.
    Unary,
    /// Takes a number and returns all numbers below it.
    Below,
    /// Takes numbers and returns their sum.
    Sum,
    /// Returns each number that it takes.
    Echo,
}

const METHODS: [(&str, Method); 4] = [
    ("/v1/numerology/unary", Method::Unary),
    ("/v1/numerology/below", Method::Below),
    ("/v1/numerology/sum", Method::Sum),
    ("/v1/numerology/echo", Method::Echo),
];

struct Unary;
struct Below;
struct Sum;
struct Echo;

macro_rules! service {
    ($service:ty, $request:ty => $response:ty, $call:expr) => {
        impl Service<tonic::Request<$request>> for $service {
            type Response = tonic::Response<$response>;
            type Error = Status;
            type Future = Pinned<Result<Self::Response, Status>>;

            fn poll_ready(&mut self, _: &mut Tasks<'_>) -> Poll<Result<(), Status>> {
                Poll::Ready(Ok(()))
            }

            fn call(&mut self, request: tonic::Request<$request>) -> Self::Future {
                let call = $call;
                Box::pin(async move { Ok(tonic::Response::new(call(request.into_inner()).await?)) })
            }
        }
    };
}

service!(Unary, u64 => u64, |number: u64| async move { Ok::<_, Status>(number + 1) });
service!(Below, u64 => Answers, |number: u64| async move {
    let numbers: Answers = Box::pin(tokio_stream::iter((0..number).map(Ok)));
    Ok::<_, Status>(numbers)
});
service!(Sum, Streaming<u64> => u64, |mut numbers: Streaming<u64>| async move {
    let mut sum = 0;
    while let Some(number) = numbers.message().await? {
        sum += number;
    }
    Ok::<_, Status>(sum)
});
service!(Echo, Streaming<u64> => Answers, |numbers: Streaming<u64>| async move {
    let numbers: Answers = Box::pin(numbers);
    Ok::<_, Status>(numbers)
});

async fn serve(recorder: RecordingUpstream) -> Result<Serving> {
    Serving::new(move |stream| {
        let recorder = recorder.clone();
        async move {
            let service = service_fn(move |request| call(recorder.clone(), request));
            let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            // A client may disconnect at any time.
            let _ = server.serve_connection(TokioIo::new(stream), service).await;
        }
    })
    .await
}

async fn call(
    recorder: RecordingUpstream,
    request: hyper::Request<Incoming>,
) -> Result<hyper::Response<tonic::body::Body>, Infallible> {
    recorder.arrived(&request.uri().to_string(), request.headers());
    let path = request.uri().path().to_owned();
    let method = METHODS.iter().find(|(name, _)| *name == path);
    let mut grpc = tonic::server::Grpc::new(Numbers);
    Ok(match method {
        Some((_, Method::Unary)) => grpc.unary(Unary, request).await,
        Some((_, Method::Below)) => grpc.server_streaming(Below, request).await,
        Some((_, Method::Sum)) => grpc.client_streaming(Sum, request).await,
        Some((_, Method::Echo)) => grpc.streaming(Echo, request).await,
        None => Status::unimplemented(path).into_http(),
    })
}

keystile_e2e::suite!(Together, trials);

fn trials() -> Vec<Trial> {
    let range = OnDemand::new(setup);
    let mut trials: Vec<_> = METHODS
        .into_iter()
        .map(|(path, method)| {
            let kind = path.rsplit('/').next().unwrap_or_default();
            range.trial(&format!("client: gRPC, {kind}"), move |range, name| {
                range.case(name, Steady::on(LISTENER)?, |counters| {
                    outcomes(range, counters, path, method)
                })
            })
        })
        .collect();
    trials.push(range.trial("client: gRPC, echo while it waits", while_it_waits));
    trials
}

struct Outcome {
    kind: &'static str,
    key: Option<String>,
    path: Option<&'static str>,
    code: Code,
    message: &'static str,
    error: Option<&'static str>,
}

fn all_outcomes(range: &Range) -> Result<Vec<Outcome>> {
    let (failing, revoked, known) = (unknown_key(), made_up_key(), known_key()?);
    for (key, bytes) in [
        (&failing, answer("500 Oops", "")),
        (
            &revoked,
            answer("200 OK", r#"{"key_id":"key_1","status":"revoked"}"#),
        ),
    ] {
        range.auth.script(&hash(key)?, Script::Answer(bytes));
    }
    let refused = |kind, key, code, message, error| Outcome {
        kind,
        key,
        path: None,
        code,
        message,
        error: Some(error),
    };
    Ok(vec![
        Outcome {
            kind: "call with a known key",
            key: Some(known.clone()),
            path: None,
            code: Code::Ok,
            message: "",
            error: None,
        },
        refused(
            "call with no key",
            None,
            Code::Unauthenticated,
            "API key is missing. Include it in the Authorization header as 'Bearer YOUR_KEY'.",
            "api_key_missing",
        ),
        refused(
            "call with a malformed key",
            Some("aw_short".to_owned()),
            Code::Unauthenticated,
            "Invalid API key format.",
            "api_key_invalid",
        ),
        refused(
            "call with an unknown key",
            Some(unknown_key()),
            Code::Unauthenticated,
            "The provided API key was not found. Verify the key in your Asterwise dashboard.",
            "api_key_not_found",
        ),
        refused(
            "call with a revoked key",
            Some(revoked),
            Code::Unauthenticated,
            "This API key has been revoked.",
            "api_key_revoked",
        ),
        Outcome {
            path: Some("/v2/other/method"),
            ..refused(
                "call of another endpoint",
                Some(known),
                Code::PermissionDenied,
                "This API key is not permitted to call this endpoint.",
                "endpoint_restricted",
            )
        },
        refused(
            "call with a failing lookup",
            Some(failing),
            Code::Unavailable,
            "Something went wrong on our end. Please try again.",
            "internal_error",
        ),
    ])
}

/// Returns a request with a key and, if it may reach the upstream, the key's id.
fn request<T>(message: T, key: Option<&str>, entitled: Option<&str>) -> Result<tonic::Request<T>> {
    let mut request = tonic::Request::new(message);
    let mut add = |name: &'static str, value: &str| -> Result<()> {
        let value: AsciiMetadataValue = value.parse()?;
        request
            .metadata_mut()
            .insert(AsciiMetadataKey::from_static(name), value);
        Ok(())
    };
    if let Some(key) = key {
        add("authorization", &format!("Bearer {key}"))?;
    }
    if let Some(id) = entitled {
        add(ENTITLED, id)?;
    }
    Ok(request)
}

async fn connect(to: SocketAddr) -> Result<tonic::client::Grpc<Channel>> {
    let channel = Endpoint::from_shared(format!("http://{to}"))?
        .connect()
        .await?;
    let mut client = tonic::client::Grpc::new(channel);
    client.ready().await?;
    Ok(client)
}

fn outcomes(range: &Range, counters: &Counters, path: &'static str, method: Method) -> Result<()> {
    let to = range.envoy.listener(LISTENER)?;
    for outcome in all_outcomes(range)? {
        let path = PathAndQuery::from_static(outcome.path.unwrap_or(path));
        let mut status = Ok(());
        let id = match (outcome.code, &outcome.key) {
            (Code::Ok, Some(key)) => Some(key_id(key)?),
            _ => None,
        };
        let end = range.runtime.block_on(counters.watch(outcome.kind, async {
            let mut client = connect(to).await?;
            status = called(
                &mut client,
                path,
                method,
                outcome.key.as_deref(),
                id.as_deref(),
            )
            .await?;
            anyhow::Ok(200)
        }));
        // gRPC sends its own status in an answer with status 200.
        ensure!(end == End::Answered(200), "{}: {end}", outcome.kind);
        let status = status.err().unwrap_or_else(|| Status::ok(""));
        ensure!(
            status.code() == outcome.code && status.message() == outcome.message,
            "{}: {status:?}",
            outcome.kind
        );
        let error = status.metadata().get("x-keystile-error");
        let error = error.map(|error| error.to_str()).transpose()?;
        ensure!(error == outcome.error, "{}: {error:?}", outcome.kind);
    }
    Ok(())
}

/// Calls a method with suitable messages and checks what it returns. The inner result is gRPC's.
async fn called(
    client: &mut tonic::client::Grpc<Channel>,
    path: PathAndQuery,
    method: Method,
    key: Option<&str>,
    id: Option<&str>,
) -> Result<Result<(), Status>> {
    let numbers = tokio_stream::iter(0..MESSAGES);
    let (given, expected) = match method {
        Method::Unary => {
            let answer = client.unary(request(41, key, id)?, path, Numbers).await;
            (answer.map(|answer| vec![answer.into_inner()]), vec![42])
        }
        Method::Sum => {
            let request = request(numbers, key, id)?;
            let answer = client.client_streaming(request, path, Numbers).await;
            let answer = answer.map(|answer| vec![answer.into_inner()]);
            (answer, vec![(0..MESSAGES).sum()])
        }
        Method::Below => {
            let request = request(MESSAGES, key, id)?;
            let answers = client.server_streaming(request, path, Numbers).await;
            (all(answers).await, (0..MESSAGES).collect())
        }
        Method::Echo => {
            let request = request(numbers, key, id)?;
            let answers = client.streaming(request, path, Numbers).await;
            (all(answers).await, (0..MESSAGES).collect())
        }
    };
    match given {
        Ok(given) => {
            ensure!(given == expected, "{given:?}");
            Ok(Ok(()))
        }
        Err(status) => Ok(Err(status)),
    }
}

async fn all(answers: Result<tonic::Response<Streaming<u64>>, Status>) -> Result<Vec<u64>, Status> {
    let mut all = Vec::new();
    let mut answers = answers?.into_inner();
    while let Some(number) = answers.message().await? {
        all.push(number);
    }
    Ok(all)
}

/// Messages that are sent before the verdict come back after it, in order, and later ones follow. If
/// the key is refused, none comes back.
fn while_it_waits(range: &Range, name: &str) -> Result<()> {
    range.case(name, Steady::on(LISTENER)?, |counters| {
        let to = range.envoy.listener(LISTENER)?;
        for (known, expected) in [(true, Code::Ok), (false, Code::Unauthenticated)] {
            let held = if known {
                Held::known(range)?
            } else {
                Held::unknown(range)?
            };
            let (numbers, receiver) = mpsc::unbounded_channel();
            for number in 0..MESSAGES {
                numbers.send(number)?;
            }
            let path = PathAndQuery::from_static("/v1/numerology/echo");
            let call = request(
                UnboundedReceiverStream::new(receiver),
                Some(&held.key),
                Some(&held.id),
            )?;
            let mut client = range.runtime.block_on(connect(to))?;
            let answers = range
                .runtime
                .spawn(async move { client.streaming(call, path, Numbers).await });
            held.wait_for_lookup(range)?;
            ensure!(
                range.upstream.arrived_for(&held.id) == 0,
                "before its verdict"
            );
            held.tell();
            let mut code = Code::Ok;
            let end = range
                .runtime
                .block_on(counters.watch("a stream that waits", async {
                    let mut answers = match answers.await? {
                        Ok(answers) => answers.into_inner(),
                        Err(status) => {
                            code = status.code();
                            return Ok(200);
                        }
                    };
                    for number in 0..2 * MESSAGES {
                        if number >= MESSAGES {
                            numbers.send(number)?;
                        }
                        let back = answers.next().await.context("ended early")??;
                        ensure!(back == number, "{back}, not {number}");
                    }
                    drop(numbers);
                    ensure!(answers.next().await.is_none(), "more than was sent");
                    anyhow::Ok(200)
                }));
            ensure!(
                end == End::Answered(200) && code == expected,
                "{end}, {code:?}"
            );
            let arrived = range.upstream.arrived_for(&held.id);
            ensure!(
                arrived == u64::from(known),
                "{arrived} reached the upstream"
            );
        }
        Ok(())
    })
}
