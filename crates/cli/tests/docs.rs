//! What the documentation shows was printed by the program.

#![expect(
    clippy::unwrap_used,
    reason = "a file that is missing is a failed test"
)]

mod pages;

use pages::{declared_in, holds, path, read};

#[test]
fn the_plan_in_the_readme_is_the_one_that_plan_prints() {
    let printed = read("crates/cli/tests/golden/plan-fits.txt");
    assert!(read("README.md").contains(printed.trim_end()));
}

#[test]
fn the_manifest_in_the_readme_is_valid_and_sums_up_to_the_18_that_it_claims() {
    use poolwright_topology::budget::{ServerLimits, plan};
    use poolwright_topology::declare::declare;
    use poolwright_topology::units::Connections;

    let readme = read("README.md");
    let manifest = readme
        .split("```toml\n")
        .nth(1)
        .unwrap()
        .split("```")
        .next()
        .unwrap();
    let topology = declare(manifest, &|_| None).unwrap();
    let plan = plan(&topology, &|_| {
        Some(ServerLimits::assumed(Connections(100)))
    })
    .unwrap();
    assert_eq!(plan.bound, Connections(18));
}

#[test]
fn every_exit_code_in_the_help_is_in_the_readme() {
    let readme = read("README.md");
    for word in [
        "3 over",
        "4 violated",
        "5 found",
        "with 2, all mistakes at once",
    ] {
        assert!(readme.contains(word), "{word}");
    }
}

#[test]
fn the_ecosystem_file_in_the_docs_is_the_one_that_the_acceptance_suite_runs() {
    let docs = read("docs/foreign-programs.md");
    let shown = docs.split("```js\n").nth(1).unwrap();
    let shown = shown.split("```").next().unwrap();
    let run = read("tests/acceptance/programs/pm2-dbos/ecosystem.config.cjs");
    let mut lines = run.lines().map(|line| line.trim_end_matches(','));
    for line in shown.lines().map(|line| line.trim_end_matches(',')) {
        assert!(lines.any(|found| found == line), "{line:?} is not run so");
    }
}

#[test]
fn every_way_to_be_seen_to_serve_is_explained_and_no_other() {
    let docs = read("docs/foreign-programs.md");
    let table = docs.split("| `ready =` |").nth(1).unwrap();
    let table = table.split("\n\n").next().unwrap();
    let explained: Vec<_> = table
        .lines()
        .filter_map(|line| line.strip_prefix("| `\"")?.split('"').next())
        .collect();
    let mistake = poolwright_topology::declare::declare(
        "[apps.web]\ncommand = [\"x\"]\nready = \"\"\n[apps.web.pools.db]\nmax = 1\n",
        &|_| None,
    );
    let expected = mistake.unwrap_err().remove(0).expected;
    let known: Vec<_> = expected.split('"').skip(1).step_by(2).collect();
    let sorted = |mut words: Vec<&str>| {
        words.sort_unstable();
        words.join(" ")
    };
    assert_eq!(sorted(explained), sorted(known));
}

/// Every hazard, as a table.
fn hazards() -> String {
    use poolwright_topology::finding::Severity;
    use poolwright_topology::hazard::{Code, Shown};

    let mut table =
        "| code | | found in | why it matters | cure |\n| --- | --- | --- | --- | --- |\n"
            .to_owned();
    for code in Code::ALL {
        let severity = match code.severity() {
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Info => "info",
        };
        let shown = match code.shown() {
            Shown::Files => "files",
            Shown::Server => "Postgres",
            Shown::Fleet => "the fleet",
        };
        // A bar would end the cell.
        let [why, cure] = [code.why(), code.cure()].map(|text| text.replace('|', "\\|"));
        table.push_str(&format!(
            "| {code} | {}, {severity} | {shown} | {why} | {cure} |\n",
            code.name()
        ));
    }
    table
}

#[test]
fn the_table_of_hazards_is_what_doctor_knows() {
    holds("docs/doctor.md", "hazards", &hazards());
}

#[test]
fn the_doctors_settings_in_its_page_are_valid() {
    let topology = declared_in("docs/doctor.md");
    assert_eq!(topology.doctor.allow.len(), 2);
}

/// What stands between backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

#[test]
fn every_test_that_the_guarantees_name_is_there() {
    let guarantees = read("docs/guarantees.md");
    let mut sources = String::new();
    let mut folders = vec![path("tests/acceptance/tests"), path("crates")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.extension().and_then(|end| end.to_str()) {
                Some("rs") => sources.push_str(&std::fs::read_to_string(path).unwrap()),
                None if path.is_dir() => folders.push(path),
                _ => {}
            }
        }
    }
    let is_test = |name: &&str| {
        name.matches('_').count() > 3 && name.chars().all(|c| c.is_ascii_lowercase() || c == '_')
    };
    let named: Vec<&str> = quoted(&guarantees).filter(is_test).collect();
    assert!(named.len() > 20, "{named:?}");
    for name in named {
        assert!(sources.contains(&format!("fn {name}(")), "no test {name}");
    }
    for named in quoted(&guarantees).filter(|named| named.starts_with("crates/")) {
        assert!(path(named).exists(), "no {named}");
    }
}
