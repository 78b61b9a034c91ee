//! Every mistake at once, each at its place, none that repeats a password.
#![expect(clippy::expect_used, reason = "a failed set-up is a failed test")]

use poolwright_topology::declare::{
    Allowed, Doctor, Enforce, Mistake, Observe, Ready, Token, Topology, declare,
};
use poolwright_topology::hazard::Code;
use std::collections::HashMap;
use std::time::Duration;

const MANIFEST: &str = r#"
[apps.web]
command   = ["node", "server.js"]
instances = { env = "PM2_INSTANCES", default = 3 }
listen    = "0.0.0.0:3000"

[apps.web.pools.prisma]
max = { env = "PRISMA_POOL_MAX", default = 3 }
url = { env = "DATABASE_URL" }

[apps.web.pools.dbos]
max = { env = "DBOS_POOL_MAX", default = 3 }
url = { env = "DBOS_SYSTEM_DATABASE_URL" }
executor = true

[prepare]
commands = [["npm", "run", "migrate"]]
"#;

fn read(manifest: &str, env: &[(&str, &str)]) -> Result<Topology, Vec<Mistake>> {
    let env: HashMap<String, String> = env
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    declare(manifest, &|name| env.get(name).cloned())
}

fn mistakes(manifest: &str, env: &[(&str, &str)]) -> Vec<String> {
    read(manifest, env)
        .expect_err("a mistake")
        .iter()
        .map(ToString::to_string)
        .collect()
}

#[test]
fn the_defaults_are_three_workers_with_two_pools_of_three() {
    let topology = read(MANIFEST, &[]).unwrap();
    let app = &topology.apps[0];
    assert_eq!(app.instances.value.0, 3);
    assert_eq!(app.instances.variable.as_deref(), Some("PM2_INSTANCES"));
    assert_eq!(app.ready, Ready::Channel);
    assert_eq!(app.drain_timeout, Duration::from_secs(30));
    let pools: Vec<_> = app
        .pools
        .iter()
        .map(|p| {
            (
                p.name.as_str(),
                p.max.value.0,
                p.executor,
                p.database.as_str(),
            )
        })
        .collect();
    assert_eq!(
        pools,
        [
            ("prisma", 3, false, "web"),
            ("dbos", 3, true, "web_dbos_sys")
        ],
        "in the order of the file"
    );
    assert_eq!(topology.prepare.commands, [["npm", "run", "migrate"]]);
    assert!(
        app.pools[0].url.is_none(),
        "an unset URL is no mistake of the manifest"
    );
}

#[test]
fn the_environment_wins_over_the_default() {
    let topology = read(MANIFEST, &[("PM2_INSTANCES", "2"), ("DBOS_POOL_MAX", "4")]).unwrap();
    assert_eq!(topology.apps[0].instances.value.0, 2);
    assert_eq!(topology.apps[0].pools[1].max.value.0, 4);
}

#[test]
fn all_mistakes_of_the_environment_are_reported_at_once_with_name_value_and_what_is_right() {
    let found = mistakes(
        MANIFEST,
        &[
            ("PM2_INSTANCES", "three"),
            ("PRISMA_POOL_MAX", "0"),
            ("DBOS_POOL_MAX", "1"),
            (
                "DATABASE_URL",
                "postgres://app:s3cret@db/desk?connection_limit=3",
            ),
            ("DBOS_SYSTEM_DATABASE_URL", "mysql://app:s3cret@db/desk"),
        ],
    );
    insta::assert_snapshot!(found.join("\n"), @r#"
    PM2_INSTANCES: found "three", expected a whole number from 1 to 512
    PRISMA_POOL_MAX: found "0", expected a whole number from 1 to 1000
    DATABASE_URL: found "postgres://app:***@db/desk?connection_limit=3" with connection_limit, which Prisma 7 and sqlx ignore, expected postgres://user:password@host:port/database, without connection_limit
    DBOS_POOL_MAX: found "1", expected a whole number from 2 to 1000 (DBOS pins one connection for LISTEN; with a single one it hangs)
    DBOS_SYSTEM_DATABASE_URL: found a mysql:// URL, expected postgres://user:password@host:port/database, without connection_limit
    "#);
}

#[test]
fn numbers_that_other_readers_would_not_take_are_refused() {
    for bad in [
        "",
        " 3",
        "+3",
        "-1",
        "3.0",
        "0x3",
        "1e2",
        "99999999999",
        "513",
        "drei",
    ] {
        assert_eq!(
            mistakes(MANIFEST, &[("PM2_INSTANCES", bad)]).len(),
            1,
            "{bad:?}"
        );
    }
}

#[test]
fn every_mistake_points_at_its_place_in_the_file() {
    let manifest = r#"
[apps.Web]
command = []
[apps.web]
command = "node server.js"
instances = 0
listen = "3000"
ready = "soon"
ready_timeout = "a while"
colour = "blue"
[apps.web.pools.poolwright]
max = 3
[apps.web.pools.dbos]
max = 1
executor = true
[apps.web.pools.dbos2]
max = "many"
executor = "yes"
[apps.idle]
command = ["x"]
"#;
    let mistakes = read(manifest, &[]).unwrap_err();
    let places: Vec<String> = mistakes
        .iter()
        .map(|m| {
            format!(
                "{} <- {m}",
                &manifest[m.span.clone()].lines().next().unwrap_or_default()
            )
        })
        .collect();
    insta::assert_snapshot!(places.join("\n"));
}

#[test]
fn every_way_to_be_seen_to_serve_has_its_word_and_two_need_an_address() {
    let table = [
        ("channel", Ready::Channel, false),
        ("pm2", Ready::Pm2, false),
        ("notify", Ready::Notify, false),
        ("listening", Ready::Listening, true),
        ("accepting", Ready::Accepting, true),
    ];
    for (word, ready, needs_address) in table {
        let declared = |listen: &str| {
            let app = format!("[apps.web]\ncommand = [\"x\"]\nready = {word:?}\n{listen}\n");
            read(&format!("{app}[apps.web.pools.db]\nmax = 1\n"), &[])
        };
        let topology = declared("listen = \"127.0.0.1:3000\"").unwrap();
        let app = &topology.apps[0];
        assert_eq!(
            (app.ready, app.is_foreign()),
            (ready, ready != Ready::Channel)
        );
        assert_eq!(declared("").is_err(), needs_address, "{word}");
    }
}

#[test]
fn text_that_is_no_toml_is_reported_beside_what_could_be_read() {
    let found = mistakes("[apps.web]\ncommand = [\"x\"\ninstances = \"one\"\n", &[]);
    assert!(found.iter().any(|m| m.contains("no TOML")), "{found:?}");
}

#[test]
fn an_empty_file_says_what_is_missing() {
    assert_eq!(
        mistakes("", &[]),
        ["found no [apps], expected at least one app, as in [apps.web]"]
    );
}

#[test]
fn a_name_that_postgres_would_cut_is_refused() {
    let pool = "p".repeat(58);
    let manifest =
        format!("[apps.web]\ncommand=[\"x\"]\ninstances = 11\n[apps.web.pools.{pool}]\nmax=1\n");
    assert!(mistakes(&manifest, &[])[0].contains("would be cut"));
    // 63 bytes with slot 9, 64 with slot 10.
    let fits = manifest
        .replace("instances = 11", "instances = 10")
        .replace(&pool, &pool[1..]);
    assert!(read(&fits, &[]).is_ok());
}

#[test]
fn a_url_in_the_wrong_variable_is_not_repeated() {
    let found = mistakes(
        MANIFEST,
        &[("PM2_INSTANCES", "postgres://app:s3cret@db/desk")],
    );
    assert!(!found[0].contains("s3cret"), "{found:?}");
}

#[test]
fn enforcement_is_off_until_it_is_declared_and_then_has_defaults() {
    assert_eq!(read(MANIFEST, &[]).unwrap().enforce, None);
    let with_admin = MANIFEST.replace("[prepare]", "[prepare]\nurl = { env = \"ADMIN\" }");
    let enforce = read(&format!("{with_admin}\n[enforce]\n"), &[])
        .unwrap()
        .enforce
        .expect("declared");
    assert_eq!(enforce, Enforce::default());
    assert_eq!(enforce.margin.0, 0);
    assert_eq!(enforce.monitor.role, "poolwright_monitor");
    assert_eq!(enforce.connection_check, Some(Duration::from_secs(1)));

    let switched =
        format!("{with_admin}\n[enforce]\nroles = {{ env = \"ENFORCE\", default = false }}\n");
    assert_eq!(read(&switched, &[]).unwrap().enforce, None);
    let on = read(&switched, &[("ENFORCE", "true")]).unwrap();
    assert_eq!(on.enforce, Some(Enforce::default()));
}

#[test]
fn every_setting_of_enforcement_is_read() {
    let manifest = format!(
        "{}\n[enforce]\nmargin = 2\nconnection_check = \"off\"\npassword_file = \"secret/pgpass\"\n\
         monitor = {{ url = {{ env = \"MONITOR\" }} }}\n",
        MANIFEST.replace("[prepare]", "[prepare]\nurl = { env = \"ADMIN\" }")
    );
    let enforce = read(
        &manifest,
        &[("MONITOR", "postgres://watcher:s3cret@db/desk")],
    )
    .unwrap()
    .enforce
    .expect("declared");
    assert_eq!(enforce.margin.0, 2);
    assert_eq!(enforce.connection_check, None);
    assert_eq!(enforce.password_file.as_deref(), Some("secret/pgpass"));
    assert_eq!(enforce.monitor.role, "watcher");
    assert_eq!(enforce.monitor.url_variable.as_deref(), Some("MONITOR"));
}

#[test]
fn mistakes_of_enforcement_are_told_with_all_the_others() {
    let wrong = format!(
        "{MANIFEST}\n[enforce]\nroles = \"yes\"\nmargin = -1\nconnection_check = \"1\"\nlimit = 3\n\
         monitor = {{ role = \"a\", url = \"postgres://b:s3cret@db/desk\" }}\n"
    );
    let said = mistakes(&wrong, &[("PM2_INSTANCES", "three")]).join("\n");
    for part in [
        "PM2_INSTANCES",
        "found \"yes\", expected true or false",
        "found -1, expected a whole number from 0 to 1000",
        "found \"1\", expected a time between",
        "the key \"limit\"",
        "the role \"a\" and a URL of the role \"b\"",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert!(!said.contains("s3cret"), "{said}");
}

#[test]
fn enforcement_needs_somebody_who_may_create_roles_and_a_monitor_that_is_no_pool() {
    let said = mistakes(
        &format!("{MANIFEST}\n[enforce]\nmonitor = {{ role = \"app\" }}\n"),
        &[("DATABASE_URL", "postgres://app:s3cret@db/desk")],
    )
    .join("\n");
    assert!(said.contains("without the url of [prepare]"), "{said}");
    assert!(said.contains("\"app\", which is a pool's"), "{said}");
}

#[test]
fn what_doctor_is_told_is_read_with_a_reason_for_everything_that_is_allowed() {
    let manifest = format!(
        "{MANIFEST}\n[doctor]\ninit = \"src/boot.ts\"\ntenant_columns = [\"org\"]\nallow = [\n\
         {{ code = \"PW202\", reason = \" never hot-reloaded \", path = \"src/tools\" }},\n]\n"
    );
    let doctor = read(&manifest, &[]).unwrap().doctor;
    assert_eq!(doctor.init.as_deref(), Some("src/boot.ts"));
    assert_eq!(doctor.tenant_columns, ["org"]);
    let allowed = Allowed {
        code: Code::LostOnReload,
        reason: "never hot-reloaded".into(),
        path: Some("src/tools".into()),
    };
    assert_eq!(doctor.allow, [allowed]);
    assert_eq!(read(MANIFEST, &[]).unwrap().doctor, Doctor::default());
}

#[test]
fn an_allowance_without_a_reason_or_of_no_code_is_a_mistake_with_its_place() {
    let wrong = format!(
        "{MANIFEST}\n[doctor]\nallow = [\n{{ code = \"PW202\" }},\n{{ code = \"PW999\", reason = \"x\" }},\n\
         {{ reason = \"x\" }},\n{{ code = \"PW103\", reason = \" \", why = 1 }},\n]\n"
    );
    let found = read(&wrong, &[("PM2_INSTANCES", "three")]).unwrap_err();
    let said: Vec<String> = found
        .iter()
        .map(|mistake| {
            let line = wrong[..mistake.span.start].lines().count().max(1);
            format!("{line}: {mistake}")
        })
        .collect();
    let said = said.join("\n");
    for part in [
        "PM2_INSTANCES",
        "found PW202 allowed without a reason, expected reason = ",
        "found \"PW999\", expected a code that `doctor` prints",
        "found an allowance without a code",
        "the key \"why\", expected one of code, reason, path",
        "found \" \", expected reason = ",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
}

#[test]
fn a_fleet_is_shown_on_loopback_alone_unless_the_manifest_says_otherwise() {
    assert_eq!(read(MANIFEST, &[]).unwrap().observe, None);
    let observe = |settings: &str| {
        let topology = read(&format!("{MANIFEST}\n[observe]\n{settings}"), &[]);
        topology.unwrap().observe.expect("declared")
    };
    assert_eq!(observe(""), Observe::default());
    assert_eq!(observe("listen = \"off\"").listen, None);
    let open = observe("listen = \"0.0.0.0:9000\"\npublic = true\nhosts = [\"Fleet.example.org\"]");
    assert_eq!(open.listen, Some("0.0.0.0:9000".parse().unwrap()));
    assert_eq!(open.hosts, ["fleet.example.org"]);
    for (listen, expected) in [
        ("0.0.0.0:9000", false),
        ("[::1]:9000", true),
        ("10.1.2.3:9000", false),
    ] {
        let accepted = read(
            &format!("{MANIFEST}\n[observe]\nlisten = \"{listen}\""),
            &[],
        );
        assert_eq!(accepted.is_ok(), expected, "{listen}");
    }
}

#[test]
fn a_token_is_read_from_its_variable_and_shown_to_nobody() {
    let manifest = format!("{MANIFEST}\n[observe]\ntoken = {{ env = \"TOKEN\" }}\n");
    let unset = read(&manifest, &[]).unwrap().observe.expect("declared");
    assert_eq!(
        (unset.token, unset.token_variable.as_deref()),
        (None, Some("TOKEN"))
    );
    let secret = "s3cret-s3cret-s3cret";
    let set = read(&manifest, &[("TOKEN", secret)]).unwrap();
    let token = set
        .observe
        .as_ref()
        .and_then(|observe| observe.token.clone());
    assert_eq!(token.as_ref().map(Token::expose), Some(secret));
    assert!(!format!("{set:?}").contains("s3cret"));
}

#[test]
fn mistakes_about_where_a_fleet_is_shown_are_told_with_their_lines() {
    let wrong = format!(
        "{MANIFEST}\n[observe]\nlisten = \"0.0.0.0:7665\"\nhosts = [\"http://fleet\"]\n\
         token = {{ env = \"TOKEN\" }}\nport = 1\n"
    );
    let found = read(&wrong, &[("TOKEN", "s3cret")]).unwrap_err();
    let said: Vec<String> = found.iter().map(ToString::to_string).collect();
    insta::assert_snapshot!(said.join("\n"));

    for (settings, part) in [
        (
            "listen = \"0.0.0.0:7665\"",
            "found 0.0.0.0:7665, which other machines reach, expected an address of this machine alone",
        ),
        (
            "listen = \"7665\"",
            "found \"7665\", expected an address and a port",
        ),
        (
            "listen = \"0.0.0.0:3000\"\npublic = true",
            "found 0.0.0.0:3000, which [apps.web] listens on",
        ),
        (
            "token = \"s3cret-s3cret-s3cret\"",
            "found a token in the manifest, expected token = { env = ",
        ),
        (
            "token = { env = \"X\", default = \"s3cret\" }",
            "found a token in the manifest",
        ),
    ] {
        let said = mistakes(&format!("{MANIFEST}\n[observe]\n{settings}\n"), &[]).join("\n");
        assert!(said.contains(part), "{part}: {said}");
        assert!(!said.contains("s3cret"), "{said}");
    }
}
