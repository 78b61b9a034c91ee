//! What the command line prints and how it exits, where no server is needed: golden files beside.

#![expect(clippy::unwrap_used, reason = "a failed set-up is a failed test")]

use snapbox::cmd::{Command, cargo_bin};
use snapbox::{file, str};
use std::path::Path;

const MANIFEST: &str = r#"[apps.web]
command   = ["node", "server.js"]
instances = { env = "PM2_INSTANCES", default = 3 }
listen    = "127.0.0.1:3000"

[apps.web.pools.prisma]
max = { env = "PRISMA_POOL_MAX", default = 3 }
url = { env = "DATABASE_URL" }

[apps.web.pools.dbos]
max = { env = "DBOS_POOL_MAX", default = 3 }
url = { env = "DBOS_SYSTEM_DATABASE_URL" }
executor = true
"#;

/// A folder with the manifest, and the command in it with an environment of its own.
struct Project(tempfile::TempDir);

impl Project {
    fn new(manifest: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("poolwright.toml"), manifest).unwrap();
        Self(folder)
    }

    fn dotenv(self, text: &str) -> Self {
        std::fs::write(self.0.path().join(".env"), text).unwrap();
        self
    }

    fn poolwright(&self, arguments: &[&str]) -> Command {
        poolwright(self.0.path(), arguments)
    }
}

fn poolwright(folder: &Path, arguments: &[&str]) -> Command {
    Command::new(cargo_bin!("poolwright"))
        .env_clear()
        .current_dir(folder)
        .args(arguments)
}

#[test]
fn plan_shows_the_sum_and_that_it_fits() {
    Project::new(MANIFEST)
        .poolwright(&["plan", "--max-connections", "100"])
        .assert()
        .code(0)
        .stdout_eq(file!["golden/plan-fits.txt"])
        .stderr_eq(str![]);
}

#[test]
fn plan_for_a_server_of_20_says_that_it_does_not_fit_why_and_what_would_and_exits_3() {
    Project::new(MANIFEST)
        .poolwright(&["plan", "--max-connections", "20"])
        .assert()
        .code(3)
        .stdout_eq(file!["golden/plan-over.txt"]);
}

#[test]
fn plan_as_json_has_the_documented_fields() {
    Project::new(MANIFEST)
        .poolwright(&["plan", "--max-connections", "100", "--json"])
        .assert()
        .code(0)
        .stdout_eq(file!["golden/plan.json"]);
}

#[test]
fn dotenv_beside_the_manifest_is_read_and_the_real_environment_wins() {
    Project::new(MANIFEST)
        .dotenv("PM2_INSTANCES=2\nPRISMA_POOL_MAX=2\nDBOS_POOL_MAX=9\n")
        .poolwright(&["plan", "--max-connections", "100"])
        .env("DBOS_POOL_MAX", "4")
        .assert()
        .code(0)
        .stdout_eq(file!["golden/plan-dotenv.txt"]);
}

#[test]
fn every_mistake_is_reported_at_once_and_exits_2() {
    Project::new(&MANIFEST.replace("listen    =", "lisen     ="))
        .dotenv("PM2_INSTANCES=three\nDATABASE_URL=mysql://app:s3cret@db/desk\n")
        .poolwright(&["plan", "--max-connections", "100"])
        .env("DBOS_POOL_MAX", "1")
        .assert()
        .code(2)
        .stdout_eq(str![])
        .stderr_eq(file!["golden/mistakes.txt"]);
}

#[test]
fn a_line_of_dotenv_that_is_none_is_reported_without_its_text() {
    Project::new(MANIFEST)
        .dotenv("DATABASE_URL postgres://app:s3cret@db/desk\n")
        .poolwright(&["plan", "--max-connections", "100"])
        .assert()
        .code(2)
        .stderr_eq(file!["golden/dotenv.txt"]);
}

#[test]
fn plan_without_a_server_says_what_to_give() {
    Project::new(MANIFEST)
        .poolwright(&["plan"])
        .assert()
        .code(2)
        .stderr_eq(file!["golden/no-server.txt"]);
}

#[test]
fn a_folder_without_a_manifest_says_what_to_do() {
    let empty = tempfile::tempdir().unwrap();
    poolwright(empty.path(), &["plan"])
        .assert()
        .code(2)
        .stderr_eq(file!["golden/no-manifest.txt"]);
}

#[test]
fn a_manifest_is_found_from_a_folder_below() {
    let project = Project::new(MANIFEST);
    let below = project.0.path().join("src/server");
    std::fs::create_dir_all(&below).unwrap();
    poolwright(&below, &["plan", "--max-connections", "100"])
        .assert()
        .code(0);
}

#[test]
fn status_and_stop_without_a_fleet_say_so_and_exit_1() {
    let project = Project::new(MANIFEST);
    for command in ["status", "stop"] {
        project
            .poolwright(&[command])
            .assert()
            .code(1)
            .stderr_eq(str![[r#"
error: [..]
  because no fleet is running here: nobody answers at [..]

"#]]);
    }
}

#[test]
fn some_urls_without_the_others_are_refused_before_anything_is_started() {
    let project = Project::new(MANIFEST);
    project
        .poolwright(&["up"])
        .env("DATABASE_URL", "postgres://app:pw@127.0.0.1:1/desk")
        .assert()
        .code(2)
        .stderr_eq(file!["golden/some-urls.txt"]);
    assert!(
        !project.0.path().join(".poolwright").exists(),
        "nothing was made"
    );
}

#[test]
fn help_teaches() {
    let folder = tempfile::tempdir().unwrap();
    poolwright(folder.path(), &["--help"])
        .assert()
        .code(0)
        .stdout_eq(file!["golden/help.txt"]);
    poolwright(folder.path(), &["verify", "--help"])
        .assert()
        .code(0)
        .stdout_eq(file!["golden/help-verify.txt"]);
}
