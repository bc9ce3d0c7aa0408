//! Broken configurations. Each is rejected with the path of its field and what would be right.
//! Messages about single fields are in the tables of the sections, or follow from the type of the
//! field. All other messages are in a snapshot, one per line, for review. This command updates it:
//! `INSTA_UPDATE=always cargo test --locked --package keystile broken`

mod conflicts;
mod documents;
mod fields;
mod members;
mod sections;
mod values;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use super::super::parse as parse_config;
use fields::{GOOD, SECRET};

/// Returns the paths of all fields that are tested.
pub(super) fn known_fields() -> impl Iterator<Item = &'static str> {
    fields::fields().map(|(path, _)| *path)
}

/// A configuration that must be rejected.
struct Broken {
    /// What is wrong with it.
    name: String,
    text: Vec<u8>,
    /// The path with which the message begins.
    at: String,
    /// The rest of the message, if it is not in the snapshot.
    problem: Option<String>,
}

impl Broken {
    fn because(self, problem: impl Into<String>) -> Self {
        Self {
            problem: Some(problem.into()),
            ..self
        }
    }
}

/// Returns the message that rejects a configuration, after checks that apply to every message.
fn refused(broken: &Broken) -> String {
    let Broken {
        name,
        text,
        at,
        problem: expected,
    } = broken;
    let parse = || parse_config(text).err().map(|error| error.to_string());
    let message = parse().unwrap_or_else(|| panic!("accepted: {name}"));
    assert_eq!(
        parse().as_ref(),
        Some(&message),
        "the same bytes give the same message: {name}"
    );
    let problem = message
        .strip_prefix(at.as_str())
        .and_then(|rest| rest.strip_prefix(": "));
    let problem =
        problem.unwrap_or_else(|| panic!("{name}\n  does not begin with {at}: {message}"));
    if let Some(expected) = expected {
        assert_eq!(problem, expected, "{name}");
    }
    let says_what_is_right = [
        "must ",
        "is required: ",
        "is not a known field; must be one of: ",
        "is given more than once",
        "is not JSON: ",
        "choose another",
        "only",
        "so ",
    ];
    assert!(
        says_what_is_right
            .iter()
            .any(|words| problem.contains(words)),
        "{name}\n  does not say what would be right: {message}"
    );
    assert!(
        !message.contains(SECRET),
        "{name}\n  discloses a secret: {message}"
    );
    assert!(
        message.len() < 500 && !message.contains(char::is_control),
        "{name}\n  is not for a log: {} bytes, {message:.500}",
        message.len()
    );
    message
}

/// Returns a line for each message that belongs in the snapshot, sorted by name. No text may occur
/// twice.
fn lines<'a>(all: &'a [Broken], texts: &mut BTreeSet<&'a [u8]>) -> String {
    let mut messages = BTreeMap::new();
    for broken in all {
        let name = &broken.name;
        assert!(texts.insert(&broken.text), "a duplicate: {name}");
        let message = refused(broken);
        if broken.problem.is_none() {
            let before = messages.insert(name, message);
            assert_eq!(before, None, "two have this name: {name}");
        }
    }
    messages
        .iter()
        .fold(String::new(), |mut lines, (name, message)| {
            let message = message.replace(&"(".repeat(10), "");
            let _ = writeln!(lines, "{name}  =>  {message}");
            lines
        })
}

#[test]
fn the_valid_configuration_is_accepted() {
    let good = parse_config(GOOD.as_bytes()).unwrap();
    let shown = format!("{good:?}");
    assert!(!shown.contains(SECRET), "{shown}");
}

/// Returns all broken configurations, grouped by what is wrong with them.
fn all() -> [Vec<Broken>; 5] {
    [
        values::all(),
        members::types(),
        members::all(),
        conflicts::all(),
        documents::all(),
    ]
}

#[test]
fn messages() {
    let (all, mut texts) = (all(), BTreeSet::new());
    let messages: String = all.iter().map(|broken| lines(broken, &mut texts)).collect();
    insta::assert_snapshot!(messages);
}

#[test]
fn a_truncated_configuration_is_rejected() {
    for length in 0..GOOD.len() {
        let empty = GOOD[..length].trim().is_empty();
        refused(&Broken {
            name: format!("the first {length} bytes"),
            text: GOOD.as_bytes()[..length].to_vec(),
            at: if empty {
                "lookup.cluster"
            } else {
                "configuration"
            }
            .to_owned(),
            problem: None,
        });
    }
}

/// The result may be anything, but is the same twice and contains no secret.
#[test]
fn a_damaged_configuration_discloses_no_secret() {
    for at in 0..GOOD.len() {
        for other in [
            None,
            Some(b'"'),
            Some(b'{'),
            Some(b'\\'),
            Some(0),
            Some(0xff),
        ] {
            let mut text = GOOD.as_bytes().to_vec();
            text.splice(at..=at, other);
            let parse = || parse_config(&text);
            let (first, second) = (format!("{:?}", parse()), format!("{:?}", parse()));
            assert_eq!(first, second, "{other:?} at {at}");
            // A message may quote a field's name. An extra quotation mark can turn part of a secret
            // into a name, but not all of it.
            assert!(!first.contains(SECRET), "{other:?} at {at}: {first}");
        }
    }
}
