//! The access log formats that are shipped, or shown on the pages for Istio and Envoy Gateway: what
//! clients can do to their lines.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use keystile_e2e::client;
use keystile_e2e::envoy::{Listener, http_settings};
use keystile_e2e::keys::{GOOD, hash, made_up_key};
use keystile_e2e::pages::yaml_blocks;
use keystile_e2e::process::wait_until;
use keystile_e2e::root;
use keystile_e2e::scripted_auth::{Script, ScriptedAuth, answer};
use keystile_e2e::stack::{Setup, Stack};
use serde_json::{Map, Value, json};

use crate::world::World;

trials! { Together:
    "logs: fields are bounded" => fields_are_bounded,
    "logs: lines are short" => lines_are_short,
}

/// The files, and the JSON pointers to the fields of the format. On a page, they apply to the first
/// YAML block that has the fields.
const FILES: [(&str, &str); 4] = [
    ("envoy/envoy.yaml", SHIPPED),
    ("envoy/envoy-docker.yaml", SHIPPED),
    (
        "docs/istio.md",
        "/meshConfig/extensionProviders/0/envoyFileAccessLog/logFormat/labels",
    ),
    (
        "docs/envoy-gateway.md",
        "/spec/telemetry/accessLog/settings/0/format/json",
    ),
];

const SHIPPED: &str = "/static_resources/listeners/0/filter_chains/0/filters/0/typed_config/access_log/0\
    /typed_config/log_format/json_format";

/// Operators whose values come from Envoy itself, so that clients cannot influence their length.
const ENVOYS_OWN: [&str; 5] = [
    "START_TIME",
    "RESPONSE_CODE",
    "RESPONSE_FLAGS",
    "RESPONSE_CODE_DETAILS",
    "DURATION",
];

/// More than the sum of all limits and of what Envoy adds.
const LONGEST: usize = 2048;

fn formats() -> Result<Vec<(&'static str, Map<String, Value>)>> {
    let mut formats = Vec::new();
    for (page, pointer) in FILES {
        let text = std::fs::read_to_string(root().join(page))?;
        let blocks: Vec<_> = if page.ends_with(".yaml") {
            vec![&*text]
        } else {
            yaml_blocks(&text).collect()
        };
        let mut found = blocks.into_iter().filter_map(|block| {
            let document: Value = serde_saphyr::from_str(block).ok()?;
            document.pointer(pointer)?.as_object().cloned()
        });
        formats.push((
            page,
            found.next().with_context(|| format!("{page}: no format"))?,
        ));
    }
    Ok(formats)
}

/// Every field has a maximum length, and none is an identity that a client may have sent.
fn fields_are_bounded(_: &World) -> Result<()> {
    for (page, fields) in formats()? {
        ensure!(fields.len() >= 6, "{page}: {fields:?}");
        for (name, format) in fields {
            let format = format.as_str().context("no text")?;
            let inside = format.strip_prefix('%').and_then(|it| it.strip_suffix('%'));
            let inside =
                inside.with_context(|| format!("{page}: {name} is more than one operator"))?;
            let bounded = inside
                .rsplit_once("):")
                .is_some_and(|(_, length)| length.parse::<usize>().is_ok_and(|it| it <= 1024));
            ensure!(
                bounded || ENVOYS_OWN.contains(&inside),
                "{page}: {name} has no length: {format}"
            );
            ensure!(
                !inside.to_ascii_lowercase().contains("(x-keystile"),
                "{page}: {name} can be set by the client"
            );
        }
    }
    Ok(())
}

/// A real Envoy accepts the formats and cuts off fields, whatever a client sends.
fn lines_are_short(world: &World) -> Result<()> {
    for (page, fields) in formats()? {
        let auth = ScriptedAuth::default();
        let key = made_up_key();
        world.keep_secret(&key);
        auth.script(&hash(&key)?, Script::Answer(answer("200 OK", GOOD)));
        let plugin = json!({"lookup": {"cluster": "auth", "timeout": "10s"}});
        let Stack { envoy, .. } = &Stack::start(Setup {
            edit: Box::new(move |config| {
                http_settings(config)?["access_log"] = json!([{
                    "name": "envoy.access_loggers.stdout",
                    "typed_config": {
                        "@type": "type.googleapis.com/envoy.extensions.access_loggers.stream.v3.StdoutAccessLog",
                        "log_format": {"json_format": fields},
                    },
                }]);
                Ok(())
            }),
            auth,
            ..Setup::new(vec![Listener::new("logged", &plugin)])
        })?;
        let to = envoy.listener("logged").context(page)?;

        let long = "x".repeat(50_000);
        let (path, secret) = (format!("/v1/{long}"), format!("/v1/x?{key}"));
        let (key_line, id) = (format!("x-api-key: {key}"), format!("x-request-id: {long}"));
        let forged = "x-keystile-key-id: key_forged";
        let rows: [(&str, &[&str], u16); 4] = [
            (&path, &[forged], 401),
            (&path, &[&key_line, forged], 200),
            ("/v1/x", &[&key_line, &id], 200),
            (&secret, &[forged], 401),
        ];
        for (path, lines, status) in rows {
            let answer = client::get(to, path, lines.iter().copied())?;
            ensure!(answer.status == status, "{page}: {answer:?}");
        }
        let mut written = Vec::new();
        wait_until(|| {
            let log = envoy.written();
            let lines = log.lines().filter(|line| line.starts_with('{'));
            written = lines.map(str::to_owned).collect();
            std::thread::park_timeout(Duration::from_millis(10));
            Ok(written.len() == rows.len())
        })
        .with_context(|| format!("{page}: {written:?}"))?;
        for line in written {
            let fields: Value = serde_json::from_str(&line)?;
            ensure!(line.len() < LONGEST, "{page}: {} bytes", line.len());
            ensure!(
                fields["keystile"]
                    .as_str()
                    .is_some_and(|it| it.contains("outcome=")),
                "{page}: {line}"
            );
            ensure!(
                !line.contains("key_forged") && !line.contains(&key),
                "{page}: {line}"
            );
        }
        envoy.no_vm_died()?;
    }
    Ok(())
}
