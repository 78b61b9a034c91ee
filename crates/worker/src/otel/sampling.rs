//! Which traces are recorded.
//!
//! Where the caller has decided, the caller decides. Where nobody has, a process begins at most [`TRACES`] in [`WINDOW`]: a quiet service has
//! all of them, and a loaded one is not slowed down by telling of every request. `OTEL_TRACES_SAMPLER` replaces that by whatever it names.
//!
//! A trace that is not recorded is not made either: no span of it exists, and what is handed on, into workflows too, says that it was
//! left out, so that nothing below it begins one of its own.

use opentelemetry::Context;
use opentelemetry::trace::{SpanContext, TraceContextExt, TraceFlags, TraceState};
use opentelemetry_sdk::trace::{IdGenerator, RandomIdGenerator};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How many traces a process begins, and in which time. One every six seconds on average is more than anybody reads, and one order in a hundred where
/// twenty are placed a second: a recorded one costs several times its own work. They may come all at once.
const TRACES: u64 = 10;
const WINDOW: Duration = Duration::from_secs(60);

/// How it is decided.
#[derive(Debug)]
pub(super) enum Sampling {
    /// By the SDK's sampler, which the environment names.
    Sdk,
    /// By the number of traces that were begun in this window.
    Limited(Limit),
}

/// How many were begun, and in which window since the start: the low and the high half.
#[derive(Debug)]
pub(super) struct Limit {
    start: Instant,
    begun: AtomicU64,
}

impl Sampling {
    /// With a limit, unless the environment names a sampler.
    pub(super) fn new(limited: bool) -> Self {
        match limited {
            true => Self::Limited(Limit::new()),
            false => Self::Sdk,
        }
    }

    /// The context of whatever is not to be recorded below `parent`; `None` when it is to be.
    pub(super) fn left_out(&self, parent: &Context) -> Option<Context> {
        let Self::Limited(limit) = self else {
            return None;
        };
        let above = parent.span().span_context().clone();
        match (above.is_valid(), above.is_sampled()) {
            (true, true) => None,
            (true, false) => Some(parent.clone()),
            (false, _) if limit.take(limit.start.elapsed().as_secs() / WINDOW.as_secs()) => None,
            (false, _) => Some(nobodys()),
        }
    }
}

impl Limit {
    fn new() -> Self {
        Self {
            start: Instant::now(),
            begun: AtomicU64::new(0),
        }
    }

    /// Whether one more may begin in the window `now`.
    fn take(&self, now: u64) -> bool {
        let more = |state: u64| {
            let (window, begun) = (state >> 32, state & u64::from(u32::MAX));
            match window == now {
                true if begun < TRACES => Some(state + 1),
                true => None,
                false => Some((now << 32) + 1),
            }
        };
        let taken = self
            .begun
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        taken.is_ok()
    }
}

/// The context of a new trace that is not recorded.
fn nobodys() -> Context {
    let ids = RandomIdGenerator::default();
    Context::new().with_remote_span_context(SpanContext::new(
        ids.new_trace_id(),
        ids.new_span_id(),
        TraceFlags::NOT_SAMPLED,
        true,
        TraceState::NONE,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_a_caller(flags: TraceFlags) -> Context {
        let nobodys = nobodys();
        let above = nobodys.span().span_context().clone();
        Context::new().with_remote_span_context(SpanContext::new(
            above.trace_id(),
            above.span_id(),
            flags,
            true,
            TraceState::NONE,
        ))
    }

    #[test]
    fn a_window_has_room_for_so_many_traces_and_the_next_one_again() {
        let limit = Limit::new();
        for window in [0, 1, 7] {
            let begun = (0..TRACES + 5).filter(|_| limit.take(window)).count();
            assert_eq!(u64::try_from(begun).unwrap(), TRACES, "in window {window}");
        }
    }

    #[test]
    fn what_the_caller_has_decided_stands_whatever_the_limit() {
        let sampling = Sampling::new(true);
        for _ in 0..3 * TRACES {
            assert!(
                sampling
                    .left_out(&of_a_caller(TraceFlags::SAMPLED))
                    .is_none()
            );
            let parent = of_a_caller(TraceFlags::NOT_SAMPLED);
            let left_out = sampling.left_out(&parent).unwrap();
            assert_eq!(left_out.span().span_context(), parent.span().span_context());
        }
    }

    #[test]
    fn what_is_left_out_says_so_to_everything_below() {
        let sampling = Sampling::new(true);
        let left_out = (0..3 * TRACES).find_map(|_| sampling.left_out(&Context::new()));
        let above = left_out.unwrap().span().span_context().clone();
        assert!(above.is_valid() && !above.is_sampled());
    }
}
