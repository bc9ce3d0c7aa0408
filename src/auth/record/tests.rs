use super::*;

const END: Duration = Duration::from_secs(1_798_761_600);

fn active(fields: Fields<'_>) -> Result<(Status, Record), String> {
    Ok((Status::Active, Record::new(fields).unwrap()))
}

const MINIMAL: Fields<'static> = Fields::new("key_1");

#[test]
fn a_record_is_read() {
    let full = r#"{"key_id":"key_1","status":"active","account_id":"acct_1","environment":"production",
        "expires_at":"2027-01-01T00:00:00Z","endpoints":["/v1/numerology/"],"extra":{"x":[1]}}"#;
    let expected = Fields {
        account_id: Some("acct_1"),
        environment: Some("production"),
        expires_at: Some(END),
        endpoints: Some(&["/v1/numerology/"]),
        ..MINIMAL
    };
    assert_eq!(read(full.as_bytes()), active(expected));

    let minimal = r#"{"key_id":"key_1","status":"active"}"#;
    assert_eq!(read(minimal.as_bytes()), active(MINIMAL));
    let nulls = r#"{"key_id":"key_1","status":"revoked","account_id":null,"environment":null,
        "expires_at":null,"endpoints":null}"#;
    let expected = (Status::Revoked, Record::new(MINIMAL).unwrap());
    assert_eq!(read(nulls.as_bytes()), Ok(expected));
    let none = r#"{"key_id":"key_1","status":"active","endpoints":[]}"#;
    let expected = Fields {
        endpoints: Some(&[]),
        ..MINIMAL
    };
    assert_eq!(read(none.as_bytes()), active(expected));
}

/// A packed record contains exactly the fields that it was made from.
#[test]
fn records_are_unpacked_as_they_were_packed() {
    let long = "x".repeat(MAX_ID);
    let cases = [
        MINIMAL,
        Fields {
            account_id: Some("acct_1"),
            ..MINIMAL
        },
        Fields {
            environment: Some("production"),
            ..MINIMAL
        },
        Fields {
            key_id: &long,
            account_id: Some(&long),
            environment: Some(&long),
            ..MINIMAL
        },
        Fields {
            endpoints: Some(&["/a", "/b/"]),
            ..MINIMAL
        },
    ];
    for fields in cases {
        let record = Record::new(fields).unwrap();
        assert_eq!(record.key_id(), fields.key_id, "{fields:?}");
        assert_eq!(record.account_id(), fields.account_id, "{fields:?}");
        assert_eq!(record.environment(), fields.environment, "{fields:?}");
        let of = |field| record.identity(field);
        assert_eq!(of(IdentityField::KeyId), Some(fields.key_id));
        assert_eq!(of(IdentityField::AccountId), fields.account_id);
        assert_eq!(of(IdentityField::Environment), fields.environment);
    }
    let too_long = "x".repeat(MAX_ID + 1);
    for fields in [
        Fields {
            key_id: "",
            ..MINIMAL
        },
        Fields {
            key_id: &too_long,
            ..MINIMAL
        },
        Fields {
            account_id: Some(""),
            ..MINIMAL
        },
        Fields {
            environment: Some(&too_long),
            ..MINIMAL
        },
        Fields {
            key_id: "a\0b",
            ..MINIMAL
        },
        Fields {
            account_id: Some("\0"),
            ..MINIMAL
        },
    ] {
        assert_eq!(Record::new(fields), None, "{fields:?}");
    }
}

#[test]
fn endpoints_are_prefixes() {
    type Case<'a> = (&'a str, Option<&'a [&'a str]>, &'a [u8], bool);
    let cases: [Case<'_>; 12] = [
        ("all", None, b"/v1/x", true),
        ("none", Some(&[]), b"/v1/x", false),
        ("the only", Some(&["/v1/astro"]), b"/v1/astro/natal", true),
        (
            "another endpoint",
            Some(&["/v1/astro"]),
            b"/v1/astrology",
            false,
        ),
        ("the second", Some(&["/a", "/b", "/c"]), b"/b/x", true),
        ("the last", Some(&["/a", "/b", "/c"]), b"/c", true),
        ("none of them", Some(&["/a", "/b", "/c"]), b"/d", false),
        ("the first of two", Some(&["/a", "/b"]), b"/a/b", true),
        ("an empty one", Some(&[""]), b"/", false),
        ("an empty one first", Some(&["", "/a"]), b"/a", true),
        // Read as two endpoints, it would cover every path.
        ("an invalid one", Some(&["/a\0/"]), b"/b", false),
        ("after an invalid one", Some(&["/\0/", "/a"]), b"/b", false),
    ];
    for (name, endpoints, path, expected) in cases {
        let record = Record::new(Fields {
            endpoints,
            ..MINIMAL
        });
        assert_eq!(record.unwrap().permits(|| path), expected, "{name}");
    }
}

#[test]
fn a_key_expires_exactly_at_expires_at() {
    let ms = Duration::from_millis(1);
    let cases = [
        (None, Duration::MAX, false),
        (Some(END), END - ms, false),
        (Some(END), END, true),
        (Some(END), END + ms, true),
        (Some(Duration::ZERO), Duration::ZERO, true),
        // A time that is too large means never.
        (Some(Duration::MAX), Duration::MAX, false),
    ];
    for (expires_at, now, expected) in cases {
        let record = Record::new(Fields {
            expires_at,
            ..MINIMAL
        });
        let expired = record.unwrap().has_expired(|| now);
        assert_eq!(expired, expected, "{expires_at:?} at {now:?}");
    }
}

#[test]
fn debug_shows_a_record_as_it_was_given() {
    let record = Record::new(Fields {
        expires_at: Some(END),
        endpoints: Some(&["/a", "/b"]),
        ..MINIMAL
    });
    let text = format!("{:?}", record.unwrap());
    for part in ["\"key_1\"", "Some(1798761600s)", "[\"/a\", \"/b\"]"] {
        assert!(text.contains(part), "{text}");
    }
}

#[test]
fn times_are_of_rfc_3339() {
    let cases = [
        (
            "2027-01-01T00:00:00Z",
            Some(Duration::from_secs(1_798_761_600)),
        ),
        (
            "2027-01-01T02:00:00+02:00",
            Some(Duration::from_secs(1_798_761_600)),
        ),
        (
            "2027-01-01T00:00:00.5Z",
            Some(Duration::from_millis(1_798_761_600_500)),
        ),
        ("1960-01-01T00:00:00Z", Some(Duration::ZERO)),
        ("2027-01-01", None),
        ("2027-01-01T00:00:00", None),
        ("tomorrow", None),
        ("", None),
    ];
    for (text, expected) in cases {
        assert_eq!(parse_time(text).ok(), expected, "{text}");
    }
}

/// This includes text in ignored fields.
#[test]
fn records_must_be_utf_8() {
    let around = |bytes: &[u8]| {
        let before = br#"{"key_id":"key_1","status":"active","x":""#;
        [before, bytes, br#""}"#].concat()
    };
    assert_eq!(read(&around("\u{e4}".as_bytes())), active(MINIMAL));
    for bytes in [&b"\xff"[..], b"\xc0\xaf", b"\xed\xa0\x80", b"\xc3"] {
        assert!(read(&around(bytes)).is_err(), "{bytes:?}");
    }
}

#[test]
fn errors_say_what_would_be_right() {
    let cases = [
        (
            r#"{"key_id":"","status":"active"}"#,
            "key_id must be 1 to 256 characters",
        ),
        (
            r#"{"key_id":"k","status":"active","account_id":"a\nb"}"#,
            "account_id must be 1 to 256 characters",
        ),
        (
            r#"{"key_id":"k","status":"active","environment":" "}"#,
            "environment must be 1 to 256 characters",
        ),
        (
            r#"{"key_id":7,"status":"active"}"#,
            "key_id: must be a string",
        ),
        (r#"{"status":"active"}"#, "key_id: is required"),
        (r#"{"key_id":"k"}"#, "status: is required"),
        (
            r#"{"key_id":"k","status":"active","key_id":"k"}"#,
            "key_id: is given more than once",
        ),
        (
            r#"{"key_id":"k","status":"active","endpoints":["/a",7]}"#,
            "endpoints[1]: must be a string",
        ),
        ("[]", "must be an object, not an array"),
        ("<html>", "not JSON: expected value"),
        (r#"{"key_id":"k","status":"gone"}"#, "status must be"),
        (
            r#"{"key_id":"k","status":"active","expires_at":"soon"}"#,
            "expires_at must be an RFC 3339 time",
        ),
    ];
    for (body, expected) in cases {
        let error = read(body.as_bytes()).unwrap_err();
        assert!(error.starts_with(expected), "{body}: {error}");
    }
}
