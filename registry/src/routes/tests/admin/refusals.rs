//! The refusals of the admin API, and their messages.

use super::*;

on_both! {
    what_is_refused,
}

async fn what_is_refused(database: TestDatabase) {
    let app = new_app(&database).await;
    let key = create(&app, json!({"account_id": "a"})).await;
    let long = format!("{{\"account_id\": \"{}\"}}", "a".repeat(70_000));
    let import = json!({"account_id": "a", "key": "k".repeat(32), "endpoints": [""]}).to_string();
    let (one, rotate) = (path(&key, ""), path(&key, "/rotate"));
    let post = |body| (Method::POST, KEYS, body, 400, "invalid_body");
    let cases = [
        (post(""), "JSON object"),
        (post(r#"["acct"]"#), "JSON object"),
        (post("{"), "EOF"),
        (post("{}"), "account_id"),
        (post(r#"{"account_id": 1}"#), "string"),
        (
            post(r#"{"account_id": "a b"}"#),
            "account_id: it may be sent",
        ),
        (
            post(r#"{"account_id": "a", "key_id": "aw_x"}"#),
            "unknown field",
        ),
        (post(r#"{"account_id": "a", "name": "\u0000"}"#), "name: "),
        (
            post(r#"{"account_id": "a", "expires_at": "soon"}"#),
            "RFC 3339",
        ),
        (
            post(r#"{"account_id": "a", "endpoints": ["/", "x"]}"#),
            "endpoints[1]: \"x\" would match nothing: endpoints start with \"/\"; write \"/x\"",
        ),
        (post(&import), "endpoints[0]: \"\" would match nothing"),
        (
            (
                Method::PATCH,
                &one,
                r#"{"endpoints": ["/v1/*"]}"#,
                400,
                "invalid_body",
            ),
            "endpoints[0]: \"/v1/*\" would match nothing: endpoints are prefixes; write \"/v1\"",
        ),
        ((Method::POST, KEYS, &long, 413, "body_too_large"), "65536"),
        (
            (
                Method::PATCH,
                &one,
                r#"{"account_id": "b"}"#,
                400,
                "invalid_body",
            ),
            "unknown field",
        ),
        (
            (Method::PATCH, &one, r#"{"name": ""}"#, 400, "invalid_body"),
            "name: ",
        ),
        (
            (
                Method::POST,
                &rotate,
                r#"{"grace": "1w"}"#,
                400,
                "invalid_body",
            ),
            "grace: expected",
        ),
        (
            (Method::GET, "/admin/v1/keys/aw_x", "", 404, "key_not_found"),
            "starts with `key_`",
        ),
        (
            (
                Method::GET,
                "/admin/v1/keys/key_%00",
                "",
                404,
                "key_not_found",
            ),
            "no key",
        ),
        (
            (
                Method::GET,
                "/admin/v1/keys/key_%ff",
                "",
                404,
                "key_not_found",
            ),
            "no key",
        ),
        (
            (
                Method::GET,
                "/admin/v1/keys?limit=0",
                "",
                400,
                "invalid_limit",
            ),
            "1 to 1000",
        ),
        (
            (
                Method::GET,
                "/admin/v1/keys?cursor=%00",
                "",
                400,
                "invalid_cursor",
            ),
            "first page",
        ),
        (
            (Method::PUT, KEYS, "", 405, "method_not_allowed"),
            "`allow`",
        ),
    ];
    for ((method, path, body, status, error), part) in cases {
        let (got, answer) = ask(&app, method.clone(), path, body).await;
        let shown = &body[..body.len().min(80)];
        assert_eq!(got, status, "{method} {path} {shown}: {answer}");
        assert_eq!(answer["error"], error, "{method} {path} {shown}");
        let message = answer["message"].as_str().expect("message");
        assert!(message.contains(part), "{method} {path} {shown}: {message}");
    }
}
