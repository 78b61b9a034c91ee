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

/// The same topology as [`MANIFEST`], as a PM2 project has it.
const ECOSYSTEM: &str = r#"console.log('read');
const pool = (name, url) => ({ max: { env: name, default: 3 }, url: { env: url } });
module.exports = {
	apps: [
		{
			name: 'web',
			script: 'server.js',
			instances: process.env.PM2_INSTANCES ?? 3,
			env: { PORT: 3000 },
			env_production: { PRISMA_POOL_MAX: 4 },
			max_memory_restart: '300M',
			poolwright: {
				pools: {
					prisma: pool('PRISMA_POOL_MAX', 'DATABASE_URL'),
					dbos: { ...pool('DBOS_POOL_MAX', 'DBOS_SYSTEM_DATABASE_URL'), executor: true }
				}
			}
		},
		{ name: 'mailer', script: 'mailer.js' }
	]
};
"#;

/// A folder with an ecosystem file, and the command in it, with Node on its PATH.
fn ecosystem(folder: &Path, text: &str, arguments: &[&str]) -> Command {
    std::fs::write(folder.join("ecosystem.config.cjs"), text).unwrap();
    poolwright(folder, arguments).env("PATH", std::env::var("PATH").unwrap())
}

#[test]
fn a_pm2_project_needs_no_other_file_and_is_told_what_is_not_honoured() {
    let folder = tempfile::tempdir().unwrap();
    ecosystem(
        folder.path(),
        ECOSYSTEM,
        &["plan", "--max-connections", "100"],
    )
    .assert()
    .code(0)
    .stdout_eq(file!["golden/plan-fits.txt"])
    .stderr_eq(file!["golden/ecosystem-notes.txt"]);
    let production = ["plan", "--max-connections", "100", "--env", "production"];
    ecosystem(folder.path(), ECOSYSTEM, &production)
        .env("PM2_INSTANCES", "2")
        .assert()
        .code(0)
        .stdout_eq(file!["golden/plan-production.txt"]);
}

#[test]
fn every_mistake_of_an_ecosystem_file_is_reported_at_once_and_exits_2() {
    let folder = tempfile::tempdir().unwrap();
    let wrong = ECOSYSTEM.replace("script: 'server.js'", "scripts: 'server.js'");
    ecosystem(folder.path(), &wrong, &["plan", "--max-connections", "100"])
        .env("PM2_INSTANCES", "three")
        .env("DBOS_POOL_MAX", "1")
        .env("DATABASE_URL", "mysql://app:s3cret@db/desk")
        .assert()
        .code(2)
        .stdout_eq(str![])
        .stderr_eq(file!["golden/ecosystem-mistakes.txt"]);
}

#[test]
fn a_manifest_wins_over_an_ecosystem_file_and_knows_no_profiles() {
    let project = Project::new(MANIFEST);
    let plan = ["plan", "--max-connections", "100"];
    ecosystem(project.0.path(), "throw new Error('read')", &plan)
        .assert()
        .code(0)
        .stderr_eq(str![]);
    project
        .poolwright(&["plan", "--max-connections", "100", "--env", "production"])
        .assert()
        .code(2)
        .stderr_eq(str![[r#"
error: found --env production and poolwright.toml, expected it with an ecosystem file, which may have an env_production

"#]]);
}

#[test]
fn an_ecosystem_file_without_node_says_what_is_missing() {
    let folder = tempfile::tempdir().unwrap();
    ecosystem(folder.path(), ECOSYSTEM, &["plan"])
        .env("PATH", "/nowhere")
        .assert()
        .code(2)
        .stderr_eq(str![[r#"
error: [..]/ecosystem.config.cjs: cannot be read without node, and it cannot be run: [..]; expected Node on PATH, or a poolwright.toml

"#]]);
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
fn recover_without_an_executor_says_what_is_missing() {
    Project::new(&MANIFEST.replace("executor = true", ""))
        .poolwright(&["recover", "--executor", "web-0", "web-1"])
        .env("DATABASE_URL", "postgres://app:s3cret@db/desk")
        .env("DBOS_SYSTEM_DATABASE_URL", "postgres://app:s3cret@db/dbos")
        .assert()
        .code(2)
        .stdout_eq(str![])
        .stderr_eq(str![[r#"
error: no pool with executor = true, expected one: that is where workflows are kept

"#]]);
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

#[test]
fn top_without_a_terminal_says_what_does_it_instead() {
    Project::new(MANIFEST)
        .poolwright(&["top"])
        .env("TERM", "xterm")
        .assert()
        .code(1)
        .stdout_eq(str![])
        .stderr_eq(file!["golden/top-no-terminal.txt"]);
}
