mod introspection;

use super::*;
use crate::record::Fields;

const KEY: &str = "aw_0123456789abcdefghijklmnopqrstuvwxyzABCD-_";
const NOW: Duration = Duration::from_secs(1_800_000_000);

type Headers<'a> = &'a [(&'a str, &'a str)];

fn config(rest: &str) -> Config {
    Config::parse(format!(r#"{{"lookup":{{"cluster":"auth"}}{rest}}}"#).as_bytes()).unwrap()
}

fn request(method: &str, path: &str, headers: &[(&str, &str)]) -> Request {
    let pseudo = [(":method", method), (":path", path)];
    let headers: Vec<_> = pseudo
        .iter()
        .chain(headers)
        .map(|(name, value)| (*name, value.as_bytes()))
        .collect();
    Request::new(&headers)
}

const FIELDS: Fields<'static> = Fields {
    key_id: "key_1",
    account_id: Some("acct_1"),
    environment: None,
    expires_at: None,
    endpoints: None,
};

fn record(fields: Fields<'_>) -> Rc<Record> {
    Rc::new(Record::new(fields).unwrap())
}

fn active(fields: Fields<'_>) -> Verdict {
    Verdict::Active(record(fields))
}

/// Takes a request with a good key to where it needs a verdict, and hands it over.
fn settled(config: &Config, request: &Request, verdict: Verdict) -> (Outcome, Step) {
    let begun = begin(config, request);
    assert!(matches!(begun.step, Step::Ask(_)));
    let mut state = begun.state;
    assert!(state.holds_body());
    let path = || request.path();
    let step = state.settle(config, verdict, Some(Source::Cache), NOW, path);
    let State::Settled(settled) = state else {
        panic!("a verdict settles a request");
    };
    assert_eq!(settled.source, Some(Source::Cache));
    (settled.outcome, step)
}

fn with_key(path: &str) -> Request {
    request("GET", path, &[("x-api-key", KEY)])
}

#[test]
fn rows_five_to_ten_of_the_decision_table() {
    use Denial::{EndpointRestricted, Expired, Internal, NotFound, Revoked};
    let any = config("");
    let production = config(r#","environment":"production""#);
    let refused = Outcome::Refused;
    let in_environment = |environment| Fields {
        environment: Some(environment),
        ..FIELDS
    };
    let ending = |at: Duration| Fields {
        expires_at: Some(at),
        ..FIELDS
    };
    fn limited<'a>(prefixes: &'a [&'a str]) -> Fields<'a> {
        Fields {
            endpoints: Some(prefixes),
            ..FIELDS
        }
    }
    let ms = Duration::from_millis(1);
    let no_answer = Verdict::Indeterminate(Cause::NoAnswer);
    let dead_and_restricted = Fields {
        expires_at: Some(NOW),
        ..limited(&[])
    };
    let cases = [
        (
            "5: no record",
            &any,
            "/",
            Verdict::NotFound,
            refused(NotFound),
        ),
        (
            "5: another environment",
            &production,
            "/",
            active(in_environment("staging")),
            refused(NotFound),
        ),
        (
            "5: no environment",
            &production,
            "/",
            active(FIELDS),
            refused(NotFound),
        ),
        (
            "5: environment in another case",
            &production,
            "/",
            active(in_environment("Production")),
            refused(NotFound),
        ),
        (
            "5: before 6",
            &production,
            "/",
            Verdict::Revoked(record(in_environment("staging"))),
            refused(NotFound),
        ),
        (
            "5: this environment",
            &production,
            "/",
            active(in_environment("production")),
            Outcome::Allowed,
        ),
        (
            "5: any environment",
            &any,
            "/",
            active(in_environment("staging")),
            Outcome::Allowed,
        ),
        (
            "6: revoked",
            &any,
            "/",
            Verdict::Revoked(record(FIELDS)),
            refused(Revoked),
        ),
        (
            "6: before 7",
            &any,
            "/",
            Verdict::Revoked(record(ending(NOW))),
            refused(Revoked),
        ),
        (
            "6: before 8",
            &any,
            "/",
            Verdict::Revoked(record(limited(&[]))),
            refused(Revoked),
        ),
        (
            "7: just past",
            &any,
            "/",
            active(ending(NOW - ms)),
            refused(Expired),
        ),
        ("7: now", &any, "/", active(ending(NOW)), refused(Expired)),
        (
            "7: not yet",
            &any,
            "/",
            active(ending(NOW + ms)),
            Outcome::Allowed,
        ),
        (
            "7: before 8",
            &any,
            "/",
            active(dead_and_restricted),
            refused(Expired),
        ),
        (
            "8: no endpoint",
            &any,
            "/v1",
            active(limited(&[])),
            refused(EndpointRestricted),
        ),
        (
            "8: outside",
            &any,
            "/v1/astrology",
            active(limited(&["/v1/astro"])),
            refused(EndpointRestricted),
        ),
        (
            "8: climbing out",
            &any,
            "/v1/astro/..%2fadmin",
            active(limited(&["/v1/astro"])),
            refused(EndpointRestricted),
        ),
        (
            "8: query is no path",
            &any,
            "/v2?/v1/astro",
            active(limited(&["/v1/astro"])),
            refused(EndpointRestricted),
        ),
        (
            "8: inside",
            &any,
            "/v1/astro/natal?x=1",
            active(limited(&["/v1/astro"])),
            Outcome::Allowed,
        ),
        (
            "8: the second",
            &any,
            "/v1/b",
            active(limited(&["/v1/a", "/v1/b"])),
            Outcome::Allowed,
        ),
        ("9: active", &any, "/", active(FIELDS), Outcome::Allowed),
        ("10: no answer", &any, "/", no_answer, refused(Internal)),
    ];
    for (name, config, path, verdict, expected) in cases {
        let (outcome, step) = settled(config, &with_key(path), verdict);
        assert_eq!(outcome, expected, "{name}");
        match (outcome, step) {
            (Outcome::Allowed, Step::Forward { .. }) => {}
            (Outcome::Refused(outcome), Step::Refuse { denial, cause, .. }) => {
                assert_eq!(outcome, denial, "{name}");
                assert_eq!(
                    cause.is_some(),
                    denial == Internal,
                    "{name}: the log's reason"
                );
            }
            _ => panic!("{name}: the step is another than the outcome"),
        }
    }
}

#[test]
fn without_a_key_no_lookup_is_made() {
    let config = config("");
    let cases: [(&str, Headers<'_>, Denial); 4] = [
        ("2: none", &[], Denial::Missing),
        (
            "2: another scheme",
            &[("authorization", "Basic dTpw")],
            Denial::Missing,
        ),
        (
            "3: two",
            &[("x-api-key", KEY), ("x-api-key", KEY)],
            Denial::Invalid,
        ),
        (
            "4: misshapen",
            &[("x-api-key", "aw_short")],
            Denial::Invalid,
        ),
    ];
    for (name, headers, expected) in cases {
        let request = request("GET", "/", headers);
        let begun = begin(&config, &request);
        assert!(
            matches!(begun.step, Step::Refuse { denial, form: Form::Http, cause: None } if denial == expected),
            "{name}"
        );
        assert!(
            begun.state.holds_body(),
            "{name}: a refused body goes nowhere"
        );
    }
}

#[test]
fn exemptions() {
    let config =
        config(r#","exempt":{"paths":["/healthz"],"path_prefixes":["/public"],"preflight":true}"#);
    let no_preflight = self::config(r#","exempt":{"preflight":false}"#);
    let cors: &[(&str, &str)] = &[
        ("origin", "https://a"),
        ("access-control-request-method", "PUT"),
    ];
    let no_headers: &[(&str, &str)] = &[];
    let cases = [
        ("path", &config, "GET", "/healthz", no_headers, true),
        (
            "path with a query",
            &config,
            "GET",
            "/healthz?full=1",
            no_headers,
            true,
        ),
        ("any method", &config, "POST", "/healthz", no_headers, true),
        (
            "below a path",
            &config,
            "GET",
            "/healthz/x",
            no_headers,
            false,
        ),
        (
            "path with a slash",
            &config,
            "GET",
            "/healthz/",
            no_headers,
            false,
        ),
        (
            "path in another case",
            &config,
            "GET",
            "/Healthz",
            no_headers,
            false,
        ),
        ("prefix", &config, "GET", "/public", no_headers, true),
        (
            "below a prefix",
            &config,
            "GET",
            "/public/a/b",
            no_headers,
            true,
        ),
        (
            "longer word",
            &config,
            "GET",
            "/publicity",
            no_headers,
            false,
        ),
        (
            "climbing out",
            &config,
            "GET",
            "/public/../v1",
            no_headers,
            false,
        ),
        (
            "climbing out, encoded",
            &config,
            "GET",
            "/public/%2e%2e/v1",
            no_headers,
            false,
        ),
        (
            "prefix in the query",
            &config,
            "GET",
            "/v1?/public",
            no_headers,
            false,
        ),
        ("preflight", &config, "OPTIONS", "/v1", cors, true),
        (
            "preflight is off",
            &no_preflight,
            "OPTIONS",
            "/v1",
            cors,
            false,
        ),
        (
            "options alone",
            &config,
            "OPTIONS",
            "/v1",
            no_headers,
            false,
        ),
        (
            "options with origin",
            &config,
            "OPTIONS",
            "/v1",
            &cors[..1],
            false,
        ),
        (
            "options with method",
            &config,
            "OPTIONS",
            "/v1",
            &cors[1..],
            false,
        ),
        (
            "empty origin",
            &config,
            "OPTIONS",
            "/v1",
            &[("origin", ""), cors[1]],
            false,
        ),
        ("not options", &config, "GET", "/v1", cors, false),
        (
            "method in another case",
            &config,
            "options",
            "/v1",
            cors,
            false,
        ),
    ];
    for (name, config, method, path, headers, expected) in cases {
        let request = request(method, path, headers);
        let begun = begin(config, &request);
        let exempt = begun.step == Step::Forward { record: None };
        assert_eq!(exempt, expected, "{name}");
        let settled = State::Settled(Settled {
            outcome: Outcome::Exempt,
            source: None,
        });
        assert_eq!(begun.state == settled, expected, "{name}");
        assert_eq!(begun.state.holds_body(), !expected, "{name}");
    }
}

#[test]
fn identity_headers_of_the_client_are_removed_from_every_request() {
    let config = config(r#","exempt":{"paths":["/healthz"]}"#);
    let spoof = [
        ("x-keystile-account-id", "acct_evil"),
        ("x-keystile-account-id", "acct_worse"),
        ("x_keystile_account_id", "acct_cgi"),
        ("x-keystile_key-id", "key_mixed"),
        ("x-keystile-key", "not an identity header"),
    ];
    let expected = [
        "x-keystile-account-id",
        "x_keystile_account_id",
        "x-keystile-key_id",
    ];
    let with = |extra: (&'static str, &'static str)| {
        let mut headers = spoof.to_vec();
        headers[3] = ("x-keystile-key_id", "key_mixed");
        headers.push(extra);
        headers
    };
    for (name, path, extra) in [
        ("exempt", "/healthz", ("accept", "*/*")),
        ("refused", "/", ("accept", "*/*")),
        ("looked up", "/", ("accept", "*/*")),
    ] {
        let mut headers = with(extra);
        if name == "looked up" {
            headers.push(("x-api-key", KEY));
        }
        let request = request("GET", path, &headers);
        let begun = begin(&config, &request);
        let removed: Vec<_> = begun
            .remove
            .iter()
            .copied()
            .filter(|name| *name != "x-api-key")
            .collect();
        assert_eq!(removed, expected, "{name}");
    }
}

#[test]
fn the_identity_comes_from_the_record() {
    let default = config("");
    let custom = config(
        r#","identity_headers":{"X-Key":"key_id","x-env":"environment","x-account":"account_id"}"#,
    );
    let none = config(r#","identity_headers":{}"#);
    let full = Fields {
        environment: Some("production"),
        ..FIELDS
    };
    let anonymous = Fields {
        account_id: None,
        ..FIELDS
    };
    let cases: [(&str, &Config, Fields<'_>, Headers<'_>); 4] = [
        (
            "default",
            &default,
            full,
            &[
                ("x-keystile-key-id", "key_1"),
                ("x-keystile-account-id", "acct_1"),
            ],
        ),
        (
            "without an account",
            &default,
            anonymous,
            &[("x-keystile-key-id", "key_1")],
        ),
        (
            "configured",
            &custom,
            full,
            &[
                ("x-key", "key_1"),
                ("x-env", "production"),
                ("x-account", "acct_1"),
            ],
        ),
        ("none", &none, full, &[]),
    ];
    for (name, config, fields, expected) in cases {
        let (_, step) = settled(config, &with_key("/"), active(fields));
        let Step::Forward {
            record: Some(record),
        } = step
        else {
            panic!("{name}: not forwarded");
        };
        let set: Vec<_> = identity(config, &record).collect();
        assert_eq!(set, expected, "{name}");
    }
}

#[test]
fn the_credential_is_removed_before_anything_else() {
    let drop = config(r#","exempt":{"paths":["/healthz"]}"#);
    let forward = config(r#","credential":{"forward":true}"#);
    let bearer = format!("Bearer {KEY}");
    let cases: [(&str, &Config, &str, &str, &[&str]); 5] = [
        ("looked up", &drop, "/", &bearer, &["authorization"]),
        (
            "misshapen",
            &drop,
            "/",
            "Bearer aw_short",
            &["authorization"],
        ),
        ("exempt", &drop, "/healthz", &bearer, &["authorization"]),
        (
            "exempt, another's token",
            &drop,
            "/healthz",
            "Bearer eyJh",
            &[],
        ),
        ("forwarded", &forward, "/", &bearer, &[]),
    ];
    for (name, config, path, value, expected) in cases {
        let request = request("GET", path, &[("authorization", value)]);
        let begun = begin(config, &request);
        assert_eq!(begun.remove, expected, "{name}");
    }
}

#[test]
fn grpc_requests_get_the_grpc_form() {
    let config = config("");
    for (content_type, expected) in [
        ("application/grpc", Form::Grpc),
        ("application/grpc+proto", Form::Grpc),
        ("application/grpc-web", Form::Http),
        ("application/grpc-web+proto", Form::Http),
        ("application/json", Form::Http),
        ("", Form::Http),
    ] {
        let request = request("POST", "/s/m", &[("content-type", content_type)]);
        let begun = begin(&config, &request);
        let Step::Refuse { form, .. } = begun.step else {
            panic!("{content_type}: not refused");
        };
        assert_eq!(form, expected, "{content_type}");
    }
}

#[test]
fn a_settled_request_is_settled_once() {
    let config = config("");
    let mut state = begin(&config, &with_key("/")).state;
    let source = Some(Source::Lookup);
    state.settle(&config, Verdict::NotFound, source, NOW, || "/");
    let settled = state;
    let step = state.settle(&config, active(FIELDS), source, NOW, || "/");
    assert!(step == Step::Ignore);
    assert_eq!(state, settled);
    let expected = Settled {
        outcome: Outcome::Refused(Denial::NotFound),
        source,
    };
    assert_eq!(state, State::Settled(expected));
    assert!(state.holds_body());
}

#[test]
fn the_key_is_in_no_callout() {
    let config = config("");
    let request = with_key("/");
    let Step::Ask(hash) = begin(&config, &request).step else {
        panic!("no lookup");
    };
    let text = format!("{:?}", config.lookup.callout(&hash, &request));
    assert!(text.contains(&hash.to_string()), "{text}");
    assert!(!text.contains("0123456789abcdefghij"), "{text}");
}

#[test]
fn the_access_log_gets_what_there_is() {
    let id = RequestId::new(Duration::ZERO, 0);
    let not_found = Outcome::Refused(Denial::NotFound);
    let missing = Outcome::Refused(Denial::Missing);
    let cases = [
        (
            Outcome::Allowed,
            Some(Source::Cache),
            None,
            "outcome=allowed source=cache",
        ),
        (
            Outcome::Allowed,
            Some(Source::Stale),
            None,
            "outcome=allowed source=stale",
        ),
        (Outcome::Exempt, None, None, "outcome=exempt"),
        (
            Outcome::Introspected,
            Some(Source::Lookup),
            Some(id),
            "outcome=introspected source=lookup request_id=req_00000000000000000000000000",
        ),
        (
            not_found,
            Some(Source::Coalesced),
            Some(id),
            "outcome=api_key_not_found source=coalesced \
             request_id=req_00000000000000000000000000",
        ),
        (
            missing,
            None,
            Some(id),
            "outcome=api_key_missing request_id=req_00000000000000000000000000",
        ),
    ];
    for (outcome, source, reply, expected) in cases {
        let settled = Settled { outcome, source };
        assert_eq!(settled.log_entry(reply), expected);
    }
}

#[test]
fn trailers_are_no_way_around() {
    let drop = config("");
    let forward = config(r#","credential":{"forward":true}"#);
    let cases: [(&str, &Config, Headers<'_>, &[&str]); 4] = [
        (
            "identity",
            &drop,
            &[("x-keystile-key-id", "key_evil"), ("x_keystile_key_id", "")],
            &["x-keystile-key-id", "x_keystile_key_id"],
        ),
        ("key", &drop, &[("x-api-key", KEY)], &["x-api-key"]),
        ("key, forwarded", &forward, &[("x-api-key", KEY)], &[]),
        (
            "others",
            &drop,
            &[("x-checksum", "1"), ("x-api-key", "mine")],
            &[],
        ),
    ];
    for (name, config, trailers, expected) in cases {
        let trailers = request("GET", "/", trailers);
        assert_eq!(kept_back(config, &trailers), expected, "{name}");
    }
}

/// A held request's path is fetched from the proxy, so not without need.
#[test]
fn the_path_matters_to_limited_keys_alone() {
    let config = config("");
    let endpoints: &[&str] = &["/v1"];
    let limited = Fields {
        endpoints: Some(endpoints),
        ..FIELDS
    };
    let cases = [
        ("unlimited", active(FIELDS), false),
        ("limited", active(limited), true),
        ("revoked", Verdict::Revoked(record(limited)), false),
        ("not found", Verdict::NotFound, false),
    ];
    for (name, verdict, expected) in cases {
        let mut asked = false;
        let path = || {
            asked = true;
            "/v1/x"
        };
        let mut state = begin(&config, &with_key("/v1/x")).state;
        state.settle(&config, verdict, None, NOW, path);
        assert_eq!(asked, expected, "{name}");
    }
}
