//! The table in `docs/configuration.md` has a row for each field, with its default.

use std::fs;

use serde_json::{Value, json};

use super::broken;
use crate::config::parse;

/// A field, with its default if that is JSON.
type Row = (String, Option<Value>);

/// Returns defaults that the page describes in words.
fn in_words(field: &str) -> Option<Value> {
    Some(match field {
        "lookup.cluster" | "lookup.authority" | "feed.cluster" => json!("auth"),
        "credential.sources" => {
            json!([{"header": "authorization", "scheme": "Bearer"}, {"header": "x-api-key"}])
        }
        _ => return None,
    })
}

fn rows() -> Vec<Row> {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/configuration.md");
    let page = fs::read_to_string(page).unwrap();
    let (_, table) = page.split_once("| field | default | meaning |\n").unwrap();
    let lines = table.lines().skip(1).take_while(|line| !line.is_empty());
    lines.flat_map(row).collect()
}

/// Parses a row, which may name several fields. If only the first has a section, it applies to all
/// of them.
fn row(line: &str) -> Vec<Row> {
    let mut cells = line.trim_start_matches("| ").split(" | ").map(code);
    let (names, defaults) = (cells.next().unwrap(), cells.next().unwrap());
    let section = names[0].rsplit_once('.').map_or("", |(section, _)| section);
    let mut defaults = defaults
        .iter()
        .map_while(|text| serde_json::from_str(text).ok());
    let names = names.iter().map(|name| match name.contains('.') {
        false if !section.is_empty() => format!("{section}.{name}"),
        _ => (*name).to_owned(),
    });
    names.map(|name| (name, defaults.next())).collect()
}

/// Returns the texts in backticks.
fn code(cell: &str) -> Vec<&str> {
    cell.split('`').skip(1).step_by(2).collect()
}

/// Returns the configuration with the defaults of all fields, or without the sections that are off
/// by default.
fn documented(with_sections_that_are_off: bool) -> Value {
    let mut config = json!({});
    for (field, default) in rows() {
        let Some(default) = in_words(&field).or(default) else {
            continue;
        };
        let off = ["feed", "introspection"];
        let (section, rest) = field.split_once('.').unwrap_or((&field, ""));
        if off.contains(&section) && rest.is_empty() == with_sections_that_are_off {
            continue;
        }
        let names = field.split('.');
        *names.fold(&mut config, |json, name| &mut json[name]) = default;
    }
    config
}

/// Returns the settings as text. Identity headers are sorted, because [`Value`] does not keep the
/// order of fields.
fn printed(config: &Value) -> String {
    let mut settings = parse(config.to_string().as_bytes()).unwrap();
    settings
        .policy
        .identity_headers
        .sort_by(|a, b| a.0.cmp(&b.0));
    format!("{settings:#?}")
}

#[test]
fn the_smallest_configuration_has_the_documented_defaults() {
    let smallest = json!({"lookup": {"cluster": "auth"}});
    assert_eq!(printed(&smallest), printed(&documented(false)));
}

#[test]
fn sections_that_are_off_have_the_documented_defaults_when_they_are_on() {
    let on = json!({"lookup": {"cluster": "auth"}, "feed": {}, "introspection": {}});
    assert_eq!(printed(&on), printed(&documented(true)));
}

#[test]
fn each_field_is_documented() {
    let rows = rows();
    let free = ["lookup.headers.", "identity_headers.", "replies.messages."];
    let fields: Vec<_> = broken::known_fields()
        .filter(|field| !field.contains('[') && !free.iter().any(|free| field.starts_with(free)))
        .collect();
    for field in &fields {
        let section = format!("{field}.");
        let is_documented = |(name, _): &Row| name == field || name.starts_with(&section);
        assert!(
            rows.iter().any(is_documented),
            "{field} is not in docs/configuration.md"
        );
    }
    for (name, _) in rows {
        assert!(fields.contains(&name.as_str()), "there is no field {name}");
    }
}

#[test]
fn documented_configurations_are_accepted() {
    for page in ["README.md", "docs/configuration.md", "docs/auth-service.md"] {
        let path = format!("{}/{page}", env!("CARGO_MANIFEST_DIR"));
        let text = fs::read_to_string(path).unwrap();
        let blocks = text.split("```json\n").skip(1);
        let blocks = blocks.map(|rest| rest.split("```").next().unwrap());
        let configurations: Vec<_> = blocks
            .filter(|block| block.contains("\"lookup\": {"))
            .collect();
        assert!(!configurations.is_empty(), "{page} has no configuration");
        for configuration in configurations {
            let problem = parse(configuration.as_bytes()).err();
            assert!(problem.is_none(), "{page}: {problem:?}\n{configuration}");
        }
    }
}
