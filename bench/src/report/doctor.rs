//! Large projects under examination, in words.

use anyhow::{Context, Result};

use super::{Spread, number};
use crate::doctor::{Examined, RUNS};

pub(super) fn section(sizes: &[Examined]) -> Result<String> {
    let [half, whole] = sizes else {
        anyhow::bail!("two sizes are compared");
    };
    let median = |size: &Examined| {
        let spread = Spread::of(size.seconds.iter().copied());
        spread.context("nothing was measured")
    };
    let (small, large) = (median(half)?, median(whole)?);
    let row = |size: &Examined, took: Spread| {
        let each = size.seconds.iter().copied().fold(f64::INFINITY, f64::min) * 1e6;
        let files = u32::try_from(size.files).map(f64::from)?;
        Ok::<_, anyhow::Error>(format!(
            "| {} | {} | {} | {} | {} |\n",
            size.files,
            number(size.mib),
            size.hazards,
            took.cell(),
            number(each / files)
        ))
    };
    Ok(format!(
        "\
## `doctor` on {files} files

`poolwright doctor --static --json` on a generated SvelteKit application, from the command to its end. Hazards are built in, each
through a helper in another module, and all of them are found.

| files | MiB | hazards | s | µs for each file, at best |
| ---: | ---: | ---: | ---: | ---: |
{half}{whole}
Twice the files take {ratio:.2} × the time. {RUNS} runs of each, by turns, after one that puts the files into the system's cache.
",
        files = whole.files,
        half = row(half, small)?,
        whole = row(whole, large)?,
        ratio = large.median / small.median,
    ))
}
