//! Row 1: requests that need no key.

use super::*;

/// Returns true if [`begin`] treats a request as exempt.
fn is_exempt(config: &Policy, request: &Request) -> bool {
    begin(config, request, |_| {}) == Next::Forward
}

#[test]
fn paths_are_exempt_on_segment_borders() {
    let config = config(r#","exempt":{"paths":["/healthz"],"path_prefixes":["/public"]}"#);
    let cases = [
        ("/healthz", true),
        ("/healthz?full=1", true),
        ("/healthz/x", false),
        ("/healthz/", false),
        ("/Healthz", false),
        ("/public", true),
        ("/public/a/b", true),
        ("/publicity", false),
        ("/public/../v1", false),
        ("/public/%2e%2e/v1", false),
        ("/v1?/public", false),
    ];
    for (path, expected) in cases {
        let request = request("GET", path, &[]);
        assert_eq!(is_exempt(&config, &request), expected, "{path}");
    }
}

/// By default GET and HEAD without a body; otherwise the listed methods, with or without a body.
#[test]
fn methods_are_exempt_as_listed() {
    let exempt = |methods: &str| config(&format!(r#","exempt":{{"paths":["/healthz"]{methods}}}"#));
    let default = exempt("");
    let get = exempt(r#","methods":["GET"]"#);
    let head = exempt(r#","methods":["HEAD"]"#);
    let post = exempt(r#","methods":["POST","OPTIONS"]"#);
    let length: Headers<'_> = &[("content-length", "5")];
    let empty: Headers<'_> = &[("content-length", "0")];
    let chunked: Headers<'_> = &[("transfer-encoding", "chunked")];
    let cases: [(&str, &Policy, &str, Headers<'_>, bool, bool); 22] = [
        ("default", &default, "GET", &[], true, true),
        ("default", &default, "HEAD", &[], true, true),
        ("default", &default, "POST", &[], true, false),
        ("default", &default, "PUT", &[], true, false),
        ("default", &default, "DELETE", &[], true, false),
        ("default", &default, "OPTIONS", &[], true, false),
        ("default", &default, "TRACE", &[], true, false),
        ("default", &default, "get", &[], true, false),
        ("default", &default, "", &[], true, false),
        ("default, empty body", &default, "GET", empty, true, true),
        ("default, body follows", &default, "GET", &[], false, false),
        ("default, length", &default, "GET", length, true, false),
        ("default, chunked", &default, "GET", chunked, true, false),
        ("default, body follows", &default, "HEAD", &[], false, false),
        ("GET includes HEAD", &get, "HEAD", &[], true, true),
        ("listed, with a body", &get, "GET", length, false, true),
        ("HEAD alone", &head, "GET", &[], true, false),
        ("HEAD alone", &head, "HEAD", &[], true, true),
        ("listed", &post, "POST", length, false, true),
        ("listed", &post, "OPTIONS", &[], true, true),
        ("not listed", &post, "GET", &[], true, false),
        ("not listed", &post, "post", &[], true, false),
    ];
    for (name, config, method, headers, ends, expected) in cases {
        let request = request(method, "/healthz", headers).ending_with_headers(ends);
        assert_eq!(is_exempt(config, &request), expected, "{name}: {method}");
    }
}

#[test]
fn preflights_are_exempt_if_they_are_genuine() {
    let on = config("");
    let off = config(r#","exempt":{"preflight":false}"#);
    let origin = ("origin", "https://app.example.com");
    let asks = ("access-control-request-method", "PUT");
    let asked_headers = ("access-control-request-headers", "x-api-key,content-type");
    // What a browser sends.
    let genuine = [origin, asks, asked_headers, ("accept", "*/*")];
    let with = |more: &[(&'static str, &'static str)]| [&genuine[..], more].concat();
    let from = |value| vec![("origin", value), asks];
    let wants = |value| vec![origin, ("access-control-request-method", value)];
    let cases = [
        ("genuine", with(&[]), true),
        ("an empty body", with(&[("content-length", "0")]), true),
        ("a body", with(&[("content-length", "1")]), false),
        (
            "a length of two zeros",
            with(&[("content-length", "00")]),
            false,
        ),
        (
            "two lengths",
            with(&[("content-length", "0"), ("content-length", "9")]),
            false,
        ),
        ("chunked", with(&[("transfer-encoding", "chunked")]), false),
        (
            "authorization",
            with(&[("authorization", "Basic eDp5")]),
            false,
        ),
        ("empty authorization", with(&[("authorization", "")]), false),
        ("cookie", with(&[("cookie", "session=1")]), false),
        ("empty cookie", with(&[("cookie", "")]), false),
        ("no origin", vec![asks], false),
        ("two origins", with(&[origin]), false),
        ("origin null", from("null"), true),
        ("origin with a port", from("http://localhost:3000"), true),
        ("IPv6 origin", from("http://[::1]:3000"), true),
        ("extension", from("chrome-extension://abcdefgh"), true),
        ("empty origin", from(""), false),
        ("origin of a space", from(" "), false),
        ("origin of a word", from("example.com"), false),
        ("Null", from("Null"), false),
        ("origin without a scheme", from("://example.com"), false),
        ("origin without a host", from("https://"), false),
        ("origin of a port", from("https://:"), false),
        ("origin with a path", from("https://example.com/"), false),
        ("origin with a query", from("https://example.com?x"), false),
        (
            "origin with a user",
            from("https://user@example.com"),
            false,
        ),
        (
            "two in one origin",
            from("https://a.example, https://b.example"),
            false,
        ),
        ("scheme of digits", from("1://example.com"), false),
        ("scheme with a space", from("ht tp://example.com"), false),
        ("no method", vec![origin], false),
        ("two methods", with(&[asks]), false),
        ("empty method", wants(""), false),
        ("two in one method", wants("PUT, DELETE"), false),
        ("a method of its own", wants("X-PURGE"), true),
    ];
    for (name, headers, expected) in &cases {
        let request = request("OPTIONS", "/v1", headers);
        assert_eq!(is_exempt(&on, &request), *expected, "{name}");
        assert!(!is_exempt(&off, &request), "{name}, where none is exempt");
    }
    let request = |method| request(method, "/v1", &genuine);
    assert!(!is_exempt(
        &on,
        &request("OPTIONS").ending_with_headers(false)
    ));
    for method in ["GET", "options", "CONNECT", ""] {
        assert!(!is_exempt(&on, &request(method)), "{method}");
    }
}
