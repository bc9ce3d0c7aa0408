use std::time::Duration;

use super::*;
use crate::decision::reply::Replies;

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
        br#"{"lookup":{"cluster":"auth","timeout":"2s"},"credential":{"format":{"max_length":64}}}"#,
    )
    .unwrap();
    assert_eq!(config.lookup.timeout, Duration::from_secs(2));
    assert_eq!(config.policy.credential.sources.len(), 2);
    assert_eq!(config.policy.credential.format.min_length, 43);
    assert_eq!(config.policy.credential.format.max_length, 64);
}

/// Text that is added after `lookup`, and how its message begins.
const REFUSED: &[(&str, &str)] = &[
    // unknown fields and wrong types, at every level
    (
        r#""lookups":{}"#,
        "lookups: is not a known field; must be one of: ",
    ),
    (r#""lookup":null"#, "lookup: is given more than once"),
    (
        r#""credential":[]"#,
        "credential: must be an object, not an array",
    ),
    (
        r#""credential":null"#,
        "credential: must be an object, not null",
    ),
    (
        r#""cache":{"ttl":"1s"}"#,
        "cache.ttl: is not a known field; must be one of: ",
    ),
    (r#""cache":[]"#, "cache: must be an object, not an array"),
    (r#""feed":[]"#, "feed: must be an object, not an array"),
    (r#""feed":true"#, "feed: must be an object, not a boolean"),
    (
        r#""feed":{"url":"/"}"#,
        "feed.url: is not a known field; must be one of: ",
    ),
    (
        r#""feed":{"path":"/v1/changes"}"#,
        "feed.path: must start with \"/\", contain {cursor} exactly once, and be visible ASCII \
         without \"#\" or other braces, such as \"/v1/changes?after={cursor}\"",
    ),
    (
        r#""feed":{"path":"/v1/{key_hash}?after={cursor}"}"#,
        "feed.path: must start with \"/\", contain {cursor} exactly once",
    ),
    (
        r#""feed":{"path":"/v1/changes?limit=99&after={cursor}"}"#,
        "feed.path: must have a limit of at least 100 changes at once",
    ),
    (
        r#""feed":{"path":"/v1/changes?after={cursor}&limit=0"}"#,
        "feed.path: must have a limit of at least 100 changes at once",
    ),
    (
        r#""feed":{"stale_after":"1999ms"}"#,
        "feed.stale_after: must be at least twice feed.interval",
    ),
    (
        r#""introspection":{"path":"/v1//me"}"#,
        "introspection.path: must not have \"//\" or \"%\"",
    ),
    (
        r#""introspection":{"path":"/v1/%6de"}"#,
        "introspection.path: must not have \"//\" or \"%\"",
    ),
    (
        r#""feed":{"path":"/v1/{cursor}/{cursor}"}"#,
        "feed.path: must start with \"/\", contain {cursor} exactly once",
    ),
    (
        r#""feed":{"path":"/v1/{key_hash}"}"#,
        "feed.path: must start with \"/\", contain {cursor} exactly once",
    ),
    (
        r#""feed":{"interval":1}"#,
        "feed.interval: must be a string",
    ),
    (
        r#""feed":{"interval":"99ms"}"#,
        "feed.interval: must be from \"100ms\" to \"60s\"",
    ),
    (
        r#""feed":{"interval":"61s"}"#,
        "feed.interval: must be from \"100ms\" to \"60s\"",
    ),
    (
        r#""feed":{"interval":"0s"}"#,
        "feed.interval: must be from \"100ms\" to \"60s\"",
    ),
    (
        r#""feed":{"interval":"soon"}"#,
        "feed.interval: must be a whole number with its unit",
    ),
    (
        r#""feed":{"interval":"10s"}"#,
        "feed.stale_after: must be at least twice feed.interval, and at most \"1h\"",
    ),
    (
        r#""feed":{"stale_after":"1s"}"#,
        "feed.stale_after: must be at least twice feed.interval, and at most \"1h\"",
    ),
    (
        r#""feed":{"stale_after":"721h"}"#,
        "feed.stale_after: must be at least twice feed.interval, and at most \"1h\"",
    ),
    (
        r#""feed":{"stale_after":"-1s"}"#,
        "feed.stale_after: must be a whole number with its unit",
    ),
    (
        r#""feed":{"allow_ttl_when_stale":"721h"}"#,
        "feed.allow_ttl_when_stale: must be at most \"720h\"",
    ),
    (
        r#""feed":{"allow_ttl_when_stale":60}"#,
        "feed.allow_ttl_when_stale: must be a string",
    ),
    (
        r#""introspection":"/v1/keys/me""#,
        "introspection: must be an object, not a string",
    ),
    (
        r#""introspection":{"paths":[]}"#,
        "introspection.paths: is not a known field; must be one of: ",
    ),
    (
        r#""introspection":{"path":"v1/keys/me"}"#,
        "introspection.path: must start with \"/\"",
    ),
    (
        r#""introspection":{"path":"/v1/keys/me?x"}"#,
        "introspection.path: is compared without the query",
    ),
    (
        r#""introspection":{"path":"/v1/../me"}"#,
        "introspection.path: must not have a \".\" or \"..\" segment",
    ),
    (
        r#""introspection":{},"exempt":{"paths":["/v1/keys/me"]}"#,
        "introspection.path: is exempt, so requests to it would need no key for a key there",
    ),
    (
        r#""introspection":{"path":"/me"},"exempt":{"path_prefixes":["/"]}"#,
        "introspection.path: is exempt, so requests to it would need no key for a key there",
    ),
    (
        r#""cache":{"allow_ttl":60}"#,
        "cache.allow_ttl: must be a string",
    ),
    (
        r#""cache":{"allow_ttl":"1d"}"#,
        "cache.allow_ttl: must be a whole number with its unit",
    ),
    (
        r#""cache":{"allow_ttl":"721h"}"#,
        "cache.allow_ttl: must be at most \"720h\"",
    ),
    (
        r#""cache":{"not_found_ttl":"2592001s"}"#,
        "cache.not_found_ttl: must be at most \"720h\"",
    ),
    (
        r#""cache":{"revoked_ttl":"-5m"}"#,
        "cache.revoked_ttl: must be a whole number with its unit",
    ),
    (
        r#""cache":{"stale_if_error":"ever"}"#,
        "cache.stale_if_error: must be a whole number with its unit",
    ),
    (
        r#""cache":{"refresh_ahead":"0.8"}"#,
        "cache.refresh_ahead: must be a number, not a string",
    ),
    (
        r#""cache":{"refresh_ahead":0}"#,
        "cache.refresh_ahead: must be a number above 0 and at most 1",
    ),
    (
        r#""cache":{"refresh_ahead":0.0000001}"#,
        "cache.refresh_ahead: must be a number above 0 and at most 1",
    ),
    (
        r#""cache":{"refresh_ahead":1.5}"#,
        "cache.refresh_ahead: must be a number above 0 and at most 1",
    ),
    (
        r#""cache":{"jitter":-0.1}"#,
        "cache.jitter: must be a number from 0 to 1",
    ),
    (
        r#""cache":{"jitter":1e9}"#,
        "cache.jitter: must be a number from 0 to 1",
    ),
    (
        r#""cache":{"jitter":null}"#,
        "cache.jitter: must be a number, not null",
    ),
    (
        r#""cache":{"max_allow_entries":0}"#,
        "cache.max_allow_entries: must be from 1 to 1000000; to cache nothing, set the TTL to \"0s\"",
    ),
    (
        r#""cache":{"max_deny_entries":1000001}"#,
        "cache.max_deny_entries: must be from 1 to 1000000",
    ),
    (
        r#""cache":{"max_deny_entries":1.5}"#,
        "cache.max_deny_entries: must be a whole number",
    ),
    (
        r#""credential":{"source":[]}"#,
        "credential.source: is not a known field; must be one of: ",
    ),
    (
        r#""credential":{"sources":{}}"#,
        "credential.sources: must be an array, not an object",
    ),
    (
        r#""credential":{"sources":[]}"#,
        "credential.sources: must name at least one header",
    ),
    (
        r#""credential":{"sources":["x-api-key"]}"#,
        "credential.sources[0]: must be an object, not a string",
    ),
    (
        r#""credential":{"sources":[["x-api-key"]]}"#,
        "credential.sources[0]: must be an object, not an array",
    ),
    (
        r#""credential":{"sources":[{}]}"#,
        "credential.sources[0].header: is required",
    ),
    (
        r#""credential":{"sources":[{"header":""}]}"#,
        "credential.sources[0].header: must be a header name",
    ),
    (
        r#""credential":{"sources":[{"header":"x api"}]}"#,
        "credential.sources[0].header: must be a header name",
    ),
    (
        r#""credential":{"sources":[{"header":":path"}]}"#,
        "credential.sources[0].header: must be a header name",
    ),
    (
        r#""credential":{"sources":[{"header":"Host"}]}"#,
        "credential.sources[0].header: is a header that HTTP or Envoy controls",
    ),
    (
        r#""credential":{"sources":[{"header":"a","scheme":""}]}"#,
        "credential.sources[0].scheme: must be one word",
    ),
    (
        r#""credential":{"sources":[{"header":"a","scheme":"a b"}]}"#,
        "credential.sources[0].scheme: must be one word",
    ),
    (
        r#""credential":{"sources":[{"header":"a","query":"b"}]}"#,
        "credential.sources[0].query: is not a known field; must be one of: ",
    ),
    (
        r#""credential":{"sources":[{"header":"a"},{"header":"A"}]}"#,
        "credential.sources[1]: reads the same value",
    ),
    (
        r#""credential":{"sources":[{"header":"a","scheme":"B"},{"header":"a","scheme":"b"}]}"#,
        "credential.sources[1]: reads the same value",
    ),
    (
        r#""credential":{"sources":[{"header":"a","scheme":"b"},{"header":"a"}]}"#,
        "credential.sources[1]: reads the same value",
    ),
    (
        r#""credential":{"forward":"no"}"#,
        "credential.forward: must be true or false, not a string",
    ),
    (
        r#""credential":{"forward":0}"#,
        "credential.forward: must be true or false",
    ),
    (
        r#""credential":{"format":{"prefix":7}}"#,
        "credential.format.prefix: must be a string",
    ),
    (
        r#""credential":{"format":{"prefix":"a b"}}"#,
        "credential.format.prefix: must be at most 64 characters",
    ),
    (
        r#""credential":{"format":{"prefix":"a,b"}}"#,
        "credential.format.prefix: must be at most 64 characters",
    ),
    (
        r#""credential":{"format":{"prefix":"aé"}}"#,
        "credential.format.prefix: must be at most 64 characters",
    ),
    (
        r#""credential":{"format":{"min_length":-1}}"#,
        "credential.format.min_length: must be a whole number",
    ),
    (
        r#""credential":{"format":{"min_length":1.5}}"#,
        "credential.format.min_length: must be a whole number",
    ),
    (
        r#""credential":{"format":{"min_length":"43"}}"#,
        "credential.format.min_length: must be a positive integer, not a string",
    ),
    (
        r#""credential":{"format":{"min_length":3}}"#,
        "credential.format.min_length: includes the prefix, so it must be more than 3",
    ),
    (
        r#""credential":{"format":{"min_length":0,"prefix":""}}"#,
        "credential.format.min_length: includes the prefix, so it must be more than 0",
    ),
    (
        r#""credential":{"format":{"max_length":42}}"#,
        "credential.format.max_length: must be from 43 (min_length) to 8192",
    ),
    (
        r#""credential":{"format":{"max_length":8193}}"#,
        "credential.format.max_length: must be from 43 (min_length) to 8192",
    ),
    (
        r#""credential":{"format":{"max_length":99999999999}}"#,
        "credential.format.max_length: must be from 43 (min_length) to 8192",
    ),
    (
        r#""credential":{"format":{"alphabet":"utf8"}}"#,
        "credential.format.alphabet: must be \"url_safe\"",
    ),
    (
        r#""credential":{"format":{"alphabet":["a"]}}"#,
        "credential.format.alphabet: must be a string, not an array",
    ),
    (
        r#""hash":"pepper""#,
        "hash: must be an object, not a string",
    ),
    (r#""hash":{"pepper":""}"#, "hash.pepper: must not be empty"),
    (
        r#""hash":{"pepper":12345}"#,
        "hash.pepper: must be a string",
    ),
    (
        r#""hash":{"salt":"x"}"#,
        "hash.salt: is not a known field; must be one of: ",
    ),
    (
        r#""environment":"""#,
        "environment: must be 1 to 256 characters of visible ASCII",
    ),
    (r#""environment":7"#, "environment: must be a string"),
    (
        r#""environment":"production ""#,
        "environment: must be 1 to 256",
    ),
    (r#""environment":"a\tb""#, "environment: must be 1 to 256"),
    (
        r#""environment":"prodüktion""#,
        "environment: must be 1 to 256",
    ),
    (
        r#""credential":{"sources":[{"header":"X-Request-Id"}]}"#,
        "credential.sources[0].header: is passed on",
    ),
    (
        r#""credential":{"sources":[{"header":"tracestate"}]}"#,
        "credential.sources[0].header: is passed on",
    ),
    (
        r#""identity_headers":{"x_api_key":"key_id"}"#,
        "identity_headers.x_api_key: carries the credential",
    ),
    (
        r#""exempt":{"paths":["/a/./b"]}"#,
        "exempt.paths[0]: must not have",
    ),
    (
        r#""replies":{"service_name":"Deleted"}"#,
        "replies.service_name: must not say",
    ),
    (
        r#""replies":{"realm":"once valid"}"#,
        "replies.realm: must not say",
    ),
    (
        r#""replies":{"doc_base_url":"https://x/deleted/"}"#,
        "replies.doc_base_url: must not say",
    ),
    (
        r#""replies":{"messages":{"api_key_missing":"once \u00a0valid"}}"#,
        "replies.messages.api_key_missing: must not say",
    ),
    (
        r#""environment":["production"]"#,
        "environment: must be a string, not an array",
    ),
    (
        r#""exempt":{"paths":"/x"}"#,
        "exempt.paths: must be an array, not a string",
    ),
    (
        r#""exempt":{"paths":["/ok","x"]}"#,
        "exempt.paths[1]: must start with \"/\"",
    ),
    (
        r#""exempt":{"paths":["/x?y"]}"#,
        "exempt.paths[0]: is compared without the query",
    ),
    (
        r#""exempt":{"paths":["/x y"]}"#,
        "exempt.paths[0]: must be visible ASCII",
    ),
    (
        r#""exempt":{"paths":[null]}"#,
        "exempt.paths[0]: must be a string, not null",
    ),
    (
        r#""exempt":{"path_prefixes":["/a/../b"]}"#,
        "exempt.path_prefixes[0]: must not have a \".\" or \"..\" segment",
    ),
    (
        r#""exempt":{"path_prefixes":[""]}"#,
        "exempt.path_prefixes[0]: must start with \"/\"",
    ),
    (
        r#""exempt":{"preflight":"yes"}"#,
        "exempt.preflight: must be true or false, not a string",
    ),
    (
        r#""exempt":{"method":["GET"]}"#,
        "exempt.method: is not a known field; must be one of: ",
    ),
    (
        r#""exempt":{"methods":["GET"]}"#,
        "exempt.methods: has no effect alone: exempt.paths or exempt.path_prefixes must beside it",
    ),
    (
        r#""exempt":{"paths":["/a"],"methods":[]}"#,
        "exempt.methods: must name at least one method",
    ),
    (
        r#""exempt":{"paths":["/a"],"methods":["GET","get"]}"#,
        "exempt.methods[1]: must be a method in upper case",
    ),
    (
        r#""strip_headers":["x-a","X-A"]"#,
        "strip_headers[1]: is given more than once",
    ),
    (
        r#""strip_headers":["x_api_key"]"#,
        "strip_headers[0]: carries the credential, so it must not be listed",
    ),
    (
        r#""strip_headers":["x.keystile.key.id"]"#,
        "strip_headers[0]: is an identity header, so it must not be listed",
    ),
    (
        r#""identity_headers":{"x-user":"key_id","x.user":"account_id"}"#,
        "identity_headers.x.user: must differ from the other names in a letter or digit",
    ),
    (
        r#""identity_headers":[]"#,
        "identity_headers: must be an object, not an array",
    ),
    (
        r#""identity_headers":{"x a":"key_id"}"#,
        "identity_headers.x a: must be a header name",
    ),
    (
        r#""identity_headers":{"x-a":"plan"}"#,
        "identity_headers.x-a: must be \"key_id\"",
    ),
    (
        r#""identity_headers":{"x-a":null}"#,
        "identity_headers.x-a: must be a string, not null",
    ),
    (
        r#""identity_headers":{"x-a":"key_id","X-A":"key_id"}"#,
        "identity_headers.X-A: is given more than once",
    ),
    (
        r#""identity_headers":{"x-a":"key_id","x-a":"key_id"}"#,
        "identity_headers.x-a: is given more than once",
    ),
    (
        r#""identity_headers":{"X-API-Key":"key_id"}"#,
        "identity_headers.X-API-Key: carries the credential",
    ),
    (
        r#""identity_headers":{"content-length":"key_id"}"#,
        "identity_headers.content-length: is a header that HTTP",
    ),
    (
        r#""replies":{"service_name":""}"#,
        "replies.service_name: must be 1 to 64 characters",
    ),
    (
        r#""replies":{"service_name":"a\nb"}"#,
        "replies.service_name: must be 1 to 64 characters",
    ),
    (
        r#""replies":{"doc_base_url":"docs"}"#,
        "replies.doc_base_url: must be an http://",
    ),
    (
        r#""replies":{"doc_base_url":"https://"}"#,
        "replies.doc_base_url: must be an http://",
    ),
    (
        r#""replies":{"doc_base_url":"https://a b/"}"#,
        "replies.doc_base_url: must be an http://",
    ),
    (r#""replies":{"realm":"a\"b"}"#, "replies.realm: must be "),
    (r#""replies":{"realm":""}"#, "replies.realm: must be "),
    (r#""replies":{"realm":"a\r\nb"}"#, "replies.realm: must be "),
    (
        r#""replies":{"retry_after_seconds":0}"#,
        "replies.retry_after_seconds: must be from 1 to 86400",
    ),
    (
        r#""replies":{"retry_after_seconds":86401}"#,
        "replies.retry_after_seconds: must be from 1 to 86400",
    ),
    (
        r#""replies":{"retry_after_seconds":"1s"}"#,
        "replies.retry_after_seconds: must be a whole number",
    ),
    (
        r#""replies":{"messages":{"oops":"x"}}"#,
        "replies.messages.oops: is not a known field; must be one of: ",
    ),
    (
        r#""replies":{"messages":{"api_key_missing":""}}"#,
        "replies.messages.api_key_missing: must be 1 to 199",
    ),
    (
        r#""replies":{"messages":{"api_key_revoked":"The key was Deleted."}}"#,
        "replies.messages.api_key_revoked: must not say",
    ),
    (
        r#""replies":{"messages":{"api_key_missing":"a","api_key_missing":"b"}}"#,
        "replies.messages.api_key_missing: is given more than once",
    ),
    (
        r#""environment":"a","environment":"b""#,
        "environment: is given more than once",
    ),
    (
        r#""exempt":{"preflight":true,"preflight":true}"#,
        "exempt.preflight: is given more than once",
    ),
];

/// Text that is added inside `lookup`, and how its message begins.
const REFUSED_IN_LOOKUP: &[(&str, &str)] = &[
    (
        r#""clusters":"b""#,
        "lookup.clusters: is not a known field; must be one of: ",
    ),
    (
        r#""cluster":"b""#,
        "lookup.cluster: is given more than once",
    ),
    (r#""authority":"""#, "lookup.authority: must be a host"),
    (r#""authority":"a/b""#, "lookup.authority: must be a host"),
    (
        r#""authority":"user@host""#,
        "lookup.authority: must be a host",
    ),
    (r#""path":"""#, "lookup.path: must start with \"/\""),
    (
        r#""path":"/v1/keys""#,
        "lookup.path: must start with \"/\", contain {key_hash} exactly once",
    ),
    (r#""path":"v1/{key_hash}""#, "lookup.path: must start with"),
    (
        r#""path":"/{key_hash}/{key_hash}""#,
        "lookup.path: must start with",
    ),
    (
        r#""path":"/a b/{key_hash}""#,
        "lookup.path: must start with",
    ),
    (r#""path":"/{key_hash}#x""#, "lookup.path: must start with"),
    (
        r#""path":"/{key_hash}\r\nx: y""#,
        "lookup.path: must start with",
    ),
    (r#""timeout":250"#, "lookup.timeout: must be a string"),
    (
        r#""timeout":"""#,
        "lookup.timeout: must be a whole number with its unit",
    ),
    (
        r#""timeout":"250""#,
        "lookup.timeout: must be a whole number with its unit",
    ),
    (
        r#""timeout":"ms""#,
        "lookup.timeout: must be a whole number with its unit",
    ),
    (
        r#""timeout":"-1s""#,
        "lookup.timeout: must be a whole number with its unit",
    ),
    (
        r#""timeout":"1.5s""#,
        "lookup.timeout: must be a whole number with its unit",
    ),
    (
        r#""timeout":"250us""#,
        "lookup.timeout: must be a whole number with its unit",
    ),
    (
        r#""timeout":"1 s""#,
        "lookup.timeout: must be a whole number with its unit",
    ),
    (
        r#""timeout":"99999999999999999999s""#,
        "lookup.timeout: must be a whole number with its unit",
    ),
    (
        r#""timeout":"9999999999999999999h""#,
        "lookup.timeout: must be from \"1ms\" to \"60s\"",
    ),
    (
        r#""timeout":"0ms""#,
        "lookup.timeout: must be from \"1ms\" to \"60s\"",
    ),
    (
        r#""timeout":"60001ms""#,
        "lookup.timeout: must be from \"1ms\" to \"60s\"",
    ),
    (
        r#""timeout":"2m""#,
        "lookup.timeout: must be from \"1ms\" to \"60s\"",
    ),
    (
        r#""headers":"hunter2""#,
        "lookup.headers: must be an object, not a string",
    ),
    (r#""headers":{"a":1}"#, "lookup.headers.a: must be a string"),
    (
        r#""headers":{"a b":"c"}"#,
        "lookup.headers.a b: must be a header name",
    ),
    (
        r#""headers":{"":"c"}"#,
        "lookup.headers.: must be a header name",
    ),
    (
        r#""headers":{":path":"/x"}"#,
        "lookup.headers.:path: must be a header name",
    ),
    (
        r#""headers":{"host":"x"}"#,
        "lookup.headers.host: is a header that HTTP or Envoy controls",
    ),
    (
        r#""headers":{"Content-Length":"7"}"#,
        "lookup.headers.Content-Length: is a header that HTTP or Envoy controls",
    ),
    (
        r#""headers":{"a":"b\r\nc: d"}"#,
        "lookup.headers.a: must be a header value",
    ),
    (
        r#""headers":{"a":"ü"}"#,
        "lookup.headers.a: must be a header value",
    ),
    (
        r#""headers":{"a":" b"}"#,
        "lookup.headers.a: must not begin or end with a space or tab",
    ),
    (
        r#""headers":{"a":"b","A":"c"}"#,
        "lookup.headers.A: is given more than once",
    ),
    (
        r#""headers":{"a":"b","a":"c"}"#,
        "lookup.headers.a: is given more than once",
    ),
];

/// Whole configurations, and how their messages begin.
const REFUSED_TEXTS: &[(&str, &str)] = &[
    ("", "lookup.cluster: is required"),
    (" \n ", "lookup.cluster: is required"),
    ("{}", "lookup.cluster: is required"),
    (r#"{"lookup":{}}"#, "lookup.cluster: is required"),
    (
        r#"{"lookup":{"cluster":""}}"#,
        "lookup.cluster: must be the name of an Envoy cluster",
    ),
    (
        r#"{"lookup":{"cluster":"a b"}}"#,
        "lookup.cluster: must be the name of an Envoy cluster",
    ),
    (
        r#"{"lookup":{"cluster":7}}"#,
        "lookup.cluster: must be a string",
    ),
    (
        r#"{"lookup":{"cluster":"a/b"}}"#,
        "lookup.authority: must be a host",
    ),
    (
        r#"{"lookup":["auth"]}"#,
        "lookup: must be an object, not an array",
    ),
    (
        r#"[{"lookup":{"cluster":"auth"}}]"#,
        "configuration: must be a JSON object, starting with",
    ),
    (
        r#""lookup""#,
        "configuration: must be a JSON object, starting with",
    ),
    (
        "null",
        "configuration: must be a JSON object, starting with",
    ),
    (
        "lookup:\n  cluster: auth\n",
        "configuration: must be a JSON object, starting with",
    ),
    // a protobuf Struct, and one whose first length byte is the code of "{"
    (
        "\n\x1f\n\x06lookup\x12\x15*\x13\n\x11\n\x07cluster\x12\x06\x1a\x04auth",
        "configuration: must be a JSON object, starting with",
    ),
    (
        "\n{\n\x06lookup\x12\x15*\x13\n\x11\n\x07cluster\x12\x06\x1a\x04auth",
        "configuration: must be a JSON object, starting with",
    ),
    ("{", "configuration: is not JSON: EOF"),
    (
        r#"{"lookup":{"cluster":"auth"},}"#,
        "configuration: is not JSON: trailing comma",
    ),
    (
        r#"{"lookup":{"cluster":"auth"}} x"#,
        "configuration: is not JSON: trailing characters",
    ),
    (
        r#"{"lookup":{"cluster":"auth"}}{}"#,
        "configuration: is not JSON: trailing characters",
    ),
    (
        r#"{lookup:{}}"#,
        "configuration: is not JSON: key must be a string",
    ),
    (
        "{'lookup':{}}",
        "configuration: is not JSON: key must be a string",
    ),
    ("{// comment\n}", "configuration: is not JSON"),
];

#[test]
fn broken_configurations_are_refused_with_the_fields_path() {
    let beside = REFUSED.iter().map(|(rest, expected)| {
        (
            format!(r#"{{"lookup":{{"cluster":"auth"}},{rest}}}"#),
            expected,
        )
    });
    let inside = REFUSED_IN_LOOKUP.iter().map(|(rest, expected)| {
        (
            format!(r#"{{"lookup":{{"cluster":"auth",{rest}}}}}"#),
            expected,
        )
    });
    let texts = REFUSED_TEXTS
        .iter()
        .map(|(text, expected)| ((*text).to_owned(), expected));
    for (text, expected) in beside.chain(inside).chain(texts) {
        let error = parse(text.as_bytes())
            .err()
            .unwrap_or_else(|| panic!("accepted: {text}"))
            .to_string();
        assert!(
            error.starts_with(expected),
            "{text}\n  says {error}\n  not  {expected}"
        );
        assert_eq!(
            parse(text.as_bytes()).err().map(|e| e.to_string()),
            Some(error),
            "the same bytes give the same answer: {text}"
        );
    }
}

#[test]
fn bytes_that_are_not_utf_8_are_refused() {
    let error = parse(b"{\"environment\":\"\xff\"}").err().unwrap();
    assert!(
        error.to_string().starts_with("configuration: is not JSON"),
        "{error}"
    );
}

#[test]
fn what_is_at_the_border_is_accepted() {
    let cases = [
        r#""lookup":{"cluster":"auth","timeout":"1ms"}"#,
        r#""lookup":{"cluster":"auth","timeout":"60s"}"#,
        r#""lookup":{"cluster":"auth","timeout":"1m"}"#,
        r#""lookup":{"cluster":"outbound|80||auth.default.svc.cluster.local"}"#,
        r#""lookup":{"cluster":"auth","authority":"[::1]:8080"}"#,
        r#""lookup":{"cluster":"auth","authority":null,"headers":{"x-empty":""}}"#,
        r#""lookup":{"cluster":"auth","path":"/?h={key_hash}"}"#,
        r#""lookup":{"cluster":"a"},"credential":{"format":{"prefix":"","min_length":1,"max_length":8192}}"#,
        r#""lookup":{"cluster":"a"},"credential":{"sources":[{"header":"a","scheme":null}]}"#,
        r#""lookup":{"cluster":"a"},"credential":{"sources":[{"header":"a","scheme":"B"},{"header":"a","scheme":"C"}]}"#,
        r#""lookup":{"cluster":"a"},"exempt":{"path_prefixes":["/"]}"#,
        r#""lookup":{"cluster":"a"},"identity_headers":{}"#,
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
fn the_longest_texts() {
    let cases = [
        ("credential", "format", "prefix", 64),
        ("replies", "", "service_name", 64),
        ("replies", "", "realm", 128),
        ("replies", "messages", "internal_error", 199),
    ];
    for (outer, inner, field, longest) in cases {
        for (length, fits) in [(longest, true), (longest + 1, false)] {
            let text = "x".repeat(length);
            let mut value = serde_json::json!({field: text});
            if field == "prefix" {
                value["min_length"] = 100.into();
            }
            if !inner.is_empty() {
                value = serde_json::json!({inner: value});
            }
            let config = serde_json::json!({"lookup": {"cluster": "auth"}, outer: value});
            let parsed = parse(config.to_string().as_bytes());
            assert_eq!(parsed.is_ok(), fits, "{config}: {:?}", parsed.err());
        }
    }
}

#[test]
fn the_longest_environment() {
    for (length, fits) in [(256, true), (257, false)] {
        let config = serde_json::json!({
            "lookup": {"cluster": "auth"},
            "environment": "x".repeat(length),
        });
        let parsed = parse(config.to_string().as_bytes());
        assert_eq!(parsed.is_ok(), fits, "{length}: {:?}", parsed.err());
    }
}

#[test]
fn wrong_types_are_named() {
    let cases = [
        ("7", "environment: must be a string"),
        ("1.5", "environment: must be a string"),
        ("true", "environment: must be a string, not a boolean"),
        ("[]", "environment: must be a string, not an array"),
        ("{}", "environment: must be a string, not an object"),
    ];
    for (value, expected) in cases {
        let text = format!(r#"{{"lookup":{{"cluster":"auth"}},"environment":{value}}}"#);
        let error = parse(text.as_bytes()).err().map(|e| e.to_string());
        assert_eq!(error.as_deref(), Some(expected), "{text}");
    }
}

#[test]
fn secrets_are_in_no_error_and_no_debug() {
    let wrong = [
        r#"{"lookup":{"cluster":"auth","headers":"hunter2"}}"#,
        r#"{"lookup":{"cluster":"auth","headers":{"a":["hunter2"]}}}"#,
        r#"{"lookup":{"cluster":"auth","headers":{"a":"hunter2\n"}}}"#,
        r#"{"lookup":{"cluster":"auth"},"hash":"hunter2"}"#,
        r#"{"lookup":{"cluster":"auth"},"hash":{"pepper":["hunter2"]}}"#,
        r#"{"lookup":{"cluster":"auth"},"environment":{"a":"hunter2, expected x at line 3"}}"#,
        r#"{"lookup":{"cluster":"auth"},"hash":"hunter2, expected x at line 3"}"#,
    ];
    for text in wrong {
        let error = format!("{:?}", parse(text.as_bytes()).err().unwrap());
        assert!(!error.contains("hunter2"), "{text}: {error}");
    }
    let config = parse(
        br#"{"lookup":{"cluster":"auth","headers":{"authorization":"hunter2"}},"hash":{"pepper":"hunter2"}}"#,
    );
    let shown = format!("{config:?}");
    assert!(!shown.contains("hunter2"), "{shown}");
}

#[allow(
    clippy::arithmetic_side_effects,
    clippy::string_slice,
    reason = "of the tests' own texts"
)]
mod broken;
mod documented;
