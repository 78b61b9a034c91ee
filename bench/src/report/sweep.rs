//! Pools and fleets of growing size, in words and as pictures.

use std::fmt::Write;

use anyhow::{Context, Result};
use poolwright_topology::knee::ENOUGH;

use super::Spread;
use super::plot::{Curve, Ink, NODE, RUST, curves};
use crate::sweep::{ASKED, CLIENTS, Step, WARM_UP, knee};

/// One stack: its name, its colour, and its rates.
type Stack = (&'static str, Ink, fn(&Step) -> &Vec<f64>);

const STACKS: [Stack; 2] = [
    ("axum", RUST, |step| &step.axum),
    ("SvelteKit", NODE, |step| &step.sveltekit),
];

pub(super) fn pools(steps: &[Step]) -> Result<String> {
    let [axum, sveltekit] = knees(steps)?;
    Ok(format!(
        "\
## The size of the pool

`GET /api/orders` of 3 workers whose ORM pools have from 2 to 16 connections each, {CLIENTS} clients.

![Reads per second by the size of the pool, in percent of each stack's best](benchmarks/pools.svg)

{table}
The knee (◀) is the smallest size that reaches {enough:.0} % of the best, as `poolwright tune` finds it: {axum} connections
for axum and {sveltekit} for SvelteKit, beside a database on the same machine. What is beyond it costs Postgres memory and helps no more than that.

- Each size is asked for {asked} s after {warm_up} s of warm-up, in a fleet of its own, on one server for each stack; stacks and sizes alternate.
",
        table = table("connections of each pool", steps)?,
        enough = ENOUGH * 100.0,
        asked = ASKED.as_secs_f64(),
        warm_up = WARM_UP.as_secs_f64(),
    ))
}

pub(super) fn workers(steps: &[Step]) -> Result<String> {
    let [axum, sveltekit] = knees(steps)?;
    Ok(format!(
        "\
## The number of workers

The same of 1 to 8 workers with 3 connections in each ORM pool.

![Reads per second by the number of workers, in percent of each stack's best](benchmarks/workers.svg)

{table}
{axum} workers of axum and {sveltekit} of SvelteKit reach {enough:.0} % of the best (◀): workers share the processors with the database and the load generator.
",
        table = table("workers", steps)?,
        enough = ENOUGH * 100.0,
    ))
}

fn knees(steps: &[Step]) -> Result<[u32; 2]> {
    let [axum, sveltekit] = STACKS.map(|(_, _, rates)| knee(steps, rates));
    Ok([
        axum.context("axum answered nothing")?,
        sveltekit.context("SvelteKit answered nothing")?,
    ])
}

fn table(size: &str, steps: &[Step]) -> Result<String> {
    let knees = knees(steps)?;
    let mut table =
        format!("| {size} | axum, reads/s | SvelteKit, reads/s |\n| ---: | ---: | ---: |\n");
    for step in steps {
        write!(table, "| {} |", step.size)?;
        for ((_, _, rates), knee) in STACKS.into_iter().zip(knees) {
            let cell = Spread::over(rates(step), |rate| *rate)?.cell();
            let mark = if step.size == knee { " ◀" } else { "" };
            write!(table, " {cell}{mark} |")?;
        }
        table.push('\n');
    }
    Ok(table)
}

/// The sweep as a picture: what of its best each stack reaches, and where its knee is.
pub(super) fn picture(title: &str, size: &str, steps: &[Step]) -> Result<String> {
    let mut all = Vec::new();
    for ((name, ink, rates), knee) in STACKS.into_iter().zip(knees(steps)?) {
        let mut points = Vec::new();
        for step in steps {
            let spread = Spread::over(rates(step), |rate| *rate)?;
            points.push((f64::from(step.size), spread));
        }
        let best = points.iter().map(|(_, spread)| spread.median);
        let best = best.fold(f64::MIN_POSITIVE, f64::max);
        all.push(Curve {
            name: format!("{name} (100 % = {best:.0}/s)"),
            ink,
            points: points
                .into_iter()
                .map(|(size, spread)| (size, spread.of_best(best)))
                .collect(),
            knee: f64::from(knee),
        });
    }
    curves(title, size, ENOUGH * 100.0, &all)
}
