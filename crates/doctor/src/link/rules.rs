//! What the linked sources show to be hazards.

use super::reach::Way;
use super::{ActId, Callee, Linked, Source};
use crate::packages::Package;
use crate::sketch::{Act, Heard, Opening, What};
use poolwright_topology::hazard::{Code, Hazard, Place, Position};
use std::collections::{BTreeMap, BTreeSet, HashSet};

/// Where nothing belongs to a worker: tools of a project run by themselves, and are never hot-reloaded.
const TOOLS: [&str; 8] = [
    "scripts",
    "script",
    "bin",
    "tools",
    "prisma",
    "seeds",
    "migrations",
    "xtask",
];

/// Below, so many workflows at once that read a status deadlock: measured with 8 of them, pools of 3 and of 5 did, one
/// of 10 did not.
const STATUS_POOL: u32 = 10;

/// What the manifests tell the rules.
#[derive(Debug, Default)]
pub(crate) struct Told {
    /// The modules that launch, where a manifest names them.
    pub(crate) inits: BTreeSet<String>,
    /// The folders whose manifests name one.
    pub(crate) with_init: BTreeSet<String>,
    /// The declared maxima of the executors' pools, by the folders of their manifests.
    pub(crate) executor_pools: BTreeMap<String, u32>,
}

/// Everything that more than one file shows.
pub(crate) fn judge(sources: &[Source], packages: &[Package], told: &Told) -> Vec<Hazard> {
    let linked = Linked::of(sources, packages);
    let mut found = Vec::new();
    linked.launches_once(told, &mut found);
    linked.guards(&mut found);
    linked.lifetimes(&mut found);
    linked.listeners(&mut found);
    linked.statuses(told, &mut found);
    found
}

/// Something that opens connections, or the launch that does.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Opened {
    Connections(Opening),
    Executor,
}

impl Opened {
    const fn words(self) -> &'static str {
        match self {
            Self::Connections(opening) => opening.words(),
            Self::Executor => "the executor's launch",
        }
    }
}

impl<'p> Linked<'p> {
    /// What an act opens: itself, or by making an instance of a class that is a pool.
    fn opened(&self, id: ActId, act: &'p Act) -> Option<Opened> {
        match &act.what {
            What::Opens(opening) => Some(Opened::Connections(*opening)),
            What::Launches => Some(Opened::Executor),
            What::ReadsStatus => None,
            What::Calls(target) => {
                let callee = self.modules.follow(id.source, target)?;
                self.pool_class(callee)
                    .map(|_| Opened::Connections(Opening::PgPool))
            }
        }
    }

    fn place(&self, id: ActId) -> Option<Place> {
        let source = self.sources.get(id.source)?;
        Some(Place::new(&source.file, Some(self.act(id)?.position)))
    }

    fn package(&self, source: &Source) -> Option<&'p Package> {
        self.packages.get(source.package?)
    }

    /// More than one launch in a package, and launches where requests are served.
    fn launches_once(&self, told: &Told, found: &mut Vec<Hazard>) {
        let mut launches: BTreeMap<Option<usize>, Vec<(ActId, &Source)>> = BTreeMap::new();
        for (id, source, act) in self.acts() {
            if matches!(act.what, What::Launches) && !is_tool(&source.file) {
                launches
                    .entry(source.package)
                    .or_default()
                    .push((id, source));
            }
        }
        for launches in launches.values_mut() {
            launches.sort_by_key(|(id, source)| {
                let looks = !told.inits.contains(&source.file);
                (looks, init_rank(&source.file), &source.file, id.act)
            });
            let Some(((first, first_source), others)) = launches.split_first() else {
                continue;
            };
            for (id, _) in others {
                let first = self.place(*first);
                let first =
                    first.map_or_else(|| first_source.file.clone(), |place| place.to_string());
                let message = format!("a second launch of the executor; the first is in {first}");
                found.extend(self.at(Code::SecondLaunch, *id, message));
            }
            for (id, source) in launches.iter() {
                if let Some(message) = self.outside_init(*id, source, told) {
                    found.extend(self.at(Code::LaunchOutsideInit, *id, message));
                }
            }
        }
    }

    fn outside_init(&self, id: ActId, source: &Source, told: &Told) -> Option<String> {
        let named = told
            .with_init
            .iter()
            .any(|folder| is_below(&source.file, folder));
        if named {
            let is_init = told.inits.contains(&source.file);
            return (!is_init).then(|| {
                "the executor is launched outside the module that [doctor] init names".to_owned()
            });
        }
        if source.sketch.serves {
            return Some("the executor is launched by a module that serves requests".to_owned());
        }
        let entered = self.ways(id).into_iter().find_map(|way| match way {
            Way::Entered { by, at } => Some((by, at)),
            Way::Loaded { .. } | Way::Kept => None,
        });
        entered.map(|(by, at)| {
            let function = self.called(at);
            format!("the executor is launched by {} ({function})", by.words())
        })
    }

    /// Launches behind a boolean.
    fn guards(&self, found: &mut Vec<Hazard>) {
        let launching = self.launching();
        for (id, source, act) in self.acts() {
            let Some(guard) = act.guard else { continue };
            let launches = match &act.what {
                What::Launches => true,
                What::Calls(target) => self
                    .modules
                    .follow(id.source, target)
                    .is_some_and(|callee| launching.contains(&callee)),
                What::Opens(_) | What::ReadsStatus => false,
            };
            if launches && !is_tool(&source.file) {
                let message = "a boolean is to keep the executor from being launched twice";
                let place = Place::new(&source.file, Some(guard));
                found.push(Hazard::at(Code::BooleanGuard, place, message));
            }
        }
    }

    /// What is opened by every request, and what a hot reload opens again.
    fn lifetimes(&self, found: &mut Vec<Hazard>) {
        for (id, source, act) in self.acts() {
            let Some(opened) = self.opened(id, act) else {
                continue;
            };
            if is_tool(&source.file) {
                continue;
            }
            let ways = self.ways(id);
            for way in &ways {
                let Way::Entered { by, at } = way else {
                    continue;
                };
                if opened != Opened::Executor {
                    let (what, whom) = (opened.words(), by.words());
                    let message = format!("{what} is made by {whom} ({})", self.called(*at));
                    found.extend(self.at(Code::PoolPerRequest, id, message));
                    break;
                }
            }
            let mut lost = BTreeSet::new();
            for way in &ways {
                let Way::Loaded { at } = way else { continue };
                if let Some(place) = self.reloaded(*at) {
                    lost.insert(place);
                }
            }
            for place in lost {
                let message = format!("{} is kept where a hot reload loses it", opened.words());
                found.push(Hazard::at(Code::LostOnReload, place, message));
            }
        }
    }

    /// Where something is kept that a hot reload evaluates again.
    fn reloaded(&self, kept: ActId) -> Option<Place> {
        let source = self.sources.get(kept.source)?;
        let hot = self.package(source)?.hot_reloads;
        // What lies beside package.json is configuration and the server's own start.
        let folder = &self.package(source)?.folder;
        let below = source
            .file
            .strip_prefix(folder.as_str())?
            .trim_start_matches('/');
        (hot && below.contains('/') && !is_tool(&source.file))
            .then(|| self.place(kept))
            .flatten()
    }

    /// Pools whose errors nobody hears.
    fn listeners(&self, found: &mut Vec<Hazard>) {
        for (id, source, act) in self.acts() {
            let listens = match &act.what {
                What::Opens(opening) => !opening.needs_listener(),
                What::Calls(target) => match self
                    .modules
                    .follow(id.source, target)
                    .and_then(|callee| self.pool_class(callee))
                {
                    Some(listens) => listens,
                    None => continue,
                },
                What::Launches | What::ReadsStatus => continue,
            };
            if !listens && self.is_unheard(id) && !is_tool(&source.file) {
                let message = "nobody listens to the errors of this pool's idle connections";
                found.extend(self.at(Code::NoErrorListener, id, message));
            }
        }
    }

    fn is_unheard(&self, id: ActId) -> bool {
        let mut open = vec![id];
        let mut seen = HashSet::new();
        while let Some(id) = open.pop() {
            let Some(act) = self.act(id).filter(|_| seen.insert(id)) else {
                continue;
            };
            match (act.heard, act.within) {
                (Heard::Yes, _) => {}
                (Heard::ByCallers, Some(function)) => {
                    open.extend_from_slice(self.callers(Callee {
                        source: id.source,
                        function,
                    }))
                }
                (Heard::No | Heard::ByCallers, _) => return true,
            }
        }
        false
    }

    /// Workflows that read statuses over a small pool.
    fn statuses(&self, told: &Told, found: &mut Vec<Hazard>) {
        for (id, source, act) in self.acts() {
            if !matches!(act.what, What::ReadsStatus) {
                continue;
            }
            let Some(size) = self.executor_pool(source, told) else {
                continue;
            };
            let in_a_workflow = self
                .ways(id)
                .iter()
                .any(|way| matches!(way, Way::Entered { by, .. } if *by != crate::sketch::Entry::Request));
            if in_a_workflow && size < STATUS_POOL {
                let message = format!(
                    "a workflow reads a workflow's status, and the executor's pool has {size}"
                );
                found.extend(self.at(Code::ExecutorPoolStarves, id, message));
            }
        }
    }

    /// The size of the executor's pool: as it is written down in the package, else as the nearest manifest declares it.
    fn executor_pool(&self, source: &Source, told: &Told) -> Option<u32> {
        let written = self
            .sources
            .iter()
            .filter(|of| of.package == source.package);
        let written = written.flat_map(|of| of.sketch.executor_pools.iter().copied());
        written.min().or_else(|| {
            let above = told.executor_pools.iter().rev();
            let mut above = above.filter(|(folder, _)| is_below(&source.file, folder));
            above.next().map(|(_, max)| *max)
        })
    }

    fn at(&self, code: Code, id: ActId, message: impl Into<String>) -> Option<Hazard> {
        Some(Hazard::at(code, self.place(id)?, message))
    }

    /// A function, for a message.
    fn called(&self, callee: Callee) -> String {
        let source = self.sources.get(callee.source);
        let file = source.map_or("", |source| source.file.as_str());
        match self.function(callee) {
            Some(function) => match function.position {
                Some(Position { line, .. }) => format!("{} in {file}:{line}", function.name),
                None => format!("{} in {file}", function.name),
            },
            None => file.to_owned(),
        }
    }
}

fn is_tool(file: &str) -> bool {
    let folders = file.rsplit_once('/').map_or("", |(folders, _)| folders);
    // Cargo's binaries are workers as well as tools.
    let is_rust = file.ends_with(".rs");
    folders
        .split('/')
        .any(|folder| TOOLS.contains(&folder) && !(is_rust && folder == "bin"))
}

/// Whether a file lies below a folder; both relative to the root, which is the empty folder.
pub(crate) fn is_below(file: &str, folder: &str) -> bool {
    folder.is_empty()
        || file
            .strip_prefix(folder)
            .is_some_and(|rest| rest.starts_with('/'))
}

/// How much a file looks like the module that owns initialisation: less is more.
fn init_rank(file: &str) -> usize {
    let looks = ["dbos/init", "init", "executor", "dbos"];
    looks
        .iter()
        .position(|look| file.contains(look))
        .unwrap_or(looks.len())
}
