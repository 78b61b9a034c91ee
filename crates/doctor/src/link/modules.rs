//! What an imported name stands for: the file, and the function in it.

use super::{Callee, Source};
use crate::packages::Package;
use crate::sketch::{FunctionId, Target};
use rustc_hash::FxHashMap;
use std::cell::RefCell;
use std::collections::HashSet;

/// What may be left off the name of a file, in the order of Vite and TypeScript.
const EXTENSIONS: [&str; 8] = ["ts", "tsx", "mts", "cts", "js", "jsx", "mjs", "cjs"];

/// What TypeScript sources call themselves in imports.
const WRITTEN_AS: [(&str, &str); 4] = [
    (".js", ".ts"),
    (".js", ".tsx"),
    (".mjs", ".mts"),
    (".cjs", ".cts"),
];

/// The files of a project, by their names and by the names that others have for them.
pub(super) struct Modules<'p> {
    sources: &'p [Source],
    packages: &'p [Package],
    by_file: FxHashMap<&'p str, usize>,
    by_package_name: FxHashMap<&'p str, usize>,
    /// Rust: the functions of a package by their names.
    by_name: FxHashMap<(usize, &'p str), Vec<Callee>>,
    /// What was followed before: a file says the names of its imports again and again.
    followed: RefCell<FxHashMap<(usize, &'p str), Option<usize>>>,
}

impl<'p> Modules<'p> {
    pub(super) fn of(sources: &'p [Source], packages: &'p [Package]) -> Self {
        let files = sources.iter().enumerate();
        let by_file = files.map(|(at, source)| (source.file.as_str(), at));
        let names = packages.iter().enumerate();
        let by_package_name =
            names.filter_map(|(at, package)| Some((package.name.as_deref()?, at)));
        let mut by_name: FxHashMap<_, Vec<Callee>> = FxHashMap::default();
        for (source, of) in sources.iter().enumerate() {
            let Some(package) = of.package.filter(|_| of.file.ends_with(".rs")) else {
                continue;
            };
            for (at, function) in of.sketch.functions.iter().enumerate() {
                let function_id = FunctionId(at);
                let callee = Callee {
                    source,
                    function: function_id,
                };
                let named = by_name.entry((package, function.name.as_str()));
                named.or_default().push(callee);
            }
        }
        Self {
            sources,
            packages,
            by_file: by_file.collect(),
            by_package_name: by_package_name.collect(),
            by_name,
            followed: RefCell::default(),
        }
    }

    /// The function that a target said in `source` stands for.
    pub(super) fn follow(&self, source: usize, target: &'p Target) -> Option<Callee> {
        self.followed(source, target, &mut HashSet::new())
    }

    fn followed(
        &self,
        source: usize,
        target: &'p Target,
        seen: &mut HashSet<(usize, String)>,
    ) -> Option<Callee> {
        match target {
            Target::Function(function) => Some(Callee {
                source,
                function: *function,
            }),
            Target::Imported { module, path } => {
                let file = self.file(source, module)?;
                let path: Vec<&str> = path.iter().map(String::as_str).collect();
                match path.as_slice() {
                    [name] => self.export(file, name, seen),
                    // A CommonJS module whose exports are members of its default.
                    ["default", name] => self.export(file, name, seen),
                    _ => None,
                }
            }
            Target::Named {
                qualifier,
                name,
                on_self,
            } => self.named(source, qualifier.as_deref(), name, *on_self),
        }
    }

    fn export(
        &self,
        file: usize,
        name: &str,
        seen: &mut HashSet<(usize, String)>,
    ) -> Option<Callee> {
        if !seen.insert((file, name.to_owned())) {
            return None;
        }
        let sketch = &self.sources.get(file)?.sketch;
        if let Some(target) = sketch.exports.get(name) {
            return self.followed(file, target, seen);
        }
        sketch.passes_on.iter().find_map(|module| {
            let file = self.file(file, module)?;
            self.export(file, name, seen)
        })
    }

    /// The file that a module's name means in `source`.
    fn file(&self, source: usize, module: &'p str) -> Option<usize> {
        let known = self.followed.borrow().get(&(source, module)).copied();
        known.unwrap_or_else(|| {
            let file = self.looked_up(source, module);
            self.followed.borrow_mut().insert((source, module), file);
            file
        })
    }

    fn looked_up(&self, source: usize, module: &str) -> Option<usize> {
        let from = self.sources.get(source)?;
        if module.starts_with("./") || module.starts_with("../") || matches!(module, "." | "..") {
            let folder = from.file.rsplit_once('/').map_or("", |(folder, _)| folder);
            return self.at(&joined(folder, module)?);
        }
        let package = self.packages.get(from.package?)?;
        if let Some(path) = package.aliased(module) {
            return self.at(&joined(&package.folder, &path)?);
        }
        let workspace = self.by_package_name.get(module)?;
        let folder = &self.packages.get(*workspace)?.folder;
        let entries = ["src/index", "index", "src/main", "src/lib/index"];
        entries
            .iter()
            .find_map(|entry| self.at(&joined(folder, entry)?))
    }

    /// The file at a path, whatever was left off it.
    fn at(&self, path: &str) -> Option<usize> {
        let exact = |path: &str| self.by_file.get(path).copied();
        let with_extension = |stem: &str| {
            let mut path = format!("{stem}.");
            let mut extensions = EXTENSIONS.iter();
            extensions.find_map(|extension| {
                path.truncate(stem.len() + 1);
                path.push_str(extension);
                exact(&path)
            })
        };
        exact(path)
            .or_else(|| {
                WRITTEN_AS.iter().find_map(|(written, is)| {
                    let stem = path.strip_suffix(written)?;
                    exact(&format!("{stem}{is}"))
                })
            })
            .or_else(|| with_extension(path))
            .or_else(|| with_extension(&joined(path, "index")?))
    }

    /// A function of the same crate. Only one that cannot be confused counts.
    fn named(
        &self,
        source: usize,
        qualifier: Option<&str>,
        name: &str,
        on_self: bool,
    ) -> Option<Callee> {
        let package = self.sources.get(source)?.package?;
        let candidates = self.by_name.get(&(package, name))?;
        let fits = |callee: &&Callee| {
            let Some(of) = self.sources.get(callee.source) else {
                return false;
            };
            let Some(function) = of.sketch.function(callee.function) else {
                return false;
            };
            match qualifier {
                Some(qualifier) => match &function.of_type {
                    Some(of_type) => of_type == qualifier,
                    None => module_name(&of.file) == qualifier,
                },
                None if on_self => function.takes_self,
                None => function.of_type.is_none(),
            }
        };
        let mut fitting = candidates.iter().filter(fits);
        let first = fitting.next()?;
        let same_file = |callee: &&Callee| callee.source == source;
        match fitting.next() {
            None => Some(*first),
            // A plain name is the file's own before it is anybody else's.
            Some(_) if qualifier.is_none() && !on_self => {
                candidates.iter().filter(fits).find(same_file).copied()
            }
            Some(_) => None,
        }
    }
}

/// The name of the module that a Rust file is.
fn module_name(file: &str) -> &str {
    let stem = file.strip_suffix(".rs").unwrap_or(file);
    let (folder, name) = stem.rsplit_once('/').unwrap_or(("", stem));
    match name {
        "mod" => folder.rsplit('/').next().unwrap_or(folder),
        name => name,
    }
}

/// A path from a folder, with its dots followed; `None` when it leaves the project.
fn joined(folder: &str, path: &str) -> Option<String> {
    let mut parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}
