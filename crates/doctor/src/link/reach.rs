//! How often an act happens: once per process, once per evaluation of a module, or whenever somebody asks.

use super::{ActId, Callee, Linked};
use crate::sketch::{Entry, Kept};
use std::collections::HashSet;

/// One way to an act.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Way {
    /// Whoever enters there, with nothing in between that keeps the outcome.
    Entered { by: Entry, at: Callee },
    /// The evaluation of a module: what is made lives in it, and `at` is where it is made or kept.
    Loaded { at: ActId },
    /// Something on the way keeps it for the process.
    Kept,
}

impl Linked<'_> {
    /// All ways to an act. A function that nobody is seen to call is on no way.
    pub(super) fn ways(&self, act: ActId) -> Vec<Way> {
        let mut ways = Vec::new();
        let mut open = vec![act];
        let mut seen = HashSet::new();
        while let Some(id) = open.pop() {
            if !seen.insert(id) {
                continue;
            }
            let Some(act) = self.act(id) else { continue };
            match act.kept {
                Kept::Process => {
                    ways.push(Way::Kept);
                    continue;
                }
                Kept::Module => {
                    ways.push(Way::Loaded { at: id });
                    continue;
                }
                Kept::Somewhere => continue,
                Kept::Nowhere => {}
            }
            let Some(function) = act.within else {
                ways.push(Way::Loaded { at: id });
                continue;
            };
            let callee = Callee {
                source: id.source,
                function,
            };
            if let Some(by) = self.entry(callee) {
                ways.push(Way::Entered { by, at: callee });
            }
            open.extend_from_slice(self.callers(callee));
        }
        ways
    }

    /// The functions whose every call launches the executor: nothing on the way there keeps the promise.
    pub(super) fn launching(&self) -> HashSet<Callee> {
        let launches = self.acts().filter(|(_, _, act)| {
            matches!(act.what, crate::sketch::What::Launches) && act.kept == Kept::Nowhere
        });
        let mut open: Vec<ActId> = launches.map(|(id, _, _)| id).collect();
        let mut launching = HashSet::new();
        while let Some(id) = open.pop() {
            let Some(function) = self.act(id).and_then(|act| act.within) else {
                continue;
            };
            let callee = Callee {
                source: id.source,
                function,
            };
            if launching.insert(callee) {
                let callers = self.callers(callee).iter().copied();
                open.extend(callers.filter(|caller| {
                    self.act(*caller)
                        .is_some_and(|act| act.kept == Kept::Nowhere)
                }));
            }
        }
        launching
    }
}
