use super::*;

fn all(map: &HeaderMap) -> Vec<(&[u8], &[u8])> {
    let places = map.places();
    places.map_while(|place| map.header(&place)).collect()
}

#[test]
fn headers_are_read_as_they_were_written() {
    let cases: [&[(&str, &[u8])]; 4] = [
        &[],
        &[(":path", b"/")],
        &[("a", b""), ("", b"b"), ("a", b"\0\xff\0")],
        &[("x-long", &[b'x'; 70_000]), ("y", b"z")],
    ];
    for headers in cases {
        let expected: Vec<_> = headers
            .iter()
            .map(|(name, value)| (name.as_bytes(), *value))
            .collect();
        assert_eq!(all(&HeaderMap(to_map(headers))), expected);
    }
}

#[test]
fn headers_are_picked_by_the_length_of_their_names() {
    let (long, longer) = ("l".repeat(63), "l".repeat(90));
    let names = [
        "",
        "a",
        "authorization",
        "x-api-key",
        "y-api-key",
        &long,
        &longer,
    ];
    let headers = names.map(|name| (name, &b"v"[..]));
    let map = HeaderMap(to_map(&headers));
    let cases: [(&[&str], &[&str]); 5] = [
        (&[], &[]),
        (&["authorization"], &["authorization"]),
        (&["x-api-key", "b"], &["a", "x-api-key", "y-api-key"]),
        (&[&long], &[&long, &longer]),
        (&[&longer], &[&long, &longer]),
    ];
    for (wanted, expected) in cases {
        let picked = map.pick(wanted.iter().copied().collect());
        let picked = picked.as_slice().iter();
        let picked: Vec<_> = picked.map(|(name, _)| *name).collect();
        let expected: Vec<_> = expected.iter().map(|name| name.as_bytes()).collect();
        assert_eq!(picked, expected, "{wanted:?}");
    }
}

#[test]
fn many_headers_are_picked_in_order() {
    for count in 0..40 {
        let values: Vec<_> = (0..count).map(|n: usize| n.to_string()).collect();
        let headers: Vec<_> = values.iter().map(|value| ("a", value.as_bytes())).collect();
        let map = HeaderMap(to_map(&headers));
        let picked = map.pick(["a"].into_iter().collect());
        let picked: Vec<_> = picked.as_slice().iter().map(|(_, value)| *value).collect();
        let expected: Vec<_> = values.iter().map(String::as_bytes).collect();
        assert_eq!(picked, expected);
    }
}

/// The bytes that the SDK's own reader is tested with.
#[test]
fn the_map_has_the_encoding_of_the_abi() {
    let map = b"\x02\0\0\0\x07\0\0\0\x03\0\0\0\x05\0\0\0\x01\0\0\0:method\0GET\0:path\0/\0";
    let expected: [(&[u8], &[u8]); 2] = [(b":method", b"GET"), (b":path", b"/")];
    assert_eq!(all(&HeaderMap(map.to_vec())), expected);
    let headers: [(&str, &[u8]); 2] = [(":method", b"GET"), (":path", b"/")];
    assert_eq!(to_map(&headers), map);
    // A map that is cut off or has a changed byte never yields extra headers.
    for at in 0..map.len() {
        assert!(all(&HeaderMap(map[..at].to_vec())).len() < 2);
        let mut damaged = map.to_vec();
        damaged[at] = 0xff;
        assert!(all(&HeaderMap(damaged)).len() <= 2);
    }
    assert_eq!(all(&HeaderMap::default()).len(), 0);
}
