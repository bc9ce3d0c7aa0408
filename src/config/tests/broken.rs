//! Broken configurations, each refused with its field's path and what would be right. The
//! snapshots hold one line for each, for a reader who judges the messages;
//! `INSTA_UPDATE=always cargo test --locked --package keystile broken` writes them anew.

mod conflicts;
mod fields;
mod members;
mod sections;
mod texts;
mod values;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use serde_json::Value;

use super::super::parse as parse_config;
use crate::decision::denial::Denial;
use fields::{GOOD, SECRET};

/// Each field that is tested.
pub(super) fn known_fields() -> impl Iterator<Item = &'static str> {
    fields::fields().map(|(path, _)| *path)
}

/// A configuration that must be refused.
struct Broken {
    /// What is wrong with it.
    name: String,
    text: Vec<u8>,
    /// The path with which the message begins.
    at: String,
}

/// The message that refuses it, held to what each must be like.
fn refused(broken: &Broken) -> String {
    let Broken { name, text, at } = broken;
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
    let problem = problem.unwrap_or_else(|| panic!("{name}\n  not of {at}: {message}"));
    let says_what_is_right = [
        "must ",
        "is required: ",
        "is unknown here; known are ",
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
    assert!(!message.contains(SECRET), "{name}\n  tells: {message}");
    assert!(
        message.len() < 500 && !message.contains(char::is_control),
        "{name}\n  is not for a log: {} bytes, {message:.500}",
        message.len()
    );
    message
}

/// One line for each, sorted by name.
fn lines(all: &[Broken]) -> String {
    let mut messages = BTreeMap::new();
    let mut texts = BTreeSet::new();
    for broken in all {
        let name = &broken.name;
        assert!(texts.insert(&broken.text), "there already: {name}");
        let before = messages.insert(name, refused(broken));
        assert_eq!(before, None, "two of one name: {name}");
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
fn what_all_are_made_of_is_accepted() {
    let good = parse_config(GOOD.as_bytes()).unwrap();
    let shown = format!("{good:?}");
    assert!(!shown.contains(SECRET), "{shown}");
}

/// All broken configurations, by what is wrong with them.
fn all() -> [Vec<Broken>; 5] {
    [
        values::all(),
        members::types(),
        members::all(),
        conflicts::all(),
        texts::all(),
    ]
}

#[test]
fn messages() {
    let names: Vec<_> = Denial::ALL.map(Denial::message_name).to_vec();
    let messages: String = all().iter().map(|broken| lines(broken)).collect();
    // A new denial is no other message.
    let messages = messages.replace(&names.join(", "), "<each denial's message>");
    insta::assert_snapshot!(messages);
}

#[test]
fn there_are_hundreds() {
    let all = all();
    let texts: BTreeSet<_> = all.iter().flatten().map(|broken| &broken.text).collect();
    println!("{} broken configurations", texts.len());
    assert!(texts.len() >= 500, "{}", texts.len());
}

/// A field without rows would be a field without tests.
#[test]
fn each_known_field_has_its_rows() {
    let good: Value = serde_json::from_str(&GOOD).unwrap();
    let known = fields::objects(&good)
        .into_iter()
        .flat_map(|object| {
            let broken = fields::beside(&object, r#""nonsense":"x""#, "");
            let message = parse_config(&broken.text).err().unwrap().to_string();
            let (_, known) = message.split_once("known are ").unwrap();
            known
                .split(", ")
                .map(|field| fields::join(&object, field))
                .collect::<Vec<_>>()
        })
        .filter(|field| !field.starts_with("replies.messages."));
    let known: BTreeSet<_> = known.collect();
    let tested: BTreeSet<_> = known_fields().map(str::to_owned).collect();
    assert_eq!(known.difference(&tested).collect::<Vec<_>>(), [""; 0]);
}

#[test]
fn a_good_one_cut_off_anywhere() {
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
        });
    }
}

/// Whatever comes of it, it is the same twice and tells no secret.
#[test]
fn a_good_one_with_any_byte_missing_or_another() {
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
            // A message may quote a field's name, and a quotation mark may make one of a secret's
            // rest, but not of all of it.
            assert!(!first.contains(SECRET), "{other:?} at {at}: {first}");
        }
    }
}
