//! The admin API: operations on keys.

mod access;
mod refusals;

use super::*;

on_both! {
    a_key_from_creation_to_deletion,
    a_key_that_was_made_elsewhere,
    a_rotation_leaves_time_to_deploy,
    pages,
}

const KEYS: &str = "/admin/v1/keys";

async fn send(app: &App, method: Method, path: &str, body: &str, token: &str) -> Response<Bytes> {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(header::AUTHORIZATION, format!("Bearer {token}"))
        .body(Body::from(body.to_owned()))
        .expect("request");
    exchange(app, request).await
}

/// Sends a request with the admin token. Returns the status and the JSON, which is null without a body.
async fn ask(app: &App, method: Method, path: &str, body: &str) -> (u16, Value) {
    let answer = send(app, method, path, body, "admin-secret").await;
    assert_eq!(answer.headers()[header::CACHE_CONTROL], "no-store");
    let body = if answer.body().is_empty() {
        Value::Null
    } else {
        json_of(&answer)
    };
    (answer.status().as_u16(), body)
}

async fn new_app(database: &TestDatabase) -> App {
    app(Store::open(&database.url).await.expect("open"))
}

async fn create(app: &App, body: Value) -> Value {
    let (status, created) = ask(app, Method::POST, KEYS, &body.to_string()).await;
    assert_eq!(status, 201, "{created}");
    created
}

fn path(created: &Value, action: &str) -> String {
    format!("{KEYS}/{}{action}", created["key_id"].as_str().expect("ID"))
}

async fn look_up(app: &App, key: &Value) -> (StatusCode, Value) {
    let hash = KeyHasher::default().hash(key.as_str().expect("key").as_bytes());
    let path = format!("/v1/key-hashes/{hash}");
    answer(app, Method::GET, &path).await
}

async fn a_key_from_creation_to_deletion(database: TestDatabase) {
    let app = new_app(&database).await;
    let feed = answer(&app, Method::GET, "/v1/changes").await.1;
    let start = feed["cursor"].as_str().expect("cursor");
    let mut record = create(
        &app,
        json!({
            "account_id": "acct_1",
            "name": "ci",
            "environment": "production",
            "expires_at": "2027-01-01T01:00:00+01:00",
            "endpoints": ["/v1/astro"],
        }),
    )
    .await;
    let key = record
        .as_object_mut()
        .and_then(|it| it.remove("key"))
        .expect("the key");
    assert_eq!(record["expires_at"], "2027-01-01T00:00:00Z");
    assert_eq!(look_up(&app, &key).await.1["status"], "active");
    let one = path(&record, "");
    assert_eq!(
        ask(&app, Method::GET, &one, "").await,
        (200, record.clone())
    );

    let patch = r#"{"name": null, "endpoints": []}"#;
    record["name"] = Value::Null;
    record["endpoints"] = json!([]);
    for _ in 0..2 {
        assert_eq!(
            ask(&app, Method::PATCH, &one, patch).await,
            (200, record.clone())
        );
    }
    let patch = r#"{"expires_at": null, "endpoints": null, "name": "new"}"#;
    record["name"] = json!("new");
    (record["expires_at"], record["endpoints"]) = (Value::Null, Value::Null);
    assert_eq!(
        ask(&app, Method::PATCH, &one, patch).await,
        (200, record.clone())
    );

    let (status, revoked) = ask(&app, Method::POST, &path(&record, "/revoke"), "").await;
    assert_eq!((status, &revoked["status"]), (200, &json!("revoked")));
    assert_eq!(look_up(&app, &key).await.1["status"], "revoked");
    let again = ask(&app, Method::POST, &path(&record, "/rotate"), "").await;
    assert_eq!((again.0, &again.1["error"]), (409, &json!("key_revoked")));
    assert_eq!(
        ask(&app, Method::DELETE, &one, "").await,
        (204, Value::Null)
    );
    assert_eq!(look_up(&app, &key).await.0, StatusCode::NOT_FOUND);
    for (method, action) in [
        (Method::GET, ""),
        (Method::PATCH, ""),
        (Method::DELETE, ""),
        (Method::POST, "/revoke"),
        (Method::POST, "/rotate"),
    ] {
        let (status, gone) = ask(&app, method, &path(&record, action), "{}").await;
        assert_eq!((status, &gone["error"]), (404, &json!("key_not_found")));
    }

    let feed = format!("/v1/changes?after={start}");
    let feed = answer(&app, Method::GET, &feed).await.1;
    let changes = feed["changes"].as_array().expect("changes");
    let kinds: Vec<_> = changes.iter().map(|change| &change["kind"]).collect();
    assert_eq!(
        kinds,
        ["created", "updated", "updated", "revoked", "deleted"]
    );
}

async fn a_key_that_was_made_elsewhere(database: TestDatabase) {
    let app = new_app(&database).await;
    let key = "legacy-0123456789abcdef0123456789";
    let body = json!({"account_id": "acct_1", "key": key});
    assert_eq!(look_up(&app, &json!(key)).await.0, StatusCode::NOT_FOUND);
    let created = create(&app, body.clone()).await;
    assert_eq!(created["key"], key);
    assert_eq!(created["preview"], "legacy…89");
    assert_eq!(look_up(&app, &json!(key)).await.1["status"], "active");
    // A key can be registered only once, even after it was revoked.
    for action in ["", "/revoke"] {
        ask(&app, Method::POST, &path(&created, action), "").await;
        let (status, refused) = ask(&app, Method::POST, KEYS, &body.to_string()).await;
        assert_eq!((status, &refused["error"]), (409, &json!("key_exists")));
    }
    assert_eq!(look_up(&app, &json!(key)).await.1["status"], "revoked");
    ask(&app, Method::DELETE, &path(&created, ""), "").await;
    create(&app, body).await;
    assert_eq!(look_up(&app, &json!(key)).await.1["status"], "active");

    let short = json!({"account_id": "acct_1", "key": "aw_tooshort"}).to_string();
    let (status, refused) = ask(&app, Method::POST, KEYS, &short).await;
    assert_eq!((status, &refused["error"]), (400, &json!("invalid_body")));
    let message = refused["message"].as_str().expect("message");
    assert!(message.starts_with("key: a key is 32 to 8192"), "{message}");
    assert!(!message.contains("aw_tooshort"), "{message}");
}

async fn a_rotation_leaves_time_to_deploy(database: TestDatabase) {
    let app = new_app(&database).await;
    let time = |value: &Value| {
        value.as_str().map(|text| {
            text.parse::<crate::timestamp::Timestamp>()
                .expect("time")
                .unix()
        })
    };
    let far = "2999-01-01T00:00:00Z";
    let over = "2020-01-01T00:00:00Z";
    // The old key's expiry, the body, for how many seconds the old key keeps working, the new key's
    // expiry.
    let cases = [
        (Value::Null, "", Some(86_400), Value::Null),
        (Value::Null, r#"{"grace": "1h"}"#, Some(3600), Value::Null),
        (
            Value::Null,
            r#"{"expires_at": "2999-01-01T00:00:00Z"}"#,
            Some(86_400),
            json!(far),
        ),
        (json!(far), r#"{"grace": "0s"}"#, Some(0), json!(far)),
        (json!(over), "{}", None, Value::Null),
    ];
    for (end, body, grace, new_end) in cases {
        let old = create(
            &app,
            json!({"account_id": "a", "name": "n", "endpoints": ["/x"], "expires_at": end}),
        )
        .await;
        let (status, new) = ask(&app, Method::POST, &path(&old, "/rotate"), body).await;
        assert_eq!(status, 201, "{new}");
        assert_ne!((&new["key"], &new["key_id"]), (&old["key"], &old["key_id"]));
        for field in ["account_id", "name", "endpoints", "environment"] {
            assert_eq!(new[field], old[field], "{field}");
        }
        let previous = &new["previous"];
        assert_eq!(previous["key_id"], old["key_id"]);
        let rotated_at = time(&new["created_at"]).expect("time");
        let expected = grace.map_or(time(&end), |grace| Some(rotated_at + grace));
        assert_eq!(time(&previous["expires_at"]), expected, "{body}");
        if new_end == json!(far) {
            // The new key lasts as long as the old one was meant to, so it expires later by the
            // time since the old one's creation.
            let late = time(&new["expires_at"]).expect("an end") - time(&new_end).expect("time");
            assert!((0..60).contains(&late), "{new}");
        } else if end.is_null() {
            assert_eq!(new["expires_at"], Value::Null);
        }
        for key in [&new["key"], &old["key"]] {
            assert_eq!(look_up(&app, key).await.1["status"], "active");
        }
    }
}

async fn pages(database: TestDatabase) {
    let app = new_app(&database).await;
    let mut ids = Vec::new();
    for account in ["a", "b", "c"] {
        let created = create(&app, json!({"account_id": account})).await;
        ids.push(created["key_id"].as_str().expect("ID").to_owned());
    }
    ids.sort();
    let list = async |query: String| {
        ask(&app, Method::GET, &format!("{KEYS}?{query}"), "")
            .await
            .1
    };
    let shown = |page: &Value| {
        let keys = page["keys"].as_array().expect("keys");
        assert!(keys.iter().all(|key| key.get("key").is_none()));
        keys.iter()
            .map(|key| key["key_id"].as_str().expect("ID").to_owned())
            .collect::<Vec<_>>()
    };
    let first = list("limit=2".to_owned()).await;
    assert_eq!(shown(&first), ids[..2]);
    let cursor = first["cursor"].as_str().expect("cursor");
    let second = list(format!("limit=2&cursor={cursor}")).await;
    assert_eq!(
        (shown(&second), &second["cursor"]),
        (ids[2..].to_vec(), &Value::Null)
    );
    let all = list("limit=3".to_owned()).await;
    assert_eq!((shown(&all), &all["cursor"]), (ids, &Value::Null));
}
