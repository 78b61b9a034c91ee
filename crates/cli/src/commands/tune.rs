//! `poolwright tune`: which size of a pool is enough for a load, found out by trying.
//!
//! The fleet is started once for every size, with the real pools against the real server, and asked by as many clients. More
//! connections help until something else is the limit, and cost Postgres ever after; the size worth having is the
//! smallest that is nearly as good as the best ([`knee`]).

mod fleet;
mod load;

use self::fleet::Trial;
use self::load::{Load, Measured, Request};
use crate::cli::Place;
use crate::environment::Environment;
use crate::exit_codes::Exit;
use crate::failure::Failure;
use crate::manifest::Declared;
use crate::servers::Control;
use crate::style::{self, paint};
use crate::{commands, manifest};
use clap::Args;
use poolwright_topology::budget;
use poolwright_topology::declare::{MIN_EXECUTOR_POOL, Pool, Topology};
use poolwright_topology::knee::{ENOUGH, Point, knee};
use poolwright_topology::tag::{COMMAND, Name};
use poolwright_topology::units::Connections;
use serde::Serialize;
use std::ops::RangeInclusive;
use std::time::Duration;

/// How wide the longest bar of the plot is, in characters.
const BAR: u32 = 30;

/// Find the smallest pool that is enough for a load
///
/// Starts the fleet once for every size of one pool, asks it, and stops it again; nothing else may run under this manifest
/// meanwhile. Sizes beyond what the servers have left are not tried. Prints the smallest size that reaches 95 % of the best, and
/// the lines of the manifest that say so.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  poolwright tune web:prisma --url http://127.0.0.1:3000/api/orders --header 'x-tenant-id: 1111…'
  poolwright tune web:prisma --command './load-test.sh' --sizes 2..8

A --command is run by sh with POOLWRIGHT_POOL_MAX set to the size; what it takes is what is compared.")]
pub(crate) struct Tune {
    /// Which pool, as APP:POOL; its max has to name a variable
    #[arg(value_name = "APP:POOL")]
    pool: String,
    /// The address that is asked
    #[arg(
        long,
        value_name = "URL",
        required_unless_present = "command",
        conflicts_with = "command"
    )]
    url: Option<String>,
    /// Sent with every request
    #[arg(long = "header", value_name = "NAME: VALUE", requires = "url")]
    headers: Vec<String>,
    /// The method of the requests
    #[arg(long, value_name = "METHOD", default_value = "GET")]
    method: String,
    /// The body of the requests
    #[arg(long, value_name = "TEXT", requires = "url")]
    body: Option<String>,
    /// A load of your own, instead of an address
    #[arg(long, value_name = "COMMAND")]
    command: Option<String>,
    /// How many clients ask at once, each again as soon as it is answered
    #[arg(long, value_name = "N", default_value_t = 30, value_parser = clap::value_parser!(u16).range(1..=1000))]
    clients: u16,
    /// The sizes to try
    #[arg(long, value_name = "FROM..TO", default_value = "2..16", value_parser = sizes)]
    sizes: RangeInclusive<u32>,
    /// How long each size is asked, after a second that does not count
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = time)]
    time: Duration,
    /// Print JSON, one object a line
    #[arg(long)]
    json: bool,
}

/// One size that was tried.
#[derive(Debug, Clone, Serialize)]
struct Tried {
    /// The pool's maximum.
    size: u32,
    /// What the whole fleet then opens at most.
    bound: Connections,
    #[serde(flatten)]
    measured: Measured,
}

/// What came of it.
#[derive(Debug, Serialize)]
struct Tuned<'a> {
    pool: String,
    sizes: &'a [Tried],
    knee: Option<u32>,
    manifest: Option<String>,
}

/// The pool that is tuned.
struct Wanted {
    app: Name,
    pool: Name,
    variable: String,
    fewest: u32,
}

impl Tune {
    pub(crate) async fn run(&self, place: &Place) -> Result<Exit, Failure> {
        let located = manifest::locate(place)?;
        let environment =
            Environment::beside(&located.folder)?.with_embedded(&located.state_dir)?;
        let declared = manifest::read(located, environment)?;
        let wanted = wanted(&declared.topology, &self.pool)?;
        let load = self.load()?;
        fleet::none_runs(&declared.located).await?;
        let sizes = self.affordable(&declared, &wanted).await?;
        let mut tried = Vec::new();
        for (size, bound) in sizes {
            let measured = Trial::start(place, &declared.located, &wanted.variable, size)
                .await?
                .measure(&load, size)
                .await?;
            let one = Tried {
                size,
                bound,
                measured,
            };
            if self.json {
                commands::print_json(&one)?;
            } else {
                anstream::eprintln!("  {size:3} connections: {}", one.measured.in_words());
            }
            tried.push(one);
        }
        self.tell(&wanted, &tried)
    }

    fn load(&self) -> Result<Load, Failure> {
        match (&self.url, &self.command) {
            (_, Some(command)) => Ok(Load::Command(command.clone())),
            (Some(url), None) => Ok(Load::Requests {
                request: Box::new(Request::read(
                    url,
                    &self.method,
                    &self.headers,
                    self.body.as_deref(),
                )?),
                clients: self.clients,
                time: self.time,
            }),
            (None, None) => Err(Failure::declaration("expected --url or --command")),
        }
    }

    /// The sizes that the servers have room for, with the bound of each. Where there are no servers yet, an embedded one has.
    async fn affordable(
        &self,
        declared: &Declared,
        wanted: &Wanted,
    ) -> Result<Vec<(u32, Connections)>, Failure> {
        if *self.sizes.start() < wanted.fewest {
            return Err(Failure::declaration(format!(
                "found --sizes from {}, expected at least {} for the pool of an executor",
                self.sizes.start(),
                wanted.fewest
            )));
        }
        let known = declared
            .topology
            .pools()
            .all(|(_, pool)| pool.url.is_some());
        let mut servers = match known {
            true => Some(Control::connect(&declared.topology, |_| Ok(COMMAND.into())).await?),
            false => None,
        };
        let mut sizes = Vec::new();
        for size in self.sizes.clone() {
            let topology = sized(&declared.topology, wanted, size);
            let plan = match &mut servers {
                Some(servers) => servers.plan(&topology).await?,
                None => budget::plan(&topology, &|_| {
                    Some(budget::ServerLimits::assumed(Connections(100)))
                })
                .map_err(Failure::source("summing up the plan"))?,
            };
            if !plan.fits {
                anstream::eprintln!(
                    "{}: not beyond {} connections: {size} would need {} of {}",
                    paint(style::WARN, "note"),
                    size.saturating_sub(1),
                    plan.bound.saturating_add(plan.overhead),
                    plan.usable
                );
                break;
            }
            sizes.push((size, plan.bound));
        }
        if sizes.is_empty() {
            return Err(Failure::Said {
                exit: Exit::Over,
                message: "not even the smallest size fits; `poolwright plan` shows why".to_owned(),
            });
        }
        Ok(sizes)
    }

    fn tell(&self, wanted: &Wanted, tried: &[Tried]) -> Result<Exit, Failure> {
        let points: Vec<Point> = tried
            .iter()
            .map(|one| Point {
                size: one.size,
                rate: one.measured.per_second,
            })
            .collect();
        let knee = knee(&points);
        let lines = knee.map(|size| wanted.lines(size));
        if self.json {
            commands::print_json(&Tuned {
                pool: self.pool.clone(),
                sizes: tried,
                knee,
                manifest: lines,
            })?;
            return Ok(Exit::Success);
        }
        let Some((knee, lines)) = knee.zip(lines) else {
            return Err(Failure::said("nothing was answered at any size"));
        };
        anstream::println!("{}", plot(tried, knee));
        anstream::println!(
            "\n{} connections reach {:.0} % of the best; more of them help no more than that.\n\n{lines}",
            paint(style::STRONG, knee),
            ENOUGH * 100.0
        );
        Ok(Exit::Success)
    }
}

impl Wanted {
    /// What to write into the manifest.
    fn lines(&self, size: u32) -> String {
        let Self {
            app,
            pool,
            variable,
            ..
        } = self;
        format!("[apps.{app}.pools.{pool}]\nmax = {{ env = \"{variable}\", default = {size} }}")
    }
}

fn wanted(topology: &Topology, named: &str) -> Result<Wanted, Failure> {
    let found = topology
        .pools()
        .find(|(app, pool)| format!("{}:{}", app.name, pool.name) == named);
    let Some((app, pool)) = found else {
        let all: Vec<String> = topology
            .pools()
            .map(|(app, pool)| format!("{}:{}", app.name, pool.name))
            .collect();
        return Err(Failure::declaration(format!(
            "found {named:?}, expected one of {}",
            all.join(", ")
        )));
    };
    let Some(variable) = pool.max.variable.clone() else {
        let max = pool.max.value;
        return Err(Failure::declaration(format!(
            "found max = {max} for {named}, expected a variable that tune can set, as in max = {{ env = \"POOL_MAX\", default = {max} }}"
        )));
    };
    Ok(Wanted {
        app: app.name.clone(),
        pool: pool.name.clone(),
        variable,
        fewest: fewest(pool),
    })
}

fn fewest(pool: &Pool) -> u32 {
    match pool.executor {
        true => MIN_EXECUTOR_POOL,
        false => 1,
    }
}

/// The topology with another maximum of that pool, and of every pool that reads the same variable.
fn sized(topology: &Topology, wanted: &Wanted, size: u32) -> Topology {
    let mut topology = topology.clone();
    let pools = topology.apps.iter_mut().flat_map(|app| &mut app.pools);
    for pool in pools.filter(|pool| pool.max.variable.as_ref() == Some(&wanted.variable)) {
        pool.max.value = Connections(size);
    }
    topology
}

/// A line for each size, with a bar as long as its rate.
fn plot(tried: &[Tried], knee: u32) -> String {
    let heads = [
        "size",
        "fleet",
        "requests/s",
        "median",
        "99 %",
        "failed",
        "",
    ];
    let mut rows = vec![heads.map(str::to_owned).to_vec()];
    let best = tried.iter().map(|one| one.measured.per_second);
    let best = best.fold(0.0, f64::max);
    for one in tried {
        let Measured {
            per_second,
            median_ms,
            p99_ms,
            failed,
        } = &one.measured;
        let time = |ms: &Option<f64>| ms.map_or_else(|| "-".into(), |ms| format!("{ms:.1} ms"));
        let mark = if one.size == knee { " ◀" } else { "" };
        rows.push(vec![
            one.size.to_string(),
            one.bound.to_string(),
            format!("{per_second:.2}"),
            time(median_ms),
            time(p99_ms),
            failed.to_string(),
            format!("{}{mark}", bar(*per_second, best)),
        ]);
    }
    style::table(rows, &[0, 1, 2, 3, 4, 5])
}

fn bar(rate: f64, best: f64) -> String {
    let share = if best > 0.0 { rate / best } else { 0.0 };
    (0..BAR)
        .map(
            |cell| match f64::from(cell) + 0.5 < share * f64::from(BAR) {
                true => '█',
                false => ' ',
            },
        )
        .collect::<String>()
        .trim_end()
        .to_owned()
}

fn sizes(text: &str) -> Result<RangeInclusive<u32>, String> {
    let wrong = || format!("found {text:?}, expected two numbers from 1 to 200, as in 2..16");
    let (from, to) = text.split_once("..").ok_or_else(wrong)?;
    let number = |part: &str| {
        part.trim_start_matches('=')
            .parse::<u32>()
            .map_err(|_| wrong())
    };
    let (from, to) = (number(from)?, number(to)?);
    match (1..=200).contains(&from) && from <= to && to <= 200 {
        true => Ok(from..=to),
        false => Err(wrong()),
    }
}

fn time(text: &str) -> Result<Duration, String> {
    let time = humantime::parse_duration(text).ok();
    time.filter(|time| (Duration::from_millis(100)..=Duration::from_secs(3600)).contains(time))
        .ok_or_else(|| format!("found {text:?}, expected a time from 100ms to 1h, as in 5s"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_two_numbers_in_order() {
        assert_eq!(sizes("2..16").unwrap(), 2..=16);
        assert_eq!(sizes("3..3").unwrap(), 3..=3);
        for wrong in ["", "2", "5..2", "0..4", "2..900", "a..b"] {
            assert!(sizes(wrong).unwrap_err().contains("as in 2..16"), "{wrong}");
        }
    }

    #[test]
    fn a_time_is_long_enough_to_measure_anything() {
        assert_eq!(time("1s").unwrap(), Duration::from_secs(1));
        for wrong in ["", "5", "0s", "2h", "soon"] {
            assert!(time(wrong).unwrap_err().contains("as in 5s"), "{wrong}");
        }
    }

    #[test]
    fn the_best_rate_has_the_longest_bar() {
        assert_eq!(bar(10.0, 10.0).chars().count(), 30);
        assert_eq!(bar(5.0, 10.0).chars().count(), 15);
        assert_eq!(bar(0.0, 10.0), "");
        assert_eq!(bar(0.0, 0.0), "");
    }

    #[test]
    fn a_pool_without_a_variable_and_one_that_is_not_there_are_told_apart() {
        let manifest = "[apps.web]\ncommand = [\"x\"]\n[apps.web.pools.a]\nmax = 3\n[apps.web.pools.b]\nmax = { env = \"B\", default = 2 }\n";
        let topology = poolwright_topology::declare::declare(manifest, &|_| None).unwrap();
        let said = |named| {
            wanted(&topology, named)
                .err()
                .map(|failure| failure.words())
        };
        assert!(said("web:a").unwrap().contains("found max = 3 for web:a"));
        assert!(said("web:c").unwrap().contains("web:a, web:b"));
        let b = wanted(&topology, "web:b").ok().unwrap();
        assert_eq!(
            b.lines(5),
            "[apps.web.pools.b]\nmax = { env = \"B\", default = 5 }"
        );
    }
}
