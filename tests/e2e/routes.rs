//! Routes that match on headers which the filter removes or sets.

use anyhow::{Result, ensure};
use keystile_e2e::client;
use keystile_e2e::envoy::{Listener, each_http_settings};
use keystile_e2e::keys::{GOOD, hash, made_up_key};
use keystile_e2e::recording_upstream::NAMED;
use keystile_e2e::scripted_auth::{Script, answer};
use keystile_e2e::shipped;
use keystile_e2e::stack::{Setup, Stack};
use serde_json::{Value, json};

trials! { Together:
    "routes: by a header of the filter" => by_a_header_of_the_filter,
}

/// A record of an account without a route.
const OTHER: &str = r#"{"key_id":"key_2","status":"active","account_id":"acct_2"}"#;

/// The response header with the name of the route.
const ROUTE: &str = "x-test-route";

/// Returns a route for requests with this header.
fn route(name: &str, header: Value) -> Value {
    json!({
        "match": {"prefix": "/", "headers": [header]},
        "route": {"cluster": "upstream"},
        "response_headers_to_add": [{"header": {"key": ROUTE, "value": name}}],
    })
}

/// Inserts the routes, and a route without the filter for those who claim to be in a group.
fn edit(config: &mut Value) -> Result<()> {
    for (name, http) in each_http_settings(config) {
        let routes = &mut http["route_config"]["virtual_hosts"][0]["routes"];
        let last = routes[0].clone();
        let exact =
            |name: &str, value: &str| json!({"name": name, "string_match": {"exact": value}});
        let mut open = route("open", exact("x-group", "staff"));
        open["typed_per_filter_config"] = json!({"keystile": {
            "@type": "type.googleapis.com/envoy.config.route.v3.FilterConfig",
            "disabled": true,
        }});
        *routes = json!([
            route(
                "authorization",
                json!({"name": "authorization", "present_match": true})
            ),
            route(
                "x-api-key",
                json!({"name": "x-api-key", "present_match": true})
            ),
            route("account", exact("x-keystile-account-id", "acct_1")),
            open,
            last,
        ]);
        if name == "with proof" {
            shipped::lock(http)?;
        }
    }
    Ok(())
}

/// Each edit of a header makes Envoy select the route again. So a route that matches on a header with
/// the credential is taken only if the filter forwards it, and a route that matches on an identity
/// header is taken for the right account, whatever the client sends. Whether a filter is off is
/// decided by the route before any filter has run, by headers that the client chooses.
fn by_a_header_of_the_filter() -> Result<()> {
    let plugin = |forward: bool| json!({"lookup": {"cluster": "auth", "timeout": "10s"}, "credential": {"forward": forward}});
    let stack = Stack::start(Setup {
        edit: Box::new(edit),
        ..Setup::new(vec![
            Listener::new("removing", &plugin(false)),
            Listener::new("forwarding", &plugin(true)),
            Listener::new("with proof", &plugin(false)),
        ])
    })?;
    let (first, other) = (made_up_key(), made_up_key());
    for (key, record) in [(&first, GOOD), (&other, OTHER)] {
        let script = Script::Answer(answer("200 OK", record));
        stack.auth.script(&hash(key)?, script);
    }
    let [bearer, api_key] = [
        format!("authorization: Bearer {first}"),
        format!("x-api-key: {other}"),
    ];
    let (acct_1, staff) = ("x-keystile-account-id: acct_1", "x-group: staff");
    let other_bearer = format!("authorization: Bearer {other}");
    // The listener, the header lines, and the status and the route.
    let rows: [(&str, &[&str], u16, Option<&str>); 12] = [
        ("removing", &[&bearer], 200, Some("account")),
        ("removing", &[&api_key], 200, None),
        ("removing", &[&other_bearer], 200, None),
        ("removing", &[&other_bearer, acct_1], 200, None),
        ("removing", &[acct_1], 401, None),
        ("forwarding", &[&bearer], 200, Some("authorization")),
        ("forwarding", &[&api_key], 200, Some("x-api-key")),
        ("forwarding", &[&api_key, acct_1], 200, Some("x-api-key")),
        ("removing", &[staff], 200, Some("open")),
        ("removing", &[staff, acct_1], 401, None),
        ("with proof", &[staff], 503, None),
        ("with proof", &[&bearer], 200, Some("account")),
    ];
    for (listener, lines, status, route) in rows {
        let to = stack.envoy.listener(listener)?;
        let answer = client::get(to, "/v1/x", lines.iter().copied())?;
        let taken = answer.header(ROUTE)?;
        // A reply of the filter's own also has the headers of a route.
        ensure!(
            answer.status == status && (status != 200 || taken == route),
            "{listener}, {lines:?}: {answer:?}"
        );
    }
    // Without the filter, nobody removes what the client says about itself.
    let lines = [
        staff,
        "x-keystile-key-id: evil",
        &format!("{NAMED}: spoofed"),
    ];
    client::get(stack.envoy.listener("removing")?, "/v1/x", lines)?;
    let arrived = stack.upstream.named("spoofed");
    let identities: Vec<_> = arrived
        .iter()
        .map(|it| it.values("x-keystile-key-id"))
        .collect();
    ensure!(identities == [["evil"]], "{identities:?}");
    Ok(())
}
