//! What must be refused, as a table.

use serde_json::{Value, json};

/// What must be refused: a shipped document with a change, and what is to be said of it.
pub(crate) struct Broken {
    pub(crate) name: &'static str,
    pub(crate) file: &'static str,
    pub(crate) kind: &'static str,
    /// Where the change is: the object, the field in it, and its new value.
    pub(crate) at: (&'static str, &'static str, Value),
    /// Where the problem is said to be, and what it says.
    pub(crate) says: [&'static str; 2],
}

pub(crate) fn cases() -> Vec<Broken> {
    let case = |name, file, kind, at, says| Broken {
        name,
        file,
        kind,
        at,
        says,
    };
    let (plugin, policy) = ("wasmplugin-sidecar.yaml", "policy.yaml");
    vec![
        case(
            "unknown field at the top",
            plugin,
            "WasmPlugin",
            ("", "sepc", json!({})),
            ["document: ", "'sepc'"],
        ),
        case(
            "unknown field of metadata",
            plugin,
            "WasmPlugin",
            ("/metadata", "nmae", json!("x")),
            ["/metadata: ", "'nmae'"],
        ),
        case(
            "status",
            plugin,
            "WasmPlugin",
            ("", "status", json!({})),
            ["document: ", "'status'"],
        ),
        case(
            "unknown field of spec",
            plugin,
            "WasmPlugin",
            ("/spec", "failOpen", json!(false)),
            ["/spec: ", "'failOpen'"],
        ),
        case(
            "unknown field in a list",
            plugin,
            "WasmPlugin",
            ("/spec/match/0", "port", json!(1)),
            ["/spec/match/0: ", "'port'"],
        ),
        case(
            "unknown field, deep",
            "auth-mesh.yaml",
            "DestinationRule",
            (
                "/spec/trafficPolicy/connectionPool/tcp",
                "timeout",
                json!("1s"),
            ),
            ["/spec/trafficPolicy/connectionPool/tcp: ", "'timeout'"],
        ),
        case(
            "wrong enum value",
            plugin,
            "WasmPlugin",
            ("/spec", "failStrategy", json!("FAIL_CLOSED")),
            ["/spec/failStrategy: ", "FAIL_CLOSED"],
        ),
        case(
            "wrong type",
            "auth-external.yaml",
            "ServiceEntry",
            ("/spec", "hosts", json!("auth.example.com")),
            ["/spec/hosts: ", "array"],
        ),
        case(
            "text for a number",
            "auth-external.yaml",
            "ServiceEntry",
            ("/spec/ports/0", "number", json!("80")),
            ["/spec/ports/0/number: ", "integer"],
        ),
        case(
            "too large for int32",
            "auth-mesh.yaml",
            "DestinationRule",
            (
                "/spec/trafficPolicy/connectionPool/tcp",
                "maxConnections",
                json!(3_000_000_000_u32),
            ),
            [
                "/spec/trafficPolicy/connectionPool/tcp/maxConnections: ",
                "maximum",
            ],
        ),
        case(
            "sha256 of 63 digits",
            plugin,
            "WasmPlugin",
            ("/spec", "sha256", json!("0".repeat(63))),
            ["/spec/sha256: ", "match"],
        ),
        case(
            "sha256 with its algorithm",
            plugin,
            "WasmPlugin",
            (
                "/spec",
                "sha256",
                json!(format!("sha256:{}", "0".repeat(64))),
            ),
            ["/spec/sha256: ", "match"],
        ),
        case(
            "another version",
            plugin,
            "WasmPlugin",
            ("", "apiVersion", json!("extensions.istio.io/v1")),
            ["no definition", "extensions.istio.io/v1 WasmPlugin"],
        ),
        case(
            "WasmPlugin's field in TrafficExtension",
            "trafficextension-sidecar.yaml",
            "TrafficExtension",
            ("/spec", "url", json!("oci://x")),
            ["/spec: ", "'url'"],
        ),
        case(
            "one of two (oneOf)",
            "trafficextension-sidecar.yaml",
            "TrafficExtension",
            ("/spec", "lua", json!({"inlineCode": "x"})),
            ["/spec: ", "oneOf"],
        ),
        case(
            "a rule: both targets",
            "wasmplugin-gateway.yaml",
            "WasmPlugin",
            (
                "/spec",
                "targetRefs",
                json!([{"kind": "Gateway", "name": "x"}]),
            ),
            ["/spec: does not hold", "has(self.targetRefs)"],
        ),
        case(
            "a rule: scheme of an address",
            plugin,
            "WasmPlugin",
            ("/spec", "url", json!("ftp://x/y")),
            ["/spec/url: does not hold", "getScheme"],
        ),
        case(
            "a rule: time too short",
            "auth-mesh.yaml",
            "DestinationRule",
            (
                "/spec/trafficPolicy/connectionPool/tcp",
                "connectTimeout",
                json!("1us"),
            ),
            [
                "/spec/trafficPolicy/connectionPool/tcp/connectTimeout: does not hold",
                "duration",
            ],
        ),
        case(
            "unknown field of a policy",
            policy,
            "EnvoyExtensionPolicy",
            ("/spec/wasm/0", "pluginConfig", json!({})),
            ["/spec/wasm/0: ", "'pluginConfig'"],
        ),
        case(
            "unknown field of its code",
            policy,
            "EnvoyExtensionPolicy",
            ("/spec/wasm/0/code/image", "tag", json!("x")),
            ["/spec/wasm/0/code/image: ", "'tag'"],
        ),
        case(
            "a rule: code of another type",
            policy,
            "EnvoyExtensionPolicy",
            ("/spec/wasm/0/code", "type", json!("HTTP")),
            ["/spec/wasm/0/code: does not hold", "self.type == 'HTTP'"],
        ),
        case(
            "a rule: another target",
            policy,
            "EnvoyExtensionPolicy",
            ("/spec/targetRefs/0", "kind", json!("Service")),
            ["/spec: does not hold", "targetRefs.all"],
        ),
        case(
            "a rule: endpoints of a resolver",
            "auth.yaml",
            "Backend",
            ("/spec", "type", json!("DynamicResolver")),
            ["/spec: does not hold", "DynamicResolver"],
        ),
        case(
            "patch of another resource",
            "patch.yaml",
            "EnvoyPatchPolicy",
            ("/spec/jsonPatches/0", "type", json!("Cluster")),
            ["/spec/jsonPatches/0/type: ", "Cluster"],
        ),
    ]
}
