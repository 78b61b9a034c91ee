//! The protocol against everything that can happen to it, exhaustively.
//!
//! [`world`] is a fleet with its processes and its Postgres, and an adversary: workers that die anywhere, leave
//! backends behind or not, never boot, never become ready, never leave; a Postgres that does not answer
//! at any moment; a user who reloads, restarts, scales and stops at any moment; a supervisor that is
//! killed. [`search`] visits every state that any interleaving of these leads to, and then asks of each of
//! them whether the fleet gets back on its feet once the adversary rests.
//!
//! **Time is no part of the state.** Every timeout of the model is zero, so that each deadline is due from the
//! moment it is armed, and the adversary fires any armed one whenever it likes, alone and in any order. What
//! holds here holds for every choice of timeouts and every pace of the world. (No decision of the
//! protocol compares two times but to find out which deadlines are due.)
//!
//! **The model is finite** because nothing in a fleet counts but the failures, which parking bounds.

mod search;
mod world;

use search::{Broken, Setup, explore};
use world::Mutation;

/// The most slots, from a fleet that serves: the adversary harms the slot that is being replaced and those that are
/// down already, at every step, and the user reloads again when all serve or are parked. What happens to
/// several healthy slots at once, cold starts, stops and supervisors that are killed are explored in full
/// with [`TWO`]: slots have nothing in common but whose turn it is to launch and to be replaced.
const FOUR: Setup = Setup {
    slots: 4,
    most: 4,
    foreign: false,
    restarts: false,
    ends: false,
    parks: false,
    troubled: 0,
    mutation: None,
};

/// Everything at once, without any limit on what goes wrong at the same time.
const TWO: Setup = Setup {
    slots: 2,
    most: 2,
    foreign: false,
    restarts: false,
    ends: true,
    parks: true,
    troubled: usize::MAX,
    mutation: None,
};

fn holds(setup: Setup) {
    match explore(setup) {
        // Far less would mean that the adversary was kept from something.
        Ok(found) => assert!(
            found.states > 4_000 && found.steps > 5 * found.states,
            "{found:?}"
        ),
        Err(broken) => panic!("{broken}"),
    }
}

#[test]
fn two_slots_hold_every_invariant_and_recover_from_every_state() {
    holds(TWO);
}

#[test]
fn two_slots_of_a_program_without_a_channel_hold_them_too() {
    holds(Setup {
        foreign: true,
        restarts: true,
        ..TWO
    });
}

#[test]
fn scaling_at_any_moment_holds_them_too() {
    holds(Setup {
        slots: 1,
        most: 2,
        ends: false,
        parks: false,
        ..TWO
    });
}

#[test]
fn four_slots_hold_them_too_whatever_befalls_the_one_that_is_replaced() {
    holds(FOUR);
}

/// What the checker finds in a protocol that is broken on purpose.
fn caught(mutation: Mutation) -> Broken {
    let setup = Setup {
        mutation: Some(mutation),
        ..TWO
    };
    match explore(setup) {
        Ok(found) => panic!("{mutation:?} was not caught in {found:?}"),
        Err(broken) => broken,
    }
}

#[test]
fn a_protocol_that_is_broken_on_purpose_is_caught() {
    let table = [
        (
            Mutation::StartsBeforeTheBackendsAreGone,
            "confirmed handover",
        ),
        (Mutation::TrustsASigkill, "confirmed handover"),
        (Mutation::TakesSilenceForGone, "confirmed handover"),
        (Mutation::LaunchesTheSuccessorWhenItIsBooted, "identity"),
        (Mutation::DrainsTwoSlotsAtOnce, "one at a time"),
        (Mutation::ForgetsToAsk, "does not recover"),
        (Mutation::ForgetsToKill, "does not end"),
    ];
    for (mutation, expected) in table {
        let broken = caught(mutation);
        assert!(broken.what.contains(expected), "{mutation:?}: {broken}");
    }
}
