//! Bodies and trailers that arrive before or after the verdict: the upstream gets a whole request
//! once, or nothing of it.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use hyper::HeaderMap;
use hyper::body::{Body, Frame};
use hyper::header::{HeaderName, HeaderValue};
use hyper_util::rt::{TokioExecutor, TokioIo};
use keystile_e2e::client::{self, Sent};
use keystile_e2e::counters::{Counters, End};
use keystile_e2e::keys::{hash, made_up_key};
use keystile_e2e::process::wait_until;
use keystile_e2e::recording_upstream::{ENTITLED, NAMED};
use keystile_e2e::scripted_auth::Script;
use libtest_mimic::Trial;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinHandle;

use super::{ID, Outcome, neighbours};
use crate::range::{OnDemand, PATH, Range, Steady};

pub(super) fn trials(range: &Arc<OnDemand>) -> Vec<Trial> {
    let trials = neighbours::PASSING.map(|listener| {
        let name = format!("around: bodies, {listener}");
        range.trial(&name, move |range, name| {
            range.case(name, Steady::on("steady")?, |counters| {
                all(range, counters, listener)
            })
        })
    });
    trials.into()
}

/// When the verdict arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum When {
    BeforeTheBody,
    Between,
    Behind,
}

/// A request's body: its parts, and whether trailers follow.
#[derive(Clone, Debug)]
struct Parts {
    name: &'static str,
    parts: Vec<&'static str>,
    trailers: bool,
    /// Whether the length is known in advance. Over HTTP/2, this means that the last part ends the
    /// stream, or the headers if there are no parts.
    told: bool,
}

fn kinds() -> Vec<Parts> {
    let kind = |name, parts: &[&'static str], trailers, told| Parts {
        name,
        parts: parts.to_vec(),
        trailers,
        told,
    };
    vec![
        kind("none", &[], false, true),
        kind("of a told length", &["hello ", "world"], false, true),
        kind("one part", &["hello"], false, false),
        kind("empty", &[], false, false),
        kind("many parts", &["abc"; 60], false, false),
        kind("parts and trailers", &["abc", "def"], true, false),
        kind("trailers alone", &[], true, false),
    ]
}

fn all(range: &Range, counters: &Counters, listener: &str) -> Result<()> {
    let mut failed = Vec::new();
    for kind in kinds() {
        for outcome in Outcome::ALL {
            for when in [When::BeforeTheBody, When::Between, When::Behind] {
                for http2 in [false, true] {
                    let name = format!(
                        "{listener}, {}, {outcome:?}, {when:?}, HTTP/{}",
                        kind.name,
                        1 + u8::from(http2)
                    );
                    let done = one(range, counters, listener, &kind, outcome, when, http2);
                    failed.extend(done.err().map(|problem| format!("{name}: {problem:#}")));
                }
            }
        }
    }
    ensure!(failed.is_empty(), "{failed:#?}");
    Ok(())
}

fn one(
    range: &Range,
    counters: &Counters,
    listener: &str,
    kind: &Parts,
    outcome: Outcome,
    when: When,
    http2: bool,
) -> Result<()> {
    let key = made_up_key();
    let hash = hash(&key)?;
    let verdict = Arc::new(Semaphore::new(0));
    let script = Script::AnswerWhen(Arc::clone(&verdict), outcome.answer());
    range.auth.script(&hash, script);
    let name = format!("body-{}", ulid::Ulid::generate());
    let mut request = if http2 {
        Sending::http2(range, listener, kind, &key, &name)?
    } else {
        Sending::http1(range, listener, kind, &key, &name)?
    };
    // If an earlier filter waits for the whole body, there is no lookup until the body is there.
    let is_asked = || wait_until(|| Ok(range.auth.lookups_about(&hash) > 0));
    let asks_early = !neighbours::waits_for_bodies(listener);
    let parts = kind.parts.len();
    for at in 0..=parts {
        let is_now = match when {
            When::BeforeTheBody => at == 0,
            When::Between => at == parts.div_ceil(2),
            When::Behind => false,
        };
        if is_now {
            if asks_early {
                is_asked().context("no lookup")?;
            }
            verdict.add_permits(1);
            if asks_early && outcome == Outcome::Allowed && neighbours::sends_on_early(listener) {
                let has_begun = || Ok(range.upstream.begun(&name) > 0);
                wait_until(has_begun).context("not sent on")?;
            }
        }
        match kind.parts.get(at) {
            Some(part) => request.send(part),
            None => request.end(kind),
        }
    }
    if when == When::Behind {
        is_asked().context("no lookup")?;
        ensure!(
            range.upstream.begun(&name) == 0,
            "sent on without a verdict"
        );
        verdict.add_permits(1);
    }
    let status = request.status(range);
    let end = status
        .as_ref()
        .map_or(End::Reset, |status| End::Answered(*status));
    counters.count(&format!("{outcome:?}"), end);
    let status = status?;
    ensure!(
        status == outcome.status(),
        "{status}: {:?}",
        range.upstream.named(&name)
    );
    let begun = range.upstream.begun(&name);
    if outcome != Outcome::Allowed {
        ensure!(begun == 0, "{status}, and sent on {begun} times");
        return Ok(());
    }
    let arrived = range.upstream.named(&name);
    let [arrived] = &arrived[..] else {
        anyhow::bail!("arrived {} times, begun {begun} times", arrived.len());
    };
    ensure!(
        begun == 1 && arrived.whole,
        "begun {begun} times: {arrived:?}"
    );
    ensure!(
        arrived.body == kind.parts.concat().into_bytes(),
        "{arrived:?}"
    );
    let trailers: &[_] = if kind.trailers {
        &[("x-trailer".to_owned(), "1".to_owned())]
    } else {
        &[]
    };
    ensure!(arrived.trailers == trailers, "{arrived:?}");
    ensure!(
        !format!("{arrived:?}").contains(&key),
        "with its key: {arrived:?}"
    );
    Ok(())
}

/// A request that is being sent.
enum Sending {
    Http1 {
        sent: Sent,
        told: bool,
    },
    Http2 {
        parts: Option<mpsc::UnboundedSender<Frame<Bytes>>>,
        status: JoinHandle<Result<u16>>,
    },
}

impl Sending {
    fn http1(range: &Range, listener: &str, kind: &Parts, key: &str, name: &str) -> Result<Self> {
        let length = kind.parts.concat().len();
        let framing = match (kind.told, length) {
            (true, 0) => "x-no: body".to_owned(),
            (true, length) => format!("content-length: {length}"),
            (false, _) => "transfer-encoding: chunked".to_owned(),
        };
        let head = client::head(
            "POST",
            PATH,
            [
                &*format!("x-api-key: {key}"),
                &format!("{ENTITLED}: {ID}"),
                &format!("{NAMED}: {name}"),
                &framing,
            ],
        );
        let sent = client::send(range.envoy.listener(listener)?, head.as_bytes())?;
        Ok(Self::Http1 {
            sent,
            told: kind.told,
        })
    }

    fn http2(range: &Range, listener: &str, kind: &Parts, key: &str, name: &str) -> Result<Self> {
        let to = range.envoy.listener(listener)?;
        let (parts, frames) = mpsc::unbounded_channel();
        let left = kind.told.then_some(kind.parts.len());
        let request = hyper::Request::post(format!("http://{to}{PATH}"))
            .header("x-api-key", key)
            .header(ENTITLED, ID)
            .header(NAMED, name)
            .body(Frames { frames, left })?;
        let status = range.runtime.spawn(async move {
            let stream = tokio::net::TcpStream::connect(to).await?;
            let (mut sender, connection) =
                hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
                    .await?;
            tokio::spawn(connection);
            let patience = keystile_e2e::process::PATIENCE;
            let response = tokio::time::timeout(patience, sender.send_request(request)).await??;
            let status = response.status().as_u16();
            http_body_util::BodyExt::collect(response.into_body()).await?;
            Ok(status)
        });
        Ok(Self::Http2 {
            parts: Some(parts),
            status,
        })
    }

    /// Sends a part. Errors are ignored, as a refused request may not be read to its end.
    fn send(&mut self, part: &str) {
        match self {
            Self::Http1 { sent, told: true } => drop(sent.send(part.as_bytes())),
            Self::Http1 { sent, told: false } => {
                drop(sent.send(format!("{:x}\r\n{part}\r\n", part.len()).as_bytes()));
            }
            Self::Http2 { parts, .. } => {
                if let Some(parts) = parts {
                    drop(parts.send(Frame::data(Bytes::copy_from_slice(part.as_bytes()))));
                }
            }
        }
    }

    /// Ends the request. Its trailers, if it has any, include one that must not pass for the filter's
    /// identity header.
    fn end(&mut self, kind: &Parts) {
        match self {
            Self::Http1 { told: true, .. } => {}
            Self::Http1 { sent, told: false } => {
                let trailers = if kind.trailers {
                    "x-trailer: 1\r\nx-keystile-key-id: evil\r\n"
                } else {
                    ""
                };
                drop(sent.send(format!("0\r\n{trailers}\r\n").as_bytes()));
            }
            Self::Http2 { parts, .. } => {
                if let Some(parts) = parts.take().filter(|_| kind.trailers) {
                    let one = HeaderValue::from_static("1");
                    let mut trailers = HeaderMap::new();
                    trailers.insert(HeaderName::from_static("x-trailer"), one.clone());
                    trailers.insert(HeaderName::from_static("x-keystile-key-id"), one);
                    drop(parts.send(Frame::trailers(trailers)));
                }
            }
        }
    }

    fn status(self, range: &Range) -> Result<u16> {
        match self {
            Self::Http1 { sent, .. } => Ok(sent.response()?.status),
            Self::Http2 { status, .. } => range.runtime.block_on(status)?,
        }
    }
}

/// A body that is sent frame by frame.
struct Frames {
    frames: mpsc::UnboundedReceiver<Frame<Bytes>>,
    /// How many frames are still to come, if the last one is to end the stream.
    left: Option<usize>,
}

impl Body for Frames {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut TaskContext<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let frame = self.frames.poll_recv(context);
        if let (Poll::Ready(Some(_)), Some(left)) = (&frame, &mut self.left) {
            *left -= 1;
        }
        frame.map(|frame| frame.map(Ok))
    }

    fn is_end_stream(&self) -> bool {
        self.left == Some(0)
    }
}
