//! `replies`: a good one, what each field must be, and values that are wrong.

use super::Section;
use crate::config::tests::broken::fields::Kind::{Object, Text, Whole};

pub(super) const SECTION: Section = Section {
    name: "replies",
    good: r#"{"service_name": "Asterwise", "doc_base_url": "https://docs.example.com/errors/",
              "realm": "api", "retry_after_seconds": 1,
              "messages": {"api_key_missing": "Bring a key."}}"#,
    fields: &[
        ("replies", Object),
        ("replies.service_name", Text),
        ("replies.doc_base_url", Text),
        ("replies.realm", Text),
        ("replies.retry_after_seconds", Whole),
        ("replies.messages", Object),
        ("replies.messages.api_key_missing", Text),
    ],
    values: &[
        (
            "replies.service_name",
            &[
                r#""""#,
                r#"" ""#,
                r#""a\nb""#,
                r#""a\u0000b""#,
                r#""a\u0085b""#,
                r#""Deleted keys""#,
            ],
        ),
        (
            "replies.doc_base_url",
            &[
                r#""""#,
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
                r#""https://a/\r\nx: y""#,
                r#""https://a/deleted/""#,
            ],
        ),
        (
            "replies.realm",
            &[
                r#""""#,
                r#"" ""#,
                r#""a\"b""#,
                r#""a\\b""#,
                r#""a\r\nx: y""#,
                r#""äpi""#,
                r#""once valid""#,
            ],
        ),
        ("replies.retry_after_seconds", &["0", "86401", "4294967295"]),
        (
            "replies.messages.api_key_missing",
            &[
                r#""""#,
                r#"" ""#,
                r#""a\nb""#,
                r#""a\u0000b""#,
                r#""This key was deleted.""#,
                r#""This key was DELETED.""#,
                r#""It was once\u00a0 valid.""#,
            ],
        ),
        ("replies.messages.API_KEY_MISSING", &[r#""x""#]),
        ("replies.messages.oops", &[r#""x""#]),
        ("replies.messages.", &[r#""x""#]),
    ],
};
