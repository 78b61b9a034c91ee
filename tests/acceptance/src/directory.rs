//! A copy of an application's directory, for tests that need a `.env` of their own.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use poolwright_testkit::built;
use tempfile::TempDir;

use crate::Stack;

/// Directories that are large and only read. Links to them serve as well as copies; of files that look
/// beside themselves (`__dirname`) only a copy would do, because Node resolves links first.
const LINKED: [&str; 3] = ["node_modules", "build", ".svelte-kit"];

/// `apps/<stack>` beside `apps/schema`, as in the repository, in a temporary place.
#[derive(Debug)]
pub struct Copy {
    place: TempDir,
    stack: Stack,
}

impl Copy {
    /// Copies the application, without its `.env`, and puts this one there.
    pub fn with_dotenv(stack: Stack, dotenv: &str) -> Result<Self> {
        let copy = Self {
            place: TempDir::new()?,
            stack,
        };
        let to = copy.directory();
        fs::create_dir_all(&to)?;
        link(
            &built::repository().join("apps/schema"),
            &copy.place.path().join("apps/schema"),
        )?;
        duplicate(&stack.directory()?, &to)?;
        fs::write(to.join(".env"), dotenv)?;
        Ok(copy)
    }

    /// The application's directory in the copy.
    #[must_use]
    pub fn directory(&self) -> PathBuf {
        self.place.path().join("apps").join(self.stack.name())
    }
}

fn duplicate(from: &Path, to: &Path) -> Result<()> {
    for entry in fs::read_dir(from).with_context(|| format!("cannot read {}", from.display()))? {
        let entry = entry?;
        let (name, target) = (entry.file_name(), to.join(entry.file_name()));
        if name == ".env" || name == ".poolwright" {
            continue;
        }
        if LINKED.iter().any(|linked| name == *linked) {
            link(&entry.path(), &target)?;
        } else if entry.file_type()?.is_dir() {
            fs::create_dir(&target)?;
            duplicate(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), &target)?;
        }
    }
    Ok(())
}

fn link(to: &Path, at: &Path) -> Result<()> {
    symlink(to, at).with_context(|| format!("cannot link {} to {}", at.display(), to.display()))
}
