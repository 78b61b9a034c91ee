//! A worker on a socket of systemd's, in words.

use std::fmt::Write;

use anyhow::Result;

use super::{Spread, not_ahead, number};
use crate::systemd::{PROGRAM, Serving, Systemd};

/// One line of the table: its name, what it shows, and whether more is better.
type Line = (&'static str, fn(&Serving) -> f64, bool);

const LINES: [Line; 5] = [
    (
        "`GET /healthz`, a connection per request, requests/s",
        |s| s.health_fresh.per_second,
        true,
    ),
    (
        "`GET /healthz`, keep-alive, requests/s",
        |s| s.health_kept.per_second,
        true,
    ),
    (
        "`GET /api/orders`, keep-alive, requests/s",
        |s| s.orders_kept.per_second,
        true,
    ),
    ("– 99th percentile, ms", |s| s.orders_kept.p99_ms, false),
    ("from the command to ready, s", |s| s.start_s, false),
];

pub(super) fn section(systemd: &Systemd) -> Result<String> {
    let compared = match systemd.activated.is_empty() {
        true => format!(
            "`{PROGRAM}` is not on this machine, so that nothing was compared (Debian: `apt-get install systemd`; no systemd has to run).\n"
        ),
        false => table(systemd)?,
    };
    Ok(format!(
        "\
## systemd's socket activation and `poolwright up`

One worker of the axum app on a socket that `systemd-socket-activate` has bound, and under `poolwright up`, which hands it down in the same way
(`LISTEN_FDS`).

{compared}
- What a restart does to requests is not compared: `systemd-socket-activate` becomes the worker and ends with it, and holding the socket for the next one
  is the work of a service manager that is the machine's first process. There a socket unit holds it as Poolwright does.
- What socket activation does not know: several workers, their order, and whether the predecessor's connections are gone from Postgres.
"
    ))
}

fn table(systemd: &Systemd) -> Result<String> {
    let mut table = "| | systemd-socket-activate | Poolwright | Poolwright is better by |\n| --- | ---: | ---: | ---: |\n".to_owned();
    let mut behind = Vec::new();
    for (name, figure, more) in LINES {
        let other = Spread::over(&systemd.activated, figure)?;
        let own = Spread::over(&systemd.poolwright, figure)?;
        let ratio = match more {
            true => own.median / other.median,
            false => other.median / own.median,
        };
        if ratio < 1.0 {
            let (own, other) = (number(own.median), number(other.median));
            let name = name.trim_start_matches("– ");
            behind.push(format!("{name} ({own} against {other})"));
        }
        let (other, own) = (other.cell(), own.cell());
        writeln!(table, "| {name} | {other} | {own} | {ratio:.2} × |")?;
    }
    let behind = not_ahead("Poolwright", &behind);
    writeln!(table, "\n{behind}")?;
    Ok(table)
}
