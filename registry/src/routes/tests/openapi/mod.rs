//! Checks answers against the OpenAPI document.

mod answers;
mod document;

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock, Mutex};

use axum::http::Uri;
use jsonschema::Validator;

use super::*;

/// The document as it is served.
static SERVED: LazyLock<Value> =
    LazyLock::new(|| serde_json::from_str(crate::http::openapi::DOCUMENT).expect("JSON"));

/// The same with all references resolved, except those to schemas.
static DOCUMENT: LazyLock<Value> = LazyLock::new(|| resolved(&SERVED));

/// The document, but answers may only have the properties that it names.
static STRICT: LazyLock<Value> = LazyLock::new(|| {
    let mut document = DOCUMENT.clone();
    for schema in object_mut(&mut document["components"]["schemas"]).values_mut() {
        close_parts(schema);
    }
    for (_, _, operation) in operations_mut(&mut document) {
        for response in object_mut(&mut operation["responses"]).values_mut() {
            if let Some(content) = response.get_mut("content") {
                for media in object_mut(content).values_mut() {
                    close(&mut media["schema"]);
                }
            }
        }
    }
    document
});

fn resolved(value: &Value) -> Value {
    match value {
        Value::Array(values) => values.iter().map(resolved).collect(),
        Value::Object(fields) => match fields.get("$ref") {
            Some(Value::String(target)) if !target.starts_with("#/components/schemas/") => {
                assert_eq!(
                    fields.len(),
                    1,
                    "{target} with fields that would be ignored"
                );
                let target = target.strip_prefix('#').expect("within the document");
                resolved(SERVED.pointer(target).expect(target))
            }
            _ => {
                let fields = fields.iter();
                fields
                    .map(|(name, it)| (name.clone(), resolved(it)))
                    .collect()
            }
        },
        other => other.clone(),
    }
}

fn object(value: &Value) -> &serde_json::Map<String, Value> {
    value.as_object().expect("an object")
}

fn object_mut(value: &mut Value) -> &mut serde_json::Map<String, Value> {
    value.as_object_mut().expect("an object")
}

/// Returns each operation with its path and method.
fn operations(document: &Value) -> impl Iterator<Item = (&String, &String, &Value)> {
    let paths = object(&document["paths"]).iter();
    paths.flat_map(|(path, item)| {
        object(item)
            .iter()
            .map(move |(method, it)| (path, method, it))
    })
}

fn operations_mut(document: &mut Value) -> impl Iterator<Item = (&String, &String, &mut Value)> {
    let paths = object_mut(&mut document["paths"]).iter_mut();
    paths.flat_map(|(path, item)| {
        let methods = object_mut(item).iter_mut();
        methods.map(move |(method, operation)| (path, method, operation))
    })
}

fn close(schema: &mut Value) {
    close_parts(schema);
    let schema = object_mut(schema);
    if ["$ref", "allOf", "properties"]
        .iter()
        .any(|it| schema.contains_key(*it))
    {
        schema.insert("unevaluatedProperties".to_owned(), json!(false));
    }
}

/// Closes the schemas inside a schema, but not the schema itself, because another one may add to it.
fn close_parts(schema: &mut Value) {
    for (keyword, value) in object_mut(schema) {
        match (&keyword[..], value) {
            ("properties", Value::Object(schemas)) => schemas.values_mut().for_each(close),
            ("oneOf", Value::Array(schemas)) => schemas.iter_mut().for_each(close),
            ("allOf", Value::Array(schemas)) => schemas.iter_mut().for_each(close_parts),
            ("items", schema) => close(schema),
            _ => {}
        }
    }
}

/// Asserts that a value matches the schema at this place in the document, and has nothing more.
fn assert_valid(steps: &[&str], value: &Value) {
    /// Building a validator is slow, and there are few of them.
    static VALIDATORS: Mutex<BTreeMap<String, Arc<Validator>>> = Mutex::new(BTreeMap::new());
    let steps = steps.iter();
    let steps = steps.map(|step| step.replace('~', "~0").replace('/', "~1"));
    let pointer = steps.fold(String::new(), |path, step| format!("{path}/{step}"));
    let known = VALIDATORS
        .lock()
        .expect("validators")
        .get(&pointer)
        .cloned();
    let validator = known.unwrap_or_else(|| {
        let validator = Arc::new(validator(&pointer));
        let mut validators = VALIDATORS.lock().expect("validators");
        validators.insert(pointer.clone(), validator.clone());
        validator
    });
    let errors = errors(&validator, value);
    assert!(errors.is_empty(), "{pointer}: {errors:#?}\n{value:#}");
}

fn validator(pointer: &str) -> Validator {
    assert!(STRICT.pointer(pointer).is_some(), "{pointer}");
    let mut root = STRICT.clone();
    // A fragment must have these characters in their escaped form.
    let fragment = pointer.replace('{', "%7B").replace('}', "%7D");
    root["$ref"] = json!(format!("#{}", fragment.replace(' ', "%20")));
    let options = jsonschema::options().should_validate_formats(true);
    options.build(&root).expect("a schema")
}

fn errors(validator: &Validator, value: &Value) -> Vec<String> {
    let errors = validator.iter_errors(value);
    let shown = errors.map(|error| format!("{}: {error}", error.instance_path()));
    shown.collect()
}

/// Returns the documented path that matches a request's path.
fn template(path: &str) -> Option<&'static str> {
    let fits = |template: &&String| {
        let (template, path) = (template.split('/'), path.split('/'));
        template.clone().count() == path.clone().count()
            && template.zip(path).all(|(expected, got)| {
                expected == got || (expected.starts_with('{') && !got.is_empty())
            })
    };
    let mut paths = object(&DOCUMENT["paths"]).keys();
    paths.find(fits).map(String::as_str)
}

/// Asserts that the document has this status, content type and body, and the headers that clients
/// rely on.
pub(super) fn assert_documented(method: &Method, uri: &Uri, answer: &Response<Bytes>) {
    let (status, body) = (answer.status(), answer.body());
    let shown = format!("{method} {} {status}", uri.path());
    let Some(path) = template(uri.path()) else {
        assert_eq!(status, StatusCode::BAD_REQUEST, "{shown}");
        assert_eq!(json_of(answer)["error"], "unknown_route", "{shown}");
        return;
    };
    let item = &DOCUMENT["paths"][path];
    let name = match *method {
        Method::HEAD => "get".to_owned(),
        _ => method.as_str().to_lowercase(),
    };
    if item.get(&name).is_none() {
        let error = json_of(answer)["error"].clone();
        let answers = [
            "method_not_allowed",
            "unauthorized",
            "admin_api_off",
            "overloaded",
        ];
        assert!(answers.iter().any(|it| error == *it), "{shown}: {error}");
        return;
    }
    let response = &item[&name]["responses"][status.as_str()];
    assert!(response.is_object(), "{shown} is not documented");
    for header in [
        header::CACHE_CONTROL,
        header::RETRY_AFTER,
        header::WWW_AUTHENTICATE,
        header::ALLOW,
        header::VARY,
        header::HeaderName::from_static("x-keystile-key-hash"),
    ] {
        let documented = response["headers"].get(header.as_str()).is_some();
        let sent = answer.headers().contains_key(&header);
        assert!(documented || !sent, "{shown}: {header} is not documented");
    }
    let Some(content) = response.get("content") else {
        assert!(body.is_empty(), "{shown}: a body");
        return;
    };
    let kind = answer.headers()[header::CONTENT_TYPE]
        .to_str()
        .expect("ASCII");
    assert!(content.get(kind).is_some(), "{shown}: {kind}");
    if *method == Method::HEAD {
        return;
    }
    let value = match kind {
        "application/json" => json_of(answer),
        _ => json!(String::from_utf8(body.to_vec()).expect("UTF-8")),
    };
    let steps = [
        "paths",
        path,
        &name,
        "responses",
        status.as_str(),
        "content",
        kind,
        "schema",
    ];
    assert_valid(&steps, &value);
}
