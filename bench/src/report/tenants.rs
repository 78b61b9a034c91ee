//! What a tenant's read costs a connection, in words.

use std::fmt::Write;

use anyhow::Result;

use super::{Spread, not_ahead, number};
use crate::tenants::{ASKED, CONNECTIONS, Reads, Tenants, WARM_UP};

/// One column: its name, and what it shows.
type Column = (&'static str, fn(&Reads) -> f64);

/// More of these is better.
const RATES: [Column; 2] = [
    ("reads/s of one connection, here", |r| r.here),
    ("reads/s of one connection, over the network", |r| {
        r.over_network
    }),
];

const TRIPS: [Column; 2] = [
    ("round trips of a read", |r| r.trips),
    ("round trips that hold its connection", Reads::held),
];

pub(super) fn section(tenants: &Tenants) -> Result<String> {
    let readers = [
        ("the worker library (axum)", &tenants.axum),
        ("Prisma (SvelteKit)", &tenants.prisma),
        ("SeaORM as it comes", &tenants.sea_orm),
        ("one trip, the limit", &tenants.one_trip),
    ];
    let mut table = "| |".to_owned();
    let mut rule = "| --- |".to_owned();
    for (name, _) in RATES.into_iter().chain(TRIPS) {
        write!(table, " {name} |")?;
        rule.push_str(" ---: |");
    }
    writeln!(table, "\n{rule}")?;
    let mut behind = Vec::new();
    for (name, rounds) in readers {
        write!(table, "| {name} |")?;
        for (_, figure) in RATES.into_iter().chain(TRIPS) {
            write!(table, " {} |", Spread::over(rounds, figure)?.cell())?;
        }
        table.push('\n');
        for (column, figure) in RATES {
            let (own, other) = (
                Spread::over(&tenants.axum, figure)?.median,
                Spread::over(rounds, figure)?.median,
            );
            if own < other {
                let (own, other) = (number(own), number(other));
                behind.push(format!("{column}, against {name} ({own} against {other})"));
            }
        }
    }
    let behind = not_ahead("the worker library", &behind);
    let trip = Spread::over(&tenants.axum, |r| r.trip_ms)?.median;
    Ok(format!(
        "\
## A tenant's read under row-level security

`GET /api/orders` of one worker with {CONNECTIONS} connections: beside the server, and over a network whose round trip takes {trip} ms. A connection can be
lent again only after as many round trips as a read holds it for, which is what limits a pool over a network ([how few they are](tenants.md)).

{table}
{behind}

- Each is asked by clients that ask again as soon as they are answered, for {asked} s after {warm_up} s of warm-up. The network is a program between the
  worker and the server that puts off what it carries, and counts: a round trip is whatever the server answers after it was asked something.
- *Round trips that hold its connection* are what the rate over the network comes to. Those of a read may be more, where something is sent when the
  client has its answer already.
- *SeaORM as it comes* is the same route through `Database::connect` with nothing set but the number of connections: it tests a connection before it lends
  it, begins, sets the tenant, asks, commits, and sqlx tests the connection again when it comes back. *One trip* has the tenant as a setting of its role and
  sends the prepared query alone: nobody who serves two tenants can do that. Both are `bench/src/bin/tenant-reads`.
",
        trip = number(trip),
        asked = ASKED.as_secs(),
        warm_up = WARM_UP.as_secs(),
    ))
}
