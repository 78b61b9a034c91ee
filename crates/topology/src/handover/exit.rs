//! How a process ended, in words.

use serde::{Deserialize, Serialize};
use std::fmt;

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Exit {
    /// It called `exit` with this code.
    Code(i32),
    /// The signal of this number ended it.
    Signal(i32),
    /// The kernel killed it, and says that it did so for want of memory.
    OutOfMemory,
}

impl Exit {
    /// Whether the process says of itself that all went well.
    #[must_use]
    pub const fn is_clean(self) -> bool {
        matches!(self, Self::Code(0))
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Code(code) => {
                write!(f, "exited with code {code}")?;
                match code {
                    // The shell's convention, which the supervisor's own shim follows.
                    126 => f.write_str(" (the command could not be executed)"),
                    127 => f.write_str(" (the command was not found)"),
                    _ => Ok(()),
                }
            }
            Self::Signal(number) => match signal_name(number) {
                Some(name) => write!(f, "was killed by {name}"),
                None => write!(f, "was killed by signal {number}"),
            },
            Self::OutOfMemory => {
                f.write_str("was killed by the kernel because memory had run out (SIGKILL)")
            }
        }
    }
}

/// The signals that end processes in practice. These numbers are the same on every platform that
/// Poolwright runs on; the others are shown as numbers.
const fn signal_name(number: i32) -> Option<&'static str> {
    Some(match number {
        1 => "SIGHUP",
        2 => "SIGINT",
        3 => "SIGQUIT",
        4 => "SIGILL",
        5 => "SIGTRAP",
        6 => "SIGABRT",
        8 => "SIGFPE",
        9 => "SIGKILL",
        11 => "SIGSEGV",
        13 => "SIGPIPE",
        14 => "SIGALRM",
        15 => "SIGTERM",
        24 => "SIGXCPU",
        25 => "SIGXFSZ",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exit_is_said_in_words() {
        let table = [
            (Exit::Code(0), "exited with code 0"),
            (Exit::Code(1), "exited with code 1"),
            (
                Exit::Code(127),
                "exited with code 127 (the command was not found)",
            ),
            (Exit::Signal(9), "was killed by SIGKILL"),
            (Exit::Signal(64), "was killed by signal 64"),
            (
                Exit::OutOfMemory,
                "was killed by the kernel because memory had run out (SIGKILL)",
            ),
        ];
        for (exit, words) in table {
            assert_eq!(exit.to_string(), words);
        }
    }
}
