//! Every exit code there is. Stable: scripts and CI gates rely on them.

use std::process::ExitCode;

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// It did what was asked; the plan fits; the declaration holds.
    Success = 0,
    /// It could not: no server, no fleet, refused, or a worker failed.
    Failure = 1,
    /// The manifest, the environment or the command line is wrong. Nothing was opened.
    Declaration = 2,
    /// `plan`, `scale`, `up`: the topology needs more than its servers have.
    Over = 3,
    /// `verify`: what Postgres shows is not what was declared.
    Violated = 4,
    /// `doctor`: something hazardous was found that the manifest does not accept.
    Found = 5,
}

/// For `--help`.
pub(crate) const HELP: &str = "\
Exit codes:
  0  done; the plan fits; the declaration holds
  1  failed or refused, with the reason on standard error
  2  the manifest, the environment or the command line is wrong; nothing was opened
  3  plan, scale, up: the topology needs more connections than its servers have
  4  verify: Postgres shows something else than what was declared
  5  doctor: hazards were found";

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Success => 0,
            Exit::Failure => 1,
            Exit::Declaration => 2,
            Exit::Over => 3,
            Exit::Violated => 4,
            Exit::Found => 5,
        })
    }
}
