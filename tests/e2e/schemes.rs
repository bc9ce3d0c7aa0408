//! Lookups over TLS: their `:scheme`, which strict servers check, and the server name in the handshake.
//! docs/envoy.md describes both.

use anyhow::{Context, Result, ensure};
use keystile_e2e::client;
use keystile_e2e::envoy::{Listener, http2_cluster};
use keystile_e2e::keys::made_up_key;
use keystile_e2e::process::wait_until;
use keystile_e2e::stack::{Setup, Stack};
use keystile_e2e::trials::trial;
use libtest_mimic::Trial;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::http2_only::Http2Only;
use crate::identities::Authority;

keystile_e2e::suite!(Together, trials);

/// The cluster.
const CLUSTER: &str = "auth";

/// The server's name.
const NAME: &str = "registry.internal";

/// A setting, and what lookups and polls get and say.
struct Case {
    name: &'static str,
    /// Fields of `lookup`.
    lookup: Value,
    /// Whether the cluster takes the server's name from the lookup.
    auto_sni: bool,
    status: u16,
    scheme: &'static str,
    server_name: Option<&'static str>,
}

fn trials() -> Vec<Trial> {
    cases()
        .into_iter()
        .map(|case| trial(case.name, move || case.run()))
        .collect()
}

fn cases() -> Vec<Case> {
    let case = |name, lookup, status, scheme| Case {
        name,
        lookup,
        auto_sni: false,
        status,
        scheme,
        server_name: None,
    };
    let auto_sni = |name, lookup, server_name| Case {
        auto_sni: true,
        server_name: Some(server_name),
        ..case(name, lookup, 200, "https")
    };
    vec![
        case("scheme: Envoy's own", json!({}), 503, "http"),
        case(
            "scheme: configured",
            json!({"scheme": "https"}),
            200,
            "https",
        ),
        case(
            "scheme: by x-forwarded-proto",
            json!({"headers": {"x-forwarded-proto": "https"}}),
            200,
            "https",
        ),
        auto_sni(
            "auto_sni: without an authority",
            json!({"scheme": "https"}),
            CLUSTER,
        ),
        auto_sni(
            "auto_sni: with the server's authority",
            json!({"scheme": "https", "authority": NAME}),
            NAME,
        ),
        auto_sni(
            "auto_sni: with a port",
            json!({"scheme": "https", "authority": format!("{NAME}:8081")}),
            NAME,
        ),
    ]
}

impl Case {
    /// Sends a request, and waits for a poll of the feed.
    fn run(self) -> Result<()> {
        let folder = tempfile::tempdir()?;
        let authority = Authority::new(folder.path())?;
        let runtime = Runtime::new()?;
        let server = Http2Only::default();
        let serving = runtime.block_on(server.serve_tls(&authority.host(NAME)?))?;
        let mut cluster = http2_cluster(CLUSTER, serving.address);
        cluster["connect_timeout"] = json!("10s");
        cluster["transport_socket"] = json!({
            "name": "envoy.transport_sockets.tls",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
                "common_tls_context": {
                    "alpn_protocols": ["h2"],
                    "validation_context": {"trusted_ca": {"filename": authority.certificate}},
                },
            },
        });
        if self.auto_sni {
            let options = cluster["typed_extension_protocol_options"].as_object_mut();
            for (_, options) in options.into_iter().flatten() {
                options["upstream_http_protocol_options"] = json!({"auto_sni": true});
            }
        }
        let mut plugin = json!({
            "lookup": {"cluster": CLUSTER, "timeout": "10s"},
            "feed": {"interval": "100ms"},
        });
        for (name, value) in self.lookup.as_object().into_iter().flatten() {
            plugin["lookup"][name] = value.clone();
        }
        let stack = Stack::start(Setup {
            clusters: vec![cluster],
            servers: vec![serving],
            runtime: Some(runtime),
            ..Setup::new(vec![Listener::new("tls", &plugin)])
        })?;
        let line = format!("x-api-key: {}", made_up_key());
        let answer = client::get(stack.envoy.listener("tls")?, "/v1/x", [&*line])?;
        ensure!(
            answer.status == self.status,
            "{answer:?}\n{}",
            stack.envoy.written()
        );
        let polls = if self.status == 200 {
            "reset"
        } else {
            "failed"
        };
        let polls = format!("wasmcustom.keystile.feed_polls.{polls}.total");
        wait_until(|| Ok(stack.envoy.counter(&polls)? > 0)).context(polls)?;

        let hints = stack
            .envoy
            .written()
            .contains("Over TLS, does it need lookup.scheme");
        ensure!(hints == (self.status != 200), "{}", stack.envoy.written());

        let seen = server.seen();
        for path in ["/v1/key-hashes/", "/v1/changes"] {
            let any = seen.iter().any(|seen| seen.path.starts_with(path));
            ensure!(any, "no {path} among {seen:?}");
        }
        for seen in seen {
            ensure!(
                seen.scheme.as_deref() == Some(self.scheme)
                    && seen.server_name.as_deref() == self.server_name,
                "{seen:?}"
            );
        }
        stack.envoy.no_vm_died()
    }
}
