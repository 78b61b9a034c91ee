//! What is seen of the fleet, and whether anybody watches.
//!
//! A view costs as much as the fleet has slots. One a second keeps findings and metrics true; those in between are for somebody who
//! watches, and are made only then: else every step of a reload would cost the more, the more slots stand beside it.

use poolwright_topology::picture::View;
use std::sync::{Arc, Weak};
use tokio::sync::watch;

/// Where views are shown.
#[derive(Debug, Default)]
pub struct Showing {
    seen: watch::Sender<Option<Arc<View>>>,
    /// One reference of its own, and one for each that watches.
    watchers: Arc<()>,
}

/// Where they are seen.
#[derive(Debug, Clone)]
pub struct Views {
    seen: watch::Receiver<Option<Arc<View>>>,
    watchers: Weak<()>,
}

/// Somebody watches, until this is dropped.
#[derive(Debug)]
pub struct Watcher {
    _counted: Option<Arc<()>>,
}

impl Showing {
    /// For whoever wants to see.
    #[must_use]
    pub fn views(&self) -> Views {
        Views {
            seen: self.seen.subscribe(),
            watchers: Arc::downgrade(&self.watchers),
        }
    }

    /// The newest view from now on. Whoever has not seen the one before never will.
    pub fn show(&self, view: View) {
        self.seen.send_replace(Some(Arc::new(view)));
    }

    /// Whether there was one.
    #[must_use]
    pub fn has_shown(&self) -> bool {
        self.seen.borrow().is_some()
    }

    /// Whether anybody wants more of them than one a second.
    #[must_use]
    pub fn is_watched(&self) -> bool {
        Arc::strong_count(&self.watchers) > 1
    }
}

impl Views {
    /// Those of a fleet that nobody looks at.
    pub(crate) fn none() -> Self {
        Showing::default().views()
    }

    /// The newest one; none before the first.
    #[must_use]
    pub fn newest(&self) -> Option<Arc<View>> {
        self.seen.borrow().clone()
    }

    /// The next one that was not returned yet; none once nobody makes any more. Cancel safe.
    pub async fn next(&mut self) -> Option<Arc<View>> {
        loop {
            self.seen.changed().await.ok()?;
            let view = self.seen.borrow_and_update().clone();
            if view.is_some() {
                return view;
            }
        }
    }

    /// [`Views::next`] returns the newest one, however often it was seen.
    pub(crate) fn rewind(&mut self) {
        self.seen.mark_changed();
    }

    /// While it is kept, a view is shown as soon as a slot moves.
    #[must_use]
    pub fn watcher(&self) -> Watcher {
        Watcher {
            _counted: self.watchers.upgrade(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_sees_does_not_watch_and_who_watches_does_until_the_end_of_it() {
        let showing = Showing::default();
        let views = showing.views();
        assert!(!showing.is_watched());
        let (one, other) = (views.watcher(), views.clone().watcher());
        drop(one);
        assert!(showing.is_watched());
        drop(other);
        assert!(!showing.is_watched());
    }

    #[tokio::test]
    async fn nobody_watches_a_fleet_that_nobody_looks_at() {
        let mut views = Views::none();
        let _watcher = views.watcher();
        assert!(views.next().await.is_none());
    }
}
