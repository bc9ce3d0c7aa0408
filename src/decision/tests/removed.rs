//! What never reaches the upstream.

use super::*;
use crate::request::header_map::to_map;

/// All characters of a header's name that are neither letters nor digits (RFC 9110 section 5.6.2).
const SEPARATORS: &str = "!#$%&'*+-.^_`|~";

/// Returns what [`begin`] removes from a request.
fn removed<'a>(policy: &Policy, request: &'a Request) -> Vec<&'a str> {
    let mut removed = Vec::new();
    begin(policy, request, |name| {
        removed.push(str::from_utf8(name).unwrap());
    });
    removed
}

/// Returns what [`strip`] removes from trailers.
fn kept_back<'a>(policy: &Policy, trailers: &'a Request) -> Vec<&'a str> {
    let mut removed = Vec::new();
    strip(policy, trailers, |name| {
        removed.push(str::from_utf8(name).unwrap());
    });
    removed
}

/// Checks what is removed from a request, whatever its outcome, and from trailers.
fn assert_removed(config: &Policy, headers: Headers<'_>, expected: &[&str], name: &str) {
    let key = [headers, &[("x-api-key", KEY)]].concat();
    for (outcome, path, headers) in [
        ("exempt", "/healthz", headers),
        ("refused", "/v1", headers),
        ("looked up", "/v1", &key),
    ] {
        let request = request("GET", path, headers);
        let mut removed = removed(config, &request);
        removed.retain(|name| *name != "x-api-key");
        assert_eq!(removed, expected, "{name}, {outcome}");
    }
    let trailers = request("GET", "/", headers);
    assert_eq!(kept_back(config, &trailers), expected, "{name}, trailers");
}

/// Envoy rejects such names itself; other hosts may not.
#[test]
fn names_that_are_not_utf_8_are_removed_too() {
    let config = config("");
    let map = to_map(&[("x?keystile?key?id", "key_evil")]);
    let map = map
        .iter()
        .map(|byte| if *byte == b'?' { 0x9b } else { *byte });
    let request = Request::from_map(map.collect());
    let mut removed = Vec::new();
    strip(&config, &request, |name| removed.push(name));
    assert_eq!(removed, [b"x\x9bkeystile\x9bkey\x9bid"]);
}

#[test]
fn identity_headers_of_the_client_are_removed_from_every_request() {
    let config = config(r#","exempt":{"paths":["/healthz"]}"#);
    assert_removed(
        &config,
        &[
            ("x-keystile-account-id", "acct_evil"),
            ("x-keystile-account-id", "acct_worse"),
            ("x_keystile_account_id", "acct_cgi"),
            ("x-keystile_key.id", "key_mixed"),
            ("x-keystile-key", "not an identity header"),
            ("x-keystile-key-ids", "neither"),
            ("xakeystileakeyaid", "nor this"),
            ("x0keystile0key0id", "nor this"),
        ],
        &[
            "x-keystile-account-id",
            "x_keystile_account_id",
            "x-keystile_key.id",
        ],
        "identity",
    );
}

/// Some servers treat all of these as one: CGI, PHP and WSGI turn each into `HTTP_X_KEYSTILE_KEY_ID`.
#[test]
fn names_are_compared_by_their_letters_and_digits() {
    let default = config(r#","exempt":{"paths":["/healthz"]}"#);
    let dotted = config(
        r#","exempt":{"paths":["/healthz"]},"identity_headers":{"X.User!2":"key_id"},
            "strip_headers":["a~b"]"#,
    );
    for separator in SEPARATORS.chars() {
        let spelled = |name: &str| name.replace(['-', '.', '!', '~'], &separator.to_string());
        for name in [
            "x-keystile-key-id",
            "x-original-url",
            "x-http-method-override",
        ] {
            let name = spelled(name);
            assert_removed(&default, &[(&name, "evil")], &[&name], &name);
        }
        for name in ["x.user!2", "a~b"] {
            let name = spelled(name);
            assert_removed(&dotted, &[(&name, "evil")], &[&name], &name);
        }
        // The filter does not read a key from this header, but the upstream might.
        let name = spelled("x-api-key");
        let trailers = request("GET", "/", &[(&name, KEY)]);
        assert_eq!(kept_back(&default, &trailers), [&*name]);
        let request = request("GET", "/healthz", &[(&name, KEY)]);
        assert_eq!(removed(&default, &request), [&*name]);
    }
    for (one, other, same) in [
        ("x-a", "x.a", true),
        ("x-a", "x-b", false),
        ("x-a", "xaa", false),
        ("x0a", "x-a", false),
        ("x-a", "x--a", false),
        ("x-a", "x-a-", false),
    ] {
        assert_eq!(
            same_name(one.as_bytes(), other.as_bytes()),
            same,
            "{one} {other}"
        );
        assert_eq!(
            same_name(other.as_bytes(), one.as_bytes()),
            same,
            "{other} {one}"
        );
    }
}

#[test]
fn headers_with_another_path_or_method_are_stripped() {
    let exempt = r#","exempt":{"paths":["/healthz"]}"#;
    let default = config(exempt);
    let none = config(&format!(r#"{exempt},"strip_headers":[]"#));
    let own = config(&format!(r#"{exempt},"strip_headers":["X-Debug"]"#));
    let headers: Headers<'_> = &[
        ("x-original-url", "/admin"),
        ("x-rewrite-url", "/admin"),
        ("x-forwarded-uri", "/admin"),
        ("x-original-method", "DELETE"),
        ("x-http-method", "DELETE"),
        ("x-http-method-override", "DELETE"),
        ("x-method-override", "DELETE"),
        ("x-forwarded-host", "stays"),
        ("x-debug", "1"),
    ];
    let names = headers.iter().map(|(name, _)| *name).collect::<Vec<_>>();
    assert_removed(&default, headers, &names[..7], "default");
    assert_removed(&none, headers, &[], "none");
    assert_removed(&own, headers, &names[8..], "configured");
}

#[test]
fn the_credential_is_removed_before_anything_else() {
    let drop = config(r#","exempt":{"paths":["/healthz"]}"#);
    let forward = config(r#","credential":{"forward":true}"#);
    let bearer = format!("Bearer {KEY}");
    let cases: [(&str, &Policy, &str, &str, &[&str]); 5] = [
        ("looked up", &drop, "/", &bearer, &["authorization"]),
        (
            "malformed",
            &drop,
            "/",
            "Bearer aw_short",
            &["authorization"],
        ),
        ("exempt", &drop, "/healthz", &bearer, &["authorization"]),
        (
            "exempt, another's token",
            &drop,
            "/healthz",
            "Bearer eyJh",
            &[],
        ),
        ("forwarded", &forward, "/", &bearer, &[]),
    ];
    for (name, config, path, value, expected) in cases {
        let request = request("GET", path, &[("authorization", value)]);
        assert_eq!(removed(config, &request), expected, "{name}");
    }
}

#[test]
fn a_key_in_trailers_is_removed_unless_credentials_are_forwarded() {
    let drop = config("");
    let forward = config(r#","credential":{"forward":true}"#);
    let cases: [(&str, &Policy, Headers<'_>, &[&str]); 3] = [
        ("key", &drop, &[("x-api-key", KEY)], &["x-api-key"]),
        ("key, forwarded", &forward, &[("x-api-key", KEY)], &[]),
        (
            "others",
            &drop,
            &[("x-checksum", "1"), ("x-api-key", "mine")],
            &[],
        ),
    ];
    for (name, config, trailers, expected) in cases {
        let trailers = request("GET", "/", trailers);
        assert_eq!(kept_back(config, &trailers), expected, "{name}");
    }
}
