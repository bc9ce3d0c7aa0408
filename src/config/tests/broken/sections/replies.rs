//! `replies`: a valid example, the type of each field, and rejected values.

use super::{Rejected, Section};
use crate::config::tests::broken::fields::Kind;

pub(super) const SECTION: Section = Section {
    name: "replies",
    good: r#"{"service_name": "Asterwise", "doc_base_url": "https://docs.example.com/errors/",
              "realm": "api", "challenge": "bare", "retry_after_seconds": 1,
              "messages": {"api_key_missing": "Bring a key."}}"#,
    fields: &[
        ("replies", Kind::Object),
        ("replies.service_name", Kind::String),
        ("replies.doc_base_url", Kind::String),
        ("replies.realm", Kind::String),
        ("replies.challenge", Kind::String),
        ("replies.retry_after_seconds", Kind::Integer),
        ("replies.messages", Kind::Object),
        ("replies.messages.api_key_missing", Kind::String),
    ],
    rejected: &[
        Rejected {
            field: "replies.service_name",
            problem: "must be 1 to 64 characters, not only spaces, without control characters",
            values: &[
                r#""""#,
                r#"" ""#,
                r#""a\nb""#,
                r#""a\u0000b""#,
                r#""a\u0085b""#,
            ],
        },
        Rejected {
            field: "replies.service_name",
            problem: r#"must not say "deleted" or "once valid": a reply never discloses whether a key once existed"#,
            values: &[r#""Deleted keys""#],
        },
        Rejected {
            field: "replies.doc_base_url",
            problem: "must be 1 to 512 characters, not only spaces, without control characters",
            values: &[r#""""#, r#""https://a/\r\nx: y""#],
        },
        Rejected {
            field: "replies.doc_base_url",
            problem: "must be an http:// or https:// URL; the error code is appended to it",
            values: &[
                r#""docs""#,
                r#""/errors/""#,
                r#""//docs.example.com/""#,
                r#""https://""#,
                r#""http://""#,
                r#""HTTPS://docs.example.com/""#,
                r#""ftp://docs.example.com/""#,
                r#""javascript:alert(1)""#,
                r#""https://a b/""#,
                r#""https://docs.exämple.com/""#,
            ],
        },
        Rejected {
            field: "replies.doc_base_url",
            problem: r#"must not say "deleted" or "once valid": a reply never discloses whether a key once existed"#,
            values: &[r#""https://a/deleted/""#],
        },
        Rejected {
            field: "replies.realm",
            problem: "must be 1 to 128 characters, not only spaces, without control characters",
            values: &[r#""""#, r#"" ""#, r#""a\r\nx: y""#],
        },
        Rejected {
            field: "replies.realm",
            problem: r#"must be visible ASCII or spaces, without " or \"#,
            values: &[r#""a\"b""#, r#""a\\b""#, r#""äpi""#],
        },
        Rejected {
            field: "replies.realm",
            problem: r#"must not say "deleted" or "once valid": a reply never discloses whether a key once existed"#,
            values: &[r#""once valid""#],
        },
        Rejected {
            field: "replies.challenge",
            problem: "must be 1 to 256 characters, not only spaces, without control characters",
            values: &[
                r#""""#,
                r#"" ""#,
                r#""ApiKey\trealm=x""#,
                r#""ApiKey\r\nx: y""#,
            ],
        },
        Rejected {
            field: "replies.challenge",
            problem: r#"must be "standard", "bare" or a whole value for www-authenticate, such as ApiKey realm="api": a scheme first, then visible ASCII and spaces"#,
            values: &[
                r#""\"ApiKey\"""#,
                r#"" ApiKey""#,
                r#""ApiKey ""#,
                r#""ApiKey realm=\"äpi\"""#,
            ],
        },
        Rejected {
            field: "replies.challenge",
            problem: r#"must not say "deleted" or "once valid": a reply never discloses whether a key once existed"#,
            values: &[r#""Deleted realm=x""#],
        },
        Rejected {
            field: "replies.retry_after_seconds",
            problem: "must be from 1 to 86400",
            values: &["0", "86401", "4294967295", "4294967339"],
        },
        Rejected {
            field: "replies.retry_after_seconds",
            problem: "must be a positive integer",
            values: &["99999999999999999999"],
        },
        Rejected {
            field: "replies.messages.api_key_missing",
            problem: "must be 1 to 199 characters, not only spaces, without control characters",
            values: &[r#""""#, r#"" ""#, r#""a\nb""#, r#""a\u0000b""#],
        },
        Rejected {
            field: "replies.messages.api_key_missing",
            problem: r#"must not say "deleted" or "once valid": a reply never discloses whether a key once existed"#,
            values: &[
                r#""This key was deleted.""#,
                r#""This key was DELETED.""#,
                r#""It was once\u00a0 valid.""#,
            ],
        },
    ],
};
