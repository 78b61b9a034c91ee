//! Properties of the arithmetic: the bound is the sum of its lines and grows with every input, nothing
//! overflows into a panic, and attribution loses no row.
#![expect(clippy::unwrap_used, reason = "a failed set-up is a failed test")]

use poolwright_topology::budget::{Cap, CapOn, ServerLimits, plan};
use poolwright_topology::census::{Backend, Census, Owner};
use poolwright_topology::declare::{Topology, declare};
use poolwright_topology::finding::Kind;
use poolwright_topology::units::Connections;
use proptest::prelude::*;

/// Workers, and the maximum of each pool.
#[derive(Debug, Clone)]
struct Shape {
    apps: Vec<(u32, Vec<u32>)>,
}

impl Shape {
    fn topology(&self) -> Topology {
        let mut manifest = String::new();
        for (app, (workers, pools)) in self.apps.iter().enumerate() {
            manifest += &format!("[apps.a{app}]\ncommand = [\"x\"]\ninstances = {workers}\n");
            for (pool, max) in pools.iter().enumerate() {
                manifest += &format!(
                    "[apps.a{app}.pools.p{pool}]\nmax = {max}\nurl = \"postgres://u{app}:pw@h{}/d\"\n",
                    pool % 2
                );
            }
        }
        declare(&manifest, &|_| None).unwrap()
    }

    fn sum(&self) -> u32 {
        self.apps
            .iter()
            .map(|(workers, pools)| workers * pools.iter().sum::<u32>())
            .sum()
    }
}

fn shape() -> impl Strategy<Value = Shape> {
    proptest::collection::vec(
        (1..=512_u32, proptest::collection::vec(1..=1000_u32, 1..4)),
        1..4,
    )
    .prop_map(|apps| Shape { apps })
}

fn small_shape() -> impl Strategy<Value = Shape> {
    proptest::collection::vec(
        (1..=3_u32, proptest::collection::vec(1..=3_u32, 1..3)),
        1..3,
    )
    .prop_map(|apps| Shape { apps })
}

fn limits(max_connections: u32) -> ServerLimits {
    ServerLimits::assumed(Connections(max_connections))
}

proptest! {
    #[test]
    fn the_bound_is_the_sum_of_its_lines(shape in shape(), max in any::<u32>()) {
        let plan = plan(&shape.topology(), &|_| Some(limits(max))).unwrap();
        let lines: u32 = plan.lines.iter().map(|line| line.connections.0).sum();
        prop_assert_eq!(plan.bound.0, lines);
        prop_assert_eq!(plan.bound.0, shape.sum());
        let servers: u32 = plan.servers.iter().map(|server| server.bound.0).sum();
        prop_assert_eq!(servers, lines);
    }

    #[test]
    fn the_bound_grows_with_every_input(
        shape in shape(), app in any::<prop::sample::Index>(), pool in any::<prop::sample::Index>()
    ) {
        let bound = |shape: &Shape| plan(&shape.topology(), &|_| Some(limits(100))).unwrap().bound;
        let before = bound(&shape);
        let app = app.index(shape.apps.len());
        if shape.apps[app].0 < 512 {
            let mut more = shape.clone();
            more.apps[app].0 += 1;
            prop_assert!(bound(&more) > before);
        }
        let pool = pool.index(shape.apps[app].1.len());
        if shape.apps[app].1[pool] < 1000 {
            let mut more = shape.clone();
            more.apps[app].1[pool] += 1;
            prop_assert!(bound(&more) > before);
        }
    }

    #[test]
    fn no_limit_makes_the_arithmetic_panic(
        shape in shape(), max in any::<u32>(), reserved in any::<u32>(), superuser in any::<u32>(),
        others in any::<u32>(), cap in any::<u32>()
    ) {
        let limits = ServerLimits {
            max_connections: Connections(max),
            superuser_reserved: Connections(superuser),
            reserved: Connections(reserved),
            others: Connections(others),
            caps: vec![Cap { on: CapOn::Role, name: "u0".into(), limit: Connections(cap), ours: false }],
        };
        let plan = plan(&shape.topology(), &|_| Some(limits.clone())).unwrap();
        prop_assert_eq!(plan.fits, plan.servers.iter().all(|s| s.cures.is_empty()));
    }

    #[test]
    fn a_plan_fits_exactly_when_bound_and_overhead_are_usable(shape in shape(), max in 0..2_000_000_u32) {
        let plan = plan(&shape.topology(), &|_| Some(limits(max))).unwrap();
        for server in &plan.servers {
            prop_assert_eq!(server.fits, server.bound.0 + server.overhead.0 + 3 <= max);
        }
    }

    #[test]
    fn attribution_loses_no_row(rows in proptest::collection::vec(row(), 0..60)) {
        let topology = Shape { apps: vec![(3, vec![3, 3])] }.topology();
        let plan = plan(&topology, &|_| Some(limits(100))).unwrap();
        let mut census = Census::new(&topology, &plan);
        let of_slots = |row: &&Backend| {
            matches!(census.attribute(row), Owner::Pool { .. } | Owner::Slot { .. })
        };
        let owned = u32::try_from(rows.iter().filter(of_slots).count()).unwrap();
        census.sample(&rows);
        census.sample(&rows);
        let verdict = census.verdict();
        let named = verdict.slots.iter().flat_map(|s| &s.pools).map(|p| p.now.0);
        let unnamed = verdict.slots.iter().flat_map(|s| &s.unnamed).map(|u| u.now.0);
        let shown: u32 = named.chain(unnamed).sum();
        prop_assert_eq!(shown, owned, "every row of a slot is shown under it, once");
        let strays = rows.iter().filter(|r| census.attribute(r) == Owner::Unattributed).count();
        let reported = verdict.findings.iter().filter(|f| f.kind == Kind::Unattributed).count();
        prop_assert_eq!(strays, reported, "every unattributed row is reported");
    }

    #[test]
    fn a_fleet_at_its_declaration_holds_and_one_connection_more_does_not(shape in small_shape()) {
        let topology = shape.topology();
        let plan = plan(&topology, &|_| Some(limits(10_000))).unwrap();
        let mut rows = Vec::new();
        for (app, pool) in topology.pools() {
            for slot in app.slots() {
                for _ in 0..pool.max.value.0 {
                    rows.push(client(rows.len(), &format!("{slot}:{}", pool.name), &app.name.as_str().replace('a', "u")));
                }
            }
        }
        let mut census = Census::new(&topology, &plan);
        census.sample(&rows);
        census.sample(&rows);
        let verdict = census.verdict();
        prop_assert!(verdict.holds, "{:?}", verdict.findings);
        prop_assert_eq!(verdict.peak, plan.bound);

        rows.push(client(rows.len(), "a0-0:p0", "u0"));
        census.sample(&rows);
        prop_assert!(census.verdict().holds, "a single sample may be a closing backend");
        census.sample(&rows);
        let verdict = census.verdict();
        prop_assert!(!verdict.holds);
        prop_assert!(verdict.findings.iter().any(|f| f.kind == Kind::OverBound));
        prop_assert!(verdict.findings.iter().any(|f| f.kind == Kind::PoolOverDeclared));
    }
}

proptest! {
    /// Whatever of its sessions a fleet at its declaration names in full, and whatever by their slot alone: it holds,
    /// and one session more, named either way, is found.
    #[test]
    fn a_fleet_holds_whichever_of_its_sessions_name_their_pool(
        shape in small_shape(), named in proptest::collection::vec(any::<bool>(), 64), more in any::<bool>(),
    ) {
        let topology = shape.topology();
        let plan = plan(&topology, &|_| Some(limits(10_000))).unwrap();
        let name = |named: bool, slot: &str, pool: &str| match named {
            true => format!("{slot}:{pool}"),
            false => slot.to_owned(),
        };
        let mut rows = Vec::new();
        for (app, pool) in topology.pools() {
            for slot in app.slots() {
                for _ in 0..pool.max.value.0 {
                    let named = named[rows.len() % named.len()];
                    let name = name(named, &slot.to_string(), pool.name.as_str());
                    rows.push(client(rows.len(), &name, &app.name.as_str().replace('a', "u")));
                }
            }
        }
        let judge = |rows: &[Backend]| {
            let mut census = Census::new(&topology, &plan);
            census.sample(rows);
            census.sample(rows);
            census.verdict()
        };
        let verdict = judge(&rows);
        prop_assert!(verdict.holds, "{:?}", verdict.findings);
        prop_assert_eq!(verdict.peak, plan.bound);

        rows.push(client(rows.len(), &name(more, "a0-0", "p0"), "u0"));
        let verdict = judge(&rows);
        let of_the_slot = |kind| matches!(kind, Kind::PoolOverDeclared | Kind::SlotOverDeclared);
        let found = verdict.findings.iter().find(|finding| of_the_slot(finding.kind));
        prop_assert!(found.is_some_and(|f| f.slot == "a0-0".parse().ok()), "{:?}", verdict.findings);
    }
}

fn client(number: usize, name: &str, role: &str) -> Backend {
    let pid = i32::try_from(number).unwrap() + 1;
    Backend {
        pid,
        started: Some(i64::from(pid)),
        application_name: name.to_owned(),
        role: Some(role.to_owned()),
        database: Some("d".to_owned()),
        state: Some("idle".to_owned()),
        backend_type: Some("client backend".to_owned()),
        ..Backend::default()
    }
}

prop_compose! {
    fn row()(
        pid in any::<i32>(),
        started in any::<Option<i64>>(),
        name in prop_oneof![
            Just("a0-0:p0".to_owned()), Just("a0-1:p1".to_owned()), Just("a0-7:p0".to_owned()),
            Just("a0-0:p9".to_owned()), Just("a0-1".to_owned()), Just("a0-7".to_owned()), Just("a0:poolwright".to_owned()), Just("poolwright".to_owned()),
            Just("psql".to_owned()), Just(String::new()), "\\PC{0,63}",
        ],
        role in prop_oneof![Just(None), Just(Some("u0".to_owned())), Just(Some("other".to_owned()))],
        database in prop_oneof![Just(None), Just(Some("d".to_owned())), Just(Some("other".to_owned()))],
        backend_type in prop_oneof![
            Just(None), Just(Some("client backend".to_owned())), Just(Some("parallel worker".to_owned())),
            Just(Some("autovacuum worker".to_owned())),
        ],
    ) -> Backend {
        Backend { pid, started, application_name: name, role, database, backend_type, ..Backend::default() }
    }
}
