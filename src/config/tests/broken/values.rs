//! Values of the right type that are rejected.

use super::Broken;
use super::fields::{unknown, with};
use super::sections::SECTIONS;

pub(super) fn all() -> Vec<Broken> {
    let rejected = SECTIONS.iter().flat_map(|section| section.rejected);
    let mut broken: Vec<_> = rejected
        .flat_map(|rejected| {
            let values = rejected.values.iter();
            values.map(|raw| with(rejected.field, raw).because(rejected.problem))
        })
        .collect();
    for name in ["", "API_KEY_MISSING", "oops"] {
        let messages = "replies.messages";
        let broken_name = with(&format!("{messages}.{name}"), r#""x""#);
        broken.push(broken_name.because(unknown(messages)));
    }
    // Values that are too long.
    let too_long = [
        ("credential.formats[0].prefix", 65),
        ("environment", 257),
        ("replies.service_name", 65),
        ("replies.doc_base_url", 513),
        ("replies.realm", 129),
        ("replies.challenge", 257),
        ("replies.messages.api_key_missing", 200),
    ];
    for (path, length) in too_long {
        for length in [length, 1 << 20] {
            broken.push(Broken {
                name: format!("{path} of {length} letters"),
                ..with(path, &format!("\"{}\"", "x".repeat(length)))
            });
        }
    }
    // Values of 1 MB that are rejected for another reason.
    let long = [
        ("lookup.cluster", " "),
        ("lookup.authority", "/"),
        ("lookup.path", "/"),
        ("lookup.timeout", "9"),
        ("lookup.headers.authorization", "\\n"),
        ("cache.allow_ttl", "9"),
        ("feed.path", "{cursor}"),
        ("credential.sources[0].header", "\\u0000"),
        ("credential.sources[0].scheme", " "),
        ("credential.formats[0].alphabet", "x"),
        ("exempt.paths[0]", "x"),
        ("exempt.methods[0]", "x"),
        ("strip_headers[0]", " "),
        ("introspection.path", "//"),
        ("identity_headers.x-key", "x"),
    ];
    for (path, part) in long {
        broken.push(Broken {
            name: format!("{path} of 1 MB of {part}"),
            ..with(
                path,
                &format!("\"{}\"", part.repeat((1 << 20) / part.len())),
            )
        });
    }
    broken
}
