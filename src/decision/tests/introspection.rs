use super::*;

fn on() -> Policy {
    config(r#","introspection":{},"environment":"production","exempt":{"paths":["/open"]}"#)
}

#[test]
fn only_a_get_at_the_path_asks_about_itself() {
    let off = config("");
    let elsewhere = config(r#","introspection":{"path":"/me"}"#);
    let on = on();
    let grpc: Headers<'_> = &[("content-type", "application/grpc")];
    let web: Headers<'_> = &[("content-type", "application/grpc-web+proto")];
    let connect: Headers<'_> = &[
        ("content-type", "application/json"),
        ("connect-protocol-version", "1"),
    ];
    let call = "/v1/keys/me?connect=v1&encoding=json&message=%7B%7D";
    let cases: [(&Policy, &str, &str, Headers<'_>, bool); 15] = [
        (&on, "GET", "/v1/keys/me", &[], true),
        (&on, "GET", "/v1/keys/me?verbose=1", &[], true),
        (&on, "HEAD", "/v1/keys/me", &[], true),
        (&on, "POST", "/v1/keys/me", &[], false),
        (&on, "get", "/v1/keys/me", &[], false),
        (&on, "GET", "/v1/keys/me/", &[], false),
        (&on, "GET", "/v1/keys", &[], false),
        (&on, "GET", "/V1/keys/me", &[], false),
        (&on, "GET", "/v1/keys/me", grpc, false),
        (&on, "GET", "/v1/keys/me", web, false),
        (&on, "GET", "/v1/keys/me", connect, false),
        (&on, "GET", call, &[], false),
        (&off, "GET", "/v1/keys/me", &[], false),
        (&elsewhere, "GET", "/v1/keys/me", &[], false),
        (&elsewhere, "GET", "/me", &[], true),
    ];
    for (config, method, path, more, live) in cases {
        let key: Headers<'_> = &[("x-api-key", KEY)];
        let request = request(method, path, &[key, more].concat());
        let mut removed = Vec::new();
        let next = begin(config, &request, |name| removed.push(name));
        let Next::Ask { introspects, .. } = next else {
            panic!("{method} {path}: no verdict is asked for");
        };
        assert_eq!(introspects, live, "{method} {path}");
        assert_eq!(removed, [b"x-api-key"]);
    }
}

#[test]
fn without_a_key_introspection_is_refused_like_any_request() {
    let on = on();
    let cases: [(&str, Headers<'_>, Denial); 3] = [
        ("none", &[], Denial::Missing),
        ("no key", &[("x-api-key", "aw_short")], Denial::Invalid),
        (
            "two",
            &[("x-api-key", KEY), ("x-api-key", KEY)],
            Denial::Invalid,
        ),
    ];
    for (name, headers, expected) in cases {
        let request = request("GET", "/v1/keys/me", headers);
        assert_eq!(
            begin(&on, &request, |_| {}),
            Next::Refuse(expected),
            "{name}"
        );
    }
}
