//! Cases as rows: one HTTP/1.1 request, what it must get, and the number of lookups it must cost.

use anyhow::{Context, Result, ensure};
use keystile::decision::advice::Challenge;
use keystile::decision::denial::Denial;
use keystile::decision::reply::ReplyRules;
use keystile_e2e::client::{self, Response};
use keystile_e2e::recording_upstream::Arrived;
use keystile_e2e::scripted_auth::Script;
use libtest_mimic::Trial;
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::world::{World, trial};

/// The expected result of a request.
#[derive(Clone, Debug)]
pub(crate) enum Expect {
    /// Reaches the upstream with an identity and without the credential.
    Allowed,
    /// Reaches the upstream without an identity.
    Exempt,
    /// Gets the reply with this error, and does not reach the upstream.
    Refused(&'static str),
    /// Gets `api_key_revoked` with the message for an expired key.
    Expired,
    /// Gets this status from Envoy itself, and does not reach the upstream.
    ByEnvoy(u16),
}

/// One row. In `target`, headers and body, `{name}` stands for a key of the world. The text is sent as
/// Latin-1, so `\u{ff}` is the byte 0xFF.
#[derive(Clone)]
pub(crate) struct Case {
    name: String,
    listener: &'static str,
    method: &'static str,
    target: &'static str,
    headers: Vec<String>,
    /// How lookups of the request's own key are answered, if not by the registry.
    script: Option<Script>,
    body: String,
    /// A header that the upstream must get.
    arrives: Option<&'static str>,
    expect: Expect,
    lookups: usize,
}

/// Creates a test for each row. They run alone: they count their lookups, and two requests at the same
/// time with one key would share one.
pub(crate) fn trials(cases: Vec<Case>) -> Vec<Trial> {
    let trials = cases.into_iter().map(|case| {
        let name = case.name.clone();
        trial(&name, move |world: &World| case.run(world))
    });
    trials.collect()
}

/// Creates a row: `GET /v1/x` to the listener `plain`.
pub(crate) fn case(name: &str, expect: Expect) -> Case {
    Case {
        name: name.to_owned(),
        listener: "plain",
        method: "GET",
        target: "/v1/x",
        headers: Vec::new(),
        script: None,
        body: String::new(),
        arrives: None,
        expect,
        lookups: 0,
    }
}

impl Case {
    pub(crate) fn on(mut self, listener: &'static str) -> Self {
        self.listener = listener;
        self
    }

    pub(crate) fn method(mut self, method: &'static str) -> Self {
        self.method = method;
        self
    }

    pub(crate) fn target(mut self, target: &'static str) -> Self {
        self.target = target;
        self
    }

    pub(crate) fn header(mut self, line: impl Into<String>) -> Self {
        self.headers.push(line.into());
        self
    }

    pub(crate) fn bearer(self, key: &str) -> Self {
        self.header(format!("authorization: Bearer {key}"))
    }

    /// Sends a new key whose lookups are answered by script.
    pub(crate) fn scripted(mut self, script: Script) -> Self {
        self.script = Some(script);
        self
    }

    pub(crate) fn body(mut self, body: impl Into<String>) -> Self {
        self.body = body.into();
        self
    }

    /// Requires that the upstream gets this header.
    pub(crate) fn upstream_gets(mut self, header: &'static str) -> Self {
        self.arrives = Some(header);
        self
    }

    pub(crate) fn expecting(self, expect: Expect) -> Self {
        Self { expect, ..self }
    }

    pub(crate) fn lookups(mut self, lookups: usize) -> Self {
        self.lookups = lookups;
        self
    }

    /// Sends the request and checks everything that happened against the row.
    fn run(&self, world: &World) -> Result<()> {
        let id = format!("e2e-{}", ulid::Ulid::generate());
        let response = client::send(
            world.envoy.listener(self.listener)?,
            &self.bytes(world, &id)?,
        )?
        .response()?;
        world.keep_reply(&response);

        let reached = world.upstream.with("x-request-id", &id);
        match &self.expect {
            Expect::Allowed | Expect::Exempt => {
                ensure!(
                    response.status == 200,
                    "{} {}",
                    response.status,
                    response.text()
                );
                ensure!(
                    reached.len() == 1,
                    "reached the upstream {} times",
                    reached.len()
                );
                self.check_upstream(world, &reached[0])?;
            }
            Expect::Refused(error) => self.check_refusal(&response, error, None)?,
            Expect::Expired => {
                let message = Some("This API key has expired.");
                self.check_refusal(&response, "api_key_revoked", message)?;
            }
            Expect::ByEnvoy(status) => {
                ensure!(
                    response.status == *status,
                    "{} {}",
                    response.status,
                    response.text()
                );
            }
        }
        if !matches!(self.expect, Expect::Allowed | Expect::Exempt) {
            ensure!(reached.is_empty(), "a refused request reached the upstream");
        }
        let lookups = world.auth.lookups_of(&id).len();
        ensure!(
            lookups == self.lookups,
            "{lookups} lookups, not {}",
            self.lookups
        );
        Ok(())
    }

    fn bytes(&self, world: &World, id: &str) -> Result<Vec<u8>> {
        let mut headers = self.headers.clone();
        if let Some(script) = &self.script {
            let key = world.scripted_key(script.clone())?;
            headers.push(format!("authorization: Bearer {key}"));
        }
        headers.push(format!("x-request-id: {id}"));
        let lines = headers.iter().map(String::as_str);
        let mut text = client::head(self.method, self.target, lines) + &self.body;
        while let Some((before, rest)) = text.split_once('{') {
            let (name, after) = rest.split_once('}').context("an open {")?;
            text = format!("{before}{}{after}", world.key(name)?);
        }
        text.chars()
            .map(|c| u8::try_from(u32::from(c)).context("not Latin-1"))
            .collect()
    }

    fn check_upstream(&self, world: &World, request: &Arrived) -> Result<()> {
        let of = |name| request.values(name);
        let (key_ids, accounts) = (of("x-keystile-key-id"), of("x-keystile-account-id"));
        if matches!(self.expect, Expect::Allowed) {
            ensure!(
                matches!(key_ids[..], [id] if id.starts_with("key_")),
                "x-keystile-key-id: {key_ids:?}"
            );
            ensure!(
                accounts == ["acct_1"],
                "x-keystile-account-id: {accounts:?}"
            );
        } else {
            ensure!(
                key_ids.is_empty() && accounts.is_empty(),
                "{key_ids:?} {accounts:?}"
            );
        }
        if let Some(header) = self.arrives {
            ensure!(!request.values(header).is_empty(), "no {header}");
        }
        let text = request.json().to_string();
        ensure!(!text.contains("evil"), "a spoofed value: {text}");
        for secret in world.secrets() {
            ensure!(!text.contains(&secret), "the key reached the upstream");
        }
        if !self.body.is_empty() && !self.headers.iter().any(|line| line.contains("chunked")) {
            ensure!(request.body == self.body.as_bytes(), "another body: {text}");
        }
        Ok(())
    }

    fn check_refusal(&self, response: &Response, error: &str, message: Option<&str>) -> Result<()> {
        let reply = Reply::of(error)?;
        check_headers(response, &reply)?;
        ensure!(
            response.status == reply.status,
            "{} {}",
            response.status,
            response.text()
        );
        ensure!(
            response.header("content-type")? == Some("application/json"),
            "content-type: {:?}",
            response.header("content-type")
        );
        let length = response
            .header("content-length")?
            .context("no content-length")?;
        if self.method == "HEAD" {
            ensure!(response.body.is_empty(), "a body: {}", response.text());
            ensure!(length.parse::<usize>()? > 200, "content-length: {length}");
            return Ok(());
        }
        check_body(response, &reply, message)
    }
}

/// The contract for a reply: the filter's own table, which is also in docs/replies.md.
pub(crate) struct Reply {
    error: String,
    pub(crate) status: u16,
    pub(crate) grpc_status: &'static str,
    pub(crate) message: String,
    challenge: Option<String>,
    retry_after: Option<&'static str>,
}

impl Reply {
    /// Returns the default reply for an error, with its first message.
    pub(crate) fn of(error: &str) -> Result<Self> {
        let mut denials = Denial::ALL.into_iter();
        let denial = denials.find(|denial| denial.code() == error);
        let denial = denial.with_context(|| format!("no denial {error}"))?;
        Ok(Self {
            error: error.to_owned(),
            status: denial.status(),
            grpc_status: denial.grpc_status(),
            message: ReplyRules::default().messages.of(denial).to_owned(),
            challenge: Challenge::Standard.value(denial, "Bearer", "api"),
            retry_after: denial.is_temporary().then_some("1"),
        })
    }
}

/// Checks the headers that replies in all formats have.
pub(crate) fn check_headers(response: &Response, reply: &Reply) -> Result<()> {
    let expected = [
        ("cache-control", Some("no-store")),
        ("www-authenticate", reply.challenge.as_deref()),
        ("retry-after", reply.retry_after),
    ];
    for (name, value) in expected {
        let found = response.header(name)?;
        ensure!(
            found == value,
            "{name}: {found:?}, not {value:?}\n{}",
            response.text()
        );
    }
    let id = response
        .header("x-request-id")?
        .context("no x-request-id")?;
    let id = id
        .strip_prefix("req_")
        .context("x-request-id without req_")?;
    ulid::Ulid::from_string(id)
        .ok()
        .context("x-request-id is no ULID")?;
    Ok(())
}

/// Checks the eight fields in their order, byte for byte.
fn check_body(response: &Response, reply: &Reply, message: Option<&str>) -> Result<()> {
    let text = response.text();
    let body: Value = serde_json::from_str(&text).with_context(|| text.clone())?;
    let timestamp = body["timestamp"].as_str().context("no timestamp")?;
    let expected = format!(
        "{{\"success\":false,\"error\":\"{error}\",\"message\":\"{}\",\"details\":[],\
         \"retry_after\":{},\"doc_url\":\"https://docs.asterwise.com/reference/errors/{error}\",\
         \"request_id\":\"{}\",\"timestamp\":\"{timestamp}\"}}",
        message.unwrap_or(&reply.message),
        reply.retry_after.unwrap_or("null"),
        response.header("x-request-id")?.unwrap_or_default(),
        error = reply.error,
    );
    ensure!(text == expected, "{text}\nnot {expected}");
    ensure!(
        timestamp.len() == "2026-05-25T12:34:56Z".len(),
        "{timestamp}"
    );
    let age = OffsetDateTime::now_utc() - OffsetDateTime::parse(timestamp, &Rfc3339)?;
    ensure!(
        (-1..30).contains(&age.whole_seconds()),
        "{timestamp} is {age} ago"
    );
    Ok(())
}
