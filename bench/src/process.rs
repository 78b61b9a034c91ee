//! What processes take, as the kernel counts it.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};

/// Proportional set size in MiB: pages that processes share count once in all.
pub(crate) fn memory_mib(pid: u32) -> Result<f64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let line = text.lines().find(|line| line.starts_with("Pss:"));
    let kib = line.and_then(|line| line.split_whitespace().nth(1));
    let kib: u32 = kib
        .with_context(|| format!("no Pss of process {pid}"))?
        .parse()?;
    Ok(f64::from(kib) / 1024.0)
}

/// Seconds of processor time that this process has used, all of it in its one thread.
pub(crate) fn own_cpu() -> Result<f64> {
    thread_cpu(Path::new("/proc/self"))
}

/// The same of another process and all its threads. What a thread used that has ended is in no file, and not counted.
pub(crate) fn cpu(pid: u32) -> Result<f64> {
    let mut seconds = 0.0;
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task"));
    for task in tasks.with_context(|| format!("no threads of process {pid}"))? {
        let task = task?.path();
        match thread_cpu(&task) {
            Ok(used) => seconds += used,
            // It ended since the list was made.
            Err(_) if !task.exists() => {}
            Err(error) => return Err(error),
        }
    }
    Ok(seconds)
}

/// In nanoseconds in the file, whatever the kernel's tick is.
fn thread_cpu(directory: &Path) -> Result<f64> {
    let text = std::fs::read_to_string(directory.join("schedstat"))?;
    let nanoseconds: u64 = text.split(' ').next().context("no schedstat")?.parse()?;
    Ok(Duration::from_nanos(nanoseconds).as_secs_f64())
}
