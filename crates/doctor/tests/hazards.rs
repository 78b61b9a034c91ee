//! For every hazard that files show, small projects that have it and small projects that have it cured.
//!
//! `hazards/<code>-<name>/has…/` is a project with that hazard and no other; the lines where it has to be found end in a
//! comment `← here`, or stand in a file `EXPECTED` where the format knows no comments. `cured…/` beside it is the
//! same project as it should be.

use anyhow::{Context, Result, ensure};
use poolwright_doctor::{Evaluated, Examined, Failure, Surroundings, examine};
use poolwright_topology::hazard::{Code, Shown};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

const HERE: &str = "← here";

fn hazards() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/hazards")
}

/// Examines a project as the command does, without the environment of whoever runs the tests.
fn examined(root: &Path) -> Result<Examined> {
    let around = Surroundings {
        env: &|_, _| None,
        evaluate: &evaluate,
        above: None,
    };
    examine(root, &around).map_err(|failure| match failure {
        Failure::Manifest(wrong) => {
            anyhow::anyhow!("{}: {:?}", wrong.path.display(), wrong.mistakes)
        }
        Failure::Io(error) => error.into(),
    })
}

fn evaluate(file: &Path) -> Result<Evaluated, String> {
    let program = "JSON.stringify(require(process.argv[1]))";
    let output = Command::new("node")
        .args(["-p", program])
        .arg(file)
        .env_remove("PM2_INSTANCES")
        .output()
        .map_err(|error| error.to_string())?;
    let exported = serde_json::from_slice(&output.stdout);
    Ok(Evaluated {
        exported: exported.map_err(|error| error.to_string())?,
        cpus: 8,
    })
}

/// What is found in a project, by code, as `file:line`.
fn found(root: &Path) -> Result<BTreeMap<Code, BTreeSet<String>>> {
    let report = examined(root)?.report();
    ensure!(
        report.notes.is_empty(),
        "{}: {:?}",
        root.display(),
        report.notes
    );
    let mut found: BTreeMap<Code, BTreeSet<String>> = BTreeMap::new();
    for hazard in report.findings {
        let place = hazard.place.context("a hazard of a file has a place")?;
        let line = place.position.map_or(0, |position| position.line);
        let lines = found.entry(hazard.code).or_default();
        lines.insert(format!("{}:{line}", place.file));
    }
    Ok(found)
}

/// Where it is to be found.
fn expected(root: &Path) -> Result<BTreeSet<String>> {
    let mut expected = BTreeSet::new();
    for path in files(root)? {
        let file = path.strip_prefix(root)?.display().to_string();
        let text = std::fs::read_to_string(&path)?;
        if file == "EXPECTED" {
            expected.extend(text.lines().map(str::to_owned));
            continue;
        }
        let lines = text
            .lines()
            .zip(1..)
            .filter(|(line, _)| line.contains(HERE));
        expected.extend(lines.map(|(_, number)| format!("{file}:{number}")));
    }
    Ok(expected)
}

fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            files.extend(self::files(&path)?);
        } else {
            files.push(path);
        }
    }
    Ok(files)
}

/// The projects of a code whose names begin with `kind`.
fn projects(code: Code, kind: &str) -> Result<Vec<PathBuf>> {
    let folder = hazards().join(format!("{code}-{}", code.name()));
    let entries = std::fs::read_dir(&folder).with_context(|| folder.display().to_string())?;
    let mut projects = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        if name.is_some_and(|name| name.starts_with(kind)) {
            projects.push(path);
        }
    }
    projects.sort();
    ensure!(!projects.is_empty(), "no project {kind} of {code}");
    Ok(projects)
}

fn of_files() -> impl Iterator<Item = Code> {
    let all = Code::ALL.iter().copied();
    all.filter(|code| code.shown() == Shown::Files)
}

#[test]
fn every_hazard_is_found_at_its_line_and_nothing_else_is() -> Result<()> {
    let mut wrong = Vec::new();
    for code in of_files() {
        for project in projects(code, "has")? {
            let expected = BTreeMap::from([(code, expected(&project)?)]);
            let found = found(&project)?;
            if found != expected {
                let name = project.strip_prefix(hazards())?.display().to_string();
                wrong.push(format!(
                    "{name}\n  expected {expected:?}\n  found    {found:?}"
                ));
            }
        }
    }
    ensure!(wrong.is_empty(), "\n{}", wrong.join("\n"));
    Ok(())
}

#[test]
fn what_is_cured_is_silent() -> Result<()> {
    let mut wrong = Vec::new();
    for code in of_files() {
        for project in projects(code, "cured")? {
            let found = found(&project)?;
            if !found.is_empty() {
                let name = project.strip_prefix(hazards())?.display().to_string();
                wrong.push(format!("{name}\n  found {found:?}"));
            }
        }
    }
    ensure!(wrong.is_empty(), "\n{}", wrong.join("\n"));
    Ok(())
}

#[test]
fn every_folder_is_a_hazard_and_every_project_is_cured_beside_it() -> Result<()> {
    for entry in std::fs::read_dir(hazards())? {
        let folder = entry?.path();
        let name = folder
            .file_name()
            .and_then(|name| name.to_str())
            .context("a name")?;
        let known = of_files().any(|code| name == format!("{code}-{}", code.name()));
        ensure!(known, "{name} is no hazard");
        for entry in std::fs::read_dir(&folder)? {
            let project = entry?.path();
            let name = project
                .file_name()
                .and_then(|name| name.to_str())
                .context("a name")?;
            let suffix = name
                .strip_prefix("has")
                .or_else(|| name.strip_prefix("cured"));
            let suffix = suffix.with_context(|| format!("{} is neither", project.display()))?;
            for kind in ["has", "cured"] {
                let other = folder.join(format!("{kind}{suffix}"));
                ensure!(other.is_dir(), "{} is missing", other.display());
            }
        }
    }
    Ok(())
}

#[test]
fn both_apps_of_this_repository_have_none() -> Result<()> {
    for app in ["apps/axum", "apps/sveltekit"] {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../..")
            .join(app);
        let root = root.canonicalize()?;
        let report = examined(&root)?.report();
        ensure!(report.findings.is_empty(), "{app}: {:#?}", report.findings);
        ensure!(report.notes.is_empty(), "{app}: {:#?}", report.notes);
        ensure!(report.files > 12, "{app}: only {} files", report.files);
    }
    Ok(())
}

/// A line of an app, what becomes of it, and what is then found in that file (or another).
type Broken = (
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    &'static [(Code, &'static str)],
);

const BROKEN: [Broken; 15] = [
    (
        "apps/sveltekit",
        "src/server/dbos/init.ts",
        "const globals = globalThis as { [EXECUTOR]",
        "const globals = {} as { [EXECUTOR]",
        &[(Code::LostOnReload, "src/server/dbos/init.ts")],
    ),
    (
        "apps/sveltekit",
        "src/server/dbos/init.ts",
        "runMigrations: false",
        "runMigrations: true",
        &[(Code::MigratingWorkers, "src/server/dbos/init.ts")],
    ),
    (
        "apps/sveltekit",
        "src/server/dbos/init.ts",
        "executorID: identity().executorId",
        "executorID: 'web-0'",
        &[(Code::FixedExecutorId, "src/server/dbos/init.ts")],
    ),
    (
        "apps/sveltekit",
        "src/server/db/prisma.ts",
        "((globalThis as { [ORM]?: OrmSlot })[ORM] ??= {})",
        "{}",
        &[(Code::LostOnReload, "src/server/db/prisma.ts")],
    ),
    (
        "apps/sveltekit",
        "src/server/db/prisma.ts",
        "await (ormSlot.opening ??= open(environment));",
        "await open(environment);",
        // Still one: the worker that opens it is kept.
        &[],
    ),
    (
        "apps/sveltekit",
        "src/server/db/fixed-pool.ts",
        "this.on('error',",
        "this.on('errors',",
        &[
            (Code::NoErrorListener, "src/server/db/prisma.ts"),
            (Code::NoErrorListener, "src/server/dbos/init.ts"),
        ],
    ),
    (
        "apps/sveltekit",
        "src/server/db/fixed-pool.ts",
        "connectionTimeoutMillis: connectionTimeoutMs,",
        "",
        &[(Code::EndlessAcquire, "src/server/db/fixed-pool.ts")],
    ),
    (
        "apps/sveltekit",
        "src/server/db/tenant-transactions.ts",
        "?? '')}, true)`",
        "?? '')}, false)`",
        &[(
            Code::TenantForSession,
            "src/server/db/tenant-transactions.ts",
        )],
    ),
    (
        "apps/sveltekit",
        "src/routes/readyz/+server.ts",
        "export ",
        "import { openPrisma } from '#server/db/prisma.ts';\nimport { FixedPool } from '#server/db/fixed-pool.ts';\n\
         export const POST = async () => new FixedPool({});\nexport ",
        &[(Code::PoolPerRequest, "src/routes/readyz/+server.ts")],
    ),
    (
        "apps/sveltekit",
        "src/hooks.server.ts",
        "const worker = await startWorker();",
        "const { DBOS } = await import('@dbos-inc/dbos-sdk');\n\tawait DBOS.launch();\n\tconst worker = await startWorker();",
        &[
            (Code::SecondLaunch, "src/hooks.server.ts"),
            (Code::LaunchOutsideInit, "src/hooks.server.ts"),
        ],
    ),
    (
        "apps/sveltekit",
        "ecosystem.config.cjs",
        "instance_var: 'PM2_INSTANCE_ID',",
        "",
        &[(Code::InstanceVarMissing, "ecosystem.config.cjs")],
    ),
    (
        "apps/axum",
        "ecosystem.config.cjs",
        "instance_var: 'PM2_INSTANCE_ID',",
        "",
        &[(Code::InstanceVarMissing, "ecosystem.config.cjs")],
    ),
    (
        "apps/axum",
        "ecosystem.config.cjs",
        "kill_timeout: drainTimeoutMs + 5_000",
        "kill_timeout: drainTimeoutMs / 2",
        &[(Code::KillBeforeDrained, "ecosystem.config.cjs")],
    ),
    (
        "apps/axum",
        "ecosystem.config.cjs",
        "found = '3'",
        "found = '4'",
        &[(Code::Disagreement, "ecosystem.config.cjs")],
    ),
    (
        "crates/worker",
        "src/executor.rs",
        "migrate: false,",
        "",
        &[(Code::MigratingWorkers, "src/executor.rs")],
    ),
];

#[test]
fn what_is_broken_in_the_apps_is_found() -> Result<()> {
    for (app, file, right, wrong, expected) in BROKEN {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../..")
            .join(app);
        let copy = tempfile::tempdir()?;
        copied(&root, copy.path())?;
        let broken = copy.path().join(file);
        let text = std::fs::read_to_string(&broken)?;
        ensure!(text.contains(right), "{file} has no {right}");
        std::fs::write(&broken, text.replacen(right, wrong, 1))?;
        let found: BTreeSet<(Code, String)> = found(copy.path())?
            .into_iter()
            .flat_map(|(code, places)| places.into_iter().map(move |place| (code, place)))
            .map(|(code, place)| {
                (
                    code,
                    place
                        .rsplit_once(':')
                        .map_or(place.clone(), |(file, _)| file.to_owned()),
                )
            })
            .collect();
        let expected = expected
            .iter()
            .map(|(code, file)| (*code, (*file).to_owned()))
            .collect();
        ensure!(
            found == expected,
            "{app}/{file}, {wrong}:\nfound {found:?}\nexpected {expected:?}"
        );
    }
    Ok(())
}

/// Copies a project without what is installed or built.
fn copied(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            let name = entry.file_name();
            if ![
                "node_modules",
                "build",
                "target",
                ".svelte-kit",
                ".poolwright",
            ]
            .iter()
            .any(|skip| name == *skip)
            {
                copied(&entry.path(), &target)?;
            }
        } else {
            std::fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
