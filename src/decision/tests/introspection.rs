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
    let cases: [(&Policy, &str, &str, Headers<'_>, bool); 12] = [
        (&on, "GET", "/v1/keys/me", &[], true),
        (&on, "GET", "/v1/keys/me?verbose=1", &[], true),
        (&on, "HEAD", "/v1/keys/me", &[], true),
        (&on, "POST", "/v1/keys/me", &[], false),
        (&on, "get", "/v1/keys/me", &[], false),
        (&on, "GET", "/v1/keys/me/", &[], false),
        (&on, "GET", "/v1/keys", &[], false),
        (&on, "GET", "/V1/keys/me", &[], false),
        (&on, "GET", "/v1/keys/me", grpc, false),
        (&off, "GET", "/v1/keys/me", &[], false),
        (&elsewhere, "GET", "/v1/keys/me", &[], false),
        (&elsewhere, "GET", "/me", &[], true),
    ];
    for (config, method, path, more, live) in cases {
        let key: Headers<'_> = &[("x-api-key", KEY)];
        let request = request(method, path, &[key, more].concat());
        let begun = begin(config, &request);
        match begun.step {
            Step::AskLive(_) => assert!(live, "{method} {path}"),
            Step::Ask(_) => assert!(!live, "{method} {path}"),
            _ => panic!("{method} {path}: no verdict is asked for"),
        }
        assert_eq!(begun.remove, ["x-api-key"]);
        assert!(begun.state.holds_body());
    }
}

#[test]
fn without_a_key_it_is_refused_like_any_request() {
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
        let begun = begin(&on, &request);
        let Step::Refuse { denial, .. } = begun.step else {
            panic!("{name}: not refused");
        };
        assert_eq!(denial, expected, "{name}");
    }
}

#[test]
fn an_active_key_is_described_and_any_other_refused() {
    let on = on();
    let here = Fields {
        environment: Some("production"),
        ..FIELDS
    };
    let ended = Fields {
        expires_at: Some(NOW),
        ..here
    };
    // No endpoint at all, and so not this one either.
    let limited = Fields {
        endpoints: Some(&[]),
        ..here
    };
    let refused = |denial| Outcome::Refused(denial);
    let no_answer = Verdict::Indeterminate(Cause::NoAnswer);
    let cases = [
        ("active", active(here), Outcome::Introspected),
        ("limited", active(limited), Outcome::Introspected),
        ("ended", active(ended), refused(Denial::Expired)),
        ("elsewhere", active(FIELDS), refused(Denial::NotFound)),
        (
            "revoked",
            Verdict::Revoked(record(here)),
            refused(Denial::Revoked),
        ),
        ("not found", Verdict::NotFound, refused(Denial::NotFound)),
        ("no verdict", no_answer, refused(Denial::Internal)),
    ];
    for (name, verdict, expected) in cases {
        let mut state = begin(&on, &with_key("/v1/keys/me")).state;
        let source = Some(Source::Lookup);
        let step = state.settle(&on, verdict, source, NOW, || "/v1/keys/me");
        let outcome = state.settled().map(|settled| settled.outcome);
        assert_eq!(outcome, Some(expected), "{name}");
        let described = matches!(step, Step::Describe { .. });
        assert_eq!(described, expected == Outcome::Introspected, "{name}");
        assert!(state.holds_body(), "{name}: nothing goes to the upstream");
    }
}
