//! Fields that are valid by themselves, but not together.

use super::Broken;
use super::fields::changed;

/// The fields that are set, and the path of the field that is rejected.
const CONFLICTS: &[(&[(&str, &str)], &str)] = &[
    // a cluster's name that is not a host, and no authority
    (
        &[
            ("lookup.cluster", r#""auth/v1""#),
            ("lookup.authority", "null"),
        ],
        "lookup.authority",
    ),
    (
        &[
            ("lookup.cluster", r#""outbound|80||""#),
            ("lookup.authority", "null"),
        ],
        "lookup.authority",
    ),
    (
        &[(
            "lookup.headers",
            r#"{"x-a":"hunter2-hunter2","X-A":"hunter2-hunter2"}"#,
        )],
        "lookup.headers.X-A",
    ),
    (&[("feed.interval", r#""10s""#)], "feed.stale_after"),
    (
        &[
            ("feed.interval", r#""60s""#),
            ("feed.stale_after", r#""119999ms""#),
        ],
        "feed.stale_after",
    ),
    // two sources that read the same header
    (
        &[("credential.sources", r#"[{"header":"a"},{"header":"a"}]"#)],
        "credential.sources[1]",
    ),
    (
        &[("credential.sources", r#"[{"header":"a"},{"header":"A"}]"#)],
        "credential.sources[1]",
    ),
    (
        &[(
            "credential.sources",
            r#"[{"header":"a","scheme":"B"},{"header":"a","scheme":"b"}]"#,
        )],
        "credential.sources[1]",
    ),
    (
        &[(
            "credential.sources",
            r#"[{"header":"a","scheme":"B"},{"header":"a"}]"#,
        )],
        "credential.sources[1]",
    ),
    (
        &[(
            "credential.sources",
            r#"[{"header":"a"},{"header":"b"},{"header":"a","scheme":"B"}]"#,
        )],
        "credential.sources[2]",
    ),
    (
        &[(
            "credential.sources",
            r#"[{"header":"authorization","scheme":"Bearer"},{}]"#,
        )],
        "credential.sources[1].header",
    ),
    (
        &[("credential.sources", r#"[{"scheme":"Bearer"}]"#)],
        "credential.sources[0].header",
    ),
    (
        &[("credential.sources", r#"[{"header":null}]"#)],
        "credential.sources[0].header",
    ),
    // lengths
    (
        &[
            ("credential.formats[0].prefix", r#""""#),
            ("credential.formats[0].min_length", "0"),
        ],
        "credential.formats[0].min_length",
    ),
    (
        &[
            ("credential.formats[0].prefix", r#""sixteen_letters_""#),
            ("credential.formats[0].min_length", "16"),
        ],
        "credential.formats[0].min_length",
    ),
    (
        &[("credential.formats[0].min_length", "257")],
        "credential.formats[0].max_length",
    ),
    (
        &[("credential.formats[0].min_length", "8192")],
        "credential.formats[0].max_length",
    ),
    (
        &[
            ("credential.formats[0].min_length", "8193"),
            ("credential.formats[0].max_length", "8193"),
        ],
        "credential.formats[0].min_length",
    ),
    // introspection needs a key, so its path must not be exempt
    (
        &[("exempt.paths", r#"["/v1/keys/me"]"#)],
        "introspection.path",
    ),
    (
        &[("exempt.path_prefixes", r#"["/v1/keys"]"#)],
        "introspection.path",
    ),
    (
        &[("exempt.path_prefixes", r#"["/v1/keys/"]"#)],
        "introspection.path",
    ),
    (
        &[("exempt.path_prefixes", r#"["/"]"#)],
        "introspection.path",
    ),
    (
        &[
            ("introspection", "{}"),
            ("exempt.paths", r#"["/v1/keys/me"]"#),
        ],
        "introspection.path",
    ),
    (
        &[("introspection.path", r#""/healthz""#)],
        "introspection.path",
    ),
    (
        &[("introspection.path", r#""/public""#)],
        "introspection.path",
    ),
    // an identity header that carries the credential
    (
        &[("identity_headers", r#"{"authorization":"key_id"}"#)],
        "identity_headers.authorization",
    ),
    (
        &[("identity_headers", r#"{"X-API-Key":"key_id"}"#)],
        "identity_headers.X-API-Key",
    ),
    (
        &[("identity_headers", r#"{"x_api_key":"key_id"}"#)],
        "identity_headers.x_api_key",
    ),
    (
        &[("credential.sources[1].header", r#""X-Account""#)],
        "identity_headers.x-account",
    ),
    (
        &[("identity_headers", r#"{"x-a":"key_id","X-A":"account_id"}"#)],
        "identity_headers.X-A",
    ),
    (
        &[("identity_headers", r#"{"x-a":"key_id","x.a":"account_id"}"#)],
        "identity_headers.x.a",
    ),
    // stripped headers that never reach the upstream anyway
    (&[("strip_headers", r#"["x_api_key"]"#)], "strip_headers[0]"),
    (
        &[("strip_headers", r#"["x-url","Authorization"]"#)],
        "strip_headers[1]",
    ),
    (&[("strip_headers", r#"["X.Key"]"#)], "strip_headers[0]"),
    (
        &[("strip_headers", r#"["x-url","X-Url"]"#)],
        "strip_headers[1]",
    ),
    // exempt methods without exempt paths
    (
        &[("exempt.paths", "[]"), ("exempt.path_prefixes", "[]")],
        "exempt.methods",
    ),
    (
        &[("exempt.paths", r#"["/ok","/also","no"]"#)],
        "exempt.paths[2]",
    ),
    (
        &[("exempt.path_prefixes", r#"["/ok",7]"#)],
        "exempt.path_prefixes[1]",
    ),
    // if two fields are wrong, the first is reported
    (
        &[("lookup.timeout", r#""0s""#), ("hash.pepper", r#""""#)],
        "lookup.timeout",
    ),
    (&[("lookup", "{}")], "lookup.cluster"),
    (
        &[("lookup.cluster", "null"), ("lookup.path", r#""""#)],
        "lookup.cluster",
    ),
];

/// Fields that conflict with the default of a field that is left out, and the path that is
/// rejected.
const CONFLICTS_WITH_DEFAULTS: &[(&str, &str)] = &[
    (
        r#""strip_headers":["x.keystile.key.id"]"#,
        "strip_headers[0]",
    ),
    (
        r#""identity_headers":{"x_api_key":"key_id"}"#,
        "identity_headers.x_api_key",
    ),
    (r#""feed":{"stale_after":"1999ms"}"#, "feed.stale_after"),
    (
        r#""credential":{"formats":[{"min_length":3}]}"#,
        "credential.formats[0].min_length",
    ),
    (
        r#""credential":{"formats":[{}, {"min_length":257}]}"#,
        "credential.formats[1].max_length",
    ),
    (
        r#""credential":{"format":{"prefix":"sk_"}}"#,
        "credential.format",
    ),
    (
        r#""credential":{"sources":[{"header":"x-api-key"},{"header":"TraceParent"}]}"#,
        "credential.sources[1].header",
    ),
    (r#""exempt":{"methods":["GET"]}"#, "exempt.methods"),
    (
        r#""introspection":{},"exempt":{"paths":["/v1/keys/me"]}"#,
        "introspection.path",
    ),
];

pub(super) fn all() -> Vec<Broken> {
    let broken = CONFLICTS.iter().map(|(changes, at)| {
        let names: Vec<_> = changes
            .iter()
            .map(|(path, raw)| format!("{path} = {raw}"))
            .collect();
        Broken {
            name: names.join(", "),
            text: changed(changes),
            at: (*at).to_owned(),
            problem: None,
        }
    });
    let with_defaults = CONFLICTS_WITH_DEFAULTS.iter().map(|(fields, at)| Broken {
        name: format!("only {fields}"),
        text: format!(r#"{{"lookup":{{"cluster":"auth"}},{fields}}}"#).into_bytes(),
        at: (*at).to_owned(),
        problem: None,
    });
    broken.chain(with_defaults).collect()
}
