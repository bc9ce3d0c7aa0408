//! The bill of materials, in CycloneDX 1.5. Deliberately without a serial number and a time.

use serde_json::{Value, json};

use crate::contents::{Component, Contents};

pub(crate) fn of(contents: &Contents, sha256: &str) -> Value {
    let components: Vec<_> = contents.components.iter().map(component).collect();
    let needs = contents
        .needs
        .iter()
        .map(|(purl, needs)| json!({"ref": purl, "dependsOn": needs}));
    json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {
            "component": {
                "type": "application",
                "bom-ref": contents.purl(),
                "name": "keystile",
                "version": contents.version,
                "description": "keystile.wasm, a proxy-wasm filter for Envoy, built for wasm32-wasip1",
                "hashes": [sha256_of(sha256)],
                "licenses": [{"expression": "Apache-2.0"}],
                "purl": contents.purl(),
            },
        },
        "components": components,
        "dependencies": needs.collect::<Vec<_>>(),
    })
}

fn component(component: &Component) -> Value {
    let mut value = json!({
        "type": "library",
        "bom-ref": component.purl,
        "name": component.name,
        "version": component.version,
        "scope": "required",
        "licenses": [{"expression": component.license}],
        "purl": component.purl,
    });
    if let (Some(checksum), Some(fields)) = (&component.checksum, value.as_object_mut()) {
        fields.insert("hashes".to_owned(), json!([sha256_of(checksum)]));
    }
    value
}

fn sha256_of(hex: &str) -> Value {
    json!({"alg": "SHA-256", "content": hex})
}
