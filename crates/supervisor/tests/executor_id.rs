//! A program that does not speak the channel gets its executor id from the shim.

use poolwright_supervisor::shim::Inheritance;
use std::io::{self, BufRead, BufReader, ErrorKind};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};

const ACTOR: &str = env!("CARGO_BIN_EXE_supervisor-test-actor");

/// The shim on its way to become `script`, in a place that no other test knows. Nobody is at the other end of its channel.
fn shim(place: &str, script: &str) -> io::Result<Command> {
    let inheritance = Inheritance {
        channel: UnixStream::pair()?.0.into(),
        listener: None,
    };
    let mut command = Command::new(ACTOR);
    command
        .arg("shim")
        .arg(std::process::id().to_string())
        // The supervisor's next argument: how many descriptors the program may have.
        .arg("1024")
        .args(["sh", "-c", script])
        .env("DBOS__VMID", "web-0")
        .env(poolwright_supervisor::shim::EXECUTOR_STORE, "db:5432/dbos")
        .env("POOLWRIGHT_LOCK_TIMEOUT_MS", "0")
        .env("POOLWRIGHT_LOCK_NAMESPACE", place)
        .stdin(inheritance.into_stdin()?)
        .stdout(Stdio::piped());
    Ok(command)
}

/// A program that runs, and its first line.
fn running(place: &str) -> io::Result<(Child, String)> {
    let script = "echo \"store: $POOLWRIGHT_EXECUTOR_STORE\"; exec sleep 600";
    let mut child = shim(place, script)?.spawn()?;
    let mut line = String::new();
    let mut output = BufReader::new(child.stdout.take().ok_or(ErrorKind::BrokenPipe)?);
    output.read_line(&mut line)?;
    Ok((child, line))
}

#[test]
fn a_program_inherits_the_lock_and_a_second_one_is_not_executed_until_it_ends() {
    let place = format!("executor_id-{}", std::process::id());
    let (mut first, said) = running(&place).unwrap();
    assert_eq!(said, "store: \n", "the program is told nothing");

    let second = shim(&place, "echo executed").unwrap().output().unwrap();
    assert_eq!(second.status.code(), Some(1));
    assert_eq!(second.stdout, b"");

    first.kill().unwrap();
    first.wait().unwrap();
    let third = shim(&place, "echo executed").unwrap().output().unwrap();
    assert_eq!(third.stdout, b"executed\n");
}

#[test]
fn a_shim_that_is_handed_down_nothing_says_so_and_executes_nothing() {
    let place = format!("executor_id-bare-{}", std::process::id());
    let mut bare = shim(&place, "echo executed").unwrap();
    let output = bare
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(output.stdout, b"");
    let said = String::from_utf8(output.stderr).unwrap();
    let expected = "the worker's descriptors did not arrive on standard input";
    assert!(said.contains(expected), "{said}");

    let (alone, _) = UnixStream::pair().unwrap();
    let mut empty = shim(&place, "echo executed").unwrap();
    let output = empty
        .stdin(Stdio::from(std::os::fd::OwnedFd::from(alone)))
        .stderr(Stdio::piped())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("no channel was handed down"), "{said}");
}
