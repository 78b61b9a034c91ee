//! A server of one's own, from its start to its end.

#![expect(clippy::unwrap_used, reason = "a failing helper fails its test")]

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::time::{Duration, Instant};

use poolwright_embedded::{Options, Server};
use sqlx::{Connection, PgConnection};

async fn setting(server: &Server, name: &str) -> String {
    let mut connection = PgConnection::connect(&server.url("postgres"))
        .await
        .unwrap();
    sqlx::query_scalar("SELECT current_setting($1)")
        .bind(name)
        .fetch_one(&mut connection)
        .await
        .unwrap()
}

/// A zombie that nobody reaps counts as gone.
fn runs(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(") ")
        .next()
        .is_some_and(|rest| !rest.is_empty() && !rest.starts_with('Z'))
}

async fn wait_until_gone(pid: u32) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while runs(pid) {
        assert!(
            Instant::now() < deadline,
            "process {pid} still runs after 20 s"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_test_server_takes_its_settings_and_leaves_nothing_behind() {
    let options = Options::test()
        .max_connections(20)
        .setting("work_mem", "1234kB");
    let server = Server::start(options).await.unwrap();
    assert_eq!(setting(&server, "max_connections").await, "20");
    assert_eq!(setting(&server, "work_mem").await, "1234kB");
    assert_eq!(setting(&server, "fsync").await, "off");
    assert_eq!(setting(&server, "listen_addresses").await, "127.0.0.1");
    assert_eq!(setting(&server, "unix_socket_directories").await, "");
    let (pid, directory) = (server.pid().unwrap(), server.directory().to_owned());
    assert!(directory.exists());
    server.stop().await.unwrap();
    assert!(!runs(pid));
    assert!(!directory.exists());
}

#[tokio::test]
async fn a_dropped_server_is_gone_with_its_data() {
    let server = Server::start(Options::test()).await.unwrap();
    let (pid, directory) = (server.pid().unwrap(), server.directory().to_owned());
    drop(server);
    assert!(!runs(pid));
    assert!(!directory.exists());
}

#[tokio::test]
async fn a_wrong_password_is_refused_and_the_right_one_is_written_nowhere_but_in_its_file() {
    let server = Server::start(Options::test()).await.unwrap();
    let wrong = server.url("postgres").replace(server.password(), "wrong");
    assert!(PgConnection::connect(&wrong).await.is_err());
    let mut connection = PgConnection::connect(&server.url("postgres"))
        .await
        .unwrap();
    let failing = format!("CREATE ROLE postgres PASSWORD '{}'", server.password());
    sqlx::raw_sql(sqlx::AssertSqlSafe(failing))
        .execute(&mut connection)
        .await
        .unwrap_err();
    let log = std::fs::read_to_string(server.log_file()).unwrap();
    assert!(log.contains("already exists"), "{log}");
    assert!(!log.contains(server.password()));
    let command_line = std::fs::read(format!("/proc/{}/cmdline", server.pid().unwrap())).unwrap();
    assert!(!String::from_utf8_lossy(&command_line).contains(server.password()));
    assert!(!format!("{server:?}").contains(server.password()));
    assert_eq!(
        server.password_file().metadata().unwrap().mode() & 0o777,
        0o600
    );
}

#[tokio::test]
async fn a_development_server_keeps_data_password_and_port() {
    let place = tempfile::tempdir_in("/var/tmp").unwrap();
    let directory = reachable(place.path());
    let first = Server::start(Options::development(&directory))
        .await
        .unwrap();
    assert_eq!(setting(&first, "fsync").await, "on");
    let (url, mut connection) = (
        first.url("kept"),
        PgConnection::connect(&first.url("postgres")).await.unwrap(),
    );
    sqlx::raw_sql("CREATE DATABASE kept")
        .execute(&mut connection)
        .await
        .unwrap();
    drop(connection);
    first.stop().await.unwrap();
    let second = Server::start(Options::development(&directory))
        .await
        .unwrap();
    assert_eq!(second.url("kept"), url);
    PgConnection::connect(&url).await.unwrap();
    second.stop().await.unwrap();
}

#[tokio::test]
async fn of_two_development_servers_in_one_place_the_second_is_the_first() {
    let place = tempfile::tempdir_in("/var/tmp").unwrap();
    let directory = reachable(place.path());
    let (one, other) = tokio::join!(
        Server::start(Options::development(&directory)),
        Server::start(Options::development(&directory)),
    );
    let (one, other) = (one.unwrap(), other.unwrap());
    assert_eq!(one.port(), other.port());
    let (own, adopted) = if one.adopted() {
        (other, one)
    } else {
        (one, other)
    };
    assert!(!own.adopted() && adopted.adopted());
    adopted.stop().await.unwrap();
    assert_eq!(
        setting(&own, "server_encoding").await,
        "UTF8",
        "an adopted server is not ours to stop"
    );
    own.stop().await.unwrap();
}

#[tokio::test]
async fn a_place_that_the_server_cannot_reach_is_replaced_by_one_that_it_can() {
    let place = tempfile::tempdir_in("/var/tmp").unwrap();
    std::fs::set_permissions(place.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
    let wanted = place.path().join("postgres");
    let server = Server::start(Options::development(&wanted)).await.unwrap();
    if rustix::process::geteuid().is_root() {
        assert_ne!(
            server.directory(),
            wanted,
            "a directory of mode 0700 is closed to others"
        );
        let detour = server.directory().to_owned();
        server.stop().await.unwrap();
        std::fs::remove_dir_all(detour).unwrap();
    } else {
        assert_eq!(server.directory(), wanted);
    }
}

#[tokio::test]
async fn a_taken_port_is_replaced_by_a_free_one() {
    let place = tempfile::tempdir_in("/var/tmp").unwrap();
    let directory = reachable(place.path());
    let first = Server::start(Options::development(&directory))
        .await
        .unwrap();
    let port = first.port();
    first.stop().await.unwrap();
    let squatter = std::net::TcpListener::bind(("127.0.0.1", port)).unwrap();
    let second = Server::start(Options::development(&directory))
        .await
        .unwrap();
    assert_ne!(second.port(), port);
    drop(squatter);
}

#[tokio::test]
async fn a_server_that_cannot_start_is_reported_with_the_end_of_its_log() {
    let options = Options::test().setting("shared_buffers", "nonsense");
    let error = Server::start(options).await.unwrap_err().to_string();
    assert!(error.contains("shared_buffers"), "{error}");
}

/// Re-runs this very test binary as the parent that gets killed.
#[tokio::test]
async fn a_server_ends_when_its_parent_is_killed() {
    if let Ok(report) = std::env::var("POOLWRIGHT_EMBEDDED_REPORT_PID") {
        let server = Server::start(Options::test()).await.unwrap();
        let text = format!(
            "{}\n{}\n",
            server.pid().unwrap(),
            server.directory().display()
        );
        std::fs::write(format!("{report}.new"), text).unwrap();
        std::fs::rename(format!("{report}.new"), report).unwrap();
        std::future::pending::<()>().await;
    }
    let place = tempfile::tempdir().unwrap();
    let report = place.path().join("report");
    let mut parent = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_server_ends_when_its_parent_is_killed"])
        .env("POOLWRIGHT_EMBEDDED_REPORT_PID", &report)
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    while !report.exists() {
        assert!(
            Instant::now() < deadline,
            "the parent did not report its server"
        );
        assert_eq!(parent.try_wait().unwrap(), None, "the parent failed");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let text = std::fs::read_to_string(&report).unwrap();
    let (pid, directory) = text.trim().split_once('\n').unwrap();
    let pid = pid.parse().unwrap();
    assert!(runs(pid));
    parent.kill().unwrap();
    parent.wait().unwrap();
    wait_until_gone(pid).await;
    std::fs::remove_dir_all(directory).unwrap();
}

/// A directory inside `place` that the server's account can reach.
fn reachable(place: &Path) -> std::path::PathBuf {
    std::fs::set_permissions(place, std::fs::Permissions::from_mode(0o711)).unwrap();
    place.join("postgres")
}
