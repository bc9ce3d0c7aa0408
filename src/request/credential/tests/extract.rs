//! Whether a request has a key: rows 2 to 4 of the decision table.

use super::*;

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
        ("two spaces", &[("authorization", "Bearer   $")], key),
        ("tab", &[("authorization", "Bearer\t$")], key),
        ("spaces around", &[("authorization", " Bearer $ ")], key),
        ("x-api-key", &[("x-api-key", "$")], key),
        ("x-api-key with spaces", &[("x-api-key", "\t$ ")], key),
        ("empty", &[("authorization", "")], missing),
        ("only spaces", &[("x-api-key", " \t ")], missing),
        ("scheme alone", &[("authorization", "Bearer")], missing),
        (
            "scheme and spaces",
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
            "empty bearer and x-api-key",
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
            "space inside",
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
            r#"{{"formats":[{{"prefix":"p_","min_length":8,"max_length":8,"alphabet":"{alphabet}"}}]}}"#
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
