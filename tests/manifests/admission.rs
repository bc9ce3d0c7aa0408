//! What the shipped ValidatingAdmissionPolicy refuses, by running its expressions.

use anyhow::{Context, Result, anyhow, ensure};
use cel::Value as Cel;
use keystile_e2e::manifests::{Document, FOLDERS, documents};
use serde_json::{Value, json};

use crate::rules::{cel, evaluate};

fn evaluated(expression: &Value, variables: &[(&str, Cel)]) -> Result<Cel> {
    let expression = expression.as_str().context("no expression")?;
    evaluate(expression, variables).map_err(|problem| anyhow!("{expression}: {problem}"))
}

/// Returns true if the policy admits a resource.
fn admits(policy: &Document, namespace: &str, resource: &str, object: &Value) -> Result<bool> {
    let request = json!({"namespace": namespace, "resource": {"resource": resource}});
    let mut variables = vec![("request", cel(&request)), ("object", cel(object))];
    let spec = &policy.value["spec"];
    for condition in spec["matchConditions"]
        .as_array()
        .context("no conditions")?
    {
        if evaluated(&condition["expression"], &variables)? != Cel::Bool(true) {
            return Ok(true);
        }
    }
    let own = &spec["variables"][0];
    let name = own["name"].as_str().context("no name")?;
    let value = evaluated(&own["expression"], &variables)?;
    let fields = std::collections::HashMap::from([(name.to_owned(), value)]);
    variables.push(("variables", Cel::Map(fields.into())));
    for validation in spec["validations"].as_array().context("no validations")? {
        if evaluated(&validation["expression"], &variables)? != Cel::Bool(true) {
            return Ok(false);
        }
    }
    Ok(true)
}

#[test]
fn nobody_else_defines_the_auth_services_host() -> Result<()> {
    let documents = documents(FOLDERS[0])?;
    let policy = documents
        .iter()
        .find(|document| document.text("/kind") == "ValidatingAdmissionPolicy")
        .context("no policy")?;
    let entry = |hosts: &[&str]| ("serviceentries", json!({"spec": {"hosts": hosts}}));
    let rule = |host: &str| ("destinationrules", json!({"spec": {"host": host}}));
    let auth = "auth.keystile.svc.cluster.local";
    let rows = [
        ("keystile", entry(&[auth]), true),
        ("keystile", rule(auth), true),
        ("web", entry(&[auth]), false),
        ("api", entry(&["other.example.com", auth]), false),
        ("istio-system", entry(&["auth.example.com"]), false),
        ("web", entry(&["auth.example.com.evil.example"]), true),
        ("web", entry(&["api.example.com"]), true),
        ("api", rule(auth), false),
        ("istio-ingress", rule("auth.example.com"), false),
        ("api", rule("*"), false),
        ("api", rule("*.local"), false),
        ("istio-ingress", rule("*.keystile.svc.cluster.local"), false),
        ("api", rule("*.example.com"), false),
        ("api", rule("*.api.svc.cluster.local"), true),
        ("api", rule("orders.api.svc.cluster.local"), true),
        // Does not affect the proxies that have the filter.
        ("web", rule("*.local"), true),
    ];
    for (namespace, (resource, object), admitted) in rows {
        ensure!(
            admits(policy, namespace, resource, &object)? == admitted,
            "{resource} {object} in {namespace}: not {admitted}"
        );
    }
    Ok(())
}
