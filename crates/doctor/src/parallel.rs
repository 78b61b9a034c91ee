//! The same work on many files, on as many threads as the machine has.
//!
//! Plain threads, because a parser that goes down by recursion wants a deep stack, which a pool of threads shared with
//! others does not have.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Reserved for each thread, and taken only as far as it is used: the deepest text that is read (see
/// [`crate::reading`]) needs a part of it, in a debug build too.
const STACK: usize = 256 * 1024 * 1024;

/// Beyond that many, reading files is what takes the time.
const MOST: usize = 8;

/// Does `work` on every item; the results are in the order of the items.
///
/// # Errors
/// When the system gives no thread.
pub(crate) fn map<T: Sync, R: Send>(
    items: &[T],
    work: impl Fn(&T) -> R + Sync,
) -> io::Result<Vec<R>> {
    let available = std::thread::available_parallelism().map_or(1, |count| count.get());
    let threads = available.min(MOST).min(items.len().max(1));
    let next = AtomicUsize::new(0);
    let take = || {
        let mut done = Vec::new();
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(at) else {
                return done;
            };
            done.push((at, work(item)));
        }
    };
    let mut done = std::thread::scope(|scope| {
        let mut running = Vec::new();
        for _ in 0..threads {
            let thread = std::thread::Builder::new().stack_size(STACK);
            running.push(thread.spawn_scoped(scope, take)?);
        }
        let mut all = Vec::new();
        for thread in running {
            let done = thread.join();
            all.extend(done.map_err(|_| io::Error::other("a thread that read files panicked"))?);
        }
        Ok::<_, io::Error>(all)
    })?;
    done.sort_by_key(|(at, _)| *at);
    Ok(done.into_iter().map(|(_, result)| result).collect())
}

#[cfg(test)]
mod tests {
    use super::map;

    #[test]
    fn results_are_in_the_order_of_the_items() {
        let items: Vec<usize> = (0..1000).collect();
        let doubled = map(&items, |item| item * 2).unwrap();
        assert!(
            doubled
                .iter()
                .enumerate()
                .all(|(at, double)| *double == at * 2)
        );
        let none: [usize; 0] = [];
        assert!(map(&none, |item| *item).unwrap().is_empty());
    }
}
