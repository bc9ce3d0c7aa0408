//! `credential`: a valid example, the type of each field, and rejected values.

use super::{Rejected, Section};
use crate::config::tests::broken::fields::Kind;

pub(super) const SECTION: Section = Section {
    name: "credential",
    good: r#"{"sources": [{"header": "authorization", "scheme": "Bearer"},
                             {"header": "x-api-key", "scheme": null}],
                 "formats": [{"prefix": "aw_", "min_length": 43, "max_length": 256, "alphabet": "url_safe",
                              "tag": {"secrets": ["hunter2-hunter2.", "hunter2-hunter2;"]}}],
                 "forward": false}"#,
    fields: &[
        ("credential", Kind::Object),
        ("credential.sources", Kind::Array),
        ("credential.sources[0]", Kind::Object),
        ("credential.sources[0].header", Kind::RequiredString),
        ("credential.sources[0].scheme", Kind::StringOrNull),
        ("credential.sources[1]", Kind::Object),
        ("credential.sources[1].header", Kind::RequiredString),
        ("credential.sources[1].scheme", Kind::StringOrNull),
        ("credential.formats", Kind::Array),
        ("credential.formats[0]", Kind::Object),
        ("credential.formats[0].prefix", Kind::String),
        ("credential.formats[0].min_length", Kind::Integer),
        ("credential.formats[0].max_length", Kind::Integer),
        ("credential.formats[0].alphabet", Kind::String),
        ("credential.formats[0].tag", Kind::ObjectOrNull),
        ("credential.formats[0].tag.secrets", Kind::Array),
        ("credential.formats[0].tag.secrets[0]", Kind::String),
        ("credential.forward", Kind::Bool),
    ],
    rejected: &[
        Rejected {
            field: "credential.sources",
            problem: "must name at least one header",
            values: &["[]"],
        },
        Rejected {
            field: "credential.sources[0].header",
            problem: "must be a header name: only letters, digits and !#$%&'*+-.^_`|~",
            values: &[
                r#""""#,
                r#"" ""#,
                r#""x api""#,
                r#""x-api-key:""#,
                r#""x-api-key\r\n""#,
                r#"":path""#,
                r#""schlüssel""#,
            ],
        },
        Rejected {
            field: "credential.sources[0].header",
            problem: "is a header that HTTP or Envoy controls; choose another",
            values: &[r#""Host""#, r#""connection""#, r#""content-length""#],
        },
        Rejected {
            field: "credential.sources[0].header",
            problem: "is required: the name of a header",
            values: &["null"],
        },
        Rejected {
            field: "credential.sources[1].header",
            problem: "must be a header name: only letters, digits and !#$%&'*+-.^_`|~",
            values: &[r#""x api""#],
        },
        Rejected {
            field: "credential.sources[1].header",
            problem: "is a header that HTTP or Envoy controls; choose another",
            values: &[r#""Host""#],
        },
        Rejected {
            field: "credential.sources[1].header",
            problem: "is required: the name of a header",
            values: &["null"],
        },
        Rejected {
            field: "credential.sources[0].scheme",
            problem: "must be one word: only letters, digits and !#$%&'*+-.^_`|~",
            values: &[
                r#""""#,
                r#"" ""#,
                r#""Bearer ""#,
                r#""Bearer:""#,
                r#""Bearer,ApiKey""#,
                r#""a b""#,
                r#""Bearer\n""#,
                r#""Schlüssel""#,
            ],
        },
        Rejected {
            field: "credential.formats[0].prefix",
            problem: "must be at most 64 characters of visible ASCII, without a comma",
            values: &[
                r#"" ""#,
                r#""a b""#,
                r#""aw_,""#,
                r#""aw_\n""#,
                r#""aw_\u0000""#,
                r#""aw_é""#,
            ],
        },
        Rejected {
            field: "credential.formats[0].min_length",
            problem: "includes the prefix and the tag, so it must be more than 11 and at most 8192",
            values: &["0", "1", "11", "8193", "4294967296", "4294967339"],
        },
        Rejected {
            field: "credential.formats[0].min_length",
            problem: "must be a positive integer",
            values: &["99999999999999999999"],
        },
        Rejected {
            field: "credential.formats[0].max_length",
            problem: "must be from 43 (min_length) to 8192",
            values: &["0", "42", "8193", "4294967295", "4294967339"],
        },
        Rejected {
            field: "credential.formats[0].max_length",
            problem: "must be a positive integer",
            values: &["99999999999999999999"],
        },
        Rejected {
            field: "credential.formats[0].alphabet",
            problem: r#"must be "url_safe", "alphanumeric", "hex", "base64" or "visible""#,
            values: &[
                r#""""#,
                r#""URL_SAFE""#,
                r#""url-safe""#,
                r#""utf8""#,
                r#""base62""#,
                r#""[a-z]""#,
                r#""hunter2-hunter2""#,
            ],
        },
        Rejected {
            field: "credential.formats[0].alphabet",
            problem: r#"must be "url_safe" or "visible", because tags are URL-safe base64"#,
            values: &[r#""alphanumeric""#, r#""hex""#, r#""base64""#],
        },
        Rejected {
            field: "credential.formats",
            problem: "must have at least one format",
            values: &["[]"],
        },
        Rejected {
            field: "credential.formats[0].tag.secrets",
            problem: "must have at least one secret, the one for new keys first",
            values: &["[]"],
        },
        Rejected {
            field: "credential.formats[0].tag.secrets[0]",
            problem: "must have at least 16 characters",
            values: &[r#""""#, r#""hunter2-hunter2""#, r#""üüüüüüüüüüüüüüü""#],
        },
    ],
};
