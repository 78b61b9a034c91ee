//! PM2's cluster mode for Node programs that expect it: see `cluster.cjs`, which is loaded before them.
//!
//! PM2's own way, Node's cluster module, would put a primary process between the clients and the workers, which costs a
//! third of the requests and is one more process to lose. Programs that take `LISTEN_FDS` need none of it.

use crate::failure::Failure;
use poolwright_topology::declare::{App, Ready, Topology};
use std::path::{Path, PathBuf};

const PRELOAD: &str = include_str!("cluster.cjs");

fn file(state_dir: &Path) -> PathBuf {
    state_dir.join("cluster.cjs")
}

/// Leaves the file where the workers' Node finds it, if there is an app that needs it.
pub(crate) fn write(state_dir: &Path, topology: &Topology) -> Result<(), Failure> {
    if !topology.apps.iter().any(|app| app.cluster) {
        return Ok(());
    }
    let file = file(state_dir);
    std::fs::write(&file, PRELOAD).map_err(Failure::source(format!("writing {}", file.display())))
}

/// The app's command, with the file in it: after the interpreter, in front of its arguments.
pub(crate) fn command(app: &App, state_dir: &Path) -> Vec<String> {
    let mut command = app.command.clone();
    if app.cluster && !command.is_empty() {
        let preload = [
            "--require".to_owned(),
            file(state_dir).display().to_string(),
        ];
        command.splice(1..1, preload);
    }
    command
}

/// Where the program is to listen, unless it is told otherwise: what it binds is only shared when it is this.
pub(crate) fn address(app: &App) -> Vec<(String, String)> {
    let Some(address) = app.listen.filter(|_| app.cluster) else {
        return Vec::new();
    };
    let host = ("HOST".to_owned(), address.ip().to_string());
    vec![host, ("PORT".to_owned(), address.port().to_string())]
}

/// What the file has to know.
pub(crate) fn variables(app: &App) -> Vec<(String, String)> {
    let Some(address) = app.listen.filter(|_| app.cluster) else {
        return Vec::new();
    };
    let mut variables = vec![(
        "POOLWRIGHT_CLUSTER_PORT".to_owned(),
        address.port().to_string(),
    )];
    if app.ready == Ready::Listening {
        variables.push((
            "POOLWRIGHT_CLUSTER_READY".to_owned(),
            "listening".to_owned(),
        ));
    }
    variables
}
