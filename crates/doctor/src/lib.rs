//! What breaks a topology before it runs, found by reading a project's files.
//!
//! Reads and judges; prints nothing, connects to nothing, runs nothing. An ecosystem file is a program, and whoever calls
//! hands in how it is evaluated ([`Surroundings`]). The kinds of hazard and what is said of them stand in
//! [`poolwright_topology::hazard`].
//!
//! | module | turns | into |
//! | --- | --- | --- |
//! | `walk` | a folder | the files that are read |
//! | `reading` | a file | what it says, or why it was not read |
//! | `script`, `rust` | sources | a `sketch`: what opens, launches, calls, and where its value is kept |
//! | `link` | all sketches | hazards that more than one file shows |
//! | `packages`, `processes`, `environment`, `prisma` | lock files, ecosystem files, `.env`, schemas | hazards |
//!
//! Every file is read by itself, on all cores; what remains is one pass over the sketches. So the time grows with
//! the number of files, and with nothing else.

mod environment;
mod examine;
mod json;
mod lines;
mod link;
mod manifests;
mod packages;
mod parallel;
mod prisma;
mod processes;
mod reading;
mod rust;
mod script;
mod sketch;
mod sql;
mod survey;
mod text;
mod url;
mod walk;

pub use examine::{
    Allowance, Evaluated, Examined, Failure, Note, Report, Surroundings, WrongManifest, examine,
};
pub use manifests::Manifest;
pub use survey::{Survey, Surveyed, survey};
