//! A model of how credentials are read, which follows the decision table and nothing else. It shares
//! no code with the filter: if the two differ, one of them is wrong.

/// A header as it is sent: name and value.
pub(crate) type Line = (String, Vec<u8>);

/// Where a listener looks for keys, and what it accepts as one.
pub(crate) struct Rules {
    /// Header names in lower case, with the scheme in front of the key.
    pub(crate) sources: &'static [(&'static str, Option<&'static str>)],
    pub(crate) prefix: &'static str,
    /// The shortest and the longest key in bytes, including the prefix.
    pub(crate) lengths: (usize, usize),
    pub(crate) alphabet: fn(u8) -> bool,
}

/// The configuration's defaults.
pub(crate) const DEFAULT: Rules = Rules {
    sources: &[("authorization", Some("bearer")), ("x-api-key", None)],
    prefix: "aw_",
    lengths: (43, 256),
    alphabet: |byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_',
};

/// Rows 2 to 4 of the decision table, or a key that goes on to row 5.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reading {
    Missing,
    Invalid,
    Key(Vec<u8>),
}

impl Rules {
    pub(crate) fn read(&self, lines: &[Line]) -> Reading {
        let mut credentials: Vec<Vec<u8>> = Vec::new();
        let mut several = false;
        for (header, scheme) in self.sources {
            // Repeating a header is the same as joining its values with commas.
            let values = lines.iter().filter(|(n, _)| n.eq_ignore_ascii_case(header));
            let values: Vec<_> = values.map(|(_, value)| value.clone()).collect();
            let joined = values.join(&b',');
            let elements: Vec<_> = joined.split(|byte| *byte == b',').collect();
            let held = elements.iter().filter_map(|e| credential(*scheme, e));
            let held: Vec<_> = held.collect();
            several |= !held.is_empty() && elements.len() > 1;
            credentials.extend(held);
        }
        match &credentials[..] {
            [] => Reading::Missing,
            [first, rest @ ..] if several || rest.iter().any(|other| other != first) => {
                Reading::Invalid
            }
            [key, ..] if self.is_key(key) => Reading::Key(key.clone()),
            _ => Reading::Invalid,
        }
    }

    pub(crate) fn is_key(&self, credential: &[u8]) -> bool {
        credential.len() >= self.lengths.0
            && credential.len() <= self.lengths.1
            && credential.starts_with(self.prefix.as_bytes())
            && credential[self.prefix.len()..]
                .iter()
                .all(|byte| (self.alphabet)(*byte))
    }
}

/// Returns the credential in a value that is not joined.
fn credential(scheme: Option<&str>, value: &[u8]) -> Option<Vec<u8>> {
    let words: Vec<_> = value.split(|byte| is_blank(*byte)).collect();
    let first = words.iter().position(|word| !word.is_empty())?;
    let credential = match scheme {
        None => words[first..].join(&b' '),
        Some(scheme) if words[first].eq_ignore_ascii_case(scheme.as_bytes()) => {
            words[first + 1..].join(&b' ')
        }
        Some(_) => return None,
    };
    // The kind of whitespace inside does not matter: no key contains any.
    let start = credential.iter().position(|byte| *byte != b' ')?;
    let end = credential.iter().rposition(|byte| *byte != b' ')?;
    Some(credential[start..=end].to_vec())
}

/// Returns true for the whitespace that HTTP allows around values.
pub(crate) fn is_blank(byte: u8) -> bool {
    byte == b' ' || byte == b'\t'
}
