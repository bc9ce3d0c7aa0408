//! `identity_headers`: a valid example, the type of each field, and rejected values.

use super::{Rejected, Section};
use crate::config::tests::broken::fields::Kind;

pub(super) const SECTION: Section = Section {
    name: "identity_headers",
    good: r#"{"x-key": "key_id", "x-account": "account_id"}"#,
    fields: &[
        ("identity_headers", Kind::Object),
        ("identity_headers.x-key", Kind::String),
    ],
    rejected: &[
        Rejected {
            field: "identity_headers.x-key",
            problem: r#"must be "key_id", "account_id" or "environment""#,
            values: &[
                r#""""#,
                r#""KEY_ID""#,
                r#""key-id""#,
                r#""key_id ""#,
                r#""plan""#,
                r#""endpoints""#,
            ],
        },
        Rejected {
            field: "identity_headers.",
            problem: "must be a header name: only letters, digits and !#$%&'*+-.^_`|~",
            values: &[r#""key_id""#],
        },
        Rejected {
            field: "identity_headers.x key",
            problem: "must be a header name: only letters, digits and !#$%&'*+-.^_`|~",
            values: &[r#""key_id""#],
        },
        Rejected {
            field: "identity_headers.x-key:",
            problem: "must be a header name: only letters, digits and !#$%&'*+-.^_`|~",
            values: &[r#""key_id""#],
        },
        Rejected {
            field: "identity_headers.:authority",
            problem: "must be a header name: only letters, digits and !#$%&'*+-.^_`|~",
            values: &[r#""key_id""#],
        },
        Rejected {
            field: "identity_headers.schlüssel",
            problem: "must be a header name: only letters, digits and !#$%&'*+-.^_`|~",
            values: &[r#""key_id""#],
        },
        Rejected {
            field: "identity_headers.Host",
            problem: "is a header that HTTP or Envoy controls; choose another",
            values: &[r#""key_id""#],
        },
        Rejected {
            field: "identity_headers.Content-Length",
            problem: "is a header that HTTP or Envoy controls; choose another",
            values: &[r#""key_id""#],
        },
        Rejected {
            field: "identity_headers.trailer",
            problem: "is a header that HTTP or Envoy controls; choose another",
            values: &[r#""key_id""#],
        },
    ],
};
