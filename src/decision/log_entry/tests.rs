use std::time::Duration;

use super::*;
use crate::auth::record::Fields;
use crate::decision::denial::Denial;

const FIELDS: Fields<'static> = Fields {
    account_id: Some("acct_1"),
    ..Fields::new("key_1")
};

fn log_entry(
    outcome: Outcome,
    source: Option<Source>,
    record: Option<&Record>,
    reply: Option<RequestId>,
) -> String {
    let mut entry = String::new();
    write_log_entry(&mut entry, outcome, source, record, reply);
    entry
}

fn record(fields: Fields<'_>) -> Record {
    Record::new(fields).unwrap()
}

#[test]
fn log_entries() {
    let id = RequestId::new(Duration::ZERO, 0);
    let key = record(FIELDS);
    let key = Some(&key);
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
            Outcome::Refused(Denial::Expired),
            Some(Source::Cache),
            key,
            Some(id),
            "outcome=api_key_revoked reason=expired source=cache key_id=key_1 \
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
        assert_eq!(log_entry(outcome, source, record, reply), expected);
    }
}

/// The auth cluster chooses key IDs, which must not look like other fields.
#[test]
fn key_ids_are_quoted_where_they_must_be() {
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
        let entry = log_entry(Outcome::Allowed, None, Some(&record), None);
        assert_eq!(entry, format!("outcome=allowed key_id={expected}"));
    }
}
