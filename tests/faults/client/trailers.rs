//! Trailers with names that the filter would remove from headers.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Result, ensure};
use hyper::HeaderMap;
use hyper::header::{HeaderName, HeaderValue};
use keystile_e2e::counters::{Counters, End};
use keystile_e2e::recording_upstream::TRAILERS;
use libtest_mimic::Trial;

use super::held::Held;
use super::wire::Wire;
use super::{LISTENER, connect2, request2};
use crate::range::{OnDemand, PATH, Range, Steady};

pub(super) fn trials(range: &Arc<OnDemand>) -> Vec<Trial> {
    let mut trials = Vec::new();
    for (over, http2) in [("HTTP/1", false), ("HTTP/2", true)] {
        for (when, early) in [("before the verdict", true), ("after the verdict", false)] {
            let name = format!("client: trailers {when}, {over}");
            trials.push(range.trial(&name, move |range, name| {
                range.case(name, Steady::on(LISTENER)?, |counters| {
                    for known in [true, false] {
                        sent(range, counters, http2, early, known)?;
                    }
                    Ok(())
                })
            }));
        }
    }
    trials
}

/// Returns trailers that an upstream could take for an identity or a key, in various spellings, and
/// some that it may have.
fn trailers(held: &Held) -> Result<HeaderMap> {
    let mut trailers = HeaderMap::new();
    let bearer = format!("Bearer {}", held.key);
    for (name, value) in [
        ("x-trailer", "1"),
        ("x-keystile-key-id", "key_1"),
        ("x-keystile-key-id", "key_2"),
        ("x-keystile-account-id", "acct_1"),
        ("x_keystile_key_id", "key_1"),
        ("x.keystile.account.id", "acct_1"),
        ("x-original-url", "/v1/admin"),
        ("x.http.method.override", "DELETE"),
        ("x-api-key", &held.key),
        ("x_api_key", &held.key),
        ("x.api.key", &held.key),
        ("authorization", &bearer),
        ("x-trailer-too", "1"),
    ] {
        trailers.append(
            HeaderName::from_bytes(name.as_bytes())?,
            HeaderValue::from_str(value)?,
        );
    }
    Ok(trailers)
}

fn sent(range: &Range, counters: &Counters, http2: bool, early: bool, known: bool) -> Result<()> {
    let held = if known {
        Held::known(range)?
    } else {
        Held::unknown(range)?
    };
    let to = range.envoy.listener(LISTENER)?;
    let trailers = trailers(&held)?;
    let mut seen = None;
    let end = range.runtime.block_on(async {
        let answer = async {
            let (status, names, body) = match http2 {
                true => over2(range, to, &held, trailers, early, known).await?,
                false => over1(range, to, &held, &trailers, early, known).await?,
            };
            seen = Some((names, body));
            anyhow::Ok(status)
        };
        counters.watch("with trailers", answer).await
    });
    ensure!(end == End::Answered(if known { 200 } else { 401 }), "{end}");
    let arrived = range.upstream.arrived_for(&held.id);
    ensure!(
        arrived == u64::from(known),
        "{arrived} reached the upstream"
    );
    if known {
        let expected = Some(("x-trailer,x-trailer-too".to_owned(), "5".to_owned()));
        ensure!(seen == expected, "{seen:?}");
    }
    Ok(())
}

async fn over1(
    range: &Range,
    to: SocketAddr,
    held: &Held,
    trailers: &HeaderMap,
    early: bool,
    known: bool,
) -> Result<(u16, String, String)> {
    let lines = held.lines();
    let head = format!(
        "POST {PATH} HTTP/1.1\r\nhost: test\r\n{lines}transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n"
    );
    let mut rest = "0\r\n".to_owned();
    for (name, value) in trailers {
        rest.push_str(&format!("{name}: {}\r\n", value.to_str()?));
    }
    rest.push_str("\r\n");
    let mut wire = Wire::with(to, head.as_bytes()).await?;
    if early {
        wire.send(rest.as_bytes()).await?;
        tell_once_asked(range, held, false).await?;
    } else {
        tell_once_asked(range, held, known).await?;
        // A request that has been refused by then may be cut off.
        wire.send(rest.as_bytes()).await.ok();
    }
    let response = wire.read.one().await?;
    let names = response.header(TRAILERS)?.unwrap_or_default().to_owned();
    Ok((response.status, names, response.text()))
}

async fn over2(
    range: &Range,
    to: SocketAddr,
    held: &Held,
    trailers: HeaderMap,
    early: bool,
    known: bool,
) -> Result<(u16, String, String)> {
    let mut connection = connect2(to).await?.ready().await?;
    let (response, mut stream) =
        connection.send_request(request2(to, "POST", &held.headers())?, false)?;
    stream.send_data("hello".into(), false)?;
    if early {
        stream.send_trailers(trailers)?;
        tell_once_asked(range, held, false).await?;
    } else {
        tell_once_asked(range, held, known).await?;
        // A request that has been refused by then may be cut off.
        stream.send_trailers(trailers).ok();
    }
    let response = response.await?;
    let status = response.status().as_u16();
    let names = response.headers().get(TRAILERS).map(HeaderValue::to_str);
    let names = names.transpose()?.unwrap_or_default().to_owned();
    let mut body = Vec::new();
    let mut stream = response.into_body();
    while let Some(data) = stream.data().await {
        body.extend_from_slice(&data?);
    }
    Ok((status, names, String::from_utf8_lossy(&body).into_owned()))
}

/// Releases the verdict once there is a lookup. If the request is to be sent on, waits for that.
async fn tell_once_asked(range: &Range, held: &Held, sent_on: bool) -> Result<()> {
    until_seen(range, held, true).await?;
    held.tell();
    if sent_on {
        until_seen(range, held, false).await?;
    }
    Ok(())
}

/// Waits until the auth cluster (`by_auth`) or the upstream has seen the request.
async fn until_seen(range: &Range, held: &Held, by_auth: bool) -> Result<()> {
    loop {
        let seen = match by_auth {
            true => held.lookups(range) > 0,
            false => range.upstream.arrived_for(&held.id) > 0,
        };
        if seen {
            return Ok(());
        }
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    }
}
