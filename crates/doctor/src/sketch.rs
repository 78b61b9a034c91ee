//! What one source file does with connections, in the same words for TypeScript and Rust.
//!
//! A file is read alone, so that all can be read at once; whatever depends on another file (who calls a function, what an
//! imported name stands for) stays a [`Target`] here and is followed when all have been read. Function bodies
//! are not kept: a sketch has their *acts*, the few expressions that open, launch or call, each with
//! where its value is kept. A full call graph with types would see more, at the price of a compiler.

use poolwright_topology::hazard::{Hazard, Position};
use std::collections::{BTreeMap, BTreeSet};

/// A function of a sketch, by its place in [`Sketch::functions`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct FunctionId(pub(crate) usize);

/// One source file.
#[derive(Debug, Default)]
pub(crate) struct Sketch {
    pub(crate) functions: Vec<Function>,
    pub(crate) acts: Vec<Act>,
    /// What other files can import, by name; `default` among them.
    pub(crate) exports: BTreeMap<String, Target>,
    /// The files whose exports are passed on whole.
    pub(crate) passes_on: Vec<String>,
    /// Functions that a framework or the executor calls, where the registration names them.
    pub(crate) registered: Vec<(Target, Entry)>,
    /// The sizes of executors' pools that are written down.
    pub(crate) executor_pools: Vec<u32>,
    /// Environment variables that are read.
    pub(crate) variables: Vec<Variable>,
    /// The sizes of other pools that are written down.
    pub(crate) pools: Vec<u32>,
    /// Addresses with a port that are written down.
    pub(crate) addresses: Vec<String>,
    /// Whether it tells its parent that it is ready, as PM2's `wait_ready` has it.
    pub(crate) says_ready: bool,
    /// Words that a command line is matched against (Rust).
    pub(crate) words: BTreeSet<String>,
    /// What needs no other file to be seen.
    pub(crate) hazards: Vec<Hazard>,
    /// Whether a framework takes this file's exports for handlers of requests.
    pub(crate) serves: bool,
}

/// A function, or the making of a class's instance.
#[derive(Debug, Default)]
pub(crate) struct Function {
    /// For messages.
    pub(crate) name: String,
    pub(crate) position: Option<Position>,
    /// Who calls it from outside the project's sources.
    pub(crate) entry: Option<Entry>,
    /// What its class extends.
    pub(crate) extends: Option<Target>,
    /// Whether its class listens to its own errors.
    pub(crate) listens: bool,
    /// The type it belongs to, and whether it needs an instance (Rust).
    pub(crate) of_type: Option<String>,
    pub(crate) takes_self: bool,
}

/// Who calls a function, if it is nobody in the project.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Entry {
    /// Every request.
    Request,
    /// Every run of a workflow.
    Workflow,
    /// Every run of a step.
    Step,
}

/// Something that a file does.
#[derive(Debug)]
pub(crate) struct Act {
    pub(crate) what: What,
    pub(crate) position: Position,
    /// The function it happens in; none while the file is loaded.
    pub(crate) within: Option<FunctionId>,
    pub(crate) kept: Kept,
    pub(crate) heard: Heard,
    /// The test of a boolean that it hides behind.
    pub(crate) guard: Option<Position>,
}

/// What is done.
#[derive(Debug)]
pub(crate) enum What {
    /// Connections are opened, or will be.
    Opens(Opening),
    /// The executor is launched.
    Launches,
    /// The status of a workflow is read.
    ReadsStatus,
    /// A function is called, or an instance of a class made.
    Calls(Target),
}

/// What opens connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Opening {
    PgPool,
    PgClient,
    PrismaClient,
    DbosClient,
    PostgresJs,
    SqlxPool,
    SqlxConnection,
    SeaOrm,
    DbosInstance,
}

/// Whose a name is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Target {
    /// This file's.
    Function(FunctionId),
    /// Another module's export, or a member of it.
    Imported { module: String, path: Vec<String> },
    /// A function of the crate, by its last name, with the type or module before it (Rust).
    Named {
        qualifier: Option<String>,
        name: String,
        on_self: bool,
    },
}

/// Where a value is kept, so that the next evaluation finds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kept {
    /// Nowhere: every evaluation makes another one.
    Nowhere,
    /// In a variable of its module.
    Module,
    /// For the life of the process, also beyond another evaluation of the module.
    Process,
    /// Somewhere: in an instance, or in what another module exports.
    Somewhere,
}

/// Whether somebody listens to the errors of what was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Heard {
    Yes,
    No,
    /// It is what the function returns: its callers may.
    ByCallers,
}

/// An environment variable that is read.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Variable {
    pub(crate) name: String,
    /// What stands beside it for when it is not set.
    pub(crate) default: Option<String>,
}

impl Opening {
    /// In words, for messages.
    pub(crate) const fn words(self) -> &'static str {
        match self {
            Self::PgPool => "a pg.Pool",
            Self::PgClient => "a pg.Client",
            Self::PrismaClient => "a PrismaClient",
            Self::DbosClient => "a DBOSClient",
            Self::PostgresJs => "a postgres() client",
            Self::SqlxPool => "an sqlx pool",
            Self::SqlxConnection => "an sqlx connection",
            Self::SeaOrm => "a SeaORM connection pool",
            Self::DbosInstance => "a DBOS instance",
        }
    }

    /// Whether it ends the process when nobody listens to its errors.
    pub(crate) const fn needs_listener(self) -> bool {
        matches!(self, Self::PgPool)
    }
}

impl Entry {
    /// In words, for messages.
    pub(crate) const fn words(self) -> &'static str {
        match self {
            Self::Request => "every request",
            Self::Workflow => "every run of a workflow",
            Self::Step => "every run of a step",
        }
    }
}

impl Sketch {
    pub(crate) fn function(&self, id: FunctionId) -> Option<&Function> {
        self.functions.get(id.0)
    }
}
