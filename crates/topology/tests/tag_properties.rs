//! Tag ⇄ `application_name` is a bijection for legal names and refuses what Postgres would cut.

use poolwright_topology::tag::{CONTROL, MAX_BYTES, Name, SlotId, Tag, slot_of};
use proptest::prelude::*;

fn name() -> impl Strategy<Value = Name> {
    "[a-z][a-z0-9_-]{0,40}".prop_filter_map("legal names only", |name| Name::new(name).ok())
}

fn tag() -> impl Strategy<Value = Tag> {
    prop_oneof![
        (name(), any::<u32>(), name())
            .prop_filter("the control name is reserved", |(_, _, pool)| pool.as_str()
                != CONTROL)
            .prop_map(|(app, index, pool)| Tag::Pool {
                slot: SlotId::new(app, index),
                pool
            }),
        (name(), any::<u32>()).prop_map(|(app, index)| Tag::Slot {
            slot: SlotId::new(app, index)
        }),
        name().prop_map(|app| Tag::Control { app }),
    ]
}

proptest! {
    #[test]
    fn a_tag_comes_back_from_its_name_or_is_refused_for_its_length(tag in tag()) {
        match tag.application_name() {
            Ok(name) => {
                prop_assert!(name.len() <= MAX_BYTES);
                prop_assert_eq!(name.parse::<Tag>().unwrap(), tag);
            }
            Err(error) => prop_assert!(error.to_string().contains("63"), "{}", error),
        }
    }

    #[test]
    fn any_text_that_reads_as_a_tag_is_the_name_of_that_tag(text in "[a-z0-9_:-]{0,70}|\\PC{0,70}") {
        if let Ok(tag) = text.parse::<Tag>() {
            prop_assert_eq!(tag.application_name().unwrap(), text);
        }
    }

    #[test]
    fn a_slot_comes_back_from_its_text(app in name(), index in any::<u32>()) {
        let slot = SlotId::new(app, index);
        prop_assert_eq!(slot.to_string().parse::<SlotId>().unwrap(), slot);
    }

    /// Slots of apps whose names begin alike, or contain each other's, stay apart.
    #[test]
    fn every_name_of_a_slots_sessions_says_that_slot(
        app in name(), index in any::<u32>(), pool in name(), version in "[0-9a-f]{1,32}|v[0-9]_[0-9]|",
    ) {
        let slot = SlotId::new(app, index);
        for name in [
            slot.to_string(),
            format!("{slot}:{pool}"),
            format!("dbos_transact_{slot}_{version}"),
        ] {
            prop_assert_eq!(slot_of(&name), Some(slot.clone()), "{}", name);
        }
        prop_assert_eq!(slot_of(slot.app().as_str()), None);
        prop_assert_eq!(slot_of(&format!("{}:poolwright", slot.app())), None);
    }
}

#[test]
fn a_name_of_63_bytes_is_kept_and_one_of_64_refused() {
    let tag = |length: usize| Tag::Control {
        app: Name::new("a".repeat(length)).unwrap(),
    };
    let room = MAX_BYTES - 1 - CONTROL.len();
    assert_eq!(tag(room).application_name().unwrap().len(), MAX_BYTES);
    assert!(tag(room + 1).application_name().is_err());
}

#[test]
fn names_that_could_be_read_two_ways_are_refused() {
    for bad in [
        "", "Web", "0web", "web-1", "web-", "we b", "web:dbos", "wéb",
    ] {
        assert!(Name::new(bad).is_err(), "{bad:?}");
    }
    for bad in ["web-01", "web-+1", "web", "-1", "web-4294967296"] {
        assert!(bad.parse::<SlotId>().is_err(), "{bad:?}");
    }
}
