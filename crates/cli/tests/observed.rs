//! The documentation of the metrics, the alert rules and the dashboard, against what is written.

#![expect(
    clippy::unwrap_used,
    reason = "a file that is missing is a failed test"
)]

mod pages;

use pages::{declared_in, holds, read};
use poolwright_topology::picture::METRICS;
use promql_parser::parser::{self, AggregateExpr, Expr, LabelModifier, VectorSelector};
use promql_parser::util::{ExprVisitor, walk_expr};
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::Write;

/// What is wrong with a PromQL expression: it does not parse, or it names what is not written.
fn wrong(expression: &str) -> Vec<String> {
    let tree = match parser::parse(expression) {
        Ok(tree) => tree,
        Err(error) => return vec![format!("{expression}: {error}")],
    };
    let mut reading = Reading::default();
    let _infallible = walk_expr(&mut reading, &tree);
    reading.wrong()
}

/// The metrics of an expression, and the labels that it takes them to have.
#[derive(Default)]
struct Reading {
    selectors: Vec<(String, Vec<String>)>,
    grouped_by: Vec<String>,
}

impl ExprVisitor for Reading {
    type Error = std::convert::Infallible;

    fn pre_visit(&mut self, expression: &Expr) -> Result<bool, Self::Error> {
        match expression {
            Expr::VectorSelector(selector) => self.selector(selector),
            Expr::MatrixSelector(matrix) => self.selector(&matrix.vs),
            Expr::Aggregate(AggregateExpr {
                modifier: Some(LabelModifier::Include(labels)),
                ..
            }) => self.grouped_by.extend(labels.labels.iter().cloned()),
            _ => {}
        }
        Ok(true)
    }
}

impl Reading {
    fn selector(&mut self, selector: &VectorSelector) {
        let name = selector.name.clone().unwrap_or_default();
        let matchers = &selector.matchers.matchers;
        let labels = matchers.iter().map(|matcher| matcher.name.clone());
        self.selectors.push((name, labels.collect()));
    }

    fn wrong(&self) -> Vec<String> {
        let mut found = Vec::new();
        for (name, labels) in &self.selectors {
            let Some(metric) = METRICS.iter().find(|metric| metric.name == name) else {
                found.push(format!("the metric {name:?} is not written"));
                continue;
            };
            for label in labels.iter().chain(&self.grouped_by) {
                if !metric.labels().contains(&label.as_str()) {
                    found.push(format!("{name} has no label {label:?}"));
                }
            }
        }
        found
    }
}

#[derive(Deserialize)]
struct Rules {
    groups: Vec<Group>,
}

#[derive(Deserialize)]
struct Group {
    rules: Vec<Rule>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    alert: String,
    expr: String,
    #[serde(default)]
    r#for: Option<String>,
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
}

#[test]
fn every_alert_is_of_metrics_that_are_written_and_says_what_to_do() {
    let rules: Rules = serde_saphyr::from_str(&read("docs/alerts/poolwright.rules.yml")).unwrap();
    let rules: Vec<Rule> = rules
        .groups
        .into_iter()
        .flat_map(|group| group.rules)
        .collect();
    for rule in &rules {
        assert_eq!(wrong(&rule.expr), [""; 0], "{}", rule.alert);
        let lasts = rule.r#for.as_deref().unwrap_or("1s");
        assert!(humantime::parse_duration(lasts).is_ok(), "{}", rule.alert);
        for annotation in ["summary", "description"] {
            assert!(rule.annotations.contains_key(annotation), "{}", rule.alert);
        }
        let severity = rule.labels["severity"].as_str();
        assert!(
            ["warning", "critical"].contains(&severity),
            "{}",
            rule.alert
        );
        // A template in them may name a label as well.
        let texts = rule
            .annotations
            .values()
            .flat_map(|text| text.split("$labels.").skip(1));
        for rest in texts {
            let end = rest.find(|c: char| !c.is_alphanumeric()).unwrap();
            let label = &rest[..end];
            assert!(
                ["app", "slot", "pool"].contains(&label),
                "{}: {label}",
                rule.alert
            );
        }
    }
    let names: Vec<_> = rules.iter().map(|rule| rule.alert.as_str()).collect();
    for asked in [
        "BoundExceeded",
        "PoolStarved",
        "SlotParked",
        "ExecutorMissing",
    ] {
        assert!(
            names.contains(&format!("Poolwright{asked}").as_str()),
            "{asked}"
        );
    }
}

#[test]
fn every_expression_of_the_dashboard_is_of_metrics_that_are_written() {
    let dashboard: Value = serde_json::from_str(&read("docs/grafana/poolwright.json")).unwrap();
    let mut expressions = Vec::new();
    find(&dashboard, "expr", &mut expressions);
    assert!(expressions.len() > 20, "{expressions:?}");
    for expression in &expressions {
        // What Grafana puts in.
        let expression = expression.replace("$__rate_interval", "1m");
        assert_eq!(wrong(&expression), [""; 0], "{expression}");
    }
    let mut queries = Vec::new();
    find(&dashboard["templating"], "query", &mut queries);
    let values = queries
        .iter()
        .filter_map(|query| query.strip_prefix("label_values("));
    let values: Vec<_> = values.map(|rest| rest.trim_end_matches(')')).collect();
    assert_eq!(values.len(), 2, "{queries:?}");
    for value in values {
        let (metric, label) = value.split_once(", ").unwrap();
        assert_eq!(wrong(&format!("sum by ({label}) ({metric})")), [""; 0]);
    }
}

fn find(value: &Value, key: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(object) => {
            for (name, value) in object {
                match value.as_str() {
                    Some(text) if name == key => found.push(text.to_owned()),
                    _ => find(value, key, found),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| find(item, key, found)),
        _ => {}
    }
}

#[test]
fn a_name_a_label_and_a_text_that_nobody_writes_are_each_found() {
    assert_eq!(wrong("poolwright_connections_seen > 1"), [""; 0]);
    for (expression, expected) in [
        (
            "rate(poolwright_seen[1m])",
            "the metric \"poolwright_seen\" is not written",
        ),
        ("up == 0", "the metric \"up\" is not written"),
        (
            "poolwright_pool_shown{state=\"idle\"}",
            "poolwright_pool_shown has no label \"state\"",
        ),
        (
            "sum by (pool) (poolwright_workers_serving)",
            "poolwright_workers_serving has no label \"pool\"",
        ),
    ] {
        assert_eq!(wrong(expression), [expected], "{expression}");
    }
    assert_eq!(wrong("poolwright_connections_seen >").len(), 1);
}

fn table() -> String {
    let mut table = String::from("| metric | | labels | what it is |\n| --- | --- | --- | --- |\n");
    for metric in METRICS {
        let labels: Vec<_> = metric
            .labels()
            .iter()
            .map(|label| format!("`{label}`"))
            .collect();
        let (name, kind, help) = (metric.name, metric.kind, metric.help);
        writeln!(
            table,
            "| `{name}` | {kind} | {} | {help} |",
            labels.join(", ")
        )
        .unwrap();
    }
    table
}

#[test]
fn the_table_of_metrics_is_what_is_written() {
    holds("docs/observe.md", "metrics", &table());
}

#[test]
fn the_settings_in_the_page_about_them_are_valid() {
    let topology = declared_in("docs/observe.md");
    let observe = topology.observe.unwrap();
    assert_eq!(observe.hosts, ["fleet.example.org"]);
    assert_eq!(observe.token_variable.as_deref(), Some("POOLWRIGHT_TOKEN"));
}
