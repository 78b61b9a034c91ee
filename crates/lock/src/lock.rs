//! Taking a lock, holding it, and waiting for it.

#[cfg(not(target_os = "linux"))]
use crate::file::{Taken, Watched};
use crate::holder::Holder;
use crate::name::LockName;
#[cfg(target_os = "linux")]
use crate::socket::{Taken, Watched};
use std::io;
use std::thread;
use std::time::{Duration, Instant};

/// How long to wait where a connection ended and yet the name is taken: its next holder is about to listen,
/// or too many are waiting to be told of its end.
const PAUSE: Duration = Duration::from_millis(20);

/// A lock that this process has, until it is dropped or the process ends, whatever ends it.
///
/// Children do not get it, unless [`Lock::inherited`] says so.
#[derive(Debug)]
pub struct Lock(Taken);

/// Why a lock could not be had.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another living process has it.
    #[error(transparent)]
    Held(#[from] Held),
    /// The system refuses.
    #[error("the lock {name} cannot be taken")]
    Io {
        /// Its name.
        name: LockName,
        /// What the system says.
        #[source]
        source: io::Error,
    },
}

/// Another living process holds the executor id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "executor id {executor_id} is held by {}, expected an id that no living process holds", self.by()
)]
pub struct Held {
    /// The id.
    pub executor_id: String,
    /// Who, as far as it is known.
    pub holder: Option<Holder>,
}

impl Held {
    /// The holder in words.
    #[must_use]
    pub fn by(&self) -> String {
        match &self.holder {
            Some(holder) => holder.to_string(),
            None => "another process".to_owned(),
        }
    }
}

impl Lock {
    /// Takes the lock unless somebody has it.
    ///
    /// # Errors
    /// When the system refuses for any other reason.
    pub fn try_take(name: &LockName) -> io::Result<Option<Self>> {
        Ok(Taken::try_take(name)?.map(Self))
    }

    /// Takes the lock of `executor_id`, waiting at most `patience` for its holder to end. Blocks the thread.
    ///
    /// `waiting` is told of every holder that is found, once each.
    ///
    /// # Errors
    /// [`LockError::Held`] with the last holder seen.
    pub fn take(
        executor_id: &str,
        name: &LockName,
        patience: Duration,
        mut waiting: impl FnMut(&Held),
    ) -> Result<Self, LockError> {
        let refuse = |source| LockError::Io {
            name: name.clone(),
            source,
        };
        let deadline = Instant::now() + patience;
        let mut held: Option<Held> = None;
        loop {
            if let Some(lock) = Self::try_take(name).map_err(refuse)? {
                return Ok(lock);
            }
            if let Some(found) = Watched::connect(name).map_err(refuse)? {
                let now = Held {
                    executor_id: executor_id.to_owned(),
                    holder: found.holder.clone(),
                };
                if held.as_ref() != Some(&now) {
                    waiting(&now);
                }
                held = Some(now);
                found.outlive(deadline);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(LockError::Held(held.unwrap_or_else(|| Held {
                    executor_id: executor_id.to_owned(),
                    holder: None,
                })));
            }
            #[expect(
                clippy::disallowed_methods,
                reason = "between a name that is bound and a socket that listens there is no event to wait for"
            )]
            thread::sleep(PAUSE.min(left));
        }
    }

    /// Who has the lock, as far as it says so or the kernel knows; `None` when nobody has. Blocks the thread for half a second at
    /// most.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn holder(name: &LockName) -> io::Result<Option<Holder>> {
        Ok(Watched::connect(name)?.and_then(|found| found.holder))
    }

    /// Keeps the lock to the end of this process, and says `holder` to whoever asks.
    ///
    /// There is no way back on purpose: an id that a process gave up while it lived could meet what it left.
    ///
    /// # Errors
    /// When the thread cannot be started; the lock is given back then.
    pub fn hold(self, holder: &Holder) -> io::Result<()> {
        self.0.hold(holder)
    }

    /// Lets the lock outlive this program by the one that the process becomes: for a caller of `exec`. The
    /// program's own children inherit it too, and hold it with it.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn inherited(self) -> io::Result<Self> {
        self.0.inherited().map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Under;
    use std::process::{Command, Stdio};

    const PATIENCE: Duration = Duration::from_secs(20);
    const NONE: Duration = Duration::ZERO;

    /// A lock that no other test has.
    fn name() -> LockName {
        LockName::of("web-0", "db:5432/dbos", &uuid::Uuid::new_v4().to_string())
    }

    fn take(name: &LockName, patience: Duration) -> Result<Lock, LockError> {
        Lock::take("web-0", name, patience, |_| {})
    }

    #[test]
    fn a_second_process_is_refused_and_told_by_whom() {
        let name = name();
        let lock = take(&name, NONE).unwrap();
        let us = Holder::this_process(Under::Poolwright);
        lock.hold(&us).unwrap();
        let Err(LockError::Held(held)) = take(&name, Duration::from_millis(100)) else {
            panic!("taken twice");
        };
        assert_eq!(held.holder.as_ref(), Some(&us));
        assert_eq!(Lock::holder(&name).unwrap().as_ref(), Some(&us));
        let said = held.to_string();
        let pid = std::process::id();
        assert!(
            said.starts_with(&format!(
                "executor id web-0 is held by process {pid} (under Poolwright, since 2"
            )),
            "{said}"
        );
    }

    #[test]
    fn of_a_holder_that_says_nothing_the_kernel_knows_the_pid() {
        let name = name();
        assert_eq!(Lock::holder(&name).unwrap(), None);
        let _lock = take(&name, NONE).unwrap();
        let Err(LockError::Held(held)) = take(&name, NONE) else {
            panic!("taken twice");
        };
        assert_eq!(held.holder, Some(Holder::silent(std::process::id())));
    }

    #[test]
    fn whoever_waits_has_it_when_the_holder_lets_go() {
        let name = name();
        let lock = take(&name, NONE).unwrap();
        let (told, seen) = std::sync::mpsc::channel();
        let waiting = thread::spawn({
            let name = name.clone();
            move || {
                Lock::take("web-0", &name, PATIENCE, |held| {
                    told.send(held.clone()).unwrap()
                })
            }
        });
        seen.recv_timeout(PATIENCE).unwrap();
        drop(lock);
        waiting.join().unwrap().unwrap();
    }

    #[test]
    fn a_child_does_not_keep_the_lock_unless_it_was_handed_down() {
        let name = name();
        let lock = take(&name, NONE).unwrap();
        let mut child = sleeper();
        drop(lock);
        let lock = take(&name, PATIENCE).unwrap().inherited().unwrap();
        let mut heir = sleeper();
        drop(lock);
        assert!(matches!(take(&name, NONE), Err(LockError::Held(_))));
        heir.kill().unwrap();
        take(&name, PATIENCE).unwrap();
        child.kill().unwrap();
        for mut gone in [child, heir] {
            gone.wait().unwrap();
        }
    }

    /// A process that lives until it is killed.
    fn sleeper() -> std::process::Child {
        let mut command = Command::new("sleep");
        command.arg("600").stdout(Stdio::null());
        command.spawn().unwrap()
    }
}
