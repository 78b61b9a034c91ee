//! What `prepare` would change, from what a server has: arithmetic, order, and whose it is.
#![expect(clippy::expect_used, reason = "a failed set-up is a failed test")]

use poolwright_topology::declare::{Topology, declare};
use poolwright_topology::prepare::{
    Attribute, Change, Found, FoundRole, LeftKind, Pending, Preparation, plan,
};
use poolwright_topology::units::Connections;

const SERVER: &str = "db:5432";

fn topology(pools: &str, rest: &str) -> Topology {
    let manifest = format!(
        "[apps.web]\ncommand = [\"x\"]\ninstances = 3\n{pools}\n[prepare]\nurl = \"postgres://admin@db/postgres\"\n{rest}"
    );
    declare(&manifest, &|_| None).expect("a valid manifest")
}

fn pool(name: &str, url: &str, more: &str) -> String {
    format!("[apps.web.pools.{name}]\nmax = 3\nurl = \"{url}\"\n{more}\n")
}

fn two() -> String {
    pool(
        "orm",
        "postgres://app@db/desk",
        "migrations = \"sql\"\nmember_of = [\"desk\"]",
    ) + &pool("dbos", "postgres://dbos@db/desk_sys", "executor = true")
}

fn planned(topology: &Topology, found: &Found) -> Preparation {
    plan(topology, SERVER, found).expect("a small sum")
}

fn empty() -> Found {
    Found {
        checks_connections: true,
        pending: vec![Pending {
            database: "desk".into(),
            folder: "sql".into(),
            count: 2,
        }],
        ..Found::default()
    }
}

fn role(name: &str, change: impl FnOnce(&mut FoundRole)) -> Found {
    let mut role = FoundRole {
        name: name.into(),
        ..FoundRole::default()
    };
    change(&mut role);
    Found {
        roles: vec![role],
        ..empty()
    }
}

fn limits(preparation: &Preparation) -> Vec<(&str, u32)> {
    preparation
        .changes
        .iter()
        .filter_map(|change| match change {
            Change::CreateRole {
                role,
                limit: Some(limit),
                ..
            } => Some((role.as_str(), limit.0)),
            Change::Limit { role, to, .. } => Some((role.as_str(), to.0)),
            _ => None,
        })
        .collect()
}

#[test]
fn without_enforcement_only_what_is_missing_is_made_and_nothing_is_limited() {
    let preparation = planned(&topology(&two(), ""), &empty());
    let kinds: Vec<_> = preparation
        .changes
        .iter()
        .map(|change| match change {
            Change::CreateRole { role, limit, .. } => format!("role {role} {limit:?}"),
            Change::CreateDatabase {
                database, owner, ..
            } => format!("database {database} {owner:?}"),
            Change::Migrate { pending, .. } => format!("migrate {pending}"),
            Change::Grant { group, role } => format!("grant {group} {role}"),
            other => format!("{other:?}"),
        })
        .collect();
    assert_eq!(
        kinds,
        [
            "role app None",
            "role dbos None",
            "database desk None",
            "database desk_sys Some(\"dbos\")",
            "migrate 2",
            "grant desk app",
        ]
    );
    let existing = planned(&topology(&two(), ""), &role("app", |_| {}));
    assert!(
        existing
            .left_alone
            .iter()
            .any(|left| left.kind == LeftKind::ConnectionCheck && left.role == "app"),
        "the setting is suggested: {existing:?}"
    );
}

#[test]
fn a_limit_is_the_sum_of_the_roles_pools_on_that_server_and_the_margin() {
    let enforce = "[enforce]\nmargin = 2";
    let own = planned(&topology(&two(), enforce), &empty());
    assert_eq!(limits(&own), [("app", 11), ("dbos", 11)]);

    let shared = pool("orm", "postgres://app@db/desk", "")
        + &pool("dbos", "postgres://app@db/desk_sys", "executor = true")
        + &pool("far", "postgres://app@elsewhere/desk", "");
    let shared = topology(&shared, enforce);
    assert_eq!(limits(&planned(&shared, &empty())), [("app", 20)]);
    let far = plan(&shared, "elsewhere:5432", &empty()).expect("a small sum");
    assert_eq!(limits(&far), [("app", 11)]);
}

#[test]
fn grants_come_before_what_they_make_up_for_is_revoked() {
    let preparation = planned(&topology(&two(), "[enforce]"), &empty());
    let at = |wanted: &dyn Fn(&Change) -> bool| preparation.changes.iter().position(wanted);
    let granted = at(
        &|change| matches!(change, Change::GrantConnect { database, role } if database == "desk" && role == "app"),
    );
    let revoked = at(
        &|change| matches!(change, Change::RevokePublicConnect { database } if database == "desk"),
    );
    assert!(granted.is_some() && granted < revoked, "{preparation:#?}");
}

#[test]
fn attributes_are_taken_from_our_own_roles_only() {
    let mighty = |comment: Option<&str>| {
        role("app", |role| {
            role.attributes = [Attribute::BypassRls].into();
            role.limit = Some(Connections(9));
            role.comment = comment.map(str::to_owned);
        })
    };
    let topology = topology(&two(), "[enforce]");
    let takes = |preparation: &Preparation| {
        preparation
            .changes
            .iter()
            .any(|change| matches!(change, Change::TakeAttributes { .. }))
    };
    let ours = planned(&topology, &mighty(Some("[poolwright: made]")));
    assert!(takes(&ours) && ours.left_alone.is_empty(), "{ours:#?}");
    let theirs = planned(&topology, &mighty(None));
    assert!(!takes(&theirs), "{theirs:#?}");
    assert_eq!(theirs.left_alone[0].kind, LeftKind::Attributes);
    assert_eq!(theirs.left_alone[0].cure, "ALTER ROLE \"app\" NOBYPASSRLS");
}

#[test]
fn what_grows_is_told_from_what_shrinks() {
    let topology = topology(&two(), "[enforce]");
    for (limit, raised, lowered) in [(6, 1, 0), (9, 0, 0), (12, 0, 1)] {
        let found = role("app", |role| {
            role.limit = Some(Connections(limit));
            role.comment = Some("[poolwright: made]".into());
        });
        let preparation = planned(&topology, &found);
        assert_eq!(preparation.raised().len(), raised, "{limit}");
        assert_eq!(preparation.lowered().len(), lowered, "{limit}");
    }
}

#[test]
fn an_interval_is_compared_as_a_time_and_not_as_a_text() {
    let topology = topology(&two(), "[enforce]\nconnection_check = \"60s\"");
    for (set, changed) in [
        ("60s", false),
        ("60000", false),
        ("1min", false),
        ("2s", true),
    ] {
        let found = role("app", |role| {
            role.connection_check = Some(set.into());
            role.comment = Some("[poolwright: made]".into());
        });
        let changes = planned(&topology, &found).changes;
        let sets = changes
            .iter()
            .any(|change| matches!(change, Change::ConnectionCheck { role, .. } if role == "app"));
        assert_eq!(sets, changed, "{set}");
    }
}
