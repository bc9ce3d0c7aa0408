//! Rows 0 to 4 of the decision table: which headers never reach the upstream, and whether there is a
//! key to look up.

mod setup;

use std::collections::BTreeSet;

use keystile::decision::denial::Denial;
use keystile::decision::{self, Next};
use keystile::request::headers::Request;
use keystile::request::key_hash::KeyHasher;

use crate::credential_model::Reading;
use setup::{SETUPS, is_preflight, is_rpc};

/// Returns bytes as characters, one each, so that texts can be cut and compared.
fn text(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| char::from(*byte)).collect()
}

/// Takes the number of a configuration on the first line, followed by a letter if the request does
/// not end with its headers. Each other line is a header, as `name: value`. The outcome and the
/// headers that are removed must be those of a second implementation.
pub fn credential(input: &[u8]) {
    let mut lines = input.split(|byte| *byte == b'\n');
    let first = lines.next().unwrap_or_default();
    let number = first.first().unwrap_or(&b'0');
    let ends = first.get(1).is_none();
    let setup = &SETUPS[usize::from(number.wrapping_sub(b'0')) % SETUPS.len()];
    // Names reach the filter in lower case.
    let bytes: Vec<(Vec<u8>, Vec<u8>)> = lines
        .map(
            |line| match line.windows(2).position(|pair| pair == b": ") {
                Some(at) => (line[..at].to_ascii_lowercase(), line[at + 2..].to_vec()),
                None => (line.to_ascii_lowercase(), Vec::new()),
            },
        )
        .collect();
    let policy = setup.policy();
    let request = Request::from_map(map(&bytes)).ending_with_headers(ends);
    let mut removed = Vec::new();
    let next = decision::begin(&policy, &request, |name| removed.push(text(name)));

    let reading = setup.rules.read(&bytes);
    let headers: Vec<_> = bytes
        .iter()
        .map(|(name, value)| (text(name), text(value)))
        .collect();
    let first = |wanted: &str| {
        let found = headers.iter().find(|(name, _)| name == wanted);
        found.map_or("", |(_, value)| value)
    };
    let path = first(":path").split('?').next().unwrap_or_default();
    // `None` if no key is needed.
    let actual = match next {
        Next::Forward => None,
        Next::Refuse(Denial::Missing) => Some(Reading::Missing),
        Next::Refuse(Denial::Invalid) => Some(Reading::Invalid),
        Next::Refuse(other) => panic!("{other:?}, though there is no verdict"),
        Next::Ask { hash, introspects } => {
            let Reading::Key(key) = &reading else {
                panic!("a lookup of something that is not a key");
            };
            assert_eq!(
                hash,
                KeyHasher::default().hash(key),
                "the hash of another key"
            );
            let asks = setup.introspection == Some(path)
                && ["GET", "HEAD"].contains(&first(":method"))
                && !is_rpc(&headers);
            assert_eq!(
                introspects, asks,
                "whether the request asks about its own key"
            );
            Some(reading.clone())
        }
    };
    let exempt = setup.exempts(&headers, path, ends);
    // The second implementation does not say whether a path with such bytes leaves the exemption.
    let unclear = path.contains(['.', '%', '\0', '\u{c0}', '\u{c1}']);
    if exempt && unclear {
        let climbs = path.split('/').any(|segment| segment == "..");
        let by_path = !is_preflight(&headers, ends);
        assert!(!(climbs && by_path && actual.is_none()), "{path}");
    } else {
        assert_eq!(actual, (!exempt).then_some(reading));
    }
    let kept_back = setup.kept_back(&headers, actual.is_none());
    assert_removed(&removed, &kept_back);
    // In trailers, credentials are not recognised, but keys are.
    let mut trailers = Vec::new();
    decision::strip(&policy, &request, |name| trailers.push(text(name)));
    assert_removed(&trailers, &setup.kept_back(&headers, true));
}

fn assert_removed(remove: &[String], kept_back: &BTreeSet<String>) {
    let removed: BTreeSet<_> = remove.iter().cloned().collect();
    assert_eq!(
        removed.len(),
        remove.len(),
        "a header was named twice: {remove:?}"
    );
    assert_eq!(removed, *kept_back, "the headers that were removed");
}

/// Returns the headers as proxy-wasm writes them.
fn map(headers: &[(Vec<u8>, Vec<u8>)]) -> Vec<u8> {
    let number = |size: usize| u32::try_from(size).expect("a short input").to_le_bytes();
    let mut map = number(headers.len()).to_vec();
    for (name, value) in headers {
        map.extend(number(name.len()));
        map.extend(number(value.len()));
    }
    for (name, value) in headers {
        map.extend([name, &b"\0"[..], value, b"\0"].concat());
    }
    map
}
