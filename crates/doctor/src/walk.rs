//! Which files of a project are read, and as what.
//!
//! Not read: what git ignores, installed packages, build output, tests. A test may open a pool per case, launch twice to
//! see what happens, and set what it likes; it is no part of a worker.

use ignore::WalkBuilder;
use std::path::{Path, PathBuf};

/// What a file is read as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Script,
    Rust,
    PackageJson,
    Tsconfig,
    NpmLock,
    CargoToml,
    CargoLock,
    Manifest,
    Ecosystem,
    Dotenv,
    PrismaSchema,
}

/// A file to be read.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) path: PathBuf,
    /// Relative to the root, with `/` between its parts.
    pub(crate) file: String,
    pub(crate) kind: Kind,
}

/// Folders that hold nobody's own sources, wherever they are.
const OUTPUT: [&str; 12] = [
    "node_modules",
    "target",
    "build",
    "dist",
    "out",
    "vendor",
    "coverage",
    ".git",
    ".svelte-kit",
    ".next",
    ".nuxt",
    ".output",
];

/// Folders of tests and examples.
const TESTS: [&str; 10] = [
    "test",
    "tests",
    "__tests__",
    "__mocks__",
    "e2e",
    "spec",
    "cypress",
    "benches",
    "examples",
    "fixtures",
];

/// Files of variables that a process manager or a framework reads. They are ignored by git, as a rule, and read all
/// the same: what they set is what runs.
const DOTENV: [&str; 3] = [".env", ".env.local", ".env.production"];

/// PM2's files, by the names it looks for.
pub(crate) const ECOSYSTEM: [&str; 4] = [
    "ecosystem.config.cjs",
    "ecosystem.config.js",
    "ecosystem.config.mjs",
    "ecosystem.json",
];

/// The manifest's name.
pub(crate) const MANIFEST: &str = "poolwright.toml";

/// The files below a folder that are read, by their names.
pub(crate) fn files(root: &Path) -> Vec<Found> {
    let walk = WalkBuilder::new(root)
        .hidden(false)
        .require_git(false)
        .follow_links(false)
        .filter_entry(|entry| {
            let is_folder = entry.file_type().is_some_and(|kind| kind.is_dir());
            let name = entry.file_name().to_str().unwrap_or_default();
            entry.depth() == 0 || !is_folder || !(OUTPUT.contains(&name) || name.starts_with('.'))
        })
        .build();
    let mut found = Vec::new();
    for entry in walk.flatten() {
        let path = entry.path();
        if entry.file_type().is_some_and(|kind| kind.is_dir()) {
            let files = DOTENV.iter().map(|name| path.join(name));
            let there = files.filter(|path| path.is_file());
            found.extend(there.filter_map(|path| named(root, path, Kind::Dotenv)));
        } else if let Some(kind) = kind_of(root, path) {
            found.extend(named(root, path.to_path_buf(), kind));
        }
    }
    found.sort_by(|a, b| a.file.cmp(&b.file));
    found
}

fn named(root: &Path, path: PathBuf, kind: Kind) -> Option<Found> {
    let file = relative(root, &path)?;
    Some(Found { path, file, kind })
}

/// A path from the root on, with `/` between its parts; `None` for one that is no text.
pub(crate) fn relative(root: &Path, path: &Path) -> Option<String> {
    let parts: Option<Vec<&str>> = path
        .strip_prefix(root)
        .ok()?
        .iter()
        .map(|part| part.to_str())
        .collect();
    Some(parts?.join("/"))
}

fn kind_of(root: &Path, path: &Path) -> Option<Kind> {
    let name = path.file_name()?.to_str()?;
    let mut folders = path.strip_prefix(root).ok()?.parent()?.iter();
    if folders.any(|folder| folder.to_str().is_some_and(|f| TESTS.contains(&f))) {
        return None;
    }
    match name {
        "package.json" => return Some(Kind::PackageJson),
        "tsconfig.json" | "jsconfig.json" => return Some(Kind::Tsconfig),
        "package-lock.json" => return Some(Kind::NpmLock),
        "Cargo.toml" => return Some(Kind::CargoToml),
        "Cargo.lock" => return Some(Kind::CargoLock),
        MANIFEST => return Some(Kind::Manifest),
        name if ECOSYSTEM.contains(&name) => return Some(Kind::Ecosystem),
        _ => {}
    }
    let (stem, extension) = name.rsplit_once('.')?;
    let kind = match extension {
        "ts" | "tsx" | "mts" | "cts" | "js" | "jsx" | "mjs" | "cjs" => Kind::Script,
        "rs" if name != "build.rs" => Kind::Rust,
        "prisma" => Kind::PrismaSchema,
        _ => return None,
    };
    let is_declaration = extension.ends_with("ts") && stem.ends_with(".d");
    let is_test = [".test", ".spec", ".stories", ".min"]
        .iter()
        .any(|end| stem.ends_with(end));
    (!is_declaration && !is_test).then_some(kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_found_and_what_is_built_installed_ignored_or_a_test_is_not() {
        let root = tempfile::tempdir().unwrap();
        let write = |file: &str, text: &str| {
            let path = root.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        write(".gitignore", "/src/generated/\n.env\n");
        for file in [
            ".env",
            "package.json",
            "poolwright.toml",
            "src/a.ts",
            "src/main.rs",
            "src/a.test.ts",
            "src/a.d.ts",
            "src/generated/client.ts",
            "src/tests/b.ts",
            "tests/package-lock.json",
            "node_modules/pg/index.js",
            "web/node_modules/pg/index.js",
            "build/server.js",
            ".svelte-kit/x.ts",
            ".hidden/x.ts",
            "readme.md",
        ] {
            write(file, "");
        }
        let found: Vec<String> = files(root.path())
            .into_iter()
            .map(|found| found.file)
            .collect();
        let expected = [
            ".env",
            "package.json",
            "poolwright.toml",
            "src/a.ts",
            "src/main.rs",
        ];
        assert_eq!(found, expected);
    }
}
