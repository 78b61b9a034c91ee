//! Work that may have to wait for a disk or a terminal, on a thread of its own.
//!
//! The supervisor runs on one thread: a terminal that is stopped with Ctrl-S, a pipe that nobody reads or a disk that
//! hangs must stop neither it nor, through full pipes, its workers. So whatever is written is given away and, when too much
//! of it waits, dropped and counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;
use tokio::sync::mpsc::{Sender, channel as bounded};

/// How much may wait: seconds of a talkative fleet, and at most as many lines of 16 KiB.
const ROOM: usize = 4096;

/// How long the end of the work is waited for. What a disk has not taken until then is not worth a fleet that hangs at its
/// end.
const PATIENCE: Duration = Duration::from_secs(2);

/// What the thread gets.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Given<T> {
    /// In the order in which it was given.
    One(T),
    /// So much had no room, here.
    Lost(u64),
}

/// The near end. Dropping it lets the thread finish by itself, without waiting.
pub(crate) struct Aside<T> {
    queue: Sender<T>,
    lost: Arc<AtomicU64>,
    ended: Receiver<()>,
}

impl<T: Send + 'static> Aside<T> {
    /// Starts the thread.
    pub(crate) fn start(
        name: &str,
        mut work: impl FnMut(Given<T>) + Send + 'static,
    ) -> std::io::Result<Self> {
        // Of tokio's, which has memory only for what waits; the standard library's has it for all the room there is.
        let (queue, mut waiting) = bounded::<T>(ROOM);
        let (alive, ended) = channel::<()>();
        let lost = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&lost);
        std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                let _until_the_end = alive;
                let tell_lost =
                    |work: &mut dyn FnMut(Given<T>)| match counted.swap(0, Ordering::Relaxed) {
                        0 => {}
                        count => work(Given::Lost(count)),
                    };
                while let Some(item) = waiting.blocking_recv() {
                    work(Given::One(item));
                    tell_lost(&mut work);
                }
                tell_lost(&mut work);
            })?;
        Ok(Self { queue, lost, ended })
    }

    /// Never waits.
    pub(crate) fn give(&self, item: T) {
        if self.queue.try_send(item).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// For whoever gives from elsewhere. The thread does not end before this is dropped, too.
    pub(crate) fn also(&self) -> impl Fn(T) + Send + use<T> {
        let (queue, lost) = (self.queue.clone(), Arc::clone(&self.lost));
        move |item| {
            if queue.try_send(item).is_err() {
                lost.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Waits until everything that was given is done, but not for ever.
    pub(crate) fn finish(self) {
        let Self { queue, ended, .. } = self;
        drop(queue);
        let _done_or_too_slow = ended.recv_timeout(PATIENCE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_is_done_in_order_before_the_end() {
        let (tell, told) = channel();
        let aside = Aside::start("test", move |given| tell.send(given).unwrap()).unwrap();
        for number in 0..100 {
            aside.give(number);
        }
        aside.finish();
        let expected: Vec<_> = (0..100).map(Given::One).collect();
        assert_eq!(told.iter().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_thread_that_hangs_holds_nobody_up_and_what_it_misses_is_counted() {
        let (go, gate) = channel::<()>();
        let (tell, told) = channel();
        let mut hung = true;
        let aside = Aside::start("test", move |given| {
            if std::mem::take(&mut hung) {
                gate.recv().unwrap();
            }
            tell.send(given).unwrap();
        })
        .unwrap();
        let given = ROOM + 500;
        for number in 0..given {
            aside.give(number);
        }
        go.send(()).unwrap();
        aside.finish();
        let (mut done, mut lost) = (0, 0);
        for given in told {
            match given {
                Given::One(_) => done += 1,
                Given::Lost(count) => lost += count,
            }
        }
        assert!(
            lost > 0 && done + lost == u64::try_from(given).unwrap(),
            "{done} and {lost}"
        );
    }
}
