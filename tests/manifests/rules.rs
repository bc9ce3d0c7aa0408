//! The CEL rules (`x-kubernetes-validations`) that the definition of a Kubernetes resource has
//! besides its schema.

use std::collections::HashMap;
use std::sync::Arc;

use cel::extractors::This;
use cel::{Context, Env, Value as Cel, extensions};
use serde_json::Value;

/// Runs the rules of this part of a schema and of all parts below it on the corresponding values. A
/// rule that cannot be run is a problem too.
pub(crate) fn check(
    schema: &Value,
    value: &Value,
    path: &str,
    problems: &mut Vec<String>,
    run: &mut usize,
) {
    let rules = schema["x-kubernetes-validations"].as_array();
    for rule in rules.into_iter().flatten() {
        let rule = rule["rule"].as_str().unwrap_or_default();
        *run += 1;
        match holds(rule, value) {
            Ok(true) => {}
            Ok(false) => problems.push(format!("{path}: does not hold: {rule}")),
            Err(problem) => problems.push(format!("{path}: cannot run {rule}: {problem}")),
        }
    }
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                let own = schema["properties"].get(name);
                if let Some(schema) = own.or(schema.get("additionalProperties")) {
                    check(schema, value, &format!("{path}/{name}"), problems, run);
                }
            }
        }
        Value::Array(items) => {
            for (index, value) in items.iter().enumerate() {
                let path = format!("{path}/{index}");
                check(&schema["items"], value, &path, problems, run);
            }
        }
        _ => {}
    }
}

fn holds(rule: &str, value: &Value) -> Result<bool, String> {
    match evaluate(rule, &[("self", cel(value))])? {
        Cel::Bool(holds) => Ok(holds),
        other => Err(format!("returns {other:?}")),
    }
}

/// Returns the value of an expression with these variables.
pub(crate) fn evaluate(expression: &str, variables: &[(&str, Cel)]) -> Result<Cel, String> {
    let mut env = Env::stdlib();
    env.add_extension(extensions::strings)
        .map_err(|problem| problem.to_string())?;
    let program = env
        .compile(expression)
        .map_err(|problem| problem.to_string())?;
    let mut context = Context::with_env(Arc::new(env));
    // The functions that Kubernetes adds to CEL, as far as these definitions need them.
    context
        .add_function("isURL", |text: Arc<String>| scheme(&text).is_some())
        .and_then(|()| context.add_function("url", |text: Arc<String>| text))
        .and_then(|()| {
            context.add_function("getScheme", |This(url): This<Arc<String>>| {
                scheme(&url).unwrap_or_default().to_owned()
            })
        })
        .map_err(|problem| problem.to_string())?;
    for (name, value) in variables {
        context.add_variable_from_value(*name, value.clone());
    }
    program
        .execute(&context)
        .map_err(|problem| problem.to_string())
}

/// Returns what is before `://` in an absolute URL.
fn scheme(url: &str) -> Option<&str> {
    let (scheme, rest) = url.split_once("://")?;
    (!scheme.is_empty() && !rest.is_empty()).then_some(scheme)
}

/// Converts a JSON value to CEL.
pub(crate) fn cel(value: &Value) -> Cel {
    match value {
        Value::Null => Cel::Null,
        Value::Bool(value) => Cel::Bool(*value),
        Value::Number(number) => match number.as_i64() {
            Some(whole) => Cel::Int(whole),
            None => Cel::Float(number.as_f64().unwrap_or(f64::NAN)),
        },
        Value::String(text) => Cel::from(text.as_str()),
        Value::Array(items) => Cel::from(items.iter().map(cel).collect::<Vec<_>>()),
        Value::Object(fields) => {
            let fields = fields
                .iter()
                .map(|(name, value)| (name.clone(), cel(value)));
            Cel::Map(fields.collect::<HashMap<_, _>>().into())
        }
    }
}
