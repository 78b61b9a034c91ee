//! What is measured, part by part, in the order of the page.

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

/// A section of the page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Part {
    Stacks,
    Telemetry,
    Limits,
    Tenants,
    Pools,
    Workers,
    Managers,
    Systemd,
    Crowd,
    Watched,
    Doctor,
}

impl Part {
    pub(crate) const ALL: [Self; 11] = [
        Self::Stacks,
        Self::Telemetry,
        Self::Limits,
        Self::Tenants,
        Self::Pools,
        Self::Workers,
        Self::Managers,
        Self::Systemd,
        Self::Crowd,
        Self::Watched,
        Self::Doctor,
    ];

    /// As the command line and the recorded figures call it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Stacks => "stacks",
            Self::Telemetry => "telemetry",
            Self::Limits => "limits",
            Self::Tenants => "tenants",
            Self::Pools => "pools",
            Self::Workers => "workers",
            Self::Managers => "managers",
            Self::Systemd => "systemd",
            Self::Crowd => "crowd",
            Self::Watched => "watched",
            Self::Doctor => "doctor",
        }
    }

    /// Those that are named; `None` where none is, which means the whole.
    pub(crate) fn wanted(names: &[String]) -> Result<Option<Vec<Self>>> {
        let parts = names.iter().map(|name| Self::named(name));
        let parts = parts.collect::<Result<Vec<_>>>()?;
        Ok(Some(parts).filter(|parts| !parts.is_empty()))
    }

    fn named(name: &str) -> Result<Self> {
        let part = Self::ALL.into_iter().find(|part| part.name() == name);
        part.with_context(|| {
            let all = Self::ALL.map(Self::name).join(", ");
            format!("found {name:?}, expected one of {all}")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_none_is_answered_with_all_of_them() {
        let wanted = |names: &[&str]| {
            Part::wanted(
                &names
                    .iter()
                    .map(|name| (*name).to_owned())
                    .collect::<Vec<_>>(),
            )
        };
        assert_eq!(wanted(&[]).unwrap(), None);
        let both = vec![Part::Doctor, Part::Stacks];
        assert_eq!(wanted(&["doctor", "stacks"]).unwrap(), Some(both));
        let error = wanted(&["doctors"]).unwrap_err().to_string();
        assert!(error.contains("stacks, telemetry"), "{error}");
    }

    #[test]
    fn a_part_is_called_the_same_where_it_is_recorded() {
        for part in Part::ALL {
            let recorded = serde_json::to_value(part).unwrap();
            assert_eq!(recorded, part.name());
        }
    }
}
