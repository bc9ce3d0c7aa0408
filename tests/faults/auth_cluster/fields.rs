//! Records with an unexpected value in a field.

use super::expect::Expect::{Allowed, Internal, Refused};
use super::records::{Body, allowed, named, with};

pub(crate) fn of_wrong_types() -> Vec<Body> {
    let values = [
        ("true", "true"),
        ("a number", "1"),
        ("a negative number", "-1"),
        ("a fraction", "0.5"),
        ("a number beyond all measure", "1e999"),
        ("an array", r#"["active"]"#),
        ("an object", r#"{"active":true}"#),
    ];
    let fields = [
        "key_id",
        "status",
        "account_id",
        "environment",
        "expires_at",
    ];
    let mut rows = Vec::new();
    for field in fields {
        for (kind, value) in values {
            let mut texts = vec![format!(r#""{field}":{value}"#)];
            texts.extend(
                [("key_id", "key_1"), ("status", "active")]
                    .into_iter()
                    .filter(|(other, _)| *other != field)
                    .map(|(other, value)| format!(r#""{other}":"{value}""#)),
            );
            let body = format!("{{{}}}", texts.join(","));
            rows.push((format!("{field} is {kind}"), body, Internal));
        }
    }
    let endpoints = [
        ("a string", r#""/""#, Internal),
        ("true", "true", Internal),
        ("a number", "1", Internal),
        ("an object", r#"{"/":true}"#, Internal),
        ("an array with null", r#"["/",null]"#, Internal),
        ("an array with a number", "[1]", Internal),
        ("an array of arrays", r#"[["/"]]"#, Internal),
        ("an array of objects", r#"[{"path":"/"}]"#, Internal),
        ("empty", "[]", Refused("endpoint_restricted")),
        ("null", "null", allowed()),
    ];
    rows.extend(endpoints.map(|(kind, value, expect)| {
        let body = with(&format!(r#""endpoints":{value}"#));
        (format!("endpoints is {kind}"), body, expect)
    }));
    for field in ["account_id", "environment", "expires_at"] {
        let body = with(&format!(r#""{field}":null"#));
        rows.push((format!("{field} is null"), body, allowed()));
    }
    rows
}

pub(crate) fn statuses() -> Vec<Body> {
    [
        ("unknown", "suspended", Internal),
        ("empty", "", Internal),
        ("in another case", "Active", Internal),
        ("in capitals", "ACTIVE", Internal),
        ("after a space", " active", Internal),
        ("before a space", "active ", Internal),
        ("before a line break", r"active\n", Internal),
        ("before a NUL", r"active\u0000", Internal),
        ("longer", "active,revoked", Internal),
        ("shorter", "activ", Internal),
        ("in letters that look like it", "\u{430}ctive", Internal),
        ("with a zero-width space", "active\u{200b}", Internal),
        ("in escapes", r"\u0061ctiv\u0065", allowed()),
        (
            "revoked in escapes",
            r"\u0072evoked",
            Refused("api_key_revoked"),
        ),
    ]
    .map(|(name, status, expect)| {
        let body = format!(r#"{{"key_id":"key_1","status":"{status}"}}"#);
        (format!("status {name}"), body, expect)
    })
    .into_iter()
    .chain([
        (
            "status missing".to_owned(),
            r#"{"key_id":"key_1"}"#.to_owned(),
            Internal,
        ),
        (
            "status null".to_owned(),
            r#"{"key_id":"key_1","status":null}"#.to_owned(),
            Internal,
        ),
        (
            "active instead of status".to_owned(),
            r#"{"key_id":"key_1","active":true,"revoked":false}"#.to_owned(),
            Internal,
        ),
    ])
    .collect()
}

/// Returns records with odd values in the fields that become header values.
pub(crate) fn names() -> Vec<Body> {
    let longest = "k".repeat(256);
    let too_long = "k".repeat(257);
    let huge = "k".repeat(1024 * 1024);
    let values: [(&str, &str, Option<&str>); 19] = [
        ("empty", "", None),
        ("a space", " ", None),
        ("after a space", " key_1", None),
        ("before a space", "key_1 ", None),
        ("before a tab", r"key_1\t", None),
        ("with a tab inside", r"key\t1", None),
        ("with CR LF", r"key_1\r\nx-keystile-key-id: admin", None),
        ("with LF", r"key_1\nx-admin: 1", None),
        ("with CR", r"key_1\rx-admin: 1", None),
        ("with NUL", r"key_1\u0000", None),
        ("with DEL", r"key_1\u007f", None),
        ("with ESC", r"key_1\u001b[2J", None),
        ("not ASCII", "key_\u{e4}", None),
        ("not ASCII, in escapes", r"key_\u00e4", None),
        ("of letters that look like it", "key_\u{ff11}", None),
        ("of 257 characters", &too_long, None),
        ("of 1 MB", &huge, None),
        ("of 256 characters", &longest, Some(&longest)),
        ("with a space inside", "key 1", Some("key 1")),
    ];
    let mut rows = Vec::new();
    for (name, value, id) in values {
        let expect = id.map_or(Internal, |id| Allowed(id.to_owned()));
        let body = format!(r#"{{"key_id":"{value}","status":"active"}}"#);
        rows.push((format!("key_id {name}"), body, expect));
        for field in ["account_id", "environment"] {
            let expect = id.map_or(Internal, |_| allowed());
            let body = with(&format!(r#""{field}":"{value}""#));
            rows.push((format!("{field} {name}"), body, expect));
        }
    }
    // A revoked record without a valid id is as unreadable as an active one.
    let revoked = r#"{"key_id":"","status":"revoked"}"#;
    rows.extend(named([
        ("key_id missing", r#"{"status":"active"}"#, Internal),
        (
            "key_id null",
            r#"{"key_id":null,"status":"active"}"#,
            Internal,
        ),
        ("key_id empty, revoked", revoked, Internal),
        (
            "key_id in escapes",
            r#"{"key_id":"\u006bey_1","status":"active"}"#,
            allowed(),
        ),
    ]));
    rows
}

pub(crate) fn times() -> Vec<Body> {
    let ended = || Refused("api_key_revoked");
    [
        ("malformed", "soon", Internal),
        ("empty", "", Internal),
        ("a date", "2999-01-01", Internal),
        ("without a zone", "2999-01-01T00:00:00", Internal),
        ("with a zone by name", "2999-01-01T00:00:00 UTC", Internal),
        (
            "with an impossible zone",
            "2999-01-01T00:00:00+24:00",
            Internal,
        ),
        ("after a space", " 2999-01-01T00:00:00Z", Internal),
        ("before a space", "2999-01-01T00:00:00Z ", Internal),
        (
            "of two times",
            "2999-01-01T00:00:00Z/2999-01-02T00:00:00Z",
            Internal,
        ),
        (
            "of the HTTP kind",
            "Tue, 01 Jan 2999 00:00:00 GMT",
            Internal,
        ),
        ("of the epoch, as text", "32472144000", Internal),
        ("in year 10000", "10000-01-01T00:00:00Z", Internal),
        ("in year +10000", "+10000-01-01T00:00:00Z", Internal),
        ("in year -1", "-0001-01-01T00:00:00Z", Internal),
        ("in month 13", "2999-13-01T00:00:00Z", Internal),
        (
            "on February 29 that is none",
            "2999-02-29T00:00:00Z",
            Internal,
        ),
        ("at 24:00", "2999-01-01T24:00:00Z", Internal),
        (
            "at a second 60 that is none",
            "2999-01-01T12:00:60Z",
            Internal,
        ),
        ("at a second 61", "2998-12-31T23:59:61Z", Internal),
        (
            "at a leap second to come",
            "2998-12-31T23:59:60Z",
            allowed(),
        ),
        ("at a leap second that was", "2016-12-31T23:59:60Z", ended()),
        (
            "at the end of time",
            "9999-12-31T23:59:59.999999999Z",
            allowed(),
        ),
        ("at the beginning of time", "0000-01-01T00:00:00Z", ended()),
        ("before the epoch", "1969-12-31T23:59:59Z", ended()),
        ("in small letters", "2999-01-01t00:00:00z", allowed()),
        ("west of Greenwich", "2999-01-01T00:00:00-23:59", allowed()),
    ]
    .map(|(name, time, expect)| {
        let body = with(&format!(r#""expires_at":"{time}""#));
        (format!("expires_at {name}"), body, expect)
    })
    .into_iter()
    .chain([(
        "expires_at a number of the epoch".to_owned(),
        with(r#""expires_at":32472144000"#),
        Internal,
    )])
    .collect()
}
