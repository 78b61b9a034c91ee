//! What the figures were measured on, without which they say nothing.

use std::process::Command;

use acceptance::Stack;
use anyhow::{Context, Result};
use poolwright_testkit::TestServer;
use serde::{Deserialize, Serialize};

/// A machine and the versions of what runs on it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Machine {
    pub(crate) processor: String,
    pub(crate) cores: usize,
    pub(crate) memory_gib: u64,
    pub(crate) kernel: String,
    /// Whether sessions share the processors, and not processes (`sched_autogroup_enabled`): then a load generator and a fleet have
    /// the same share, however many processes either is. `None` where there is no such choice.
    #[serde(default)]
    pub(crate) autogroup: Option<bool>,
    pub(crate) rustc: String,
    pub(crate) node: String,
    pub(crate) postgres: String,
    /// How many processes wanted to run, on average over the minute before: not 0 is not quiet.
    pub(crate) load_before: f64,
}

impl Machine {
    /// As a sentence goes on with it.
    pub(crate) fn words(&self) -> String {
        let Self {
            processor,
            cores,
            memory_gib,
            kernel,
            autogroup,
            rustc,
            node,
            postgres,
            load_before,
        } = self;
        let shared = match autogroup {
            Some(true) => ", shared by sessions (`sched_autogroup_enabled`)",
            Some(false) => ", shared by processes (no `sched_autogroup_enabled`)",
            None => "",
        };
        format!(
            "{processor}, {cores} cores{shared}, {memory_gib} GiB, {kernel}, with a load average of {load_before:.1} before; {rustc}, Node {node},\n\
             PostgreSQL {postgres}"
        )
    }
}

/// Asks the machine.
pub(crate) async fn describe() -> Result<Machine> {
    let load = std::fs::read_to_string("/proc/loadavg")?;
    let load = load.split(' ').next().context("no load average")?;
    let load_before = load.parse()?;
    let cpus = std::fs::read_to_string("/proc/cpuinfo")?;
    let processor = field(&cpus, "model name").unwrap_or("unknown").to_owned();
    let memory = std::fs::read_to_string("/proc/meminfo")?;
    let kib = field(&memory, "MemTotal").and_then(|text| text.split(' ').next()?.parse().ok());
    let kib: u64 = kib.context("no MemTotal")?;
    let (node, _) = Stack::Sveltekit.worker()?;
    Ok(Machine {
        processor,
        cores: std::thread::available_parallelism()?.get(),
        memory_gib: kib / (1024 * 1024),
        kernel: output("uname", &["-sr"])?,
        autogroup: std::fs::read_to_string("/proc/sys/kernel/sched_autogroup_enabled")
            .ok()
            .map(|set| set.trim() == "1"),
        rustc: output("rustc", &["--version"])?,
        node: output(node, &["--version"])?,
        postgres: postgres().await?,
        load_before,
    })
}

/// The version of the server that all measurements run on.
async fn postgres() -> Result<String> {
    let server = TestServer::start().await?;
    let version = sqlx::query_scalar("SHOW server_version")
        .fetch_one(&mut server.admin().await?)
        .await?;
    server.stop().await?;
    Ok(version)
}

fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| {
        let (found, value) = line.split_once(':')?;
        (found.trim() == name).then(|| value.trim())
    })
}

fn output(program: impl AsRef<std::ffi::OsStr>, arguments: &[&str]) -> Result<String> {
    let output = Command::new(&program).args(arguments).output();
    let output = output.with_context(|| format!("cannot run {:?}", program.as_ref()))?;
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}
