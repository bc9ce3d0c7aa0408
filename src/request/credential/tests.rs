use super::*;
use crate::config;

const KEY: &str = "aw_0123456789abcdefghijklmnopqrstuvwxyzABCD-_";
const OTHER: &str = "aw_0123456789abcdefghijklmnopqrstuvwxyzABCD-X";

type Headers<'a> = &'a [(&'a str, &'a str)];

fn rules(credential: &str) -> CredentialRules {
    let json = format!(r#"{{"lookup":{{"cluster":"auth"}},"credential":{credential}}}"#);
    config::parse(json.as_bytes()).unwrap().policy.credential
}

fn request<'a>(headers: &[(&'a str, &'a [u8])]) -> Vec<Header<'a>> {
    let header = |(name, value): &(&'a str, &'a [u8])| (name.as_bytes(), *value);
    headers.iter().map(header).collect()
}

/// `$` stands for the key, `%` for another key.
fn fill(value: &str) -> Vec<u8> {
    value.replace('$', KEY).replace('%', OTHER).into_bytes()
}

#[test]
fn rows_two_to_four_of_the_decision_table() {
    let key = Credential::Key(ApiKey(KEY.as_bytes()));
    let (missing, invalid) = (Credential::Missing, Credential::Invalid);
    let cases: &[(&str, Headers<'_>, Credential<'_>)] = &[
        ("no header", &[], missing),
        ("bearer", &[("authorization", "Bearer $")], key),
        (
            "scheme in lower case",
            &[("authorization", "bearer $")],
            key,
        ),
        (
            "scheme in upper case",
            &[("authorization", "BEARER $")],
            key,
        ),
        ("double blank", &[("authorization", "Bearer   $")], key),
        ("tab", &[("authorization", "Bearer\t$")], key),
        ("blanks around", &[("authorization", " Bearer $ ")], key),
        ("x-api-key", &[("x-api-key", "$")], key),
        ("x-api-key with blanks", &[("x-api-key", "\t$ ")], key),
        ("empty", &[("authorization", "")], missing),
        ("blank", &[("x-api-key", " \t ")], missing),
        ("scheme alone", &[("authorization", "Bearer")], missing),
        (
            "scheme and blanks",
            &[("authorization", "Bearer  ")],
            missing,
        ),
        (
            "another scheme",
            &[("authorization", "Basic dTpw")],
            missing,
        ),
        (
            "another scheme with a key",
            &[("authorization", "Basic $")],
            missing,
        ),
        ("no scheme", &[("authorization", "$")], missing),
        (
            "scheme glued to the key",
            &[("authorization", "Bearer$")],
            missing,
        ),
        ("longer scheme", &[("authorization", "Bearers $")], missing),
        (
            "digest with commas",
            &[("authorization", "Digest a=\"b\", c=\"d\"")],
            missing,
        ),
        (
            "many of another scheme",
            &[("authorization", "Basic a"), ("authorization", "Digest b")],
            missing,
        ),
        (
            "repeated empties",
            &[("x-api-key", ""), ("x-api-key", "")],
            missing,
        ),
        ("another header", &[("api-key", "$")], missing),
        (
            "other scheme and x-api-key",
            &[("authorization", "Basic dTpw"), ("x-api-key", "$")],
            key,
        ),
        (
            "blank bearer and x-api-key",
            &[("authorization", "Bearer "), ("x-api-key", "$")],
            key,
        ),
        (
            "both equal",
            &[("authorization", "Bearer $"), ("x-api-key", "$")],
            key,
        ),
        (
            "both differ",
            &[("authorization", "Bearer $"), ("x-api-key", "%")],
            invalid,
        ),
        (
            "second malformed",
            &[("authorization", "Bearer $"), ("x-api-key", "x")],
            invalid,
        ),
        (
            "repeated equal",
            &[("x-api-key", "$"), ("x-api-key", "$")],
            invalid,
        ),
        (
            "repeated different",
            &[("x-api-key", "$"), ("x-api-key", "%")],
            invalid,
        ),
        (
            "repeated with an empty",
            &[("x-api-key", ""), ("x-api-key", "$")],
            invalid,
        ),
        (
            "repeated bearer",
            &[("authorization", "Bearer $"), ("authorization", "Bearer $")],
            invalid,
        ),
        (
            "basic and bearer",
            &[
                ("authorization", "Basic dTpw"),
                ("authorization", "Bearer $"),
            ],
            invalid,
        ),
        ("comma-joined", &[("x-api-key", "$,%")], invalid),
        (
            "comma-joined bearers",
            &[("authorization", "Bearer $, Bearer $")],
            invalid,
        ),
        (
            "comma-joined, second scheme",
            &[("authorization", "Basic dTpw, Bearer $")],
            invalid,
        ),
        ("trailing comma", &[("x-api-key", "$,")], invalid),
        ("leading comma", &[("x-api-key", ",$")], invalid),
        (
            "wrong prefix",
            &[("x-api-key", "sk_0123456789abcdefghijklmnopqrstuvwxyzABCD")],
            invalid,
        ),
        (
            "prefix in another case",
            &[("x-api-key", "AW_0123456789abcdefghijklmnopqrstuvwxyzABCD")],
            invalid,
        ),
        ("prefix alone", &[("x-api-key", "aw_")], invalid),
        (
            "blank inside",
            &[("x-api-key", "aw_0123456789abcdefghij klmnopqrstuvwxyzABCD")],
            invalid,
        ),
        ("bearer in x-api-key", &[("x-api-key", "Bearer $")], invalid),
        ("two words", &[("authorization", "Bearer $ $")], invalid),
        ("quoted", &[("x-api-key", "\"$\"")], invalid),
        (
            "character outside",
            &[("x-api-key", "aw_0123456789abcdefghijklmnopqrstuvwxyzABC+")],
            invalid,
        ),
    ];
    let rules = rules("{}");
    for (name, headers, expected) in cases {
        let headers: Vec<_> = headers.iter().map(|(n, v)| (*n, fill(v))).collect();
        let headers: Vec<_> = headers.iter().map(|(n, v)| (*n, v.as_slice())).collect();
        assert_eq!(rules.extract(&request(&headers)).0, *expected, "{name}");
    }
}

#[test]
fn each_byte_at_each_place_of_a_key() {
    let rules = rules("{}");
    for place in 3..KEY.len() {
        for byte in 0..=u8::MAX {
            let mut key = KEY.as_bytes().to_vec();
            key[place] = byte;
            let fits = byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
            // A space or tab at the very end is not part of the value.
            if place == KEY.len() - 1 && (byte == b' ' || byte == b'\t') {
                continue;
            }
            let request = request(&[("x-api-key", &key)]);
            let found = matches!(rules.extract(&request).0, Credential::Key(_));
            assert_eq!(found, fits, "byte {byte:#04x} at {place}");
        }
    }
}

#[test]
fn lengths_count_the_prefix() {
    let rules = rules("{}");
    for (length, fits) in [
        (42, false),
        (43, true),
        (256, true),
        (257, false),
        (61_440, false),
    ] {
        let key = format!("aw_{}", "k".repeat(length - 3));
        let found = matches!(
            rules.extract(&request(&[("x-api-key", key.as_bytes())])).0,
            Credential::Key(_)
        );
        assert_eq!(found, fits, "{length} bytes");
    }
}

#[test]
fn alphabets() {
    let cases = [
        ("url_safe", "aZ09-_", "aZ09+-"),
        ("alphanumeric", "aZ0900", "aZ09-0"),
        ("hex", "09afAF", "09afAg"),
        ("base64", "aZ9+/=", "aZ9+/-"),
    ];
    for (alphabet, good, bad) in cases {
        let rules = rules(&format!(
            r#"{{"format":{{"prefix":"p_","min_length":8,"max_length":8,"alphabet":"{alphabet}"}}}}"#
        ));
        for (rest, fits) in [(good, true), (bad, false)] {
            let key = format!("p_{rest}");
            let found = matches!(
                rules.extract(&request(&[("x-api-key", key.as_bytes())])).0,
                Credential::Key(_)
            );
            assert_eq!(found, fits, "{alphabet}: {key}");
        }
    }
}

#[test]
fn sources_are_configurable() {
    let rules = rules(
        r#"{"sources":[{"header":"X-Token"},{"header":"authorization","scheme":"ApiKey"},
            {"header":"authorization","scheme":"Bearer"}]}"#,
    );
    let key = Credential::Key(ApiKey(KEY.as_bytes()));
    let cases: &[(&str, &str, Credential<'_>)] = &[
        ("x-token", "$", key),
        ("authorization", "ApiKey $", key),
        ("authorization", "Bearer $", key),
        ("authorization", "Basic $", Credential::Missing),
        ("x-api-key", "$", Credential::Missing),
    ];
    for (header, value, expected) in cases {
        let value = fill(value);
        assert_eq!(
            rules.extract(&request(&[(header, &value)])).0,
            *expected,
            "{header}"
        );
    }
}

#[test]
fn what_is_kept_from_the_upstream() {
    let cases: &[(&str, Headers<'_>, &[&str], &[&str])] = &[
        // name, headers, removed, removed when exempt
        (
            "bearer key",
            &[("authorization", "Bearer $")],
            &["authorization"],
            &["authorization"],
        ),
        (
            "both",
            &[("authorization", "Bearer $"), ("x-api-key", "$")],
            &["authorization", "x-api-key"],
            &["authorization", "x-api-key"],
        ),
        (
            "another scheme",
            &[("authorization", "Basic dTpw")],
            &[],
            &[],
        ),
        (
            "somebody else's token",
            &[("authorization", "Bearer eyJh.eyJz")],
            &["authorization"],
            &[],
        ),
        (
            "damaged key",
            &[("authorization", "Bearer aw_short")],
            &["authorization"],
            &["authorization"],
        ),
        (
            "key without a scheme",
            &[("authorization", "$")],
            &["authorization"],
            &["authorization"],
        ),
        (
            "key behind another scheme",
            &[("authorization", "Basic $")],
            &["authorization"],
            &["authorization"],
        ),
        (
            "key among others",
            &[("x-api-key", "x,$")],
            &["x-api-key"],
            &["x-api-key"],
        ),
        (
            "key in a repeat",
            &[
                ("authorization", "Basic dTpw"),
                ("authorization", "Bearer $"),
            ],
            &["authorization"],
            &["authorization"],
        ),
        (
            "key behind token=",
            &[("authorization", "Token token=$")],
            &["authorization"],
            &["authorization"],
        ),
        (
            "key glued to its scheme",
            &[("authorization", "bEARER$")],
            &["authorization"],
            &["authorization"],
        ),
        (
            "key in quotes",
            &[("authorization", "\"$\"")],
            &["authorization"],
            &["authorization"],
        ),
        (
            "key behind a colon",
            &[("authorization", "Bearer:$")],
            &["authorization"],
            &["authorization"],
        ),
        (
            "key behind a semicolon",
            &[("authorization", "Bearer;$")],
            &["authorization"],
            &["authorization"],
        ),
        (
            "key under another spelling",
            &[("x_api_key", "$")],
            &["x_api_key"],
            &["x_api_key"],
        ),
        (
            "no key under another spelling",
            &[("x_api_key", "mine")],
            &[],
            &[],
        ),
        (
            "prefix inside a word",
            &[("authorization", "Token xaw_x.aw-")],
            &[],
            &[],
        ),
        ("empty", &[("x-api-key", "")], &[], &[]),
        ("another header", &[("x-other", "$")], &[], &[]),
    ];
    let drop = rules("{}");
    let forward = rules(r#"{"forward":true}"#);
    for (name, headers, removed, removed_when_exempt) in cases {
        let headers: Vec<_> = headers.iter().map(|(n, v)| (*n, fill(v))).collect();
        let headers: Vec<_> = headers.iter().map(|(n, v)| (*n, v.as_slice())).collect();
        let request = request(&headers);
        let bytes = |names: &[&'static str]| -> Vec<&[u8]> {
            names.iter().map(|name| name.as_bytes()).collect()
        };
        let (_, holders) = drop.extract(&request);
        let is_removed =
            |at, header| drop.is_held_back(holders, at, header) || drop.is_stray_key(header);
        let all = request.iter().enumerate();
        let all = all.filter(|(at, header)| is_removed(*at, **header));
        let all: Vec<_> = all.map(|(_, (name, _))| *name).collect();
        assert_eq!(all, bytes(removed), "{name}");
        let exempt = request.iter().filter(|header| drop.is_stray_key(**header));
        let exempt: Vec<_> = exempt.map(|(name, _)| *name).collect();
        assert_eq!(exempt, bytes(removed_when_exempt), "{name}, exempt");
        let mut all = request.iter();
        assert!(
            !all.any(|header| forward.is_stray_key(*header)),
            "{name}, forwarded"
        );
    }
}

#[test]
fn debug_shows_no_key() {
    let key = ApiKey(KEY.as_bytes());
    assert_eq!(format!("{key:?}"), "ApiKey(redacted)");
}

/// Every header with a credential is held back, and no other, no matter how many headers there are.
#[test]
fn credentials_are_held_back_at_every_place() {
    let rules = rules("{}");
    for holder in [0, 1, 62, 63, 64, 65, 199] {
        let mut headers = vec![("authorization", &b"Basic dTpw"[..]); 200];
        headers[holder] = ("authorization", b"Bearer mine");
        let request = request(&headers);
        let (_, holders) = rules.extract(&request);
        let held_back = request.iter().enumerate();
        let held_back = held_back.filter(|(at, one)| rules.is_held_back(holders, *at, **one));
        let held_back: Vec<_> = held_back.map(|(at, _)| at).collect();
        assert_eq!(held_back, [holder]);
    }
}
