//! A valid configuration with every field, the type of each, and ways to break one.

use std::sync::LazyLock;

use serde_json::Value;

use super::Broken;
use super::sections::SECTIONS;
use crate::decision::denial::Denial;

/// The secret that no message may repeat.
pub(super) const SECRET: &str = "hunter2-hunter2";

/// A valid configuration with every field, to be broken in one place.
pub(super) static GOOD: LazyLock<String> = LazyLock::new(|| {
    let sections: Vec<_> = SECTIONS
        .iter()
        .map(|section| format!("\"{}\": {}", section.name, section.good))
        .collect();
    format!("{{\n  {}\n}}", sections.join(",\n  "))
});

#[derive(Clone, Copy)]
pub(super) enum Kind {
    String,
    RequiredString,
    StringOrNull,
    Object,
    ObjectOrNull,
    Array,
    Bool,
    Integer,
    Number,
}

/// Returns every field, with its type.
pub(super) fn fields() -> impl Iterator<Item = &'static (&'static str, Kind)> {
    SECTIONS.iter().flat_map(|section| section.fields)
}

/// Returns the valid configuration with this JSON in one field.
pub(super) fn with(path: &str, raw: &str) -> Broken {
    Broken {
        name: format!("{path} = {raw}"),
        text: changed(&[(path, raw)]),
        at: path.to_owned(),
        problem: None,
    }
}

/// Returns the valid configuration with one more member in an object. The path of that member is
/// rejected.
pub(super) fn beside(object: &str, member: &str, name: &str) -> Broken {
    const MARK: &str = "@";
    let mut good: Value = serde_json::from_str(&GOOD).unwrap();
    let members = place(&mut good, object).as_object_mut().unwrap();
    members.insert(MARK.to_owned(), MARK.into());
    let text = good.to_string().replacen(r#""@":"@""#, member, 1);
    let whole = if object.is_empty() {
        "the whole"
    } else {
        object
    };
    Broken {
        name: format!("{whole} with {member}"),
        text: text.into_bytes(),
        at: if name.is_empty() && object.is_empty() {
            "configuration".to_owned()
        } else {
            join(object, name)
        },
        problem: None,
    }
}

/// Returns the valid configuration with this JSON in these fields.
pub(super) fn changed(changes: &[(&str, &str)]) -> Vec<u8> {
    let mut good: Value = serde_json::from_str(&GOOD).unwrap();
    for (index, (path, _)) in changes.iter().enumerate() {
        *place(&mut good, path) = format!("@{index}").into();
    }
    let mut text = good.to_string();
    for (index, (_, raw)) in changes.iter().enumerate() {
        text = text.replacen(&format!("\"@{index}\""), raw, 1);
    }
    text.into_bytes()
}

/// Returns the paths of all objects whose field names are fixed. The path of the whole
/// configuration is empty.
pub(super) fn objects(good: &Value) -> Vec<String> {
    let mut paths = vec![String::new()];
    let fixed = fields().filter(|(path, kind)| {
        matches!(kind, Kind::Object | Kind::ObjectOrNull)
            && !["lookup.headers", "identity_headers"].contains(path)
    });
    paths.extend(fixed.map(|(path, _)| (*path).to_owned()));
    for path in &paths {
        assert!(place(&mut good.clone(), path).is_object(), "{path}");
    }
    paths
}

/// Returns the message for an unknown field of an object.
pub(super) fn unknown(object: &str) -> String {
    let known: Vec<_> = match object {
        "" => SECTIONS.iter().map(|section| section.name).collect(),
        "replies.messages" => Denial::ALL.map(Denial::message_name).to_vec(),
        _ => fields()
            .filter_map(|(path, _)| path.rsplit_once('.'))
            .filter(|(parent, name)| *parent == object && !name.ends_with(']'))
            .map(|(_, name)| name)
            .collect(),
    };
    format!("is not a known field; must be one of: {}", known.join(", "))
}

pub(super) fn join(object: &str, field: &str) -> String {
    if object.is_empty() {
        field.to_owned()
    } else {
        format!("{object}.{field}")
    }
}

/// Returns the value at a path such as `credential.sources[0].header`. Names of headers and
/// messages may contain dots, so the rest of the path is taken as the name.
fn place<'a>(json: &'a mut Value, path: &str) -> &'a mut Value {
    if path.is_empty() {
        return json;
    }
    for named in ["lookup.headers", "identity_headers", "replies.messages"] {
        if let Some(name) = path
            .strip_prefix(named)
            .and_then(|rest| rest.strip_prefix('.'))
        {
            return &mut place(json, named)[name];
        }
    }
    path.split(['.', '['])
        .fold(json, |json, part| match part.strip_suffix(']') {
            Some(index) => &mut json[index.parse::<usize>().unwrap()],
            None => &mut json[part],
        })
}
