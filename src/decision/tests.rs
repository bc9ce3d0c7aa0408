mod exempt;
mod introspection;
mod logged;
mod removed;

use super::*;
use crate::auth::record::Fields;
use crate::engine::settings::Settings;

const KEY: &str = "aw_0123456789abcdefghijklmnopqrstuvwxyzABCD-_";
const NOW: Duration = Duration::from_secs(1_800_000_000);

type Headers<'a> = &'a [(&'a str, &'a str)];

fn settings(rest: &str) -> Settings {
    crate::config::parse(format!(r#"{{"lookup":{{"cluster":"auth"}}{rest}}}"#).as_bytes()).unwrap()
}

fn config(rest: &str) -> Policy {
    settings(rest).policy
}

fn request(method: &str, path: &str, headers: &[(&str, &str)]) -> Request {
    let pseudo = [(":method", method), (":path", path)];
    let headers: Vec<_> = pseudo
        .iter()
        .chain(headers)
        .map(|(name, value)| (*name, value.as_bytes()))
        .collect();
    Request::new(&headers).ending_with_headers(true)
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
fn settled(config: &Policy, request: &Request, verdict: Verdict) -> (Outcome, Step) {
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
            matches!(begun.step, Step::Refuse { denial, form: ReplyFormat::Http, cause: None, record: None } if denial == expected),
            "{name}"
        );
        assert!(
            begun.state.holds_body(),
            "{name}: a refused body goes nowhere"
        );
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
    let cases: [(&str, &Policy, Fields<'_>, Headers<'_>); 4] = [
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
fn grpc_requests_get_the_grpc_form() {
    let config = config("");
    for (content_type, expected) in [
        ("application/grpc", ReplyFormat::Grpc),
        ("application/grpc+proto", ReplyFormat::Grpc),
        ("application/grpc-web", ReplyFormat::Http),
        ("application/grpc-web+proto", ReplyFormat::Http),
        ("application/json", ReplyFormat::Http),
        ("", ReplyFormat::Http),
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
    let settings = settings("");
    let request = with_key("/");
    let Step::Ask(hash) = begin(&settings.policy, &request).step else {
        panic!("no lookup");
    };
    let text = format!(
        "{:?}",
        settings
            .lookup
            .callout(&hash, &request, &settings.policy.credential)
    );
    assert!(text.contains(&hash.to_string()), "{text}");
    assert!(!text.contains("0123456789abcdefghij"), "{text}");
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
