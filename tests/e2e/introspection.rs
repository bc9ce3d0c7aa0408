//! `GET /v1/keys/me`: what clients learn about their key.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use keystile_e2e::client::{self, Response};
use keystile_e2e::keys::{GOOD, hash, made_up_key};
use keystile_e2e::process::until;
use keystile_e2e::scripted_auth::{Script, answer};
use serde_json::{Value, json};

use crate::stage::{Setup, Stage};

trials! { Together:
    "introspection: each kind of key" => each_kind_of_key,
    "introspection: only there" => only_there,
    "introspection: never from the cache" => never_from_the_cache,
    "introspection: without an answer" => without_an_answer,
    "introspection: a body is held" => a_body_is_held,
}

const PATH: &str = "/v1/keys/me";

fn setup() -> Setup {
    Setup {
        more: json!({"introspection": {}}),
        ..Setup::new(json!({"allow_ttl": "10m", "not_found_ttl": "10m"}))
    }
}

fn asks(stage: &Stage, method: &str, target: &str, key: &str) -> Result<Response> {
    let key = format!("authorization: Bearer {key}");
    let head = client::head(method, target, [key.as_str()]);
    client::send(stage.to, head.as_bytes())?.response()
}

/// Each kind of key, with a cold cache and with a warm one.
fn each_kind_of_key() -> Result<()> {
    setup().run(|stage| {
        let active = stage.create()?;
        let (revoked, deleted) = (stage.create()?, stage.create()?);
        stage.registry.run(&["revoke", &revoked.key_id])?;
        stage.registry.run(&["delete", &deleted.key_id])?;
        let always = ["--account", "acct_2", "--name", "secret name"];
        let create = |options: &[&str]| stage.registry.create(&[&always, options].concat());
        let expired = create(&["--expires-at", "2020-01-01T00:00:00Z"])?;
        let full = create(&[
            "--environment",
            "production",
            "--expires-at",
            "2999-01-01T00:00:00Z",
            "--endpoint",
            "/v1/astro",
        ])?;
        let record = |key_id: &str, account: &str| {
            json!({
                "key_id": key_id,
                "status": "active",
                "account_id": account,
                "environment": null,
                "expires_at": null,
                "endpoints": null,
            })
        };
        let mut described = record(&full.key_id, "acct_2");
        described["environment"] = json!("production");
        described["expires_at"] = json!("2999-01-01T00:00:00Z");
        described["endpoints"] = json!(["/v1/astro"]);
        let cases = [
            ("active", &active.key, Ok(record(&active.key_id, "acct_1"))),
            ("with all fields", &full.key, Ok(described)),
            ("revoked", &revoked.key, Err("api_key_revoked")),
            ("deleted", &deleted.key, Err("api_key_not_found")),
            ("unknown", &made_up_key(), Err("api_key_not_found")),
            ("expired", &expired.key, Err("api_key_revoked")),
        ];
        for warm in [false, true] {
            for (name, key, expected) in &cases {
                if warm {
                    stage.get(key)?;
                }
                let before = stage.lookups(key)?;
                let response = asks(stage, "GET", PATH, key)?;
                let body: Value = serde_json::from_slice(&response.body)
                    .with_context(|| format!("{name}: {response:?}"))?;
                let status = match expected {
                    Ok(record) => {
                        let expected =
                            json!({"success": true, "message": "success", "data": record});
                        ensure!(body == expected, "{name}: {body}, not {expected}");
                        200
                    }
                    Err(error) => {
                        ensure!(body["error"] == *error, "{name}: {body}");
                        401
                    }
                };
                ensure!(response.status == status, "{name}: {response:?}");
                for (header, value) in [
                    ("content-type", "application/json"),
                    ("cache-control", "no-store"),
                ] {
                    let got = response.header(header)?;
                    ensure!(got == Some(value), "{name}: {header}: {got:?}");
                }
                let id = response.header("x-request-id")?.unwrap_or_default();
                ensure!(id.starts_with("req_"), "{name}: {id}");
                let lookups = stage.lookups(key)? - before;
                ensure!(lookups == 1, "{name}, warm: {warm}: {lookups} lookups");
            }
        }
        stage.wait_for("requests.introspected.total", 4)?;
        // Each key was looked up by its requests here, and once for the cache. The auth cluster says
        // of an expired key, too, that it is active.
        stage.wait_for("lookups.active.total", 6 + 3)?;
        stage.wait_for("lookups.revoked.total", 2 + 1)?;
        stage.wait_for("lookups.not_found.total", 4 + 2)
    })
}

/// Requests with other methods than GET and HEAD, or to other paths, go to the upstream as usual.
fn only_there() -> Result<()> {
    setup().run(|stage| {
        let key = stage.create()?.key;
        let cases = [
            ("GET", "/v1/keys/me?verbose", true),
            ("GET", "//v1/keys/../keys/me", true),
            ("HEAD", PATH, true),
            ("POST", PATH, false),
            ("GET", "/v1/keys/me/", false),
            ("GET", "/v1/keys", false),
        ];
        for (method, target, answered) in cases {
            let response = asks(stage, method, target, &key)?;
            ensure!(response.status == 200, "{method} {target}: {response:?}");
            let here = response.header("cache-control")? == Some("no-store");
            ensure!(here == answered, "{method} {target}: {response:?}");
            if method == "HEAD" {
                ensure!(response.body.is_empty(), "{response:?}");
            }
        }
        for (line, error) in [
            ("x-y: z", "api_key_missing"),
            ("x-api-key: aw_short", "api_key_invalid"),
        ] {
            let response = client::get(stage.to, PATH, [line])?;
            ensure!(
                response.status == 401 && response.text().contains(error),
                "{line}: {response:?}"
            );
        }
        let (status, entry) = stage.logged("/v1/keys", &key)?;
        ensure!(
            (status, entry.as_str()) == (200, "outcome=allowed source=cache"),
            "{entry}"
        );
        Ok(())
    })
}

/// Introspection always returns the current state, which other requests then get too.
fn never_from_the_cache() -> Result<()> {
    setup().run(|stage| {
        let created = stage.create()?;
        let key = created.key;
        ensure!(stage.get(&key)?.status == 200, "before");
        stage.registry.run(&["revoke", &created.key_id])?;
        ensure!(
            stage.get(&key)?.status == 200,
            "the cached verdict should still allow the key"
        );
        let response = asks(stage, "GET", PATH, &key)?;
        ensure!(response.text().contains("api_key_revoked"), "{response:?}");
        let response = stage.get(&key)?;
        ensure!(response.text().contains("api_key_revoked"), "{response:?}");

        // In an outage, the current state is unknown, but known keys are still served.
        let known = stage.create()?.key;
        ensure!(stage.get(&known)?.status == 200, "before the outage");
        stage.begin_outage()?;
        let response = asks(stage, "GET", PATH, &known)?;
        ensure!(
            response.status == 503 && response.text().contains("internal_error"),
            "{response:?}"
        );
        ensure!(stage.get(&known)?.status == 200, "in the outage");
        stage.end_outage()?;
        ensure!(
            asks(stage, "GET", PATH, &known)?.status == 200,
            "after the outage"
        );
        Ok(())
    })
}

/// A client that leaves, and a lookup without an answer.
fn without_an_answer() -> Result<()> {
    let setup = Setup {
        timeout: "500ms",
        ..setup()
    };
    setup.run(|stage| {
        let key = made_up_key();
        stage.auth.script(&hash(&key)?, Script::Hang);
        let head = client::head("GET", PATH, [format!("x-api-key: {key}").as_str()]);
        let sent = client::send(stage.to, head.as_bytes())?;
        stage.wait_for_lookups(&key, 1)?;
        sent.leave();
        stage.wait_for_requests(0)?;
        let asked = Instant::now();
        let response = asks(stage, "GET", PATH, &key)?;
        ensure!(response.status == 503, "{response:?}");
        ensure!(asked.elapsed().as_millis() >= 400, "{:?}", asked.elapsed());
        let known = stage.create()?.key;
        ensure!(
            asks(stage, "GET", PATH, &known)?.status == 200,
            "another key"
        );
        Ok(())
    })
}

/// A body before the verdict does not let its request through, even if Envoy would forward it.
fn a_body_is_held() -> Result<()> {
    for allow_on_headers_stop_iteration in [false, true] {
        let setup = Setup {
            allow_on_headers_stop_iteration,
            ..setup()
        };
        setup.run(|stage| {
            for (verdict, status) in [
                (answer("200 OK", GOOD), 200),
                (answer("404 Not Found", ""), 401),
            ] {
                let (key, answered) = stage.held_key(verdict)?;
                let key_line = format!("x-api-key: {key}");
                let lines = [key_line.as_str(), "transfer-encoding: chunked"];
                let head = client::head("GET", PATH, lines);
                let mut sent = client::send(stage.to, head.as_bytes())?;
                stage.wait_for_lookups(&key, 1)?;
                sent.send(b"5\r\nhello\r\n6\r\n world\r\n0\r\nx-trailer: 1\r\n\r\n")?;
                until(Instant::now() + Duration::from_millis(300));
                answered.add_permits(1);
                let response = sent.response()?;
                let here = response.header("cache-control")? == Some("no-store");
                ensure!(response.status == status && here, "{response:?}");
            }
            Ok(())
        })?;
    }
    Ok(())
}
