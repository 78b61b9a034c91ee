//! Free ports.

use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener};
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result, bail};

/// Below the ports that systems give to whoever connects: what is free here stays free.
const PORTS: Range<u16> = 20_000..30_000;

/// What this process has reserved, until its end.
static RESERVED: Mutex<Vec<File>> = Mutex::new(Vec::new());

/// A port of 127.0.0.1 that nobody listens on, and that no other test of this machine gets before this process ends: a
/// fleet that is stopped finds it free again.
///
/// # Errors
/// When none is free, or the reservations cannot be written (`poolwright-ports-<user>` in the folder for temporary files).
pub fn free_port() -> Result<u16> {
    let user = rustix::process::getuid().as_raw();
    let folder = std::env::temp_dir().join(format!("poolwright-ports-{user}"));
    fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    let mut reserved = RESERVED.lock().unwrap_or_else(PoisonError::into_inner);
    // Tests that start together look at different ones first.
    let count = u32::from(PORTS.end - PORTS.start);
    let first = std::process::id().wrapping_mul(97) % count;
    for offset in 0..count {
        let port = PORTS.start + u16::try_from((first + offset) % count)?;
        let path = folder.join(port.to_string());
        let file = File::options()
            .create(true)
            .append(true)
            .open(&path)
            .with_context(|| format!("opening {}", path.display()))?;
        if file.try_lock().is_ok() && TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            reserved.push(file);
            return Ok(port);
        }
    }
    bail!(
        "no port of 127.0.0.1 is free between {} and {}",
        PORTS.start,
        PORTS.end
    )
}
