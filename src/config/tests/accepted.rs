//! Valid configurations, and what follows from the fields that are left out.

use std::time::Duration;

use crate::config::parse;
use crate::decision::denial::Denial;
use crate::decision::reply::{Replies, ReplyFormat, RequestId};

#[test]
fn feed_and_introspection_are_off_by_default() {
    let off = parse(br#"{"lookup":{"cluster":"auth"}}"#).unwrap();
    assert_eq!(off.feed, None);
    assert_eq!(off.policy.introspection, None);
    assert_eq!(off.replies, Replies::default());
}

#[test]
fn the_feed_is_polled_at_the_cluster_of_the_lookups_unless_it_has_its_own() {
    for (feed, expected) in [
        ("{}", "auth"),
        (r#"{"cluster":null}"#, "auth"),
        (r#"{"cluster":"auth-feed"}"#, "auth-feed"),
    ] {
        let config = format!(r#"{{"lookup":{{"cluster":"auth"}},"feed":{feed}}}"#);
        let config = parse(config.as_bytes()).unwrap();
        assert_eq!(config.feed.unwrap().cluster, expected, "{feed}");
    }
}

/// An exemption conflicts with introspection only if it covers the same path and method.
#[test]
fn an_exempt_path_may_be_introspected_by_a_method_that_is_not_exempt() {
    let config = |methods: &str| {
        let exempt = format!(r#"{{"paths":["/v1/keys/me"],"methods":{methods}}}"#);
        let config =
            format!(r#"{{"lookup":{{"cluster":"auth"}},"introspection":{{}},"exempt":{exempt}}}"#);
        parse(config.as_bytes())
    };
    assert!(config(r#"["POST"]"#).is_ok());
    assert!(config(r#"["HEAD"]"#).is_err());
    assert!(config(r#"["POST","GET"]"#).is_err());
}

#[test]
fn a_partial_object_keeps_the_other_defaults() {
    let config = parse(
        br#"{"lookup":{"cluster":"auth","timeout":"2s"},"credential":{"formats":[{"max_length":64}]}}"#,
    )
    .unwrap();
    assert_eq!(config.lookup.timeout, Duration::from_secs(2));
    assert_eq!(config.policy.credential.sources.len(), 2);
    assert_eq!(config.policy.credential.formats[0].min_length, 43);
    assert_eq!(config.policy.credential.formats[0].max_length, 64);
}

/// Challenge and message follow the sources, unless the operator has written them.
#[test]
fn advice_follows_sources_and_configuration() {
    const BOTH: &str = r#"[{"header":"x-api-key"},{"header":"authorization","scheme":"bearer"}]"#;
    const BEARER: &str = "Include it in the Authorization header as 'Bearer YOUR_KEY'.";
    const ONE: &str = r#"[{"header":"x-api-key"}]"#;
    const API_KEY: &str = "API key is missing. Include it in the X-API-Key header.";
    let cases = [
        (
            BOTH,
            "{}",
            r#"Bearer realm="api", error="invalid_token""#,
            BEARER,
        ),
        (
            BOTH,
            r#"{"challenge":"standard","realm":"my api"}"#,
            r#"Bearer realm="my api", error="invalid_token""#,
            BEARER,
        ),
        (
            BOTH,
            r#"{"challenge":"bare"}"#,
            r#"Bearer realm="api""#,
            BEARER,
        ),
        (
            BOTH,
            r#"{"challenge":"Basic realm=\"x\""}"#,
            r#"Basic realm="x""#,
            BEARER,
        ),
        (
            ONE,
            r#"{"service_name":"X"}"#,
            r#"ApiKey realm="api", error="invalid_token""#,
            API_KEY,
        ),
        (
            ONE,
            r#"{"challenge":"bare"}"#,
            r#"ApiKey realm="api""#,
            API_KEY,
        ),
        (
            ONE,
            r#"{"messages":{"api_key_missing":"Bring a key."}}"#,
            r#"ApiKey realm="api", error="invalid_token""#,
            "Bring a key.",
        ),
    ];
    for (sources, replies, challenge, message) in cases {
        let text = format!(
            r#"{{"lookup":{{"cluster":"a"}},"credential":{{"sources":{sources}}},"replies":{replies}}}"#
        );
        let replies = parse(text.as_bytes()).unwrap().replies;
        let id = RequestId::new(Duration::ZERO, 0);
        let reply = |denial| replies.render(denial, ReplyFormat::Http, id, Duration::ZERO, None);
        let invalid = reply(Denial::Invalid).headers;
        assert!(
            invalid.contains(&("www-authenticate", challenge.into())),
            "{text} {invalid:?}"
        );
        let missing = String::from_utf8(reply(Denial::Missing).body).unwrap();
        assert!(missing.contains(message), "{text} {missing}");
    }
}

#[test]
fn boundary_values_are_accepted() {
    let cases = [
        r#""lookup":{"cluster":"auth","timeout":"1ms"}"#,
        r#""lookup":{"cluster":"auth","timeout":"60s"}"#,
        r#""lookup":{"cluster":"auth","timeout":"1m"}"#,
        r#""lookup":{"cluster":"outbound|80||auth.default.svc.cluster.local"}"#,
        r#""lookup":{"cluster":"auth","authority":"[::1]:8080"}"#,
        r#""lookup":{"cluster":"auth","max_concurrent":1}"#,
        r#""lookup":{"cluster":"auth","max_concurrent":65536}"#,
        r#""lookup":{"cluster":"auth","propagate_headers":[]}"#,
        r#""lookup":{"cluster":"auth","propagate_headers":["B3","baggage"]},"credential":{"sources":[{"header":"traceparent"}]}"#,
        r#""lookup":{"cluster":"auth","authority":null,"headers":{"x-empty":""}}"#,
        r#""lookup":{"cluster":"auth","path":"/?h={key_hash}"}"#,
        r#""lookup":{"cluster":"a"},"cache":{"allow_ttl":"720h","stale_if_error":"0s"}"#,
        r#""lookup":{"cluster":"a"},"cache":{"refresh_ahead":0.000001,"jitter":0}"#,
        r#""lookup":{"cluster":"a"},"cache":{"refresh_ahead":1,"jitter":1}"#,
        r#""lookup":{"cluster":"a"},"cache":{"max_allow_entries":1,"max_deny_entries":1000000}"#,
        r#""lookup":{"cluster":"a"},"feed":{"path":"/?limit=100&after={cursor}"}"#,
        r#""lookup":{"cluster":"a"},"feed":{"interval":"100ms","stale_after":"200ms"}"#,
        r#""lookup":{"cluster":"a"},"feed":{"interval":"60s","stale_after":"1h"}"#,
        r#""lookup":{"cluster":"a"},"credential":{"formats":[{"prefix":"","min_length":1,"max_length":8192}]}"#,
        r#""lookup":{"cluster":"a"},"credential":{"formats":[{"min_length":8192,"max_length":8192}]}"#,
        r#""lookup":{"cluster":"a"},"credential":{"formats":[{"prefix":"","min_length":9,"tag":{"secrets":["sixteen letters."]}}]}"#,
        r#""lookup":{"cluster":"a"},"credential":{"formats":[{"prefix":"a_"},{"prefix":"b_","alphabet":"visible","tag":null}]}"#,
        r#""lookup":{"cluster":"a"},"credential":{"sources":[{"header":"a","scheme":null}]}"#,
        r#""lookup":{"cluster":"a"},"credential":{"sources":[{"header":"a","scheme":"B"},{"header":"a","scheme":"C"}]}"#,
        r#""lookup":{"cluster":"a"},"exempt":{"path_prefixes":["/"]}"#,
        r#""lookup":{"cluster":"a"},"exempt":{"path_prefixes":["/a"],"methods":["POST"]}"#,
        r#""lookup":{"cluster":"a"},"identity_headers":{}"#,
        r#""lookup":{"cluster":"a"},"replies":{"retry_after_seconds":1}"#,
        r#""lookup":{"cluster":"a"},"replies":{"retry_after_seconds":86400}"#,
        r#""lookup":{"cluster":"a"},"hash":{"pepper":"x"}"#,
        r#""lookup":{"cluster":"a"},"replies":{"realm":"my api"}"#,
    ];
    for case in cases {
        let text = format!("\n {{{case}}} \n");
        assert_eq!(parse(text.as_bytes()).err(), None, "{text}");
    }
}

#[test]
fn the_longest_strings_are_accepted() {
    let x = |length: usize| "x".repeat(length);
    let cases = [
        format!(r#""environment":"{}""#, x(256)),
        format!(
            r#""credential":{{"formats":[{{"prefix":"{}","min_length":65}}]}}"#,
            x(64)
        ),
        format!(r#""replies":{{"service_name":"{}"}}"#, x(64)),
        format!(r#""replies":{{"service_name":"{}"}}"#, "ü".repeat(64)),
        format!(r#""replies":{{"realm":"{}"}}"#, x(128)),
        format!(r#""replies":{{"challenge":"{}"}}"#, x(256)),
        format!(r#""replies":{{"doc_base_url":"https://{}"}}"#, x(504)),
        format!(
            r#""replies":{{"messages":{{"internal_error":"{}"}}}}"#,
            x(199)
        ),
    ];
    for case in cases {
        let text = format!(r#"{{"lookup":{{"cluster":"auth"}},{case}}}"#);
        assert_eq!(parse(text.as_bytes()).err(), None, "{text}");
    }
}
