//! What a test may leave out, to see that what it breaks is noticed. Debug builds only: a release has no such switch.

/// Whether the guard of this name is left out: `POOLWRIGHT_TEST_WITHOUT` names it.
pub(crate) fn is_left_out(guard: &str) -> bool {
    cfg!(debug_assertions)
        && std::env::var_os("POOLWRIGHT_TEST_WITHOUT").is_some_and(|left_out| left_out == guard)
}
