use super::*;
use crate::request::key_hash::KeyHasher;

const HASH: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

fn read(status: &str, body: &str) -> Result<Page, String> {
    Page::read(Some(status.as_bytes()), body.len(), || {
        body.as_bytes().to_vec()
    })
}

fn news(cursor: &str, changed: Changed) -> Page {
    let cursor = cursor.to_owned();
    Page::Changes { cursor, changed }
}

#[test]
fn pages() {
    let abc = KeyHasher::default().hash(b"abc");
    let none = Changed::Keys(Vec::new());
    let change = format!(r#"{{"key_hash":"{HASH}","kind":"revoked"}}"#);
    let upper = HASH.to_uppercase();
    let cases = [
        ("204", String::new(), Page::Current),
        ("204", "whatever".to_owned(), Page::Current),
        (
            "200",
            format!(r#"{{"cursor":"c1","changes":[{change}],"reset":false}}"#),
            news("c1", Changed::Keys(vec![abc])),
        ),
        (
            "200",
            r#"{"cursor":"c1","changes":[],"reset":false}"#.to_owned(),
            news("c1", none),
        ),
        // A reset needs no list of changes.
        (
            "200",
            format!(r#"{{"cursor":"c1","changes":[{change}],"reset":true}}"#),
            news("c1", Changed::Any),
        ),
        (
            "200",
            r#"{"cursor":"c1","reset":true}"#.to_owned(),
            news("c1", Changed::Any),
        ),
        // Unknown kinds and fields are ignored.
        (
            "200",
            format!(
                r#"{{"cursor":"c1","more":1,"changes":[{{"key_hash":"{upper}","kind":"melted","at":0}}]}}"#
            ),
            news("c1", Changed::Keys(vec![abc])),
        ),
    ];
    for (status, body, page) in cases {
        assert_eq!(read(status, &body), Ok(page), "{status} {body}");
    }
}

#[test]
fn invalid_pages() {
    let long = format!(r#"{{"cursor":"{}","changes":[]}}"#, "c".repeat(513));
    let short_hash = format!(
        r#"{{"cursor":"c","changes":[{{"key_hash":"{}"}}]}}"#,
        &HASH.replacen("b", "", 1)
    );
    let cases = [
        ("200", "", "not JSON: EOF"),
        ("200", "null", "must be an object, not null"),
        ("200", "[]", "must be an object, not an array"),
        (
            "200",
            r#"["c1",[],false]"#,
            "must be an object, not an array",
        ),
        ("200", "<html>", "not JSON: expected value"),
        (
            "200",
            r#"{"changes":[],"reset":false}"#,
            "cursor: is required",
        ),
        (
            "200",
            r#"{"cursor":null,"changes":[]}"#,
            "cursor: must be a string, not null",
        ),
        (
            "200",
            r#"{"cursor":7,"changes":[]}"#,
            "cursor: must be a string",
        ),
        (
            "200",
            r#"{"cursor":"c","changes":{}}"#,
            "changes: must be an array, not an object",
        ),
        (
            "200",
            r#"{"cursor":"c","changes":["x"]}"#,
            "changes[0]: must be an object, not a string",
        ),
        (
            "200",
            r#"{"cursor":"c","changes":[{}]}"#,
            "changes: each key_hash must be 64 hex digits",
        ),
        (
            "200",
            r#"{"cursor":"c","changes":[],"reset":"no"}"#,
            "reset: must be true or false, not a string",
        ),
        (
            "200",
            r#"{"cursor":"c","cursor":"d","changes":[]}"#,
            "cursor: is given more than once",
        ),
        (
            "200",
            r#"{"cursor":"c","changes":[]} x"#,
            "not JSON: trailing characters",
        ),
        (
            "200",
            r#"{"cursor":"c","events":[],"reset":false}"#,
            "changes: is required",
        ),
        (
            "200",
            r#"{"cursor":"c","changes":null,"reset":false}"#,
            "changes: must be an array, not null",
        ),
        (
            "200",
            r#"{"cursor":"c","changes":[{"key_hash":"zz"}]}"#,
            "changes: each key_hash must be 64 hex digits",
        ),
        (
            "200",
            &short_hash,
            "changes: each key_hash must be 64 hex digits",
        ),
        (
            "200",
            r#"{"cursor":"","changes":[]}"#,
            "cursor: must have 1 to 512 bytes",
        ),
        ("200", &long, "cursor: must have 1 to 512 bytes"),
        ("401", "", "answer 401; expected 200 or 204"),
        ("404", "", "answer 404; expected 200 or 204"),
        ("503", "", "answer 503: no connection"),
        ("504", "", "answer 504: the poll timed out"),
        ("x", "", "no answer"),
    ];
    for (status, body, problem) in cases {
        let read = read(status, body).unwrap_err();
        let read = read.trim_start_matches("answer 200, but not a page of changes: ");
        assert!(read.starts_with(problem), "{status} {body}: {read}");
        assert!(
            !read.contains("zz"),
            "the message repeats the answer, which may contain a secret"
        );
    }
    assert!(Page::read(None, 0, Vec::new).is_err());
    let too_large = Page::read(Some(b"200"), MAX_PAGE + 1, || panic!("not to be read"));
    assert!(too_large.unwrap_err().contains("over the limit"));
    assert!(Page::read(Some(b"200"), MAX_PAGE, Vec::new).is_err());
}
