//! What a configuration that was accepted makes of requests.

use std::time::Duration;

use keystile::decision::denial::Denial;
use keystile::decision::reply::{ReplyFormat, RequestId};
use keystile::decision::{self, Step};
use keystile::engine::settings::Settings;
use keystile::request::headers::Request;
use serde_json::Value;

/// Begins a few requests, and does with each what the host may have to.
pub(super) fn serves(config: &Settings) {
    let format = &config.policy.credential.format;
    // In every alphabet.
    let rest = format.max_length.min(50).max(format.min_length) - format.prefix.len();
    let key = format!("{}{}", format.prefix, "a".repeat(rest));
    for source in &config.policy.credential.sources {
        let scheme = source.scheme.as_ref().map(|scheme| format!("{scheme} "));
        let credential = format!("{}{key}", scheme.unwrap_or_default());
        let headers: [(&str, &[u8]); 3] = [
            (":method", b"POST"),
            (":path", b"/v1/x"),
            (&source.header, credential.as_bytes()),
        ];
        let asks = begins(config, &headers, &key);
        assert!(
            asks || config.policy.exempt.cover(&Request::new(&headers)),
            "{source:?} has a key"
        );
    }
    let bearer = format!("Bearer {key}");
    let headers: [&[(&str, &[u8])]; 6] = [
        &[],
        &[(":method", b"CONNECT"), (":authority", b"example.com:443")],
        &[
            (":method", b"GET"),
            (":path", b"/v1/x?y=1"),
            ("authorization", bearer.as_bytes()),
        ],
        &[
            (":method", b"POST"),
            (":path", b"/v1/keys/me"),
            ("authorization", bearer.as_bytes()),
            ("x-api-key", key.as_bytes()),
            ("content-type", b"application/grpc"),
            ("x-request-id", b"\xff\0"),
            ("traceparent", bearer.as_bytes()),
            ("tracestate", b"a=1"),
            ("tracestate", b"b=2"),
        ],
        &[
            (":method", b"OPTIONS"),
            (":path", b"/%2e%2e/"),
            ("origin", b"https://example.com"),
            ("access-control-request-method", b"PUT"),
            ("x-keystile-key-id", b"key_of_somebody"),
        ],
        &[
            (":method", b"GET"),
            (":path", b"*"),
            ("x-api-key", b"\xff\xfe,"),
            ("x-api-key", b""),
            ("authorization", b"Bearer"),
        ],
    ];
    for headers in headers {
        begins(config, headers, &key);
    }
    for denial in Denial::ALL {
        refuses(config, denial, ReplyFormat::Http);
    }
}

/// Begins a request. Gives whether there is a lookup to make.
fn begins(config: &Settings, headers: &[(&str, &[u8])], key: &str) -> bool {
    let request = Request::new(headers);
    let begun = decision::begin(&config.policy, &request);
    for name in &begun.remove {
        let is_there = headers.iter().any(|(other, _)| other == name);
        assert!(is_there, "{name} is removed, and was not there");
    }
    let hash = match begun.step {
        Step::Ask(hash) | Step::AskLive(hash) => hash,
        Step::Forward { record: None } => return false,
        Step::Refuse { denial, form, .. } => {
            refuses(config, denial, form);
            return false;
        }
        _ => panic!("a step that is none of a request's first"),
    };
    let callout = config
        .lookup
        .callout(&hash, &request, &config.policy.credential);
    assert!(
        callout.timeout >= Duration::from_millis(1),
        "none is no timeout"
    );
    assert!(callout.path.starts_with('/') && callout.path.contains(&hash.to_string()));
    for (name, value) in config.lookup.headers(&callout) {
        let of_name = |byte: u8| byte.is_ascii_graphic() && !byte.is_ascii_uppercase();
        assert!(
            !name.is_empty() && name.bytes().all(of_name),
            "header {name:?}"
        );
        let of_value = |byte: u8| (b' '..=b'~').contains(&byte) || byte == b'\t';
        assert!(value.bytes().all(of_value), "{name}: {value:?}");
        let of_client = ["x-request-id", "traceparent", "tracestate"].contains(&name)
            && !config.lookup.headers.iter().any(|(other, _)| other == name);
        assert!(
            !(of_client && value.contains(key)),
            "the key goes to the auth cluster in {name}"
        );
    }
    true
}

/// The reply has the fields that are promised, and no more.
fn refuses(config: &Settings, denial: Denial, form: ReplyFormat) {
    let now = Duration::from_secs(1_800_000_000);
    let reply = config
        .replies
        .render(denial, form, RequestId::new(now, 1), now);
    assert_eq!(reply.status, denial.status());
    for (name, value) in &reply.headers {
        assert!(!value.contains(char::is_control), "{name}: {value:?}");
    }
    let message = match form {
        ReplyFormat::Grpc => reply.body,
        ReplyFormat::Http => {
            let body: Value = serde_json::from_str(&reply.body).expect("a body of JSON");
            let fields = body.as_object().expect("an object");
            assert_eq!(fields.len(), 8, "{body}");
            assert_eq!(body["error"], denial.code());
            assert_eq!(body["timestamp"], "2027-01-15T08:00:00Z");
            assert_eq!(body["retry_after"].is_u64(), denial.is_temporary());
            let url = body["doc_url"].as_str().expect("an address");
            assert!(url.ends_with(denial.code()), "{url}");
            body["message"].as_str().expect("a message").to_owned()
        }
    };
    assert!((1..200).contains(&message.chars().count()), "{message}");
    let said = message.to_ascii_lowercase();
    let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(
        !said.contains("deleted") && !said.contains("once valid"),
        "{message}"
    );
}
