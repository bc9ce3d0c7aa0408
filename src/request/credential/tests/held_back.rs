//! Which headers are held back because they contain a credential.

use super::*;

#[test]
fn headers_with_credentials_are_held_back() {
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
            "key after another scheme",
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
            "key after token=",
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
            "key after a colon",
            &[("authorization", "Bearer:$")],
            &["authorization"],
            &["authorization"],
        ),
        (
            "key after a semicolon",
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
