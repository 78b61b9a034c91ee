//! What the order desk itself reads from the environment.

use poolwright_worker::settings::Reader;
use std::time::Duration;

/// The pace of the workflow.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DeskSettings {
    /// The durable sleep between charging and shipping (`FULFIL_SLEEP_MS`).
    pub(crate) sleep: Duration,
    /// The least time a step takes (`FULFIL_STEP_MS`), for tests that need a workflow in flight.
    pub(crate) step: Duration,
}

impl DeskSettings {
    /// Reads both variables; mistakes stay in `reader`.
    pub(crate) fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let sleep = reader.milliseconds("FULFIL_SLEEP_MS", 1000);
        let step = reader.milliseconds("FULFIL_STEP_MS", 0);
        Some(Self {
            sleep: sleep?,
            step: step?,
        })
    }
}
