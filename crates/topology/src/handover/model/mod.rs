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

mod among;
mod search;
mod world;

use among::Reached;
use search::{Broken, Setup, explore};
use world::{Laws, Mutation, Program, World};

/// The most slots, from a fleet that serves: the adversary harms the slot that is being replaced and those that are
/// down already, at every step, and the user reloads again when all serve or are parked. What happens to
/// several healthy slots at once, cold starts, stops and supervisors that are killed are explored in full
/// with [`TWO`]: slots have nothing in common but whose turn it is to launch and to be replaced.
const FOUR: Setup = Setup {
    slots: 4,
    most: 4,
    program: Program::Waits,
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
    program: Program::Waits,
    restarts: false,
    ends: true,
    parks: true,
    troubled: usize::MAX,
    mutation: None,
};

/// One slot among any number of others, and everything that a setup allows, commands without end included.
fn among(setup: Setup) -> Reached {
    let everything = Setup {
        restarts: true,
        ends: true,
        ..setup
    };
    let reached = among::explore(everything.laws()).unwrap_or_else(|broken| panic!("{broken}"));
    assert!(
        reached.states() > 500 && reached.steps > 100 * reached.states(),
        "{} states, {} steps",
        reached.states(),
        reached.steps
    );
    reached
}

/// That concrete slots hold the same, and come to nothing that was left out there.
fn holds(setup: Setup, reached: &Reached) {
    let visit = |world: &World| {
        let left_out = reached.has(world).err();
        assert!(left_out.is_none(), "{}", left_out.unwrap_or_default());
    };
    match explore(setup, visit) {
        // Far less would mean that the adversary was kept from something.
        Ok(found) => assert!(
            found.states > 4_000 && found.steps > 5 * found.states,
            "{found:?}"
        ),
        Err(broken) => panic!("{broken}"),
    }
}

#[test]
fn a_slot_among_any_number_of_others_holds_them_and_recovers() {
    holds(TWO, &among(TWO));
}

#[test]
fn a_slot_whose_failures_are_forgiven_does_among_any_number_too() {
    let reached = among(FOUR);
    holds(FOUR, &reached);
    let scaled = Setup {
        slots: 1,
        most: 2,
        troubled: usize::MAX,
        ..FOUR
    };
    holds(scaled, &reached);
}

#[test]
fn a_slot_of_a_program_without_a_channel_does_among_any_number_too() {
    for program in [Program::Foreign, Program::DeclaredForeign] {
        let foreign = Setup {
            program,
            restarts: true,
            ..TWO
        };
        holds(foreign, &among(foreign));
    }
}

/// What the checker finds in a protocol that is broken on purpose.
fn caught(mutation: Mutation) -> Broken {
    let setup = Setup {
        mutation: Some(mutation),
        ..TWO
    };
    match explore(setup, |_| {}) {
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
        (Mutation::LaunchesWhoeverIsBooted, "one launch at a time"),
        (Mutation::DrainsTwoSlotsAtOnce, "one at a time"),
        (Mutation::ForgetsToAsk, "does not recover"),
        (Mutation::ForgetsToKill, "does not end"),
    ];
    for (mutation, expected) in table {
        let broken = caught(mutation);
        assert!(broken.what.contains(expected), "{mutation:?}: {broken}");
        let laws = Laws {
            mutation: Some(mutation),
            ..TWO.laws()
        };
        match among::explore(laws) {
            Ok(_) => panic!("{mutation:?} was not caught among others"),
            // Where the shortest way is that of a slot which is scaled away.
            Err(broken) if broken.what.contains("removed while there is something") => {}
            Err(broken) => assert!(broken.what.contains(expected), "{mutation:?}: {broken}"),
        }
    }
}
