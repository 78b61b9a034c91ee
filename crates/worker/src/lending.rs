//! Who waits for a connection of the ORM pool, for how long, and how long it is kept.
//!
//! The pool counts its connections but not its callers. [`Lending`] stands where callers come in, counts those who wait, and
//! measures both times where somebody has asked for them ([`Lending::measure`]); nothing is measured otherwise.

use std::fmt::Debug;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::time::Instant;

/// What is done with the times.
pub trait Measure: Debug + Send + Sync {
    /// A caller was lent a connection after this time.
    fn waited(&self, time: Duration);
    /// A caller gave its connection back after this time.
    fn used(&self, time: Duration);
    /// A caller was lent none in time.
    fn timed_out(&self);
}

/// The desk at which connections of the ORM pool are lent out.
#[derive(Debug, Default)]
pub struct Lending {
    waiting: AtomicU32,
    measure: OnceLock<Box<dyn Measure>>,
}

/// A connection that is lent out, until this is dropped.
#[derive(Debug)]
pub struct Lent(Option<(Arc<Lending>, Instant)>);

/// Counts its holder among the callers that wait for a connection.
struct Waiting<'a>(&'a AtomicU32);

impl Lending {
    /// How many callers wait, those included who are about to take a connection that is there.
    #[must_use]
    pub fn waiting(&self) -> u32 {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Measures from now on. The first call decides, later ones change nothing.
    pub fn measure(&self, measure: impl Measure + 'static) {
        self.measure.set(Box::new(measure)).ok();
    }

    /// Waits for a connection of the pool, which `lent` lends. What comes after it (`BEGIN`) is the connection's use and no longer the wait.
    ///
    /// Cancel safe as far as `lent` is.
    ///
    /// # Errors
    /// What `lent` says.
    pub async fn lend<T>(
        self: &Arc<Self>,
        lent: impl Future<Output = Result<T, sqlx::Error>>,
    ) -> Result<(T, Lent), sqlx::Error> {
        let _waiting = Waiting::new(&self.waiting);
        let Some(measure) = self.measure.get() else {
            return Ok((lent.await?, Lent(None)));
        };
        let asked = Instant::now();
        match lent.await {
            Ok(lent) => {
                let since = Instant::now();
                measure.waited(since - asked);
                Ok((lent, Lent(Some((Arc::clone(self), since)))))
            }
            Err(error) => {
                if matches!(error, sqlx::Error::PoolTimedOut) {
                    measure.timed_out();
                }
                Err(error)
            }
        }
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let Some((lending, since)) = &self.0
            && let Some(measure) = lending.measure.get()
        {
            measure.used(since.elapsed());
        }
    }
}

impl<'a> Waiting<'a> {
    fn new(count: &'a AtomicU32) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
