//! The OpenAPI document itself: well-formed and complete.

use std::collections::BTreeSet;

use super::*;
use crate::keys::values::Endpoint;

on_both! {
    it_is_served_to_everyone,
    each_route_is_in_it_and_nothing_else,
}

async fn it_is_served_to_everyone(database: TestDatabase) {
    let app = App {
        admin_token: None,
        service_token: Some(Token::new(b"service")),
        ..app(store_with_abc(&database).await)
    };
    let served = answer(&app, Method::GET, "/openapi.json").await;
    assert_eq!(served, (StatusCode::OK, SERVED.clone()));
}

async fn each_route_is_in_it_and_nothing_else(database: TestDatabase) {
    let app = app(store_with_abc(&database).await);
    // axum does not list its routes, but its `Debug` output shows them. If that changes, no route
    // is found here, and the test fails.
    let shown = format!("{:?}", router(app.clone(), Offer::ALL));
    let mut routes: BTreeSet<&str> = shown
        .split('"')
        .filter(|text| text.starts_with('/'))
        .collect();
    // axum's own route for the fallback.
    routes.retain(|path| !path.contains("__private__axum"));
    let mut answered = BTreeMap::new();
    for path in routes.iter().filter(|path| **path != "/") {
        let request = Request::builder()
            .method("WHATEVER")
            .uri(path.replace(['{', '}'], ""));
        let request = request.header(header::AUTHORIZATION, "Bearer admin-secret");
        let answer = exchange(&app, request.body(Body::empty()).expect("request")).await;
        assert_eq!(answer.status(), StatusCode::METHOD_NOT_ALLOWED, "{path}");
        let allow = answer.headers()[header::ALLOW].to_str().expect("ASCII");
        let methods = allow.split(',').map(str::trim).map(str::to_lowercase);
        let methods: BTreeSet<_> = methods.filter(|method| method != "head").collect();
        answered.insert((*path).to_owned(), methods);
    }
    let mut documented: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (path, method, _) in operations(&DOCUMENT) {
        documented
            .entry(path.clone())
            .or_default()
            .insert(method.clone());
    }
    assert_eq!(answered, documented);
}

#[test]
fn it_is_openapi_3_1() {
    let shape: Value = serde_json::from_str(include_str!("shape.json")).expect("JSON");
    let shape = jsonschema::validator_for(&shape).expect("a schema");
    let errors = errors(&shape, &DOCUMENT);
    assert!(errors.is_empty(), "{errors:#?}");
    let names = |value: &Value| -> BTreeSet<String> { object(value).keys().cloned().collect() };
    let schemes = names(&DOCUMENT["components"]["securitySchemes"]);
    let tags = DOCUMENT["tags"].as_array().expect("tags").iter();
    let tags: Vec<_> = tags.map(|tag| &tag["name"]).collect();
    let mut ids = BTreeSet::new();
    for (path, method, operation) in operations(&DOCUMENT) {
        let id = operation["operationId"].as_str().expect("an ID");
        assert!(ids.insert(id), "{id} twice");
        let list = |name: &str| operation[name].as_array().cloned().unwrap_or_default();
        for tag in list("tags") {
            assert!(tags.contains(&&tag), "{id}: {tag}");
        }
        for requirement in list("security") {
            assert!(
                names(&requirement).is_subset(&schemes),
                "{id}: {requirement}"
            );
        }
        let in_path = |it: &&Value| it["in"] == "path";
        let parameters = list("parameters");
        let parameters: BTreeSet<_> = parameters
            .iter()
            .filter(in_path)
            .map(|it| it["name"].as_str().expect("a name"))
            .collect();
        let segments = path.split('/');
        let expected: BTreeSet<_> = segments
            .filter_map(|segment| segment.strip_prefix('{')?.strip_suffix('}'))
            .collect();
        assert_eq!(parameters, expected, "{method} {path}");
    }
}

#[test]
fn it_has_the_version_of_the_server() {
    let info = &SERVED["info"];
    assert_eq!(info["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(info["license"]["identifier"], env!("CARGO_PKG_LICENSE"));
}

#[test]
fn its_references_lead_to_its_components_and_each_is_used() {
    fn visit<'a>(value: &'a Value, targets: &mut BTreeSet<&'a str>) {
        match value {
            Value::Array(values) => values.iter().for_each(|value| visit(value, targets)),
            Value::Object(values) => {
                if let Some(Value::String(target)) = values.get("$ref") {
                    targets.insert(target);
                }
                values.values().for_each(|value| visit(value, targets));
            }
            _ => {}
        }
    }
    let mut targets = BTreeSet::new();
    visit(&SERVED, &mut targets);
    let mut components = BTreeSet::new();
    for (kind, of_kind) in object(&SERVED["components"]) {
        // Operations name these without a reference.
        if kind != "securitySchemes" {
            let names = object(of_kind).keys();
            components.extend(names.map(|name| format!("#/components/{kind}/{name}")));
        }
    }
    assert_eq!(targets, components.iter().map(String::as_str).collect());
}

#[test]
fn its_examples_are_as_its_schemas_say() {
    let mut count = 0;
    let mut check = |steps: &[&str], media: &Value| {
        let named = media.get("examples").map(object).into_iter().flatten();
        let named = named.map(|(_, example)| &example["value"]);
        for example in named.chain(media.get("example")) {
            let schema = [steps, &["schema"]].concat();
            assert_valid(&schema, example);
            count += 1;
        }
    };
    for (path, method, operation) in operations(&DOCUMENT) {
        if let Some(body) = operation.get("requestBody") {
            for (kind, media) in object(&body["content"]) {
                let steps = ["paths", path, method, "requestBody", "content", kind];
                check(&steps, media);
            }
        }
        for (status, response) in object(&operation["responses"]) {
            for (kind, media) in response.get("content").map(object).into_iter().flatten() {
                let steps = ["paths", path, method, "responses", status, "content", kind];
                check(&steps, media);
            }
        }
    }
    assert!(count > 20, "{count}");
}

#[test]
fn its_pattern_of_endpoints_is_the_servers() {
    let pattern = validator("/components/schemas/NewEndpoints/items");
    let with_each = (0..=255_u8).map(|byte| format!("/v1/a{}b", char::from(byte)));
    let others = ["", "/", "/v1/", "v1", "*", "/*", "https://example.com/v1"];
    for path in with_each.chain(others.map(str::to_owned)) {
        let accepted = path.parse::<Endpoint>().is_ok();
        assert_eq!(pattern.is_valid(&json!(path)), accepted, "{path:?}");
    }
}
