//! Server-sent events and WebSockets through `envoy/envoy.yaml`.

mod upgrades;
mod upstream;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use keystile_e2e::client;
use keystile_e2e::process::wait_until;
use keystile_e2e::registry::Created;
use keystile_e2e::serving::Serving;
use keystile_e2e::shipped::Stack;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::time::interval;

use self::upstream::{EVENTS, Events, NEVER, SOCKET, Socket, Upstream, get};

trials! { Together:
    "streams: events and a WebSocket for 30 s" => for_30_seconds,
    "streams: quiet ones end" => quiet_ones_end,
    "streams: max_stream_duration" => max_stream_duration,
}

/// How long streams are kept open: twice as long as Envoy's default timeout for responses.
const LASTS: Duration = Duration::from_secs(30);

/// The time between two events.
const PACE: Duration = Duration::from_millis(200);

struct Stage {
    stack: Stack,
    upstream: Upstream,
    _serving: Serving,
    runtime: Runtime,
    _folder: TempDir,
}

impl Stage {
    /// Starts the shipped stack with changes to `envoy/envoy.yaml`.
    fn start(changes: &[(&str, &str)]) -> Result<Self> {
        let (runtime, folder) = (Runtime::new()?, tempfile::tempdir()?);
        let upstream = Upstream::new();
        let serving = runtime.block_on(upstream.serve())?;
        let database = folder.path().join("keystile.db");
        Ok(Self {
            stack: Stack::changed(serving.address, &database, changes)?,
            upstream,
            _serving: serving,
            runtime,
            _folder: folder,
        })
    }

    fn to(&self) -> SocketAddr {
        self.stack.listener
    }

    fn create(&self) -> Result<Created> {
        self.stack.registry.create(&["--account", "acct_1"])
    }
}

/// Streams stay open for 30 s, and outlive the revocation of their key. Each event arrives before
/// the next one is sent, so nothing holds it back.
fn for_30_seconds() -> Result<()> {
    let stage = Stage::start(&[])?;
    let key = stage.create()?;
    let streams = async {
        let mut events = Events::open(stage.to(), &key).await?;
        let mut socket = Socket::open(stage.to(), &key).await?;
        stage.stack.registry.run(&["revoke", &key.key_id])?;
        let began = Instant::now();
        let mut ticks = interval(PACE);
        let mut number = 0;
        while began.elapsed() < LASTS {
            ticks.tick().await;
            number += 1;
            let event = number.to_string();
            stage.upstream.send(&event)?;
            let arrived = events.next().await.with_context(|| event.clone())?;
            ensure!(arrived.as_ref() == Some(&event), "{arrived:?}, not {event}");
            let echoed = socket.echo(&event).await.with_context(|| event.clone())?;
            ensure!(echoed, "the WebSocket has ended before {event}");
        }
        anyhow::Ok(())
    };
    stage.runtime.block_on(streams)?;
    let line = format!("authorization: Bearer {}", key.key);
    for path in [EVENTS, SOCKET] {
        let answer = client::get(stage.to(), path, [line.as_str()])?;
        let is_revoked = answer.text().contains("api_key_revoked");
        ensure!(is_revoked, "{path}, a new stream: {answer:?}");
    }
    let counts = stage.upstream.recorder.counts();
    ensure!(counts.arrived == 2 && counts.leaked == 0, "{counts:?}");
    Ok(())
}

/// `stream_idle_timeout` ends streams on which nothing is sent, and requests that the upstream never
/// answers, but no stream with events.
fn quiet_ones_end() -> Result<()> {
    let idle = Duration::from_secs(2);
    let stage = Stage::start(&[("stream_idle_timeout: 60s", "stream_idle_timeout: 2s")])?;
    let key = stage.create()?;
    let chatty = async {
        let mut socket = Socket::open(stage.to(), &key).await?;
        let began = Instant::now();
        let mut ticks = interval(PACE);
        while began.elapsed() < 2 * idle {
            ticks.tick().await;
            ensure!(socket.echo("still there").await?, "ended");
        }
        anyhow::Ok(())
    };
    let quiet = async {
        let mut events = Events::open(stage.to(), &key).await?;
        let mut socket = Socket::open(stage.to(), &key).await?;
        let opened = Instant::now();
        let (event, message) = tokio::try_join!(events.next(), socket.next())?;
        ensure!(
            event.is_none() && message.is_none(),
            "{event:?}, {message:?}"
        );
        let after = opened.elapsed();
        ensure!(after >= idle, "ended after {after:?}");
        let answer = get(stage.to(), NEVER, &key).await?;
        ensure!(answer.status() == 504, "{answer:?}");
        anyhow::Ok(())
    };
    let (chatty, quiet) = stage
        .runtime
        .block_on(async { tokio::join!(chatty, quiet) });
    chatty.context("a WebSocket in use")?;
    quiet
}

/// `max_stream_duration`, a comment in the shipped file, ends streams in use. The client can open
/// them again as long as its key is valid.
fn max_stream_duration() -> Result<()> {
    const SHIPPED: &str = "# max_stream_duration: { max_stream_duration: 3600s }";
    let most = Duration::from_secs(2);
    let stage = Stage::start(&[(SHIPPED, "max_stream_duration: { max_stream_duration: 2s }")])?;
    let key = stage.create()?;
    let to = stage.to();
    let until_the_end = async || {
        let opened = Instant::now();
        let mut events = Events::open(to, &key).await?;
        let mut socket = Socket::open(to, &key).await?;
        let mut ticks = interval(PACE);
        let mut ended = [false; 2];
        while ended != [true; 2] {
            ticks.tick().await;
            // Nobody may be listening any more.
            let _ = stage.upstream.send("event");
            if !ended[0] {
                ended[0] = events.next().await?.is_none();
            }
            if !ended[1] {
                ended[1] = !socket.echo("message").await?;
            }
        }
        let after = opened.elapsed();
        ensure!(after >= most, "ended after {after:?}");
        anyhow::Ok(())
    };
    stage.runtime.block_on(async {
        until_the_end().await?;
        until_the_end().await.context("again")
    })?;
    stage.stack.registry.run(&["revoke", &key.key_id])?;
    wait_until(|| {
        let again = stage.runtime.block_on(get(to, EVENTS, &key))?;
        Ok(again.status() == 401)
    })
    .context("a revoked key opens streams")
}
