//! What happens to requests, as a table, and the keys for it.

use anyhow::{Context, Result, ensure};
use keystile_e2e::client::Response;
use serde_json::{Value, json};

use crate::compose::Project;

/// A key of each kind: its name, its ID, and the key itself.
pub(crate) struct Keys(Vec<(&'static str, String, String)>);

impl Keys {
    pub(crate) fn create(project: &Project) -> Result<Self> {
        let mut keys = Vec::new();
        let kinds: [(&str, &[&str]); 5] = [
            ("active", &[]),
            ("deleted", &[]),
            ("revoked", &[]),
            ("expired", &["--expires-at", "2020-01-01T00:00:00Z"]),
            ("limited", &["--endpoint", "/v1/astro"]),
        ];
        for (name, options) in kinds {
            let arguments = [&["create", "--account", "acct_1"], options].concat();
            let created = project.registry(&arguments)?;
            let text = |field: &str| created[field].as_str().map(str::to_owned);
            let (id, key) = text("key_id").zip(text("key")).context("no key")?;
            keys.push((name, id, key));
        }
        let keys = Self(keys);
        project.registry(&["delete", keys.id("deleted")])?;
        project.registry(&["revoke", keys.id("revoked")])?;
        Ok(keys)
    }

    /// Returns the key, or a well-formed one without a record if there is none of this name.
    pub(crate) fn key(&self, name: &str) -> String {
        let found = self.0.iter().find(|(other, ..)| *other == name);
        found.map_or_else(|| made_up(name), |(.., key)| key.clone())
    }

    pub(crate) fn id(&self, name: &str) -> &str {
        let found = self.0.iter().find(|(other, ..)| *other == name);
        found.map_or("", |(_, id, _)| id)
    }
}

/// Returns a well-formed key without a record.
pub(crate) fn made_up(name: &str) -> String {
    format!("aw_{name:_>43}").replace(|c: char| !c.is_ascii_alphanumeric() && c != '_', "-")
}

/// What must happen to a request.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Expect {
    /// The upstream got the identity of this key, and no credential.
    Allowed(&'static str),
    /// The upstream got no identity.
    Exempt,
    /// Status, error, and a part of the message.
    Refused(u16, &'static str, &'static str),
}

/// One row: a name, the path of a `GET`, its headers, and what must happen. `{name}` in a header
/// stands for a key.
pub(crate) type Row = (&'static str, &'static str, &'static [&'static str], Expect);

use Expect::{Allowed, Exempt, Refused};

pub(crate) const ROWS: &[Row] = &[
    (
        "active, Bearer",
        "/v1/x",
        &["authorization: Bearer {active}"],
        Allowed("active"),
    ),
    (
        "active, X-API-Key",
        "/v1/x",
        &["x-api-key: {active}"],
        Allowed("active"),
    ),
    (
        "active, with identity headers from the client",
        "/v1/x",
        &[
            "x-api-key: {active}",
            "x-keystile-key-id: key_forged",
            "X-Keystile-Account-Id: acct_forged",
        ],
        Allowed("active"),
    ),
    (
        "limited, at its endpoint",
        "/v1/astro/natal",
        &["x-api-key: {limited}"],
        Allowed("limited"),
    ),
    (
        "exempt, with identity headers from the client",
        "/healthz",
        &["x-keystile-key-id: key_forged"],
        Exempt,
    ),
    (
        "no key",
        "/v1/x",
        &[],
        Refused(401, "api_key_missing", "missing"),
    ),
    (
        "malformed",
        "/v1/x",
        &["x-api-key: aw_short"],
        Refused(401, "api_key_invalid", "Invalid"),
    ),
    (
        "unknown",
        "/v1/x",
        &["x-api-key: {nobodys}"],
        Refused(401, "api_key_not_found", "not found"),
    ),
    (
        "deleted",
        "/v1/x",
        &["x-api-key: {deleted}"],
        Refused(401, "api_key_not_found", "not found"),
    ),
    (
        "revoked",
        "/v1/x",
        &["x-api-key: {revoked}"],
        Refused(401, "api_key_revoked", "revoked"),
    ),
    (
        "expired",
        "/v1/x",
        &["x-api-key: {expired}"],
        Refused(401, "api_key_revoked", "expired"),
    ),
    (
        "limited, elsewhere",
        "/v1/astrology",
        &["x-api-key: {limited}"],
        Refused(403, "endpoint_restricted", "not permitted"),
    ),
];

/// Sends a row's request, and checks the response.
pub(crate) fn check(project: &Project, keys: &Keys, row: &Row) -> Result<()> {
    let (_, path, headers, expect) = row;
    let headers: Vec<_> = headers.iter().map(|line| filled(line, keys)).collect();
    let headers: Vec<_> = headers.iter().map(String::as_str).collect();
    let response = project.get(path, &headers)?;
    holds(&response, *expect, path, keys).with_context(|| format!("{response:?}"))
}

fn filled(line: &str, keys: &Keys) -> String {
    let Some((before, rest)) = line.split_once('{') else {
        return line.to_owned();
    };
    format!("{before}{}", keys.key(rest.trim_end_matches('}')))
}

/// Checks that a response is as expected.
pub(crate) fn holds(response: &Response, expect: Expect, path: &str, keys: &Keys) -> Result<()> {
    let body: Value = serde_json::from_slice(&response.body).context("the body is not JSON")?;
    let received = |key_id: Value, account: Value| {
        json!({
            "path": path,
            "authorization": null,
            "x-api-key": null,
            "x-keystile-key-id": key_id,
            "x-keystile-account-id": account,
        })
    };
    match expect {
        Allowed(name) => {
            ensure!(response.status == 200, "not allowed");
            let expected = received(json!(keys.id(name)), json!("acct_1"));
            ensure!(body == expected, "the upstream should have got {expected}");
        }
        Exempt => {
            ensure!(response.status == 200, "not exempt");
            let expected = received(Value::Null, Value::Null);
            ensure!(body == expected, "the upstream should have got {expected}");
        }
        Refused(status, error, message) => {
            ensure!(response.status == status, "not {status}");
            ensure!(body["error"] == error, "not {error}");
            let said = body["message"].as_str().unwrap_or_default();
            ensure!(said.contains(message), "the message has no {message:?}");
            let retry = response.header("retry-after")?.is_some();
            ensure!(retry == (status == 503), "retry-after: {retry}");
        }
    }
    Ok(())
}

/// The replies to a deleted key and to one that never existed are the same.
pub(crate) fn a_deleted_key_looks_unknown(project: &Project, keys: &Keys) -> Result<()> {
    let reply = |name: &str| {
        let header = format!("x-api-key: {}", keys.key(name));
        let mut reply = project.get("/v1/x", &[&header])?;
        ensure!(reply.body.len() > 100, "{reply:?}");
        let mut body: Value = serde_json::from_slice(&reply.body)?;
        for field in ["request_id", "timestamp"] {
            ensure!(body[field].is_string(), "no {field}: {body}");
            body[field] = Value::Null;
        }
        // Headers that differ in every reply.
        let own = ["date", "x-request-id"];
        reply
            .headers
            .retain(|(name, _)| !own.contains(&name.as_str()));
        anyhow::Ok((reply.status, reply.headers, body.to_string()))
    };
    let (deleted, never) = (reply("deleted")?, reply("nobodys")?);
    ensure!(deleted == never, "{deleted:?} is not {never:?}");
    Ok(())
}
