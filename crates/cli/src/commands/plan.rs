//! `poolwright plan`: the sum, line by line, against what the servers have.

use crate::cli::Place;
use crate::environment::Environment;
use crate::exit_codes::Exit;
use crate::failure::Failure;
use crate::style::{self, paint};
use crate::{commands, manifest, servers};
use clap::Args;
use poolwright_topology::budget::{self, ServerLimits, ServerPlan};
use poolwright_topology::units::Connections;
use std::fmt::Write;

/// Show what the topology sums up to, and whether the server has it
///
/// Reads the limits of the servers that the pools' URLs reach: max_connections, what is reserved, and the
/// CONNECTION LIMIT of the roles and databases involved. With --max-connections no server is asked, so that the same
/// check can gate a pull request. Exits with 3 when the plan does not fit.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  poolwright plan                          against the servers behind DATABASE_URL and the others
  poolwright plan --max-connections 100    against an assumed server, in CI
  PM2_INSTANCES=12 poolwright plan         what if")]
pub(crate) struct Plan {
    /// Assume a server with this max_connections (3 of them reserved) instead of asking
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=262_143))]
    max_connections: Option<u32>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Plan {
    pub(crate) async fn run(&self, place: &Place) -> Result<Exit, Failure> {
        let located = manifest::locate(place)?;
        let environment =
            Environment::beside(&located.folder)?.with_embedded(&located.state_dir)?;
        let declared = manifest::read(located, environment)?;
        let plan = match self.max_connections {
            Some(given) => {
                let limits = ServerLimits::assumed(Connections(given));
                budget::plan(&declared.topology, &|_| Some(limits.clone()))
                    .map_err(Failure::source("summing up the plan"))?
            }
            None => {
                refuse_without_urls(&declared)?;
                servers::live_plan(&declared.topology).await?
            }
        };
        if self.json {
            commands::print_json(&plan)?;
        } else {
            anstream::print!("{}", render(&plan));
        }
        Ok(if plan.fits { Exit::Success } else { Exit::Over })
    }
}

fn refuse_without_urls(declared: &manifest::Declared) -> Result<(), Failure> {
    let missing: Vec<&str> = declared
        .topology
        .pools()
        .filter(|(_, pool)| pool.url.is_none())
        .map(|(_, pool)| pool.url_variable.as_deref().unwrap_or("url"))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(Failure::declaration(format!(
        "no server to plan against: {} not set and no embedded server runs; set them, or give --max-connections N",
        missing.join(", ")
    )))
}

/// The plan as `plan` and `up` print it.
pub(crate) fn render(plan: &budget::Plan) -> String {
    let mut text = String::new();
    for server in &plan.servers {
        render_server(&mut text, server);
    }
    text
}

fn shown(server: &str) -> &str {
    match server {
        budget::EMBEDDED => "an embedded server",
        other => other,
    }
}

fn render_server(text: &mut String, server: &ServerPlan) {
    let needed = server.bound.0.saturating_add(server.overhead.0);
    let mut rows: Vec<Vec<String>> = Vec::new();
    let mut row = |cells: [String; 3]| rows.push(cells.into());
    for line in &server.lines {
        let workers = if line.workers.0 == 1 {
            "worker"
        } else {
            "workers"
        };
        row([
            format!("{}:{}", line.app, line.pool),
            format!("{} {workers} × {}", line.workers, line.max),
            line.connections.to_string(),
        ]);
    }
    row(["bound".into(), String::new(), server.bound.to_string()]);
    row([
        "overhead".into(),
        "control connection of the supervisor".into(),
        server.overhead.to_string(),
    ]);
    row(["needed".into(), String::new(), needed.to_string()]);
    let limits = &server.limits;
    let reserved = limits
        .superuser_reserved
        .0
        .saturating_add(limits.reserved.0);
    row([
        "usable".into(),
        format!(
            "max_connections {} − {reserved} reserved",
            limits.max_connections
        ),
        server.usable.to_string(),
    ]);
    if limits.others > Connections::ZERO {
        row([
            "in use".into(),
            "by others, at this moment".into(),
            limits.others.to_string(),
        ]);
    }
    // `write!` to a String cannot fail.
    let _infallible = writeln!(
        text,
        "{}\n\n{}\n",
        paint(style::STRONG, format!("Plan for {}", shown(&server.server))),
        style::table(rows, &[2])
    );
    for constraint in server.constraints.iter().skip(1) {
        let mark = if constraint.holds() { "within" } else { "over" };
        let _infallible = writeln!(
            text,
            "  {} connections, {mark} the {} of {}",
            constraint.needs, constraint.name, constraint.allows
        );
    }
    let left = server.usable.saturating_sub(Connections(needed));
    if server.fits && limits.others > left {
        let _infallible = writeln!(
            text,
            "{}: {} sessions of others leave less than the {needed} that are needed",
            paint(style::WARN, "tight"),
            limits.others
        );
    }
    if server.fits {
        let _infallible = writeln!(
            text,
            "{}: {needed} of {} usable connections, {left} left",
            paint(style::GOOD, "fits"),
            server.usable
        );
    } else {
        let _infallible = writeln!(
            text,
            "{}: {needed} connections needed, {} usable",
            paint(style::BAD, "does not fit"),
            server.usable
        );
        let _infallible = writeln!(text, "what would fit, any one of:");
        for cure in &server.cures {
            let _infallible = writeln!(text, "  - {cure}");
        }
    }
}
