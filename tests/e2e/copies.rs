//! Shipped configurations that equal `envoy/envoy.yaml` except in a few places.

use anyhow::{Context, Result, ensure};
use keystile_e2e::root;

trials! { Together:
    "files: copies of envoy.yaml" => copies,
}

/// A configuration, and everything but its introduction that differs from `envoy/envoy.yaml`.
struct Copy {
    file: &'static str,
    /// Text in this file, and the text in its place in `envoy/envoy.yaml`.
    otherwise: &'static [(&'static str, &'static str)],
    /// Sections of this file alone: how they begin, and how the line after them begins.
    more: &'static [(&'static str, &'static str)],
    /// What only `envoy/envoy.yaml` has.
    less: &'static str,
}

/// The module's place in a container.
pub(crate) const MODULE: &str = "filename: /etc/envoy/keystile.wasm ";

const COPIES: [Copy; 2] = [
    Copy {
        file: "envoy/envoy-docker.yaml",
        otherwise: &[
            (
                "address: 0.0.0.0, port_value: 10000 ",
                "address: 127.0.0.1, port_value: 10000 ",
            ),
            (MODULE, "filename: dist/keystile.wasm "),
            (
                "address: upstream, port_value: 8080 ",
                "address: 127.0.0.1, port_value: 8080 ",
            ),
            (
                "address: registry, port_value: 8081 ",
                "address: 127.0.0.1, port_value: 8081 ",
            ),
        ],
        more: &[
            (
                "    # For Prometheus and probes. The rest of the admin page",
                "  clusters:",
            ),
            ("    - name: admin", "    - name: upstream"),
            (
                "          # Shows the registry its service token",
                "      load_assignment:",
            ),
        ],
        less: "        # In a container: 0.0.0.0\n",
    },
    Copy {
        file: "envoy/gateway.yaml",
        otherwise: &[],
        more: &[
            (
                "                    # The reply of limits-by-address",
                "\n                http_filters:",
            ),
            (
                "                  # First, because",
                "                  - name: keystile",
            ),
            (
                "                      typed_per_filter_config:",
                "                      routes:",
            ),
        ],
        less: r#"                        - match: { prefix: "/", headers: [{ name: ":method", string_match: { exact: OPTIONS } }] }
                          route: { cluster: upstream, timeout: 15s, priority: HIGH }
"#,
    },
];

fn copies() -> Result<()> {
    let read = |name: &'static str| std::fs::read_to_string(root().join(name)).context(name);
    let original = read("envoy/envoy.yaml")?;
    for copy in COPIES {
        let expected = replaced(&original, copy.less, "").context("envoy/envoy.yaml")?;
        let mut found = read(copy.file)?;
        for (from, to) in copy.more {
            found = without(&found, from, to).context(copy.file)?;
        }
        for (from, to) in copy.otherwise {
            found = replaced(&found, from, to).context(copy.file)?;
        }
        equal(after_introduction(&found), after_introduction(&expected)).context(copy.file)?;
    }
    Ok(())
}

fn equal(found: &str, expected: &str) -> Result<()> {
    for (expected, found) in expected.lines().zip(found.lines()) {
        ensure!(
            expected == found,
            "it has\n{found}\nwhere envoy/envoy.yaml has\n{expected}\n\
             Make the same change to both, or list the difference in tests/e2e/copies.rs"
        );
    }
    ensure!(
        expected == found,
        "this file or envoy/envoy.yaml has extra lines at the end"
    );
    Ok(())
}

/// Replaces text that must occur once.
pub(crate) fn replaced(text: &str, from: &str, to: &str) -> Result<String> {
    let times = text.matches(from).count();
    ensure!(times == 1, "found {from:?} {times} times, expected once");
    Ok(text.replace(from, to))
}

fn without(text: &str, from: &str, to: &str) -> Result<String> {
    let start = text.find(&format!("\n{from}"));
    let (kept, rest) =
        text.split_at(start.with_context(|| format!("no line starts with {from:?}"))?);
    let end = rest.find(&format!("\n{to}"));
    let end = end.with_context(|| format!("no line after {from:?} starts with {to:?}"))?;
    Ok(format!("{kept}{}", &rest[end..]))
}

fn after_introduction(text: &str) -> &str {
    text.split_once("\n\n").map_or(text, |(_, rest)| rest)
}
