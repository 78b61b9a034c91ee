//! A pool as a gauge: declared against observed.

use super::super::notes::Tone;
use super::super::paint::Palette;
use super::super::words::width;
use poolwright_topology::finding::{Finding, Kind, Severity};
use poolwright_topology::picture::{AppPicture, SlotPicture};
use ratatui::text::Span;

/// The widest gauge, in cells.
const GAUGE: u32 = 8;

/// A pool of a slot: a cell for each connection, lent out, idle or not open, and the numbers.
pub(super) fn gauge(
    slot: &SlotPicture,
    pool: &str,
    findings: &[Finding],
    palette: Palette,
    wide: usize,
) -> Vec<Span<'static>> {
    let declared = slot.status.pools.get(pool).copied().unwrap_or(0);
    let seen = slot.shown.get(pool).map_or(0, |shown| shown.open);
    let said = slot.status.gauges.get(pool);
    let busy = said.map_or(0, |gauge| gauge.busy).min(seen);
    let cells = declared.clamp(1, GAUGE);
    let scaled = |count: u32| {
        let cells = u64::from(cells) * u64::from(count.min(declared));
        let cells = cells.div_ceil(u64::from(declared.max(1)));
        usize::try_from(cells).unwrap_or(0)
    };
    let here = |finding: &&Finding| {
        finding.slot.as_ref() == Some(&slot.status.slot) && finding.pool.as_deref() == Some(pool)
    };
    let found: Vec<&Finding> = findings.iter().filter(here).collect();
    let worst = found.iter().map(|finding| finding.severity).max();
    let tone = match worst {
        _ if seen > declared => Tone::Bad,
        Some(Severity::Error) => Tone::Bad,
        Some(Severity::Warning) => Tone::Warn,
        Some(Severity::Info) | None => Tone::Good,
    };
    let (open, lent) = (scaled(seen), scaled(busy));
    let all = usize::try_from(cells).unwrap_or(0);
    let bar = "█".repeat(lent) + &"▒".repeat(open.saturating_sub(lent));
    let rest = "·".repeat(all.saturating_sub(open.max(lent)));
    let mut numbers = format!(" {seen}/{declared}");
    if found.iter().any(|finding| finding.kind == Kind::TwoCounts)
        && let Some(said) = said
    {
        numbers += &format!(" ≠{}", said.open);
    }
    if let Some(waiting) = said.map(|said| said.waiting).filter(|n| *n > 0) {
        numbers += &format!(" +{waiting}");
    }
    let numbers_tone = match tone {
        Tone::Good => Tone::Plain,
        other => other,
    };
    let used = all + width(&numbers);
    vec![
        palette.paint(tone, bar),
        palette.paint(Tone::Quiet, rest),
        palette.paint(numbers_tone, numbers),
        Span::raw(" ".repeat(wide.saturating_sub(used))),
    ]
}

/// Every pool that one of the app's slots has.
pub(super) fn pool_names(app: &AppPicture) -> impl Iterator<Item = &str> {
    let first = app.slots.first();
    first
        .into_iter()
        .flat_map(|slot| slot.status.pools.keys().map(String::as_str))
}

pub(super) fn total(app: &AppPicture, pool: &str) -> (u32, u32) {
    app.slots.iter().fold((0, 0), |(seen, declared), slot| {
        let shown = slot.shown.get(pool).map_or(0, |shown| shown.open);
        let max = slot.status.pools.get(pool).copied().unwrap_or(0);
        (seen + shown, declared + max)
    })
}

/// As wide as its heading and as a gauge with its numbers; what it says beyond that moves what follows.
pub(super) fn pool_width(app: &AppPicture, pool: &str) -> usize {
    let (seen, declared) = total(app, pool);
    let heading = format!("{pool} {seen}/{declared}");
    let gauges = app.slots.iter().map(|slot| {
        let declared = slot.status.pools.get(pool).copied().unwrap_or(0);
        let seen = slot.shown.get(pool).map_or(0, |shown| shown.open);
        let waiting = slot.status.gauges.get(pool).map_or(0, |said| said.waiting);
        let cells = usize::try_from(declared.clamp(1, GAUGE)).unwrap_or(0);
        let waiting = match waiting {
            0 => 0,
            waiting => 2 + waiting.to_string().len(),
        };
        cells + width(&format!(" {seen}/{declared}")) + waiting
    });
    gauges.max().unwrap_or(0).max(width(&heading))
}
