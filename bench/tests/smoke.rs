//! Runs all of `make bench` with as little load as possible: every variant must work, and every
//! figure must be there.

use std::process::Command;

#[test]
fn every_variant_works_and_every_figure_is_there() {
    let folder = tempfile::tempdir().expect("a folder");
    let output = Command::new(env!("CARGO_BIN_EXE_keystile-bench"))
        .arg("run")
        .args(["--rounds", "1", "--warm-up", "0", "--burst", "1"])
        .args([
            "--starts",
            "1",
            "--keys",
            "500",
            "--connections",
            "4",
            "--out",
        ])
        .arg(folder.path())
        .arg("--against")
        .arg(keystile_e2e::envoy::module())
        .output()
        .expect("it starts");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");

    let written =
        |name: &str| std::fs::read_to_string(folder.path().join(name)).expect("it is written");
    let report = written("benchmarks.md");
    let printed = String::from_utf8_lossy(&output.stdout);
    let against = printed.strip_prefix(&report).expect("the report first");
    let compared = against
        .lines()
        .filter(|line| line.starts_with("| Keystile,"));
    assert_eq!(compared.count(), 5, "{against}");
    assert!(
        !report.contains("NaN") && !report.contains("inf"),
        "{report}"
    );

    let rows: Vec<_> = report
        .lines()
        .filter(|line| line.ends_with(" % |"))
        .collect();
    assert_eq!(rows.len(), 14, "{report}");
    for row in rows {
        let cpu = row.split('|').nth(2).expect("a second column").trim();
        assert!(cpu.parse::<f64>().expect("a number") > 0.0, "{row}");
    }
    let bounds = report
        .lines()
        .filter(|line| line.starts_with("- **held**") || line.starts_with("- **missed**"));
    assert_eq!(bounds.count(), 8, "{report}");
    let plot = written("benchmarks.svg");
    assert_eq!(plot.matches("<rect").count(), 14, "{plot}");
}
