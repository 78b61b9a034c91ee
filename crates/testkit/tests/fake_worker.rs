//! The fake worker, by hand: the channel as its standard input, as its own re-execution leaves it.

#![expect(clippy::unwrap_used, reason = "a failing helper fails its test")]

use std::io::{BufRead, BufReader, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};

use poolwright_topology::channel::{FromWorker, ToWorker, to_line};

fn start(behaviour: &str) -> (Child, UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let child = Command::new(env!("CARGO_BIN_EXE_fake-worker"))
        .env("FAKE_WORKER", behaviour)
        .env("NODE_CHANNEL_FD", "0")
        .env("PM2_INSTANCE_ID", "1")
        .env_remove("PRISMA_POOL_MAX")
        .env_remove("DBOS_POOL_MAX")
        .stdin(OwnedFd::from(theirs))
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    (child, ours)
}

fn heard(channel: &mut BufReader<UnixStream>) -> FromWorker {
    let mut line = String::new();
    channel.read_line(&mut line).unwrap();
    FromWorker::from_line(&line).unwrap()
}

#[test]
fn a_worker_without_faults_goes_through_its_stages_and_ends_with_the_channel() {
    let (mut child, mut channel) = start("serve");
    let mut reader = BufReader::new(channel.try_clone().unwrap());
    assert_eq!(heard(&mut reader), FromWorker::Booted);
    channel
        .write_all(to_line(&ToWorker::Launch).as_bytes())
        .unwrap();
    let started = FromWorker::Started {
        pid: child.id(),
        executor_id: "web-1".to_owned(),
        pools: [("dbos".to_owned(), 3), ("prisma".to_owned(), 3)].into(),
    };
    assert_eq!(heard(&mut reader), started);
    assert_eq!(heard(&mut reader), FromWorker::Ready);
    assert!(matches!(heard(&mut reader), FromWorker::Gauges { .. }));
    channel.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(heard(&mut reader), FromWorker::Draining);
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn a_worker_that_fails_before_it_boots_says_nothing_and_ends_with_code_3() {
    let (mut child, channel) = start("exit-before-booted");
    let mut line = String::new();
    assert_eq!(BufReader::new(channel).read_line(&mut line).unwrap(), 0);
    assert_eq!(child.wait().unwrap().code(), Some(3));
}

#[test]
fn a_worker_with_wrong_maxima_reports_them() {
    let (mut child, mut channel) = start("wrong-maxima");
    let mut reader = BufReader::new(channel.try_clone().unwrap());
    assert_eq!(heard(&mut reader), FromWorker::Booted);
    channel
        .write_all(to_line(&ToWorker::Launch).as_bytes())
        .unwrap();
    let FromWorker::Started { pools, .. } = heard(&mut reader) else {
        unreachable!()
    };
    assert_eq!(pools.get("prisma"), Some(&4));
    channel.shutdown(std::net::Shutdown::Write).unwrap();
    while heard(&mut reader) != FromWorker::Draining {}
    assert_eq!(child.wait().unwrap().code(), Some(0));
}
