//! What the access log gets.

use super::*;

#[test]
fn the_access_log_gets_what_there_is() {
    let id = RequestId::new(Duration::ZERO, 0);
    let key = record(FIELDS);
    let key = Some(&*key);
    let not_found = Outcome::Refused(Denial::NotFound);
    let cases = [
        (
            Outcome::Allowed,
            Some(Source::Cache),
            key,
            None,
            "outcome=allowed source=cache key_id=key_1",
        ),
        (Outcome::Exempt, None, None, None, "outcome=exempt"),
        (
            Outcome::Introspected,
            Some(Source::Lookup),
            key,
            Some(id),
            "outcome=introspected source=lookup key_id=key_1 \
             request_id=req_00000000000000000000000000",
        ),
        (
            Outcome::Refused(Denial::Revoked),
            Some(Source::Stale),
            key,
            Some(id),
            "outcome=api_key_revoked source=stale key_id=key_1 \
             request_id=req_00000000000000000000000000",
        ),
        (
            not_found,
            Some(Source::Coalesced),
            None,
            Some(id),
            "outcome=api_key_not_found source=coalesced \
             request_id=req_00000000000000000000000000",
        ),
        (
            Outcome::Refused(Denial::Missing),
            None,
            None,
            Some(id),
            "outcome=api_key_missing request_id=req_00000000000000000000000000",
        ),
    ];
    for (outcome, source, record, reply, expected) in cases {
        let settled = Settled { outcome, source };
        assert_eq!(settled.log_entry(record, reply), expected);
    }
}

/// A key's name is the auth cluster's to choose, and must not look like another field.
#[test]
fn key_ids_are_quoted_where_they_must_be() {
    let settled = Settled {
        outcome: Outcome::Allowed,
        source: None,
    };
    let cases = [
        ("key_01J:x/y-z", "key_01J:x/y-z"),
        ("a b", r#""a b""#),
        ("1 outcome=exempt", r#""1 outcome=exempt""#),
        ("a=b", r#""a=b""#),
        (r#"a"b\c"#, r#""a\"b\\c""#),
        ("ä", r#""ä""#),
    ];
    for (key_id, expected) in cases {
        let record = record(Fields { key_id, ..FIELDS });
        let entry = settled.log_entry(Some(&record), None);
        assert_eq!(entry, format!("outcome=allowed key_id={expected}"));
    }
}

/// Only requests with a known key are logged with one. A record of another environment is none.
#[test]
fn the_key_is_named_where_it_is_known() {
    let production = config(r#","environment":"production""#);
    let of = |fields| Fields {
        environment: Some("production"),
        ..fields
    };
    let ended = Fields {
        expires_at: Some(NOW),
        ..FIELDS
    };
    let restricted = Fields {
        endpoints: Some(&[]),
        ..FIELDS
    };
    let cases = [
        ("allowed", active(of(FIELDS)), true),
        ("revoked", Verdict::Revoked(record(of(FIELDS))), true),
        ("expired", active(of(ended)), true),
        ("restricted", active(of(restricted)), true),
        ("of another environment", active(FIELDS), false),
        (
            "revoked in another environment",
            Verdict::Revoked(record(FIELDS)),
            false,
        ),
        ("not found", Verdict::NotFound, false),
        ("unknown", Verdict::Indeterminate(Cause::NoAnswer), false),
    ];
    for (name, verdict, expected) in cases {
        let (_, step) = settled(&production, &with_key("/"), verdict);
        let (Step::Forward { record } | Step::Refuse { record, .. }) = step else {
            panic!("{name}: neither forwarded nor refused");
        };
        assert_eq!(record.is_some(), expected, "{name}");
    }
}
