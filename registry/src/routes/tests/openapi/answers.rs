//! Each answer that the document describes is given to some request, exactly as in its example.

use std::collections::BTreeSet;

use super::*;
use crate::defaults::LARGEST_BODY;
use crate::test_store::hash;

on_both! {
    each_documented_answer_is_given,
}

/// The documented codes that no request here can provoke, and their operations.
const NOT_PROVOKED: [(&str, &[&str]); 2] = [
    // These need a system without random bytes, a clock outside the years 0 to 9999, or a metric that
    // cannot be written.
    (
        "internal_error",
        &[
            "createKey",
            "deleteKey",
            "metrics",
            "revokeKey",
            "rotateKey",
            "updateKey",
        ],
    ),
    // These take `LONGEST_REQUEST`. The tests of `http::limits` have one.
    (
        "timeout",
        &[
            "changes",
            "createKey",
            "deleteKey",
            "getKey",
            "listKeys",
            "lookup",
            "revokeKey",
            "rotateKey",
            "updateKey",
        ],
    ),
];

const KEYS: &str = "/admin/v1/keys";

/// An answer: the ID of its operation, its status, and the code of a refusal, otherwise "".
type Answer = (String, String, String);

fn documented() -> BTreeSet<Answer> {
    let mut answers = BTreeSet::new();
    for (_, _, operation) in operations(&DOCUMENT) {
        for (status, response) in object(&operation["responses"]) {
            let id = operation["operationId"].as_str().expect("an ID");
            let schema = &response["content"]["application/json"]["schema"];
            let codes = schema["properties"]["error"]["enum"].as_array();
            let codes = codes.cloned().unwrap_or_else(|| vec![json!("")]);
            for code in codes {
                let code = code.as_str().expect("a code").to_owned();
                answers.insert((id.to_owned(), status.clone(), code));
            }
        }
    }
    answers
}

/// Sends a request for an operation. Returns its answer, after checking it against the example.
async fn ask(app: &App, id: &str, path: &str, body: String, authorization: &str) -> Answer {
    let mut all = operations(&DOCUMENT);
    let (_, method, operation) = all
        .find(|(_, _, operation)| operation["operationId"] == id)
        .unwrap_or_else(|| panic!("no operation {id}"));
    let request = Request::builder()
        .method(&method.to_uppercase()[..])
        .uri(path)
        .header(header::AUTHORIZATION, authorization);
    let answer = exchange(app, request.body(Body::from(body)).expect("request")).await;
    let status = answer.status().as_str().to_owned();
    let body: Value = serde_json::from_slice(answer.body()).unwrap_or_default();
    let code = body["error"].as_str().unwrap_or_default().to_owned();
    if !code.is_empty() {
        let response = &operation["responses"][&status];
        let example = &response["content"]["application/json"]["examples"][&code]["value"];
        assert_eq!(body, *example, "{id}: the example of {status} {code}");
    }
    (id.to_owned(), status, code)
}

/// Returns a request that is granted for each operation: its ID, the path and the body. Each
/// operation has its own key.
fn granted() -> Vec<(&'static str, String, String)> {
    let of = |(path, _, operation): (&String, _, &'static Value)| {
        let id = operation["operationId"].as_str().expect("an ID");
        let path = path.replace("{key_hash}", ABC);
        let path = path.replace("{key_id}", &format!("key_{id}"));
        let body = &operation["requestBody"]["content"]["application/json"]["example"];
        let body = (!body.is_null()).then(|| body.to_string());
        (id, path, body.unwrap_or_default())
    };
    operations(&DOCUMENT).map(of).collect()
}

async fn each_documented_answer_is_given(database: TestDatabase) {
    let store = store_with_abc(&database).await;
    for (id, _, _) in granted() {
        let key_id = format!("key_{id}");
        let inserted = store.keys.insert(&record(&key_id), &hash(&key_id)).await;
        inserted.expect("insert");
    }
    let admin = "Bearer admin-secret";
    let open = app(store.clone());
    let mut given = BTreeSet::new();

    // Requests that are granted, to servers that refuse some of them.
    let guarded = App {
        service_token: Some(Token::new(b"service")),
        ..open.clone()
    };
    let off = App {
        admin_token: None,
        ..open.clone()
    };
    let busy = App {
        concurrency: 0,
        ..open.clone()
    };
    for (app, authorization) in [
        (&open, admin),
        (&guarded, ""),
        (&off, admin),
        (&busy, admin),
    ] {
        for (id, path, body) in granted() {
            given.insert(ask(app, id, &path, body, authorization).await);
        }
    }

    // The other answers. The keys are those that the requests above have left.
    let unknown = format!("/v1/key-hashes/{}", "0".repeat(64));
    let (_, feed) = answer(&open, Method::GET, "/v1/changes").await;
    let no_news = format!(
        "/v1/changes?after={}",
        feed["cursor"].as_str().expect("cursor")
    );
    let large = " ".repeat(LARGEST_BODY + 1);
    let import = json!({"account_id": "a", "key": "k".repeat(32)}).to_string();
    let none = &format!("{KEYS}/key_none")[..];
    let (revoke_none, rotate_none) = (format!("{none}/revoke"), format!("{none}/rotate"));
    let key = &format!("{KEYS}/key_1")[..];
    let (rotate, rotate_revoked) = (
        format!("{key}/rotate"),
        format!("{KEYS}/key_revokeKey/rotate"),
    );
    let cases = [
        ("lookup", "/v1/key-hashes/x", "", "invalid_key_hash"),
        ("lookup", &unknown, "", "not_found"),
        ("changes", &no_news, "", ""),
        (
            "changes",
            "/v1/changes?limit=1&limit=2",
            "",
            "invalid_query",
        ),
        ("changes", "/v1/changes?limit=0", "", "invalid_limit"),
        (
            "listKeys",
            "/admin/v1/keys?limit=1&limit=2",
            "",
            "invalid_query",
        ),
        ("listKeys", "/admin/v1/keys?limit=0", "", "invalid_limit"),
        ("listKeys", "/admin/v1/keys?cursor=x", "", "invalid_cursor"),
        ("createKey", KEYS, "{}", "invalid_body"),
        ("createKey", KEYS, &large, "body_too_large"),
        ("createKey", KEYS, &import, ""),
        ("createKey", KEYS, &import, "key_exists"),
        ("getKey", none, "", "key_not_found"),
        ("updateKey", none, "{}", "key_not_found"),
        ("updateKey", key, r#"{"name": ""}"#, "invalid_body"),
        ("updateKey", key, &large, "body_too_large"),
        ("deleteKey", none, "", "key_not_found"),
        ("revokeKey", &revoke_none, "", "key_not_found"),
        ("rotateKey", &rotate_none, "", "key_not_found"),
        ("rotateKey", &rotate, r#"{"days": 1}"#, "invalid_body"),
        ("rotateKey", &rotate, &large, "body_too_large"),
        ("rotateKey", &rotate_revoked, "", "key_revoked"),
    ];
    for (id, path, body, code) in cases {
        let answer = ask(&open, id, path, body.to_owned(), admin).await;
        assert_eq!(answer.2, code, "{answer:?} to {path}");
        given.insert(answer);
    }

    store.database.close().await;
    for (id, path, body) in granted() {
        given.insert(ask(&open, id, &path, body, admin).await);
    }

    let documented = documented();
    let missing = documented.difference(&given);
    let missing: BTreeSet<_> = missing.map(|(id, _, code)| (&code[..], &id[..])).collect();
    let expected = NOT_PROVOKED.iter();
    let expected = expected.flat_map(|(code, ids)| ids.iter().map(|id| (*code, *id)));
    assert_eq!(missing, expected.collect(), "documented, but not given");
}
