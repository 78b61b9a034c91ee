//! `poolwright init`, on the applications of this repository without their manifests.

#![expect(
    clippy::unwrap_used,
    reason = "a project that cannot be copied is a failed test"
)]

use snapbox::cmd::{Command, cargo_bin};
use snapbox::{file, str};
use std::path::Path;
use tempfile::TempDir;

fn poolwright(folder: &Path, arguments: &[&str]) -> Command {
    Command::new(cargo_bin!("poolwright"))
        .env_clear()
        .env("PATH", std::env::var("PATH").unwrap())
        .current_dir(folder)
        .args(arguments)
}

/// An application without its manifest and without `left_out`.
fn stripped(app: &str, left_out: &[&str]) -> TempDir {
    let app = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../apps")
        .join(app);
    let copy = tempfile::tempdir().unwrap();
    copied(&app, copy.path(), left_out);
    copy
}

fn copied(from: &Path, to: &Path, left_out: &[&str]) {
    const BUILT: [&str; 6] = [
        "node_modules",
        "build",
        ".svelte-kit",
        ".poolwright",
        "generated",
        "poolwright.toml",
    ];
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name();
        if BUILT
            .iter()
            .chain(left_out)
            .any(|left_out| name == *left_out)
        {
            continue;
        }
        let target = to.join(&name);
        match entry.file_type().unwrap().is_dir() {
            true => copied(&entry.path(), &target, left_out),
            false => std::fs::copy(entry.path(), target).map(drop).unwrap(),
        }
    }
}

/// The manifest was written as it was shown, and `plan` accepts it, with three workers of two pools.
fn is_accepted(folder: &Path, shown: &[u8], connections: &str) {
    let written = std::fs::read(folder.join("poolwright.toml")).unwrap();
    assert_eq!(written, shown);
    let plan = poolwright(folder, &["plan", "--max-connections", "100", "--json"]);
    let output = plan.assert().code(0);
    let plan = String::from_utf8(output.get_output().stdout.clone()).unwrap();
    let bound = format!("{{\"bound\":{connections},");
    assert!(plan.starts_with(&bound), "{plan}");
}

#[test]
fn the_sveltekit_application_shows_its_command_its_pools_their_variables_and_what_migrates() {
    let app = stripped("sveltekit", &["ecosystem.config.cjs"]);
    let output = poolwright(app.path(), &["init", "--yes"])
        .assert()
        .code(0)
        .stdout_eq(file!["golden/init-sveltekit.toml"])
        .stderr_eq(file!["golden/init-sveltekit.txt"]);
    is_accepted(app.path(), &output.get_output().stdout, "18");
}

#[test]
fn the_axum_application_shows_its_binary_and_that_it_migrates_itself() {
    let app = stripped("axum", &["ecosystem.config.cjs"]);
    let output = poolwright(app.path(), &["init", "--yes"])
        .assert()
        .code(0)
        .stdout_eq(file!["golden/init-axum.toml"])
        .stderr_eq(file!["golden/init-axum.txt"]);
    is_accepted(app.path(), &output.get_output().stdout, "18");
}

#[test]
fn what_pm2_starts_is_what_is_started() {
    for (app, golden) in [
        ("sveltekit", file!["golden/init-sveltekit-pm2.toml"]),
        ("axum", file!["golden/init-axum-pm2.toml"]),
    ] {
        let app = stripped(app, &[]);
        let output = poolwright(app.path(), &["init", "--yes"])
            .assert()
            .code(0)
            .stdout_eq(golden);
        is_accepted(app.path(), &output.get_output().stdout, "18");
    }
}

#[test]
fn an_empty_folder_is_no_project_and_gets_no_manifest() {
    let empty = tempfile::tempdir().unwrap();
    poolwright(empty.path(), &["init", "--yes"])
        .assert()
        .code(1)
        .stdout_eq(str![])
        .stderr_eq(str![[r#"
error: no package.json and no Cargo.toml with a package in [..], expected the folder of a project

"#]]);
    assert_eq!(std::fs::read_dir(empty.path()).unwrap().count(), 0);
}

#[test]
fn a_project_that_shows_nothing_gets_a_manifest_that_says_so_and_is_valid() {
    let project = tempfile::tempdir().unwrap();
    std::fs::write(
        project.path().join("package.json"),
        "{ \"name\": \"shop\" }",
    )
    .unwrap();
    let output = poolwright(project.path(), &["init", "--yes"])
        .assert()
        .code(0)
        .stdout_eq(file!["golden/init-nothing.toml"])
        .stderr_eq(file!["golden/init-nothing.txt"]);
    is_accepted(project.path(), &output.get_output().stdout, "30");
}

#[test]
fn without_a_terminal_and_without_yes_it_is_shown_and_not_written() {
    let app = stripped("sveltekit", &["ecosystem.config.cjs"]);
    poolwright(app.path(), &["init"])
        .assert()
        .code(1)
        .stdout_eq(file!["golden/init-sveltekit.toml"]);
    assert!(!app.path().join("poolwright.toml").exists());
}

#[test]
fn nothing_is_overwritten() {
    let app = stripped("axum", &[]);
    let manifest = app.path().join("poolwright.toml");
    std::fs::write(&manifest, "mine").unwrap();
    poolwright(app.path(), &["init", "--yes"])
        .assert()
        .code(1)
        .stdout_eq(str![])
        .stderr_eq(str![[r#"
error: poolwright.toml is there already, and is not overwritten

"#]]);
    assert_eq!(std::fs::read_to_string(manifest).unwrap(), "mine");
}

#[test]
fn an_ecosystem_file_that_declares_the_topology_needs_no_manifest() {
    let project = tempfile::tempdir().unwrap();
    std::fs::write(project.path().join("package.json"), "{}").unwrap();
    let file = "module.exports = [{ name: 'web', script: 'a.js', poolwright: { pools: {} } }];";
    std::fs::write(project.path().join("ecosystem.config.cjs"), file).unwrap();
    poolwright(project.path(), &["init", "--yes"])
        .assert()
        .code(1)
        .stderr_eq(str![[r#"
error: ecosystem.config.cjs declares the topology already, under its `poolwright` key

"#]]);
}

#[test]
fn passwords_of_dotenv_are_in_no_manifest() {
    let project = tempfile::tempdir().unwrap();
    let package = "{ \"dependencies\": { \"pg\": \"8\" } }";
    std::fs::write(project.path().join("package.json"), package).unwrap();
    let dotenv = "SHOP_DATABASE_URL=postgres://shop:s3cret@db/shop\nDB_POOL_SIZE=4\nPORT=8080\n";
    std::fs::write(project.path().join(".env"), dotenv).unwrap();
    let output = poolwright(project.path(), &["init", "--yes"])
        .assert()
        .code(0);
    let shown = String::from_utf8(output.get_output().stdout.clone()).unwrap();
    for part in [
        "max = { env = \"DB_POOL_SIZE\", default = 4 }",
        "url = { env = \"SHOP_DATABASE_URL\" }",
        "listen = \"0.0.0.0:8080\"",
    ] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    assert!(!shown.contains("s3cret"), "{shown}");
}
