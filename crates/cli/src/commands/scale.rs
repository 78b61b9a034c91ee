//! `poolwright scale`: another number of workers, if the servers have the connections for it.

use crate::cli::Place;
use crate::commands::rolling::{self, Telling};
use crate::exit_codes::Exit;
use crate::failure::Failure;
use clap::Args;
use poolwright_topology::tag::Name;
use std::str::FromStr;

/// Give an app another number of workers
///
/// The supervisor sums up the larger plan against what the servers allow at this moment, before anything is started, and
/// refuses with 3 what does not fit. One scaling is decided at a time, so that two of them cannot both count on
/// the same connections. When the number falls, the highest slots finish their work and leave.
///
/// The number holds until the fleet is stopped; the manifest decides at the next `up`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  poolwright scale web=5
  poolwright scale web=2 --json    {\"event\":\"done\",\"failure\":null}")]
pub(crate) struct Scale {
    /// The app and its number of workers, such as web=5
    #[arg(value_name = "APP=N")]
    wanted: Wanted,
    /// Print JSON, one object a line
    #[arg(long)]
    json: bool,
}

impl Scale {
    pub(crate) async fn run(&self, place: &Place) -> Result<Exit, Failure> {
        let telling = Telling::new("scale", self.json);
        let mut fleet = rolling::connect(place).await?;
        let Wanted { app, instances } = self.wanted.clone();
        telling.end(fleet.scale(app, instances).await)
    }
}

/// `web=5`.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Wanted {
    app: Name,
    instances: u32,
}

impl FromStr for Wanted {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = "expected APP=N with a whole number from 1 to 512, such as web=5";
        let (app, count) = text.split_once('=').ok_or(expected)?;
        let app = Name::new(app).map_err(|error| format!("{error}; {expected}"))?;
        match workers(count) {
            Some(instances) => Ok(Self { app, instances }),
            None => Err(format!("found {count:?}, {expected}")),
        }
    }
}

/// A number of workers that an app can have.
pub(super) fn workers(count: &str) -> Option<u32> {
    count.parse().ok().filter(|count| (1..=512).contains(count))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_app_and_a_number_of_workers_are_read_and_anything_else_is_explained() {
        let web = Wanted {
            app: Name::new("web").unwrap(),
            instances: 5,
        };
        assert_eq!("web=5".parse(), Ok(web));
        for wrong in [
            "web",
            "web=",
            "web=0",
            "web=513",
            "web=-1",
            "=3",
            "web=three",
        ] {
            let said = wrong.parse::<Wanted>().unwrap_err();
            assert!(said.contains("such as web=5"), "{wrong}: {said}");
        }
    }
}
