mod exempt;
mod introspection;
mod removed;
mod rows;

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
    account_id: Some("acct_1"),
    ..Fields::new("key_1")
};

fn record(fields: Fields<'_>) -> Rc<Record> {
    Rc::new(Record::new(fields).unwrap())
}

fn active(fields: Fields<'_>) -> Verdict {
    Verdict::Active(record(fields))
}

/// Takes a request with a valid key to the point where it needs a verdict, and this verdict through
/// the rest of the table.
fn decided(policy: &Policy, request: &Request, verdict: Verdict) -> Result<Rc<Record>, Refusal> {
    assert!(matches!(
        begin(policy, request, |_| {}),
        Next::Ask {
            introspects: false,
            ..
        }
    ));
    judge(policy, verdict, || NOW).and_then(|record| permit(record, || request.path()))
}

fn with_key(path: &str) -> Request {
    request("GET", path, &[("x-api-key", KEY)])
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
        let record = record(fields);
        let set: Vec<_> = config.identity(&record).collect();
        assert_eq!(set, expected, "{name}");
    }
}

#[test]
fn the_key_is_in_no_callout() {
    let settings = settings("");
    let request = with_key("/");
    let Next::Ask { hash, .. } = begin(&settings.policy, &request, |_| {}) else {
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
