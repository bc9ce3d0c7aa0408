//! `credential`: a good one, what each field must be, and values that are wrong.

use super::Section;
use crate::config::tests::broken::fields::Kind::{Array, Flag, Object, Text, TextOrNull, Whole};

pub(super) const SECTION: Section = Section {
    name: "credential",
    good: r#"{"sources": [{"header": "authorization", "scheme": "Bearer"},
                             {"header": "x-api-key", "scheme": null}],
                 "format": {"prefix": "aw_", "min_length": 43, "max_length": 256, "alphabet": "url_safe"},
                 "forward": false}"#,
    fields: &[
        ("credential", Object),
        ("credential.sources", Array),
        ("credential.sources[0]", Object),
        ("credential.sources[0].header", Text),
        ("credential.sources[0].scheme", TextOrNull),
        ("credential.sources[1]", Object),
        ("credential.sources[1].header", Text),
        ("credential.sources[1].scheme", TextOrNull),
        ("credential.format", Object),
        ("credential.format.prefix", Text),
        ("credential.format.min_length", Whole),
        ("credential.format.max_length", Whole),
        ("credential.format.alphabet", Text),
        ("credential.forward", Flag),
    ],
    values: &[
        ("credential.sources", &["[]"]),
        ("credential.sources[0].header", SOURCES),
        ("credential.sources[1].header", SOURCES),
        (
            "credential.sources[0].scheme",
            &[
                r#""""#,
                r#"" ""#,
                r#""Bearer ""#,
                r#""Bearer:""#,
                r#""Bearer,ApiKey""#,
                r#""a b""#,
                r#""Bearer\n""#,
                r#""Schlüssel""#,
            ],
        ),
        (
            "credential.format.prefix",
            &[
                r#"" ""#,
                r#""a b""#,
                r#""aw_,""#,
                r#""aw_\n""#,
                r#""aw_\u0000""#,
                r#""aw_é""#,
            ],
        ),
        (
            "credential.format.min_length",
            &["0", "1", "3", "8193", "4294967296"],
        ),
        (
            "credential.format.max_length",
            &["0", "42", "8193", "4294967295"],
        ),
        (
            "credential.format.alphabet",
            &[
                r#""""#,
                r#""URL_SAFE""#,
                r#""url-safe""#,
                r#""utf8""#,
                r#""base62""#,
                r#""[a-z]""#,
                r#""hunter2-hunter2""#,
            ],
        ),
    ],
};

const SOURCES: &[&str] = &[
    r#""""#,
    r#"" ""#,
    r#""x api""#,
    r#""x-api-key:""#,
    r#""x-api-key\r\n""#,
    r#"":path""#,
    r#""schlüssel""#,
    r#""Host""#,
    r#""connection""#,
    r#""content-length""#,
    r#""X-Request-Id""#,
    r#""traceparent""#,
    r#""tracestate""#,
];
