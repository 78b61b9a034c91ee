//! `poolwright doctor`, as it is typed.

#![expect(
    clippy::unwrap_used,
    reason = "a project that cannot be written is a failed test"
)]

use snapbox::cmd::{Command, cargo_bin};
use snapbox::{file, str};
use std::path::Path;
use tempfile::TempDir;

/// A pool that every request makes anew, and no manifest.
const HANDLER: &str = "import { Pool } from 'pg';

export async function GET() {
\tconst pool = new Pool({ max: 3, connectionTimeoutMillis: 1000 });
\tpool.on('error', console.error);
\treturn Response.json(await pool.query('SELECT 1'));
}
";

const MANIFEST: &str = "[apps.web]
command = [\"node\", \"server.js\"]

[apps.web.pools.orm]
max = 3
";

fn project() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    write(&folder, "src/routes/orders/+server.ts", HANDLER);
    folder
}

fn write(folder: &TempDir, file: &str, text: &str) {
    let path = folder.path().join(file);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

fn doctor(folder: &Path, arguments: &[&str]) -> Command {
    Command::new(cargo_bin!("poolwright"))
        .env_clear()
        .current_dir(folder)
        .arg("doctor")
        .args(arguments)
}

#[test]
fn a_hazard_is_shown_with_its_place_its_reason_and_its_cure_and_exits_5() {
    let folder = project();
    doctor(folder.path(), &[])
        .assert()
        .code(5)
        .stdout_eq(file!["golden/doctor.txt"])
        .stderr_eq(str![]);
}

#[test]
fn hazards_as_json_have_the_documented_fields() {
    let folder = project();
    doctor(folder.path(), &["--json"])
        .assert()
        .code(5)
        .stdout_eq(file!["golden/doctor.json"]);
}

#[test]
fn another_folder_is_examined_and_places_are_what_one_would_type() {
    let folder = project();
    let above = folder.path().parent().unwrap();
    let name = folder.path().file_name().unwrap().to_str().unwrap();
    let output = doctor(above, &[name]).assert().code(5);
    let shown = String::from_utf8(output.get_output().stdout.clone()).unwrap();
    let place = format!("error: {name}/src/routes/orders/+server.ts:4:15: ");
    assert!(shown.starts_with(&place), "{shown}");
}

#[test]
fn what_the_manifest_allows_with_a_reason_is_no_finding() {
    let folder = project();
    let allow = "\n[doctor]\nallow = [{ code = \"PW201\", path = \"src/routes\", reason = \"once a night\" }]\n";
    write(&folder, "poolwright.toml", &format!("{MANIFEST}{allow}"));
    doctor(folder.path(), &[])
        .assert()
        .code(0)
        .stdout_eq(str![[r#"
no hazards in 2 files, 1 allowed by the manifest

"#]])
        .stderr_eq(str![[r#"
note: Postgres was not asked: no url of [apps.web.pools.orm]

"#]]);
}

#[test]
fn an_allowance_for_another_folder_allows_nothing_and_is_noted() {
    let folder = project();
    let allow = "\n[doctor]\nallow = [{ code = \"PW201\", path = \"src/tools\", reason = \"once a night\" }]\n";
    write(&folder, "poolwright.toml", &format!("{MANIFEST}{allow}"));
    doctor(folder.path(), &["--static"])
        .assert()
        .code(5)
        .stdout_eq(file!["golden/doctor.txt"])
        .stderr_eq(str![[r#"
note: poolwright.toml:8:1: PW201 is allowed and was not found

"#]]);
}

#[test]
fn an_allowance_without_a_reason_is_a_mistake_of_the_manifest_and_exits_2() {
    let folder = project();
    let allow = "\n[doctor]\nallow = [{ code = \"PW201\" }, { code = \"PW2\", reason = \"x\" }]\n";
    write(&folder, "poolwright.toml", &format!("{MANIFEST}{allow}"));
    doctor(folder.path(), &[])
        .assert()
        .code(2)
        .stdout_eq(str![])
        .stderr_eq(str![[r#"
error: 2 mistakes in poolwright.toml and its environment; nothing was opened
  poolwright.toml:8:10: found PW201 allowed without a reason, expected reason = "why it is none here", for whoever reads this next
  poolwright.toml:8:39: found "PW2", expected a code that `doctor` prints, as in "PW201" (docs/doctor.md has them all)

"#]]);
}

#[test]
fn files_that_cannot_be_read_are_noted_and_the_others_are_examined() {
    let folder = project();
    write(&folder, "src/broken.ts", "const a = 1;\nconst = 2;\n");
    write(&folder, "src/broken.rs", "fn main() {\n");
    doctor(folder.path(), &[])
        .assert()
        .code(5)
        .stderr_eq(str![[r#"
note: src/broken.rs:1:11: not read: [..]
note: src/broken.ts:2:7: not read: [..]

"#]]);
}

#[test]
fn a_folder_that_is_not_there_is_refused() {
    let folder = project();
    doctor(folder.path(), &["elsewhere"])
        .assert()
        .code(2)
        .stderr_eq(str![[r#"
error: cannot read [..]/elsewhere: No such file or directory (os error 2)

"#]]);
}
