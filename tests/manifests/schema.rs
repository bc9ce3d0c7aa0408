//! Definitions of Kubernetes resources (CRDs), applied as the API server does, but stricter: a
//! field that a definition does not have is an error, while the API server may drop it silently.

use std::collections::HashMap;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use jsonschema::Validator;
use serde_json::{Map, Value, json};

use crate::rules;

/// The definition of one version of a kind.
pub(crate) struct Definition {
    schema: Value,
    validator: Validator,
}

type Known = HashMap<(String, String), Definition>;

/// All definitions. Those of custom resources are by `apiVersion` and kind.
pub(crate) struct Definitions {
    custom: Known,
    /// Those of Kubernetes itself, as one JSON schema.
    kubernetes: Value,
}

impl Definitions {
    /// Reads the definitions of custom resources, our own for resources that have no other, and
    /// those of Kubernetes itself, from the file that `make setup` installs.
    ///
    /// # Errors
    /// If one of these is missing or is not a definition.
    pub(crate) fn read(custom: &Path, own: &Path, kubernetes: &Path) -> Result<Self> {
        let mut all = folder(own)?;
        all.extend(folder(custom)?);
        let text = std::fs::read_to_string(kubernetes)
            .with_context(|| format!("{kubernetes:?} is missing; run `make setup`"))?;
        Ok(Self {
            custom: all,
            kubernetes: serde_json::from_str(&text)?,
        })
    }

    /// Returns all problems of a document, each with its path, and the number of rules that ran.
    pub(crate) fn check(&self, document: &Value) -> Result<(Vec<String>, usize)> {
        let text = |field: &str| document[field].as_str().unwrap_or_default().to_owned();
        let key = (text("apiVersion"), text("kind"));
        let Some(definition) = self.custom.get(&key) else {
            return Ok((self.check_kubernetes(&key, document)?, 0));
        };
        let mut document = document.clone();
        set_defaults(&definition.schema, &mut document);
        let mut problems = problems(&definition.validator, &document);
        let mut run = 0;
        rules::check(&definition.schema, &document, "", &mut problems, &mut run);
        Ok((problems, run))
    }

    fn check_kubernetes(
        &self,
        (version, kind): &(String, String),
        document: &Value,
    ) -> Result<Vec<String>> {
        let definitions = self.kubernetes["$defs"].as_object();
        let definition = definitions.into_iter().flatten().find(|(_, schema)| {
            let only =
                |field: &str, value: &str| schema["properties"][field]["enum"] == json!([value]);
            only("apiVersion", version) && only("kind", kind)
        });
        let Some((name, _)) = definition else {
            bail!("no definition of {version} {kind}");
        };
        let mut schema = self.kubernetes.clone();
        schema["$ref"] = json!(format!("#/$defs/{name}"));
        Ok(problems(&validator(&schema)?, document))
    }
}

/// Returns the definitions of custom resources in a folder.
fn folder(folder: &Path) -> Result<Known> {
    let mut all = HashMap::new();
    for entry in std::fs::read_dir(folder).with_context(|| format!("{folder:?}"))? {
        let path = entry?.path();
        let text = std::fs::read_to_string(&path)?;
        let documents: Vec<Value> =
            serde_saphyr::from_multiple(&text).with_context(|| format!("{path:?}"))?;
        for definition in documents {
            add(&mut all, &definition).with_context(|| format!("{path:?}"))?;
        }
    }
    ensure!(!all.is_empty(), "no definition in {folder:?}");
    Ok(all)
}

fn validator(schema: &Value) -> Result<Validator> {
    jsonschema::options()
        .with_draft(jsonschema::Draft::Draft202012)
        .should_validate_formats(true)
        .build(schema)
        .map_err(|error| anyhow::anyhow!("{error}"))
}

fn problems(validator: &Validator, document: &Value) -> Vec<String> {
    let errors = validator.iter_errors(document);
    errors
        .map(|error| match error.instance_path().as_str() {
            "" => format!("document: {error}"),
            path => format!("{path}: {error}"),
        })
        .collect()
}

fn add(all: &mut Known, definition: &Value) -> Result<()> {
    let text = |pointer: &str| {
        let value = definition.pointer(pointer).and_then(Value::as_str);
        value.with_context(|| format!("no {pointer}"))
    };
    let (group, kind) = (text("/spec/group")?, text("/spec/names/kind")?);
    let versions = definition
        .pointer("/spec/versions")
        .and_then(Value::as_array);
    for version in versions.context("no versions")? {
        if version["served"] != true {
            continue;
        }
        let api_version = format!("{group}/{}", version["name"].as_str().context("no name")?);
        let mut schema = version
            .pointer("/schema/openAPIV3Schema")
            .context("no schema")?
            .clone();
        refuse_unknown_fields(&mut schema);
        let root = schema["properties"]
            .as_object_mut()
            .context("no properties")?;
        // The API server handles these itself, and users do not write the status.
        root.remove("status");
        root.insert("apiVersion".to_owned(), json!({"const": api_version}));
        root.insert("kind".to_owned(), json!({"const": kind}));
        root.insert("metadata".to_owned(), metadata());
        schema["required"] = json!(["apiVersion", "kind", "metadata", "spec"]);
        let validator = validator(&schema)?;
        let key = (api_version, kind.to_owned());
        let definition = Definition { schema, validator };
        ensure!(
            all.insert(key, definition).is_none(),
            "{kind} is defined twice"
        );
    }
    Ok(())
}

fn metadata() -> Value {
    let texts = json!({"type": "object", "additionalProperties": {"type": "string"}});
    let name = json!({"type": "string", "pattern": "^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"});
    json!({
        "type": "object",
        "properties": {"name": name, "namespace": name, "labels": texts, "annotations": texts},
        "required": ["name", "namespace"],
        "additionalProperties": false,
    })
}

/// Turns a structural schema into a JSON Schema that refuses unknown fields at each level.
fn refuse_unknown_fields(schema: &mut Value) {
    let Some(fields) = schema.as_object_mut() else {
        return;
    };
    for child in ["items", "additionalProperties"] {
        if let Some(child) = fields.get_mut(child) {
            refuse_unknown_fields(child);
        }
    }
    let properties = fields.get_mut("properties").and_then(Value::as_object_mut);
    for child in properties.into_iter().flat_map(Map::values_mut) {
        refuse_unknown_fields(child);
    }
    let open = fields.contains_key("additionalProperties")
        || fields.get("x-kubernetes-preserve-unknown-fields") == Some(&json!(true));
    if fields.get("type") == Some(&json!("object")) && !open {
        fields.insert("additionalProperties".to_owned(), json!(false));
    }
    if fields.get("x-kubernetes-int-or-string") == Some(&json!(true)) {
        fields.insert("type".to_owned(), json!(["integer", "string"]));
    }
    if fields.get("format") == Some(&json!("int32")) {
        fields.entry("minimum").or_insert(json!(i32::MIN));
        fields.entry("maximum").or_insert(json!(i32::MAX));
    }
    if fields.get("nullable") == Some(&json!(true)) {
        if let Some(Value::String(only)) = fields.get("type").cloned() {
            fields.insert("type".to_owned(), json!([only, "null"]));
        }
        if let Some(values) = fields.get_mut("enum").and_then(Value::as_array_mut) {
            values.push(Value::Null);
        }
    }
}

/// Sets defaults for missing fields, as the API server does before it runs the rules.
fn set_defaults(schema: &Value, value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (name, schema) in schema["properties"].as_object().into_iter().flatten() {
                if let Some(default) = schema.get("default") {
                    fields.entry(name).or_insert_with(|| default.clone());
                }
            }
            for (name, value) in fields {
                let own = schema["properties"].get(name);
                let any = schema.get("additionalProperties");
                if let Some(schema) = own.or(any) {
                    set_defaults(schema, value);
                }
            }
        }
        Value::Array(items) => {
            for item in items {
                set_defaults(&schema["items"], item);
            }
        }
        _ => {}
    }
}
