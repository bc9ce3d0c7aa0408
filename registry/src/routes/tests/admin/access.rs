//! Who may use the admin API.

use super::*;

on_both! {
    only_the_token_opens_it,
    without_a_token_it_is_off,
}

async fn only_the_token_opens_it(database: TestDatabase) {
    let app = new_app(&database).await;
    for token in [
        "",
        "admin-secre",
        "admin-secret2",
        "ADMIN-SECRET",
        "admin-secret, x",
    ] {
        let refused = send(&app, Method::GET, KEYS, "", token).await;
        assert_eq!(refused.status(), 401, "{token}");
        assert_eq!(
            refused.headers()[header::WWW_AUTHENTICATE],
            "Bearer realm=\"registry\""
        );
    }
    let request = |values: &[&str]| {
        let mut request = Request::get(KEYS);
        for value in values {
            request = request.header(header::AUTHORIZATION, *value);
        }
        request.body(Body::empty()).expect("request")
    };
    let cases: [(&[&str], u16); 5] = [
        (&["bearer admin-secret"], 200),
        (&["Basic admin-secret"], 401),
        (&["admin-secret"], 401),
        (&["Bearer admin-secret", "Bearer admin-secret"], 401),
        (&[], 401),
    ];
    for (values, status) in cases {
        let answer = exchange(&app, request(values)).await;
        assert_eq!(answer.status(), status, "{values:?}");
    }
    let shown = format!("{app:?}");
    assert!(shown.contains("Token(redacted)"), "{shown}");
}

async fn without_a_token_it_is_off(database: TestDatabase) {
    let app = App {
        admin_token: None,
        ..new_app(&database).await
    };
    let (status, off) = ask(&app, Method::GET, KEYS, "").await;
    assert_eq!((status, &off["error"]), (404, &json!("admin_api_off")));
}
