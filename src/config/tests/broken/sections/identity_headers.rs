//! `identity_headers`: a good one, what each field must be, and values that are wrong.

use super::Section;
use crate::config::tests::broken::fields::Kind::{Object, Text};

pub(super) const SECTION: Section = Section {
    name: "identity_headers",
    good: r#"{"x-key": "key_id", "x-account": "account_id"}"#,
    fields: &[
        ("identity_headers", Object),
        ("identity_headers.x-key", Text),
    ],
    values: &[
        (
            "identity_headers.x-key",
            &[
                r#""""#,
                r#""KEY_ID""#,
                r#""key-id""#,
                r#""key_id ""#,
                r#""plan""#,
                r#""endpoints""#,
            ],
        ),
        ("identity_headers.", &[r#""key_id""#]),
        ("identity_headers.x key", &[r#""key_id""#]),
        ("identity_headers.x-key:", &[r#""key_id""#]),
        ("identity_headers.:authority", &[r#""key_id""#]),
        ("identity_headers.schlüssel", &[r#""key_id""#]),
        ("identity_headers.Host", &[r#""key_id""#]),
        ("identity_headers.Content-Length", &[r#""key_id""#]),
        ("identity_headers.trailer", &[r#""key_id""#]),
    ],
};
