//! Rows 2 to 10 of the decision table.

use super::*;

#[test]
fn rows_five_to_ten_of_the_decision_table() {
    use Denial::{EndpointRestricted, Expired, Internal, NotFound, Revoked};
    let any = config("");
    let production = config(r#","environment":"production""#);
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
        ("5: no record", &any, "/", Verdict::NotFound, Some(NotFound)),
        (
            "5: another environment",
            &production,
            "/",
            active(in_environment("staging")),
            Some(NotFound),
        ),
        (
            "5: no environment",
            &production,
            "/",
            active(FIELDS),
            Some(NotFound),
        ),
        (
            "5: environment in another case",
            &production,
            "/",
            active(in_environment("Production")),
            Some(NotFound),
        ),
        (
            "5: before 6",
            &production,
            "/",
            Verdict::Revoked(record(in_environment("staging"))),
            Some(NotFound),
        ),
        (
            "5: this environment",
            &production,
            "/",
            active(in_environment("production")),
            None,
        ),
        (
            "5: any environment",
            &any,
            "/",
            active(in_environment("staging")),
            None,
        ),
        (
            "6: revoked",
            &any,
            "/",
            Verdict::Revoked(record(FIELDS)),
            Some(Revoked),
        ),
        (
            "6: before 7",
            &any,
            "/",
            Verdict::Revoked(record(ending(NOW))),
            Some(Revoked),
        ),
        (
            "6: before 8",
            &any,
            "/",
            Verdict::Revoked(record(limited(&[]))),
            Some(Revoked),
        ),
        (
            "7: expired before now",
            &any,
            "/",
            active(ending(NOW - ms)),
            Some(Expired),
        ),
        (
            "7: expires now",
            &any,
            "/",
            active(ending(NOW)),
            Some(Expired),
        ),
        (
            "7: expires later",
            &any,
            "/",
            active(ending(NOW + ms)),
            None,
        ),
        (
            "7: before 8",
            &any,
            "/",
            active(dead_and_restricted),
            Some(Expired),
        ),
        (
            "8: no endpoints",
            &any,
            "/v1",
            active(limited(&[])),
            Some(EndpointRestricted),
        ),
        (
            "8: outside",
            &any,
            "/v1/astrology",
            active(limited(&["/v1/astro"])),
            Some(EndpointRestricted),
        ),
        (
            "8: `..` in the path",
            &any,
            "/v1/astro/..%2fadmin",
            active(limited(&["/v1/astro"])),
            Some(EndpointRestricted),
        ),
        (
            "8: the query does not count",
            &any,
            "/v2?/v1/astro",
            active(limited(&["/v1/astro"])),
            Some(EndpointRestricted),
        ),
        (
            "8: inside",
            &any,
            "/v1/astro/natal?x=1",
            active(limited(&["/v1/astro"])),
            None,
        ),
        (
            "8: the second endpoint",
            &any,
            "/v1/b",
            active(limited(&["/v1/a", "/v1/b"])),
            None,
        ),
        ("9: active", &any, "/", active(FIELDS), None),
        ("10: no answer", &any, "/", no_answer, Some(Internal)),
    ];
    for (name, config, path, verdict, expected) in cases {
        let refusal = decided(config, &with_key(path), verdict).err();
        let denial = refusal.as_ref().map(|refusal| refusal.denial);
        assert_eq!(denial, expected, "{name}");
        let has_cause = refusal.is_some_and(|refusal| refusal.cause.is_some());
        assert_eq!(
            has_cause,
            expected == Some(Internal),
            "{name}: the log's reason"
        );
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
            "4: malformed",
            &[("x-api-key", "aw_short")],
            Denial::Invalid,
        ),
    ];
    for (name, headers, expected) in cases {
        let request = request("GET", "/", headers);
        assert_eq!(
            begin(&config, &request, |_| {}),
            Next::Refuse(expected),
            "{name}"
        );
    }
}

/// A paused request's path is fetched from the proxy, and the wall clock read, only if they matter.
#[test]
fn path_and_time_are_read_only_if_the_key_needs_them() {
    let config = config("");
    let limited = Fields {
        endpoints: Some(&["/v1"]),
        ..FIELDS
    };
    let ending = Fields {
        expires_at: Some(NOW + Duration::from_secs(1)),
        ..FIELDS
    };
    let cases = [
        ("unlimited", active(FIELDS), false, false),
        ("limited", active(limited), true, false),
        ("ending", active(ending), false, true),
        ("revoked", Verdict::Revoked(record(limited)), false, false),
        ("not found", Verdict::NotFound, false, false),
    ];
    for (name, verdict, needs_path, needs_time) in cases {
        let (mut asks_path, mut asks_time) = (false, false);
        let time = || {
            asks_time = true;
            NOW
        };
        let path = || {
            asks_path = true;
            "/v1/x"
        };
        let _ = judge(&config, verdict, time).and_then(|record| permit(record, path));
        assert_eq!((asks_path, asks_time), (needs_path, needs_time), "{name}");
    }
}

/// Only requests with a known key are logged with its ID. A record of another environment does not
/// count.
#[test]
fn a_refusal_has_the_record_of_a_known_key() {
    let production = config(r#","environment":"production""#);
    let of = |fields| Fields {
        environment: Some("production"),
        ..fields
    };
    let ended = Fields {
        expires_at: Some(NOW),
        ..FIELDS
    };
    let restricted = Fields {
        endpoints: Some(&[]),
        ..FIELDS
    };
    let cases = [
        ("revoked", Verdict::Revoked(record(of(FIELDS))), true),
        ("expired", active(of(ended)), true),
        ("restricted", active(of(restricted)), true),
        ("of another environment", active(FIELDS), false),
        (
            "revoked in another environment",
            Verdict::Revoked(record(FIELDS)),
            false,
        ),
        ("not found", Verdict::NotFound, false),
        ("unknown", Verdict::Indeterminate(Cause::NoAnswer), false),
    ];
    for (name, verdict, expected) in cases {
        let refusal = decided(&production, &with_key("/"), verdict).err();
        let refusal = refusal.unwrap_or_else(|| panic!("{name}: not refused"));
        assert_eq!(refusal.record.is_some(), expected, "{name}");
    }
}
