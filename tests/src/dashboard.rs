//! The queries in `envoy/prometheus/dashboard.json`, as Grafana sends them.

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::prometheus::{Prometheus, Series, Span};
use crate::watched;

/// Grafana's `$__rate_interval` for the shipped scrape interval: four times that interval.
const RATE_INTERVAL: &str = "1m";

/// The dashboard.
pub struct Dashboard(Value);

/// A query of a panel, a variable or an annotation.
#[derive(Clone, Debug)]
pub struct Query {
    /// The panel's title, or the name of the variable or annotation.
    pub of: String,
    /// The expression as written in the dashboard.
    pub expression: String,
    /// The legend, which names its series.
    pub legend: String,
}

/// Variable names without `$`, and the value of each.
pub type Variables = Vec<(String, String)>;

impl Dashboard {
    /// Reads the shipped dashboard.
    ///
    /// # Errors
    /// When it cannot be read or is not JSON.
    pub fn shipped() -> Result<Self> {
        let path = watched::files().join("dashboard.json");
        Self::read(&std::fs::read_to_string(&path).with_context(|| format!("{path:?}"))?)
    }

    /// Reads a dashboard from its JSON.
    ///
    /// # Errors
    /// When it is not JSON.
    pub fn read(json: &str) -> Result<Self> {
        Ok(Self(serde_json::from_str(json)?))
    }

    /// Returns the panel with this title, as written in the file.
    ///
    /// # Errors
    /// When there is no such panel.
    pub fn panel(&self, title: &str) -> Result<&Value> {
        let mut panels = self.panels();
        let panel = panels.find(|panel| panel["title"] == title);
        panel.with_context(|| format!("the dashboard has no panel {title:?}"))
    }

    fn panels(&self) -> impl Iterator<Item = &Value> {
        let panels = self.0["panels"].as_array().into_iter().flatten();
        panels.filter(|panel| panel["type"] != "row")
    }

    /// Returns the queries of a panel.
    ///
    /// # Errors
    /// When it has none, or one of them has no expression.
    pub fn of_panel(panel: &Value) -> Result<Vec<Query>> {
        let targets = panel["targets"].as_array().into_iter().flatten();
        let queries = targets.map(|target| {
            let legend = target["legendFormat"].as_str().unwrap_or_default();
            Self::query(&panel["title"], &target["expr"], legend)
        });
        let queries: Vec<_> = queries.collect::<Result<_>>()?;
        ensure!(!queries.is_empty(), "{}: has no query", panel["title"]);
        Ok(queries)
    }

    fn query(of: &Value, expression: &Value, legend: &str) -> Result<Query> {
        let of = of.as_str().context("a part without a name")?;
        Ok(Query {
            of: of.to_owned(),
            expression: expression
                .as_str()
                .with_context(|| format!("{of}: has no query"))?
                .to_owned(),
            legend: legend.to_owned(),
        })
    }

    /// Returns a value for each variable that selects all its values: one expression that matches all
    /// of them, as in Grafana.
    ///
    /// # Errors
    /// When Prometheus refuses a variable's query; says why.
    pub fn variables(&self, prometheus: &Prometheus, rate_interval: &str) -> Result<Variables> {
        let mut variables = vec![("__rate_interval".to_owned(), rate_interval.to_owned())];
        for query in self.of_variables()? {
            let values = query.label_values(prometheus, &variables)?;
            // Two backslashes: PromQL unescapes the string before it parses the regular expression.
            let escaped = values.join("|").replace('.', r"\\.");
            variables.push((query.of, format!("({escaped})")));
        }
        Ok(variables)
    }

    fn of_variables(&self) -> Result<Vec<Query>> {
        let variables = self.0["templating"]["list"].as_array();
        let variables = variables.into_iter().flatten();
        variables
            .filter(|variable| variable["type"] == "query")
            .map(|variable| Self::query(&variable["name"], &variable["query"]["query"], ""))
            .collect()
    }

    /// Returns every query in the file's order: variables, annotations, panels.
    ///
    /// # Errors
    /// When something that should have a query has none; says what.
    pub fn queries(&self) -> Result<Vec<Query>> {
        let mut queries = self.of_variables()?;
        let annotations = self.0["annotations"]["list"].as_array();
        for annotation in annotations.into_iter().flatten() {
            if annotation["builtIn"] != 1 {
                queries.push(Self::query(&annotation["name"], &annotation["expr"], "")?);
            }
        }
        for panel in self.panels() {
            queries.extend(Self::of_panel(panel)?);
        }
        Ok(queries)
    }

    /// Returns the dashboard's problems, one line each, which begins with the panel's title. A problem
    /// is a query that Prometheus refuses, one without any value, or a series that lacks a label named
    /// in its legend. The queries of `empty` must return no series.
    ///
    /// # Errors
    /// When the dashboard cannot be read.
    pub fn problems(
        &self,
        prometheus: &Prometheus,
        span: Span,
        empty: &[&str],
    ) -> Result<Vec<String>> {
        let mut problems = Vec::new();
        let variables = self.variables(prometheus, RATE_INTERVAL)?;
        for query in self.queries()? {
            let problem = match query.check(prometheus, &variables, span) {
                Err(problem) if problem.is::<NoSeries>() && empty.contains(&&*query.of) => continue,
                Err(problem) => format!("{problem:#}"),
                Ok(()) if empty.contains(&&*query.of) => {
                    "is listed as empty but returns series".into()
                }
                Ok(()) => continue,
            };
            problems.push(format!("{}: {problem}: {}", query.of, query.expression));
        }
        Ok(problems)
    }
}

#[derive(Debug)]
struct NoSeries;

impl std::fmt::Display for NoSeries {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("returns no series with a value")
    }
}

impl std::error::Error for NoSeries {}

impl Query {
    /// Returns the expression with its variables replaced.
    ///
    /// # Errors
    /// When it has a variable that is not in `variables`.
    pub fn substituted(&self, variables: &Variables) -> Result<String> {
        let mut parts = self.expression.split('$');
        let mut text = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            let end = part.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
            let (name, rest) = part.split_at(end.unwrap_or(part.len()));
            let known = variables.iter().find(|(known, _)| known == name);
            let (_, value) = known.with_context(|| format!("has the unknown variable ${name}"))?;
            text.push_str(value);
            text.push_str(rest);
        }
        Ok(text)
    }

    /// Returns the series that a panel would show.
    ///
    /// # Errors
    /// When Prometheus refuses the query; says why.
    pub fn series(
        &self,
        prometheus: &Prometheus,
        variables: &Variables,
        span: Span,
    ) -> Result<Vec<Series>> {
        prometheus.over(&self.substituted(variables)?, span)
    }

    /// Returns the values of a `label_values(selector, label)` query.
    fn label_values(&self, prometheus: &Prometheus, variables: &Variables) -> Result<Vec<String>> {
        let text = self.substituted(variables)?;
        let (selector, label) = text
            .strip_prefix("label_values(")
            .and_then(|arguments| arguments.strip_suffix(')'))
            .and_then(|arguments| arguments.rsplit_once(", "))
            .context("is not a label_values(selector, label) query")?;
        prometheus.label_values(selector, label)
    }

    /// Returns the name that Grafana shows for a series: the legend with its labels filled in.
    pub fn name(&self, series: &Series) -> String {
        let mut name = self.legend.clone();
        for (label, value) in &series.labels {
            name = name.replace(&format!("{{{{{label}}}}}"), value);
        }
        name
    }

    fn check(&self, prometheus: &Prometheus, variables: &Variables, span: Span) -> Result<()> {
        if self.expression.starts_with("label_values(") {
            let values = self.label_values(prometheus, variables)?;
            ensure!(!values.is_empty(), NoSeries);
            return Ok(());
        }
        let series = self.series(prometheus, variables, span)?;
        ensure!(series.iter().any(Series::says_something), NoSeries);
        let nameless = series
            .iter()
            .find(|series| self.name(series).contains("{{"));
        if let Some(nameless) = nameless {
            anyhow::bail!(
                "the legend {} has no such label in {:?}",
                self.legend,
                nameless.labels
            );
        }
        Ok(())
    }
}
