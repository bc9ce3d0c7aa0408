//! Fields of the wrong type, and fields that are repeated, unknown or in the wrong case.

use serde_json::Value;

use super::Broken;
use super::fields::{GOOD, Kind, beside, fields, join, objects, unknown, with};
use crate::config::FIELDS as SECTIONS;

impl Kind {
    /// JSON of other types.
    fn wrong(self) -> Vec<&'static str> {
        const STRING: &str = r#""hunter2-hunter2""#;
        const NULL: &str = "null";
        match self {
            Self::String => vec![
                NULL,
                "true",
                "7",
                "1.5",
                "[]",
                r#"["hunter2-hunter2"]"#,
                "{}",
            ],
            Self::RequiredString => vec!["true", "7", "1.5", "[]", r#"["hunter2-hunter2"]"#, "{}"],
            Self::StringOrNull => vec![
                "false",
                "0",
                "-7",
                r#"["hunter2-hunter2"]"#,
                r#"{"a":"hunter2-hunter2"}"#,
            ],
            Self::Object => vec![NULL, "true", "7", STRING, "[]", "[{}]"],
            Self::ObjectOrNull => vec!["false", "7", STRING, "[]", "[{}]"],
            Self::Array => vec![NULL, "false", "7", STRING, "{}"],
            Self::Bool => vec![NULL, "0", "1", r#""true""#, STRING, "[true]", "{}"],
            Self::Integer => vec![
                NULL, "true", r#""43""#, "43.5", "43.0", "-43", "4e1", "[43]", "{}",
            ],
            Self::Number => vec![NULL, "true", r#""0.5""#, "[0.5]", "{}"],
        }
    }

    /// The message for such JSON.
    fn problem(self, raw: &str) -> String {
        let expected = match self {
            Self::String | Self::RequiredString | Self::StringOrNull => "a string",
            Self::Object | Self::ObjectOrNull => "an object",
            Self::Array => "an array",
            Self::Bool => "true or false",
            Self::Integer => "a positive integer",
            Self::Number => "a number",
        };
        let not = match raw.as_bytes() {
            [b'n', ..] => ", not null",
            [b't' | b'f', ..] => ", not a boolean",
            [b'"', ..] => ", not a string",
            [b'[', ..] => ", not an array",
            [b'{', ..] => ", not an object",
            _ => "",
        };
        format!("must be {expected}{not}")
    }
}

pub(super) fn types() -> Vec<Broken> {
    let wrong = fields().flat_map(|(path, kind)| {
        let wrong = kind.wrong().into_iter();
        wrong.map(|raw| with(path, raw).because(kind.problem(raw)))
    });
    wrong.collect()
}

/// Fields that are repeated, unknown, or in the wrong case, at every level.
pub(super) fn all() -> Vec<Broken> {
    let good: Value = serde_json::from_str(&GOOD).unwrap();
    let mut broken = Vec::new();
    for object in objects(&good) {
        for member in [
            r#""":1"#,
            r#""nonsense":{"a":[1]}"#,
            r#""//":"hunter2-hunter2""#,
        ] {
            let name = &member[1..member.find(':').unwrap() - 1];
            let beside = beside(&object, member, name);
            broken.push(match &*object {
                "replies.messages" if !member.ends_with('"') => beside,
                _ => beside.because(unknown(&object)),
            });
        }
    }
    // The message is one short line of the log.
    let objects = [
        "",
        "lookup",
        "lookup.headers",
        "identity_headers",
        "replies.messages",
    ];
    for object in objects {
        let member = r#""a\r\n[critical] b":"hunter2-hunter2""#;
        let by_name = |broken: Broken| {
            if ["lookup.headers", "identity_headers"].contains(&object) {
                broken
            } else {
                broken.because(unknown(object))
            }
        };
        broken.push(by_name(Broken {
            at: "configuration".to_owned(),
            ..beside(object, member, "")
        }));
        let long = "(".repeat(1 << 20);
        let shown: String = join(object, &long).chars().take(200).collect();
        broken.push(by_name(Broken {
            name: format!("{object} with a name of 1 MB of ("),
            at: shown,
            ..beside(object, &format!("\"{long}\":\"hunter2-hunter2\""), "")
        }));
    }
    for (path, _) in fields().filter(|(path, _)| !path.ends_with(']')) {
        let (object, field) = path.rsplit_once('.').unwrap_or(("", path));
        let is_named =
            !["lookup.headers", "identity_headers", "replies.messages"].contains(&object);
        let repeated = |raw: &str, name: &str| {
            let broken = beside(object, &format!("\"{name}\":{raw}"), field);
            if is_named || raw != "null" {
                broken.because("is given more than once")
            } else {
                broken
            }
        };
        broken.extend(["null", r#""hunter2-hunter2""#].map(|raw| repeated(raw, field)));
        // With an escape in its name, it is still the same field.
        let first = char::from(field.as_bytes()[0]);
        let escaped = format!("\\u{:04x}{}", u32::from(first), &field[1..]);
        broken.push(repeated("null", &escaped));
        if ["lookup.headers", "identity_headers"].contains(&object) {
            // The names in these objects are headers, which are compared without case. The valid
            // entry comes second, so the message names it.
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
                let beside = beside(object, &format!("\"{other}\":null"), &other);
                broken.push(if is_named {
                    beside.because(unknown(object))
                } else {
                    beside
                });
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
