//! A project → its hazards.

use crate::link::{self, Source, Told, is_below};
use crate::manifests::Manifest;
use crate::packages::{self, Language, Package};
use crate::parallel;
use crate::processes::{self, Ecosystem, Numbering};
use crate::reading::{Read, Unread, read};
use crate::sketch::What;
use crate::walk::{self, Found, Kind};
use poolwright_topology::declare::{self, Mistake, declare};
use poolwright_topology::hazard::{Hazard, Place};
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

/// What an examination asks of the world.
#[derive(Clone, Copy)]
pub struct Surroundings<'a> {
    /// The environment of a manifest in a folder: `.env` beside it under the real one.
    pub env: &'a dyn Fn(&Path, &str) -> Option<String>,
    /// What an ecosystem file exports, or why it could not be evaluated.
    pub evaluate: &'a dyn Fn(&Path) -> Result<Evaluated, String>,
    /// A manifest above the root that the project belongs to.
    pub above: Option<&'a Path>,
}

/// What evaluating an ecosystem file shows.
#[derive(Debug, Clone)]
pub struct Evaluated {
    /// What it exports.
    pub exported: Value,
    /// What PM2 takes for the number of CPUs.
    pub cpus: u32,
}

/// A project, examined.
#[derive(Debug)]
pub struct Examined {
    root: PathBuf,
    hazards: Vec<Hazard>,
    notes: Vec<Note>,
    files: usize,
    manifests: Vec<Manifest>,
}

/// Something that could not be looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Note {
    /// Where.
    pub place: Option<Place>,
    /// What and why.
    pub text: String,
}

/// A manifest that is wrong. Its mistakes come before any hazard.
#[derive(Debug)]
pub struct WrongManifest {
    /// The file.
    pub path: PathBuf,
    /// Its text.
    pub text: String,
    /// Every mistake there is.
    pub mistakes: Vec<Mistake>,
}

/// What an examination came to. The fields of its JSON are documented in `docs/doctor.md` and stable.
#[derive(Debug, Serialize)]
pub struct Report {
    /// What was found, in the order of the files.
    pub findings: Vec<Hazard>,
    /// What was found and is accepted.
    pub allowed: Vec<Allowance>,
    /// What could not be looked at.
    pub notes: Vec<Note>,
    /// How many files were read.
    pub files: usize,
}

/// A hazard that a manifest accepts.
#[derive(Debug, Serialize)]
pub struct Allowance {
    /// The hazard.
    #[serde(flatten)]
    pub hazard: Hazard,
    /// Why it is none.
    pub reason: String,
}

/// Why there is nothing to report.
#[derive(Debug)]
pub enum Failure {
    /// A manifest is wrong.
    Manifest(WrongManifest),
    /// The system refuses.
    Io(io::Error),
}

/// Reads the files below `root`, an absolute path, and says what is hazardous in them.
///
/// # Errors
/// [`Failure`]: a manifest of the project is wrong, or the system gives no threads.
pub fn examine(root: &Path, around: &Surroundings<'_>) -> Result<Examined, Failure> {
    let found = walk::files(root);
    let read = parallel::map(&found, read).map_err(Failure::Io)?;
    let mut examination = Examination {
        root,
        around,
        sources: Vec::new(),
        packages: Vec::new(),
        manifests: Vec::new(),
        ecosystems: Vec::new(),
        hazards: Vec::new(),
        notes: Vec::new(),
        has_npm_lock: Vec::new(),
    };
    let files = found.len();
    for (found, read) in found.into_iter().zip(read) {
        examination.take(found, read)?;
    }
    if let Some(above) = around.above {
        let text = std::fs::read_to_string(above).map_err(Failure::Io)?;
        examination.manifest(above.to_path_buf(), text)?;
    }
    examination.evaluate_ecosystems();
    examination.packages.sort_by(|a, b| a.folder.cmp(&b.folder));
    examination.installed();
    Ok(examination.finish(files))
}

/// A project while it is put together.
struct Examination<'e> {
    root: &'e Path,
    around: &'e Surroundings<'e>,
    sources: Vec<Source>,
    packages: Vec<Package>,
    manifests: Vec<Manifest>,
    ecosystems: Vec<ReadEcosystem>,
    hazards: Vec<Hazard>,
    notes: Vec<Note>,
    /// The folders with a `package-lock.json`.
    has_npm_lock: Vec<String>,
}

struct ReadEcosystem {
    file: String,
    path: PathBuf,
    text: String,
    evaluated: Option<Evaluated>,
}

impl Examination<'_> {
    fn take(&mut self, found: Found, read: Result<Read, Unread>) -> Result<(), Failure> {
        let Found { path, file, kind } = found;
        if kind == Kind::NpmLock {
            self.has_npm_lock.push(folder_of(&file).to_owned());
        }
        match read {
            Ok(Read::Source(sketch)) => self.sources.push(Source {
                file,
                sketch,
                package: None,
            }),
            Ok(Read::Package(package)) => self.packages.push(package),
            Ok(Read::Tsconfig(text)) => {
                let folder = folder_of(&file);
                // The files are in order: `package.json` comes before `tsconfig.json`.
                let mut packages = self.packages.iter_mut();
                if let Some(package) = packages.find(|package| package.folder == folder) {
                    package.add_paths(&text);
                }
            }
            Ok(Read::Manifest(text)) => self.manifest(path, text)?,
            Ok(Read::Ecosystem(text)) => self.ecosystems.push(ReadEcosystem {
                file,
                path,
                text,
                evaluated: None,
            }),
            Ok(Read::Hazards(hazards)) => self.hazards.extend(hazards),
            Err(Unread { position, reason }) => self.notes.push(Note {
                place: Some(Place::new(file, position)),
                text: format!("not read: {reason}"),
            }),
        }
        Ok(())
    }

    fn manifest(&mut self, path: PathBuf, text: String) -> Result<(), Failure> {
        let folder = path.parent().unwrap_or(self.root).to_path_buf();
        let env = |name: &str| (self.around.env)(&folder, name);
        match declare(&text, &env) {
            Ok(topology) => {
                self.manifests.push(Manifest {
                    path,
                    text: Some(text),
                    topology,
                });
                Ok(())
            }
            Err(mistakes) => Err(Failure::Manifest(WrongManifest {
                path,
                text,
                mistakes,
            })),
        }
    }

    /// Evaluates the ecosystem files. One that declares a topology is a manifest, where there is no other.
    fn evaluate_ecosystems(&mut self) {
        for ecosystem in &mut self.ecosystems {
            match (self.around.evaluate)(&ecosystem.path) {
                Ok(evaluated) => ecosystem.evaluated = Some(evaluated),
                Err(reason) => self.notes.push(Note {
                    place: Some(Place::new(&ecosystem.file, None)),
                    text: format!("not evaluated: {reason}"),
                }),
            }
        }
        for ecosystem in &self.ecosystems {
            let folder = ecosystem.path.parent().unwrap_or(self.root);
            let declared = self
                .manifests
                .iter()
                .any(|manifest| manifest.folder() == folder);
            let Some(Evaluated { exported, cpus }) = &ecosystem.evaluated else {
                continue;
            };
            if declared {
                continue;
            }
            let around = declare::Surroundings {
                cpus: *cpus,
                profile: None,
                env: &|name| (self.around.env)(folder, name),
                exists: &|path| folder.join(path).is_file(),
            };
            // Without a `poolwright` key it is PM2's alone; what is wrong with one that has it, `plan` says.
            if let Ok(declared) = declare::ecosystem(exported, &around) {
                self.manifests.push(Manifest {
                    path: ecosystem.path.clone(),
                    text: None,
                    topology: declared.topology,
                });
            }
        }
    }

    /// What is installed twice, where no lock file of npm's says so.
    fn installed(&mut self) {
        for package in &self.packages {
            let locked = self
                .has_npm_lock
                .iter()
                .any(|folder| *folder == package.folder || is_below(&package.folder, folder));
            if package.language == Language::Node && !locked {
                let folder = self.root.join(&package.folder);
                let file = joined(&package.folder, "package.json");
                self.hazards.extend(packages::installed(&folder, &file));
            }
        }
    }

    fn finish(mut self, files: usize) -> Examined {
        for source in &mut self.sources {
            let language = match source.file.ends_with(".rs") {
                true => Language::Rust,
                false => Language::Node,
            };
            let packages = self.packages.iter().enumerate().rev();
            let mut above = packages.filter(|(_, package)| {
                package.language == language && is_below(&source.file, &package.folder)
            });
            source.package = above.next().map(|(at, _)| at);
            self.hazards.append(&mut source.sketch.hazards);
        }
        let told = self.told();
        self.hazards
            .extend(link::judge(&self.sources, &self.packages, &told));
        for ecosystem in &self.ecosystems {
            let Some(evaluated) = &ecosystem.evaluated else {
                continue;
            };
            let folder = ecosystem.path.parent().unwrap_or(self.root);
            let mut manifests = self.manifests.iter();
            self.hazards.extend(processes::judge(&Ecosystem {
                file: &ecosystem.file,
                text: &ecosystem.text,
                exported: &evaluated.exported,
                cpus: evaluated.cpus,
                manifest: manifests.find(|manifest| manifest.folder() == folder),
                numbering: self.numbering(folder_of(&ecosystem.file)),
            }));
        }
        Examined {
            root: self.root.to_path_buf(),
            hazards: self.hazards,
            notes: self.notes,
            files,
            manifests: self.manifests,
        }
    }

    /// What the manifests say that the sources are judged by.
    fn told(&self) -> Told {
        let mut told = Told::default();
        for manifest in &self.manifests {
            let Some(folder) = walk::relative(self.root, manifest.folder()) else {
                continue;
            };
            if let Some(init) = &manifest.topology.doctor.init {
                told.inits.insert(joined(&folder, init));
                told.with_init.insert(folder.clone());
            }
            let mut executors = manifest.topology.pools().filter(|(_, pool)| pool.executor);
            if let Some((_, pool)) = executors.next() {
                told.executor_pools.insert(folder, pool.max.value.0);
            }
        }
        told
    }

    /// How the sources beside and below an ecosystem file number their process.
    fn numbering(&self, folder: &str) -> Numbering {
        let below = || {
            self.sources
                .iter()
                .filter(|source| is_below(&source.file, folder))
        };
        let reads = |name: &str| {
            below().any(|source| source.sketch.variables.iter().any(|read| read.name == name))
        };
        let launches = below().any(|source| {
            let mut acts = source.sketch.acts.iter();
            acts.any(|act| matches!(act.what, What::Launches))
        });
        let has_worker = self.packages.iter().any(|package| {
            (package.folder == folder || is_below(&package.folder, folder))
                && package.depends_on("poolwright-worker")
        });
        let by_id = reads("PM2_INSTANCE_ID");
        Numbering {
            matters: by_id || launches || has_worker,
            by_default_name: reads("NODE_APP_INSTANCE") && !by_id && !has_worker,
        }
    }
}

impl Examined {
    /// Where it began; all places are relative to it.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The manifests that were found.
    #[must_use]
    pub fn manifests(&self) -> &[Manifest] {
        &self.manifests
    }

    /// Adds what was found elsewhere: in Postgres, in a running fleet.
    pub fn add(
        &mut self,
        hazards: impl IntoIterator<Item = Hazard>,
        notes: impl IntoIterator<Item = Note>,
    ) {
        self.hazards.extend(hazards);
        self.notes.extend(notes);
    }

    /// Sorts out what the manifests accept. An allowance that accepts nothing is noted: it is out of date.
    #[must_use]
    pub fn report(mut self) -> Report {
        self.hazards.sort();
        // What one line says twice is one hazard: the client and the pool it is made with.
        self.hazards
            .dedup_by(|a, b| a.code == b.code && a.place.is_some() && line(a) == line(b));
        let mut findings = Vec::new();
        let mut allowed = Vec::new();
        let mut used: BTreeMap<(usize, usize), usize> = BTreeMap::new();
        for hazard in self.hazards {
            let manifests = self.manifests.iter().enumerate();
            let mut reasons = manifests.filter_map(|(manifest, of)| {
                let (at, reason) = of.allows(&self.root, &hazard)?;
                Some((manifest, at, reason.to_owned()))
            });
            match reasons.next() {
                Some((manifest, at, reason)) => {
                    *used.entry((manifest, at)).or_default() += 1;
                    allowed.push(Allowance { hazard, reason });
                }
                None => findings.push(hazard),
            }
        }
        for (manifest, of) in self.manifests.iter().enumerate() {
            for (at, allowance) in of.topology.doctor.allow.iter().enumerate() {
                if !used.contains_key(&(manifest, at)) {
                    self.notes.push(Note {
                        place: Some(of.place(&self.root, &["doctor", "allow"])),
                        text: format!("{} is allowed and was not found", allowance.code),
                    });
                }
            }
        }
        Report {
            findings,
            allowed,
            notes: self.notes,
            files: self.files,
        }
    }
}

fn line(hazard: &Hazard) -> Option<(&str, Option<u32>)> {
    let place = hazard.place.as_ref()?;
    Some((&place.file, place.position.map(|position| position.line)))
}

fn folder_of(file: &str) -> &str {
    file.rsplit_once('/').map_or("", |(folder, _)| folder)
}

fn joined(folder: &str, file: &str) -> String {
    match folder {
        "" => file.to_owned(),
        folder => format!("{folder}/{file}"),
    }
}
