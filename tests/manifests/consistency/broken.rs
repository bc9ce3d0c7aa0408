//! Changes to the shipped documents that must be noticed: the rows of `broken.yaml`.

use anyhow::{Context, Result, bail, ensure};
use keystile_e2e::manifests::documents;
use keystile_e2e::root;
use serde_json::Value;

use super::problems;

/// Sets the value at a JSON pointer, or removes it.
fn put(document: &mut Value, at: &str, value: Option<&Value>) -> Result<()> {
    let (parent, last) = at.rsplit_once('/').context("no pointer")?;
    let last = last.replace("~1", "/");
    match (
        document.pointer_mut(parent).context("no such place")?,
        value,
    ) {
        (Value::Array(items), Some(value)) => {
            let index: usize = last.parse()?;
            if index == items.len() {
                items.push(Value::Null);
            }
            *items.get_mut(index).context("no such item")? = value.clone();
        }
        (Value::Array(items), None) => drop(items.remove(last.parse()?)),
        (Value::Object(fields), Some(value)) => drop(fields.insert(last, value.clone())),
        (Value::Object(fields), None) => drop(fields.remove(&last).context("no such field")?),
        (other, _) => bail!("{other} has no fields"),
    }
    Ok(())
}

#[test]
fn documents_that_do_not_fit_are_found() -> Result<()> {
    let table = root().join("tests/manifests/consistency/broken.yaml");
    let rows: Vec<Value> = serde_saphyr::from_str(&std::fs::read_to_string(table)?)?;
    ensure!(!rows.is_empty(), "no rows");
    for row in rows {
        let text = |field: &str| row[field].as_str().unwrap_or_default();
        let name = text("name").to_owned();
        let file = format!("envoy/{}", text("file"));
        let folder = file.rsplit_once('/').context("no folder")?.0;
        let mut documents = documents(folder).context(name.clone())?;
        let document = documents.iter_mut().find(|document| {
            let namespace = document.text("/metadata/namespace");
            document.file.to_string_lossy() == file
                && document.text("/kind") == text("kind")
                && [namespace, ""].contains(&text("namespace"))
        });
        let document = document.with_context(|| format!("{name}: no such document"))?;
        put(&mut document.value, text("at"), row.get("put")).context(name.clone())?;
        let found = problems(&documents);
        ensure!(
            found.iter().any(|problem| problem.contains(text("says"))),
            "{name}: nothing says {:?} among {found:#?}",
            text("says")
        );
    }
    Ok(())
}
