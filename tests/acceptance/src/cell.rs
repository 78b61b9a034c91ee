//! The cells of the matrix.

use std::path::PathBuf;

use anyhow::Result;
use poolwright_testkit::built;

/// Which of the two applications.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stack {
    /// SvelteKit, DBOS and Prisma.
    Sveltekit,
    /// axum, DBOS and SeaORM.
    Axum,
}

/// Which of the two process managers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manager {
    /// PM2, from `ecosystem.config.cjs`.
    Pm2,
    /// `poolwright up`, from `poolwright.toml`.
    Poolwright,
}

/// One stack under one manager.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cell {
    /// The application.
    pub stack: Stack,
    /// Its process manager.
    pub manager: Manager,
}

impl Stack {
    /// The name of its directory under `apps`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Sveltekit => "sveltekit",
            Self::Axum => "axum",
        }
    }

    /// Its directory, with everything built that it needs to run.
    pub fn directory(self) -> Result<PathBuf> {
        match self {
            Self::Sveltekit => built::sveltekit(),
            Self::Axum => Ok(built::repository().join("apps/axum")),
        }
    }

    /// The command of one bare worker.
    pub fn worker(self) -> Result<(PathBuf, &'static [&'static str])> {
        match self {
            Self::Sveltekit => Ok((built::node()?, &["server.js"])),
            Self::Axum => Ok((built::program("order-desk-axum")?, &[])),
        }
    }
}

impl Cell {
    /// `sveltekit under poolwright`, for messages.
    #[must_use]
    pub fn name(self) -> String {
        let manager = match self.manager {
            Manager::Pm2 => "pm2",
            Manager::Poolwright => "poolwright",
        };
        format!("{} under {manager}", self.stack.name())
    }
}

/// One test per cell of the matrix for each claim, which is an `async fn(Cell) -> anyhow::Result<()>`.
#[macro_export]
macro_rules! matrix {
    ($($claim:ident),+ $(,)?) => {$(
        mod $claim {
            use $crate::{Cell, Manager, Stack};

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn sveltekit_under_pm2() -> anyhow::Result<()> {
                super::$claim(Cell { stack: Stack::Sveltekit, manager: Manager::Pm2 }).await
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn sveltekit_under_poolwright() -> anyhow::Result<()> {
                super::$claim(Cell { stack: Stack::Sveltekit, manager: Manager::Poolwright }).await
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn axum_under_pm2() -> anyhow::Result<()> {
                super::$claim(Cell { stack: Stack::Axum, manager: Manager::Pm2 }).await
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn axum_under_poolwright() -> anyhow::Result<()> {
                super::$claim(Cell { stack: Stack::Axum, manager: Manager::Poolwright }).await
            }
        }
    )+};
}

/// One test per stack for each claim that does not depend on the manager, which is an
/// `async fn(Stack) -> anyhow::Result<()>`.
#[macro_export]
macro_rules! both_stacks {
    ($($claim:ident),+ $(,)?) => {$(
        mod $claim {
            use $crate::Stack;

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn sveltekit() -> anyhow::Result<()> {
                super::$claim(Stack::Sveltekit).await
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn axum() -> anyhow::Result<()> {
                super::$claim(Stack::Axum).await
            }
        }
    )+};
}
