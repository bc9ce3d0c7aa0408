//! Fields of the wrong type, and fields that are repeated, unknown or in the wrong case.

use serde_json::Value;

use super::Broken;
use super::fields::Kind::{Array, Flag, Number, Object, ObjectOrNull, Text, TextOrNull, Whole};
use super::fields::{GOOD, Kind, beside, fields, join, objects, with};
use crate::config::FIELDS as SECTIONS;

impl Kind {
    /// JSON that is something else.
    fn wrong(self) -> Vec<&'static str> {
        const TEXT: &str = r#""hunter2-hunter2""#;
        const NULL: &str = "null";
        match self {
            Text => vec![
                NULL,
                "true",
                "7",
                "1.5",
                "[]",
                r#"["hunter2-hunter2"]"#,
                "{}",
            ],
            TextOrNull => vec!["false", "0", "-7", r#"["hunter2-hunter2"]"#, "{}"],
            Object => vec![NULL, "true", "7", TEXT, "[]", "[{}]"],
            ObjectOrNull => vec!["false", "7", TEXT, "[]", "[{}]"],
            Array => vec![NULL, "false", "7", TEXT, "{}"],
            Flag => vec![NULL, "0", "1", r#""true""#, TEXT, "[true]", "{}"],
            Whole => vec![
                NULL,
                "true",
                r#""43""#,
                "43.5",
                "43.0",
                "-43",
                "4e1",
                "4294967339",
                "99999999999999999999",
                "[43]",
                "{}",
            ],
            Number => vec![NULL, "true", r#""0.5""#, "[0.5]", "{}"],
        }
    }
}

pub(super) fn types() -> Vec<Broken> {
    let wrong =
        fields().flat_map(|(path, kind)| kind.wrong().into_iter().map(|raw| with(path, raw)));
    wrong.collect()
}

/// Fields that are repeated, unknown, or in the wrong case: each at each level.
pub(super) fn all() -> Vec<Broken> {
    let good: Value = serde_json::from_str(&GOOD).unwrap();
    let mut broken = Vec::new();
    for object in objects(&good) {
        for unknown in [
            r#""":1"#,
            r#""nonsense":{"a":[1]}"#,
            r#""//":"hunter2-hunter2""#,
        ] {
            broken.push(beside(
                &object,
                unknown,
                &unknown[1..unknown.find(':').unwrap() - 1],
            ));
        }
    }
    // A line of the log stays one line, and short.
    let objects = [
        "",
        "lookup",
        "lookup.headers",
        "identity_headers",
        "replies.messages",
    ];
    for object in objects {
        let member = r#""a\r\n[critical] b":"hunter2-hunter2""#;
        broken.push(Broken {
            at: "configuration".to_owned(),
            ..beside(object, member, "")
        });
        let long = "(".repeat(1 << 20);
        let shown: String = join(object, &long).chars().take(200).collect();
        broken.push(Broken {
            name: format!("{object} with a name of 1 MB of ("),
            at: shown,
            ..beside(object, &format!("\"{long}\":\"hunter2-hunter2\""), "")
        });
    }
    for (path, _) in fields().filter(|(path, _)| !path.ends_with(']')) {
        let (object, field) = path.rsplit_once('.').unwrap_or(("", path));
        for value in ["null", r#""hunter2-hunter2""#] {
            broken.push(beside(object, &format!("\"{field}\":{value}"), field));
        }
        // Written otherwise, it is the same field.
        let first = char::from(field.as_bytes()[0]);
        let escaped = format!("\\u{:04x}{}", u32::from(first), &field[1..]);
        broken.push(beside(object, &format!("\"{escaped}\":null"), field));
        if ["lookup.headers", "identity_headers"].contains(&object) {
            // Their members' names are headers, which have no case. The good one comes second.
            let upper = field.to_uppercase();
            broken.push(beside(object, &format!("\"{upper}\":\"key_id\""), field));
            continue;
        }
        let camel = camel_case(field);
        for other in [
            field.to_uppercase(),
            camel,
            format!("{field} "),
            format!("{field}s"),
        ] {
            if !broken.iter().any(|b| b.at == join(object, &other))
                && !SECTIONS.contains(&other.as_str())
            {
                broken.push(beside(object, &format!("\"{other}\":null"), &other));
            }
        }
    }
    broken
}

fn camel_case(field: &str) -> String {
    let mut upper = false;
    let letters = field.chars().filter_map(|letter| {
        let was = std::mem::replace(&mut upper, letter == '_');
        match letter {
            '_' => None,
            letter if was => Some(letter.to_ascii_uppercase()),
            letter => Some(letter),
        }
    });
    letters.collect()
}
