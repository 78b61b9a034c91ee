//! Postgres' own load generator, from the installation whose server runs.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use poolwright_testkit::process::command;
use poolwright_testkit::{Process, TestServer};
use sqlx::PgConnection;
use tempfile::TempDir;

use crate::meter::{Shares, shares};

/// What connections and threads take before and after.
const PATIENCE: Duration = Duration::from_secs(20);

/// One small row to a commit.
const SCRIPT: &str = "INSERT INTO commits (note) VALUES ('one small row');\n";

/// How many commits a second so many connections reach, and who has the processors meanwhile.
pub(crate) async fn commits(
    server: &TestServer,
    connections: u32,
    time: Duration,
) -> Result<(f64, Shares)> {
    let mut admin = server.admin().await?;
    sqlx::raw_sql("CREATE TABLE commits (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, note text NOT NULL)")
        .execute(&mut admin)
        .await?;
    let directory = TempDir::new()?;
    fs::write(directory.path().join("commits.sql"), SCRIPT)?;
    let program = program(&mut admin).await?;
    let nothing: [(&str, &str); 0] = [];
    let mut pgbench = command(&program, directory.path(), nothing);
    let (clients, seconds) = (connections.to_string(), time.as_secs().to_string());
    pgbench.args(["--no-vacuum", "--protocol=prepared", "--jobs=1"]);
    pgbench.args(["--client", &clients, "--time", &seconds]);
    pgbench.args(["--file", "commits.sql", &server.admin_url()?]);
    let mut running = Process::spawn(pgbench)?;
    let pid = running.pid().context("pgbench has ended")?;
    let rate = running.line("its rate", time + PATIENCE, |line| tps(line).is_some());
    let (line, shares) = shares(&mut admin, &[pid], rate).await?;
    let status = running.exited(PATIENCE).await?;
    ensure!(
        status.success(),
        "pgbench ended with {status}; {}",
        running.tail()
    );
    Ok((tps(&line).context("no rate")?, shares))
}

fn tps(line: &str) -> Option<f64> {
    line.strip_prefix("tps = ")?.split(' ').next()?.parse().ok()
}

/// Beside the server's own program.
async fn program(admin: &mut PgConnection) -> Result<PathBuf> {
    let backend: i32 = sqlx::query_scalar("SELECT pg_backend_pid()")
        .fetch_one(admin)
        .await?;
    let postgres = fs::read_link(format!("/proc/{backend}/exe"))?;
    let program = postgres.with_file_name("pgbench");
    ensure!(
        program.exists(),
        "{} is missing; it comes with the server (Debian: postgresql)",
        program.display()
    );
    Ok(program)
}
