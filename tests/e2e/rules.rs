//! The files in `envoy/prometheus` by themselves: `promtool` accepts them, and they agree with each
//! other.

use anyhow::{Context, Result, ensure};
use keystile_e2e::prometheus::promtool;
use keystile_e2e::root;
use keystile_e2e::watched;

use crate::world::World;

trials! { Together:
    "rules: promtool is content" => promtool_is_content,
    "rules: each alert has a test and a runbook" => each_alert_has_a_test_and_a_runbook,
    "rules: the PodMonitor relabels alike" => podmonitor_relabels_alike,
}

/// `promtool` accepts the configuration and the rules, and the rules' own tests pass.
fn promtool_is_content(_: &World) -> Result<()> {
    let folder = watched::files();
    for arguments in [
        ["check", "config", "prometheus.yml"],
        ["check", "rules", "rules.yml"],
        ["test", "rules", "rules_test.yml"],
    ] {
        promtool(&folder, &arguments)?;
    }
    Ok(())
}

/// Each alert fires in a test, and has a runbook on the page that it links to.
fn each_alert_has_a_test_and_a_runbook(_: &World) -> Result<()> {
    let read = |name: &str| {
        let path = root().join(name);
        std::fs::read_to_string(&path).with_context(|| format!("{path:?}"))
    };
    let rules = read("envoy/prometheus/rules.yml")?;
    let tests = read("envoy/prometheus/rules_test.yml")?;
    let page = read("docs/prometheus.md")?;
    let lines = rules.lines().map(str::trim);
    let alerts: Vec<_> = lines
        .clone()
        .filter_map(|line| line.strip_prefix("- alert: "))
        .collect();
    ensure!(!alerts.is_empty(), "no alerts");
    for name in &alerts {
        let fires = format!("alertname=\"{name}\"");
        ensure!(tests.contains(&fires), "{name}: fires in no test");
        let heading = format!("### {name}\n");
        ensure!(page.contains(&heading), "{name}: has no runbook");
        let link = format!("docs/prometheus.md#{}", name.to_lowercase());
        let linked = lines
            .clone()
            .any(|line| line == format!("runbook_url: {link}"));
        ensure!(linked, "{name}: does not link its runbook");
    }
    let headings = page
        .lines()
        .filter_map(|line| line.strip_prefix("### Keystile"));
    for heading in headings {
        let name = format!("Keystile{heading}");
        ensure!(
            alerts.contains(&name.as_str()),
            "{name}: there is no such alert"
        );
    }
    Ok(())
}

/// The PodMonitor relabels like prometheus.yml, in the operator's spelling.
fn podmonitor_relabels_alike(_: &World) -> Result<()> {
    let steps = |file: &str, from: &str| {
        let text = std::fs::read_to_string(watched::files().join(file))?;
        let (_, steps) = text
            .split_once(from)
            .with_context(|| format!("{file} has no {from}"))?;
        let lines = steps.lines().skip(1).map(str::trim);
        let lines = lines
            .take_while(|line| !line.is_empty())
            .filter(|line| !line.starts_with('#'))
            .map(|line| line.replace("sourceLabels", "source_labels"))
            .map(|line| line.replace("targetLabel", "target_label"));
        anyhow::Ok(lines.collect::<Vec<_>>())
    };
    let scraped = steps("prometheus.yml", "metric_relabel_configs:")?;
    let monitored = steps("podmonitor.yaml", "metricRelabelings:")?;
    ensure!(scraped.len() > 20, "few steps: {scraped:?}");
    for (ours, theirs) in scraped.iter().zip(&monitored) {
        ensure!(ours == theirs, "podmonitor.yaml has {theirs}, not {ours}");
    }
    ensure!(
        scraped.len() == monitored.len(),
        "prometheus.yml and podmonitor.yaml have different numbers of steps"
    );
    Ok(())
}
