//! Answers with status 200 whose body is no record, or a record in an odd form.

use keystile_e2e::keys::GOOD;
use keystile_e2e::scripted_auth::{Script, answer, keep_alive_answer};

use super::expect::Expect::{self, Allowed, Internal, Refused};
use super::fields;
use super::rows::{Row, Table};

/// The largest body that the filter reads, in bytes.
const LARGEST: usize = 64 * 1024;

pub(crate) fn tables() -> Vec<Table> {
    let texts = [
        ("200 and no record", not_json()),
        ("200 and a field twice", repeated()),
        ("200 and a field of a wrong type", fields::of_wrong_types()),
        ("200 and an odd status", fields::statuses()),
        ("200 and a name that is no header", fields::names()),
        ("200 and an odd expires_at", fields::times()),
        ("200 and deep JSON", deep()),
        ("200 and much", large()),
    ];
    let texts = texts.map(|(name, bodies)| {
        let rows = bodies.into_iter().map(|(name, body, expect)| {
            Row::new(&name, Script::Answer(answer("200 OK", &body)), expect)
        });
        Table::new(name, rows.collect())
    });
    let not_utf8 = not_utf8().into_iter().map(|(name, body)| {
        let script = Script::Answer(keep_alive_answer("200 OK", &["connection: close"], &body));
        Row::new(name, script, Internal)
    });
    let not_utf8 = Table::new("200 and no UTF-8", not_utf8.collect());
    texts.into_iter().chain([not_utf8]).collect()
}

/// A row's name, its body, and its expected outcome.
pub(crate) type Body = (String, String, Expect);

/// Returns the outcome of an allowed request.
pub(crate) fn allowed() -> Expect {
    Allowed("key_1".to_owned())
}

pub(crate) fn named<const N: usize>(rows: [(&str, &str, Expect); N]) -> Vec<Body> {
    let rows = rows.into_iter();
    rows.map(|(name, body, expect)| (name.to_owned(), body.to_owned(), expect))
        .collect()
}

/// Returns an active record with these additional fields.
pub(crate) fn with(fields: &str) -> String {
    format!(r#"{{"key_id":"key_1","status":"active",{fields}}}"#)
}

fn not_json() -> Vec<Body> {
    let half = &GOOD[..GOOD.len() / 2];
    named([
        ("200 with an empty body", "", Internal),
        ("200 with whitespace", " \r\n", Internal),
        ("truncated JSON", half, Internal),
        (
            "JSON without its last byte",
            &GOOD[..GOOD.len() - 1],
            Internal,
        ),
        (
            "an HTML page",
            "<!doctype html><html><body>It works!</body></html>",
            Internal,
        ),
        ("null", "null", Internal),
        ("a string", r#""active""#, Internal),
        ("an empty object", "{}", Internal),
        ("an empty array", "[]", Internal),
        ("a record in an array", &format!("[{GOOD}]"), Internal),
        (
            "a record in an object",
            &format!(r#"{{"data":{GOOD}}}"#),
            Internal,
        ),
        (
            "the fields of a record in an array",
            r#"["key_1","active"]"#,
            Internal,
        ),
        ("trailing garbage", &format!("{GOOD} x"), Internal),
        ("a trailing NUL", &format!("{GOOD}\0"), Internal),
        ("two records", &format!("{GOOD}{GOOD}"), Internal),
        ("two records in lines", &format!("{GOOD}\n{GOOD}"), Internal),
        (
            "a trailing comma",
            r#"{"key_id":"key_1","status":"active",}"#,
            Internal,
        ),
        (
            "a comment",
            r#"{"key_id":"key_1","status":"active"/**/}"#,
            Internal,
        ),
        (
            "single quotes",
            "{'key_id':'key_1','status':'active'}",
            Internal,
        ),
        ("a byte order mark", &format!("\u{feff}{GOOD}"), Internal),
        (
            "a line break in a string",
            "{\"key_id\":\"key_1\",\"status\":\"active\",\"x\":\"\n\"}",
            Internal,
        ),
        (
            "spaces around a record",
            &format!(" \r\n\t{GOOD}\n"),
            allowed(),
        ),
    ])
}

fn not_utf8() -> Vec<(&'static str, Vec<u8>)> {
    let utf16 = |order: fn(u16) -> [u8; 2]| GOOD.encode_utf16().flat_map(order).collect();
    let around = |before: &str, bytes: &[u8], after: &str| {
        [before.as_bytes(), bytes, after.as_bytes()].concat()
    };
    let unknown = r#"{"key_id":"key_1","status":"active","x":""#;
    vec![
        ("UTF-16, little end first", utf16(u16::to_le_bytes)),
        ("UTF-16, big end first", utf16(u16::to_be_bytes)),
        (
            "a key_id that is not UTF-8",
            around(r#"{"key_id":"key_"#, b"\xff", r#"","status":"active"}"#),
        ),
        (
            "a key_id of a lone surrogate",
            around(r#"{"key_id":"key_"#, br"\ud800", r#"","status":"active"}"#),
        ),
        (
            "an unknown field that is not UTF-8",
            around(unknown, b"\xff\xfe", r#""}"#),
        ),
        (
            "an unknown field in overlong UTF-8",
            around(unknown, b"\xc0\xaf", r#""}"#),
        ),
        // A good record in gzip, which nobody asked for.
        ("gzip", gzipped()),
    ]
}

/// Returns a good record in one stored block of gzip. Its checksum is wrong, but nobody reads it.
pub(crate) fn gzipped() -> Vec<u8> {
    let length = u16::try_from(GOOD.len()).unwrap_or_default();
    let mut bytes = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 1];
    bytes.extend(length.to_le_bytes());
    bytes.extend((!length).to_le_bytes());
    bytes.extend(GOOD.as_bytes());
    bytes.extend([0; 4]);
    bytes.extend(u32::from(length).to_le_bytes());
    bytes
}

fn repeated() -> Vec<Body> {
    let record = |fields: &str| format!("{{{fields}}}");
    named([
        (
            "status twice, revoked first",
            &record(r#""key_id":"key_1","status":"revoked","status":"active""#),
            Internal,
        ),
        (
            "status twice, active first",
            &record(r#""key_id":"key_1","status":"active","status":"revoked""#),
            Internal,
        ),
        (
            "status twice, the same",
            &record(r#""key_id":"key_1","status":"active","status":"active""#),
            Internal,
        ),
        (
            "status twice, once in escapes",
            &record(r#""key_id":"key_1","status":"revoked","\u0073tatus":"active""#),
            Internal,
        ),
        (
            "status twice, once null",
            &record(r#""key_id":"key_1","status":null,"status":"active""#),
            Internal,
        ),
        (
            "key_id twice",
            &record(r#""key_id":"key_1","key_id":"key_2","status":"active""#),
            Internal,
        ),
        (
            "account_id twice",
            &with(r#""account_id":"acct_1","account_id":"acct_2""#),
            Internal,
        ),
        (
            "environment twice",
            &with(r#""environment":"a","environment":"b""#),
            Internal,
        ),
        (
            "expires_at twice",
            &with(r#""expires_at":"2020-01-01T00:00:00Z","expires_at":null"#),
            Internal,
        ),
        (
            "endpoints twice",
            &with(r#""endpoints":[],"endpoints":null"#),
            Internal,
        ),
        ("an unknown field twice", &with(r#""x":1,"x":2"#), allowed()),
        (
            "status and key_id twice inside of an unknown field",
            &with(r#""x":{"status":"revoked","status":"active","key_id":"a","key_id":"b"}"#),
            allowed(),
        ),
        (
            "revoked, and active inside of an unknown field",
            &record(r#""key_id":"key_1","status":"revoked","x":{"status":"active"}"#),
            Refused("api_key_revoked"),
        ),
        (
            "status only inside of an unknown field",
            &record(r#""key_id":"key_1","x":{"status":"active"}"#),
            Internal,
        ),
        (
            "names of fields in another case",
            &record(r#""Key_Id":"key_1","STATUS":"active""#),
            Internal,
        ),
    ])
}

fn deep() -> Vec<Body> {
    let arrays = |levels: usize| "[".repeat(levels) + &"]".repeat(levels);
    let objects = |levels: usize| r#"{"a":"#.repeat(levels) + "1" + &"}".repeat(levels);
    named([
        ("100,000 arrays", &arrays(100_000), Internal),
        (
            "100,000 arrays in an unknown field",
            &with(&format!(r#""x":{}"#, arrays(100_000))),
            Internal,
        ),
        ("30,000 arrays", &arrays(30_000), Internal),
        ("10,000 objects", &objects(10_000), Internal),
        (
            "30,000 arrays that do not end",
            &with(&format!(r#""x":{}"#, "[".repeat(30_000))),
            Internal,
        ),
        (
            "30,000 arrays in endpoints",
            &with(&format!(r#""endpoints":{}"#, arrays(30_000))),
            Internal,
        ),
        (
            "10,000 objects in key_id",
            &format!(r#"{{"key_id":{},"status":"active"}}"#, objects(10_000)),
            Internal,
        ),
        (
            "30,000 arrays in an unknown field",
            &with(&format!(r#""x":{}"#, arrays(30_000))),
            allowed(),
        ),
        (
            "10,000 objects in an unknown field",
            &with(&format!(r#""x":{}"#, objects(10_000))),
            allowed(),
        ),
    ])
}

/// Returns long records whose beginning is good.
fn large() -> Vec<Body> {
    let padded = |size: usize| format!("{GOOD}{}", " ".repeat(size - GOOD.len()));
    let megabytes = 10 * 1024 * 1024;
    named([
        (
            "10 MB of spaces after a record",
            &padded(megabytes),
            Internal,
        ),
        (
            "10 MB in an unknown field",
            &with(&format!(r#""x":"{}""#, "x".repeat(megabytes))),
            Internal,
        ),
        (
            "10 MB of endpoints",
            &with(&format!(
                r#""endpoints":["/"{}]"#,
                r#","/v1/x""#.repeat(megabytes / 8)
            )),
            Internal,
        ),
        ("a byte more than is read", &padded(LARGEST + 1), Internal),
        ("as much as is read", &padded(LARGEST), allowed()),
        (
            "as many endpoints as are read",
            &with(&format!(
                r#""endpoints":["/"{}]"#,
                r#","/a""#.repeat(13_000)
            )),
            allowed(),
        ),
        (
            "as many unknown fields as are read",
            &with(&format!(r#""x":1{}"#, r#","x":1"#.repeat(10_000))),
            allowed(),
        ),
    ])
}
