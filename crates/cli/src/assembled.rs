//! A fleet as `up` puts it together, without the command around it: for the test that compares the supervisor with its model.

use crate::backends::FromPostgres;
use crate::cli::Place;
use crate::commands::up::{control_name, fleet};
use crate::environment::Environment;
use crate::failure::Failure;
use crate::manifest;
use crate::servers::Control;
use poolwright_supervisor::{Backends, FleetSpec};
use std::path::Path;
use std::sync::Arc;

/// What a manifest declares, and who asks its servers. Nothing is prepared, and no plan is looked at.
///
/// # Errors
/// What `up` would say, in words.
pub async fn assemble(manifest: &Path) -> Result<(FleetSpec, Arc<dyn Backends>), String> {
    let assembled = from_manifest(manifest).await;
    assembled.map_err(|failure| failure.in_words())
}

async fn from_manifest(manifest: &Path) -> Result<(FleetSpec, Arc<dyn Backends>), Failure> {
    let located = manifest::locate(&Place {
        file: Some(manifest.to_owned()),
        profile: None,
        state_dir: None,
    })?;
    let environment = Environment::beside(&located.folder)?;
    let declared = manifest::read(located, environment)?;
    let topology = &declared.topology;
    let control = Control::connect(topology, |server| control_name(topology, server)).await?;
    let backends = FromPostgres::new(topology.clone(), control);
    Ok((fleet(&declared)?, Arc::new(backends)))
}
