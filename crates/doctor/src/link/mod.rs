//! All sketches of a project together: who calls what, across files.

mod modules;
mod reach;
mod rules;

use crate::packages::Package;
use crate::sketch::{Act, Entry, Function, FunctionId, Sketch, Target};
use modules::Modules;
use rustc_hash::FxHashMap;
use std::collections::HashSet;

pub(crate) use rules::{Told, is_below, judge};

/// A source file of a project.
#[derive(Debug)]
pub(crate) struct Source {
    /// Relative to the root.
    pub(crate) file: String,
    pub(crate) sketch: Sketch,
    /// Its package, by its place among them.
    pub(crate) package: Option<usize>,
}

/// A function of the project.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Callee {
    source: usize,
    function: FunctionId,
}

/// An act of the project.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct ActId {
    source: usize,
    act: usize,
}

/// The sources with their calls followed.
struct Linked<'p> {
    sources: &'p [Source],
    packages: &'p [Package],
    modules: Modules<'p>,
    callers: FxHashMap<Callee, Vec<ActId>>,
    entries: FxHashMap<Callee, Entry>,
}

impl<'p> Linked<'p> {
    fn of(sources: &'p [Source], packages: &'p [Package]) -> Self {
        let mut linked = Self {
            sources,
            packages,
            modules: Modules::of(sources, packages),
            callers: FxHashMap::default(),
            entries: FxHashMap::default(),
        };
        for (index, source) in sources.iter().enumerate() {
            for (act, done) in source.sketch.acts.iter().enumerate() {
                let crate::sketch::What::Calls(target) = &done.what else {
                    continue;
                };
                if let Some(callee) = linked.modules.follow(index, target) {
                    let id = ActId { source: index, act };
                    linked.callers.entry(callee).or_default().push(id);
                }
            }
            for (target, entry) in &source.sketch.registered {
                if let Some(callee) = linked.modules.follow(index, target) {
                    linked.entries.insert(callee, *entry);
                }
            }
        }
        linked
    }

    fn act(&self, id: ActId) -> Option<&'p Act> {
        self.sources.get(id.source)?.sketch.acts.get(id.act)
    }

    fn function(&self, callee: Callee) -> Option<&'p Function> {
        let source = self.sources.get(callee.source)?;
        source.sketch.function(callee.function)
    }

    fn entry(&self, callee: Callee) -> Option<Entry> {
        let registered = self.entries.get(&callee).copied();
        registered.or_else(|| self.function(callee)?.entry)
    }

    fn callers(&self, callee: Callee) -> &[ActId] {
        self.callers.get(&callee).map_or(&[], Vec::as_slice)
    }

    fn acts(&self) -> impl Iterator<Item = (ActId, &'p Source, &'p Act)> {
        let sources = self.sources.iter().enumerate();
        sources.flat_map(|(source, of)| {
            let acts = of.sketch.acts.iter().enumerate();
            acts.map(move |(act, done)| (ActId { source, act }, of, done))
        })
    }

    /// Whether a class is a pool, because it extends one; and if so, whether it listens to its own errors.
    fn pool_class(&self, callee: Callee) -> Option<bool> {
        let mut seen = HashSet::new();
        let mut listens = false;
        let mut callee = callee;
        while seen.insert(callee) {
            let class = self.function(callee)?;
            listens |= class.listens;
            let base = class.extends.as_ref()?;
            if let Target::Imported { module, path } = base
                && crate::script::is_pg_pool(module, path)
            {
                return Some(listens);
            }
            callee = self.modules.follow(callee.source, base)?;
        }
        None
    }
}
