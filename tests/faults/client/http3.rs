//! HTTP/3, if Envoy supports it.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use anyhow::{Context, Result, anyhow, ensure};
use bytes::{Buf, Bytes};
use h3::client::{RequestStream, SendRequest};
use h3_quinn::{BidiStream, OpenStreams};
use hyper::HeaderMap;
use hyper::header::{HeaderName, HeaderValue};
use keystile_e2e::counters::{Counters, End};
use keystile_e2e::envoy::{self, Listener};
use keystile_e2e::recording_upstream::{DIFFERS, ENTITLED, TRAILERS, counting};
use keystile_e2e::stack::Setup;
use keystile_e2e::trials::trial;
use libtest_mimic::Trial;
use quinn::Endpoint;
use quinn::crypto::rustls::QuicClientConfig;
use rcgen::{CertifiedKey, KeyPair, generate_simple_self_signed};
use serde_json::{Value, json};

use super::bodies::still;
use super::held::Held;
use crate::range::{self, OnDemand, PATH, Range, Steady, key_id, known_key, plugin, unknown_key};

const LISTENER: &str = "tcp";
const QUIC: &str = "quic";

/// The host of the certificate.
const HOST: &str = "api.test";

const SIZE: usize = 8 * 1024 * 1024;

/// A limit for the bytes that Envoy may read of a body while it waits: the window of 64 KiB, a buffer
/// of the same size, and what is in transit.
const TAKEN: usize = 512 * 1024;

fn setup() -> Result<Setup> {
    Ok(Setup {
        edit: Box::new(add_quic),
        ..range::setup(vec![Listener::new(LISTENER, &plugin(&json!({})))])
    })
}

/// Adds a copy of the first listener, on QUIC.
fn add_quic(config: &mut Value) -> Result<()> {
    let certificate = certificate()?;
    let listeners = config
        .pointer_mut("/static_resources/listeners")
        .and_then(Value::as_array_mut)
        .context("no listeners")?;
    let mut quic = listeners.first().context("no listener")?.clone();
    quic["name"] = json!(QUIC);
    quic["address"]["socket_address"]["protocol"] = json!("UDP");
    quic["udp_listener_config"] = json!({"quic_options": {"quic_protocol_options": {
        "initial_stream_window_size": 65_536,
        "initial_connection_window_size": 1_048_576,
    }}});
    let chain = quic
        .pointer_mut("/filter_chains/0")
        .context("no filter chain")?;
    chain["transport_socket"] = json!({
        "name": "envoy.transport_sockets.quic",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.transport_sockets.quic.v3.QuicDownstreamTransport",
            "downstream_tls_context": {"common_tls_context": {"tls_certificates": [{
                "certificate_chain": {"inline_string": certificate.cert.pem()},
                "private_key": {"inline_string": certificate.signing_key.serialize_pem()},
            }]}},
        },
    });
    let http = quic
        .pointer_mut("/filter_chains/0/filters/0/typed_config")
        .context("no settings of HTTP")?;
    http["codec_type"] = json!("HTTP3");
    http["stat_prefix"] = json!(QUIC);
    http["http3_protocol_options"] = json!({});
    listeners.push(quic);
    Ok(())
}

/// Returns the certificate, which all ranges share: a range's settings cannot pass one on to its cases.
fn certificate() -> Result<&'static CertifiedKey<KeyPair>> {
    static CERTIFICATE: OnceLock<Result<CertifiedKey<KeyPair>, rcgen::Error>> = OnceLock::new();
    let made = CERTIFICATE.get_or_init(|| generate_simple_self_signed([HOST.to_owned()]));
    made.as_ref().map_err(|problem| anyhow!("{problem}"))
}

type Case = (&'static str, fn(&Range, &str) -> Result<()>);

keystile_e2e::suite!(Together, trials);

fn trials() -> Vec<Trial> {
    let range = OnDemand::new(setup);
    let cases: [Case; 3] = [
        ("client: HTTP/3, outcomes", outcomes),
        ("client: HTTP/3, upload while it waits", upload),
        ("client: HTTP/3, trailers", trailers),
    ];
    let cases = cases.map(|(name, run)| {
        let range = Arc::clone(&range);
        trial(name, move || {
            if is_there()? {
                range.run(name, run)
            } else {
                println!("{name}: skipped, as this Envoy has no HTTP/3");
                Ok(())
            }
        })
    });
    cases.into()
}

/// Returns true if this Envoy supports QUIC.
fn is_there() -> Result<bool> {
    let mut config = envoy::config(
        &[Listener::new(LISTENER, &plugin(&json!({})))],
        &[
            envoy::cluster("auth", None),
            envoy::cluster("upstream", None),
        ],
    );
    add_quic(&mut config)?;
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("envoy.json");
    std::fs::write(&file, config.to_string())?;
    match envoy::validate(&file) {
        Ok(()) => Ok(true),
        Err(problem) if format!("{problem:#}").contains("envoy.transport_sockets.quic") => {
            Ok(false)
        }
        Err(problem) => Err(problem),
    }
}

/// A client that can open streams. Dropping the endpoint ends its connection.
struct Client {
    sender: SendRequest<OpenStreams, Bytes>,
    _endpoint: Endpoint,
}

type Both = RequestStream<BidiStream<Bytes>, Bytes>;

impl Client {
    async fn connect(to: SocketAddr) -> Result<Self> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(certificate()?.cert.der().clone())?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_root_certificates(roots)
            .with_no_client_auth();
        tls.alpn_protocols = vec![b"h3".to_vec()];
        let mut endpoint = Endpoint::client(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
        let quic = QuicClientConfig::try_from(tls)?;
        let mut config = quinn::ClientConfig::new(Arc::new(quic));
        // If the system splits packets into segments, these get lost on some machines' loopback.
        let mut transport = quinn::TransportConfig::default();
        transport.enable_segmentation_offload(false);
        config.transport_config(Arc::new(transport));
        endpoint.set_default_client_config(config);
        let connection = endpoint.connect(to, HOST)?.await?;
        let (mut driver, sender) = h3::client::new(h3_quinn::Connection::new(connection)).await?;
        // The requests show how the connection ends.
        tokio::spawn(async move { driver.wait_idle().await });
        Ok(Self {
            sender,
            _endpoint: endpoint,
        })
    }

    async fn begin(&mut self, method: &str, headers: &[(&str, &str)]) -> Result<Both> {
        let mut request = hyper::Request::builder()
            .method(method)
            .uri(format!("https://{HOST}{PATH}"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        Ok(self.sender.send_request(request.body(())?).await?)
    }
}

/// Returns the status, headers and body of an answer, once it is complete.
async fn answer(
    stream: &mut RequestStream<impl h3::quic::RecvStream, Bytes>,
) -> Result<(u16, HeaderMap, String)> {
    let response = stream.recv_response().await?;
    let mut body = Vec::new();
    while let Some(mut data) = stream.recv_data().await? {
        body.extend_from_slice(&data.copy_to_bytes(data.remaining()));
    }
    let (head, ()) = response.into_parts();
    let text = String::from_utf8_lossy(&body).into_owned();
    Ok((head.status.as_u16(), head.headers, text))
}

fn outcomes(range: &Range, name: &str) -> Result<()> {
    range.case(name, Steady::on(LISTENER)?, |counters| {
        let to = range.envoy.listener(QUIC)?;
        let (known, unknown) = (known_key()?, unknown_key());
        let id = key_id(&known)?;
        let spoofed = ("x-keystile-key-id", &*id);
        let mut client = range.runtime.block_on(Client::connect(to))?;
        for (kind, headers, status, text) in [
            (
                "a known key over QUIC",
                [("x-api-key", &*known), (ENTITLED, &*id)],
                200,
                "0",
            ),
            (
                "no key over QUIC",
                [spoofed, (ENTITLED, &id)],
                401,
                "api_key_missing",
            ),
            (
                "an unknown key over QUIC",
                [("x-api-key", &*unknown), spoofed],
                401,
                "api_key_not_found",
            ),
            (
                "a malformed key over QUIC",
                [("authorization", "Bearer aw_short"), spoofed],
                401,
                "api_key_invalid",
            ),
        ] {
            let mut body = String::new();
            let end = range.runtime.block_on(counters.watch(kind, async {
                let mut stream = client.begin("GET", &headers).await?;
                stream.finish().await?;
                let (status, _, text) = answer(&mut stream).await?;
                body = text;
                anyhow::Ok(status)
            }));
            ensure!(end == End::Answered(status), "{kind}: {end}");
            ensure!(body.contains(text), "{kind}: {body}");
        }
        Ok(())
    })
}

fn upload(range: &Range, name: &str) -> Result<()> {
    range.case(name, Steady::on(LISTENER)?, |counters| {
        for known in [true, false] {
            uploaded(range, counters, name, known)?;
        }
        Ok(())
    })
}

fn uploaded(range: &Range, counters: &Counters, name: &str, known: bool) -> Result<()> {
    let held = if known {
        Held::known(range)?
    } else {
        Held::unknown(range)?
    };
    let to = range.envoy.listener(QUIC)?;
    let taken = Arc::new(AtomicUsize::new(0));
    let (_client, mut answers, sending) = range.runtime.block_on(async {
        let mut client = Client::connect(to).await?;
        let (mut send, receive) = client.begin("POST", &held.headers()).await?.split();
        let taken = Arc::clone(&taken);
        let sending = tokio::spawn(async move {
            for from in (0..SIZE).step_by(16 * 1024) {
                let data = counting(from, (SIZE - from).min(16 * 1024));
                let length = data.len();
                send.send_data(data.into()).await?;
                taken.fetch_add(length, Ordering::Relaxed);
            }
            send.finish().await
        });
        anyhow::Ok((client, receive, sending))
    })?;
    held.wait_for_lookup(range)?;
    let most = still(|| taken.load(Ordering::Relaxed));
    println!(
        "{name}: {} KiB of {} taken before the verdict",
        most / 1024,
        SIZE / 1024
    );
    ensure!(
        most < TAKEN,
        "{most} bytes were taken of a request that waits"
    );
    ensure!(
        range.upstream.arrived_for(&held.id) == 0,
        "before its verdict"
    );
    held.tell();
    let mut differs = None;
    let mut body = String::new();
    let end = range
        .runtime
        .block_on(counters.watch("an upload over QUIC", async {
            let (status, headers, text) = answer(&mut answers).await?;
            differs = headers.get(DIFFERS).cloned();
            body = text;
            anyhow::Ok(status)
        }));
    ensure!(end == End::Answered(if known { 200 } else { 401 }), "{end}");
    if known {
        range.runtime.block_on(sending)??;
        ensure!(
            body == SIZE.to_string() && differs.is_none(),
            "{body} bytes arrived, out of order from {differs:?}"
        );
    } else {
        sending.abort();
    }
    let arrived = range.upstream.arrived_for(&held.id);
    ensure!(
        arrived == u64::from(known),
        "{arrived} reached the upstream"
    );
    Ok(())
}

fn trailers(range: &Range, name: &str) -> Result<()> {
    range.case(name, Steady::on(LISTENER)?, |counters| {
        let held = Held::known(range)?;
        let to = range.envoy.listener(QUIC)?;
        let mut trailers = HeaderMap::new();
        for (name, value) in [
            ("x-trailer", "1"),
            ("x-keystile-key-id", "key_1"),
            ("x-api-key", &held.key),
        ] {
            trailers.append(
                HeaderName::from_bytes(name.as_bytes())?,
                HeaderValue::from_str(value)?,
            );
        }
        let (client, mut stream) = range.runtime.block_on(async {
            let mut client = Client::connect(to).await?;
            let mut stream = client.begin("POST", &held.headers()).await?;
            stream.send_data("hello".into()).await?;
            stream.send_trailers(trailers).await?;
            stream.finish().await?;
            anyhow::Ok((client, stream))
        })?;
        held.wait_for_lookup(range)?;
        held.tell();
        let mut names = None;
        let end = range
            .runtime
            .block_on(counters.watch("with trailers over QUIC", async {
                let (status, headers, _) = answer(&mut stream).await?;
                names = headers.get(TRAILERS).cloned();
                anyhow::Ok(status)
            }));
        ensure!(end == End::Answered(200), "{end}");
        ensure!(
            names.is_some_and(|names| names == "x-trailer"),
            "other trailers"
        );
        // The client keeps the connection open until here.
        drop(client);
        Ok(())
    })
}
