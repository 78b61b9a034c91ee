//! What a PM2 project declares, as PM2 means it.
#![expect(clippy::unwrap_used, reason = "a failed set-up is a failed test")]

use poolwright_topology::declare::{
    App, Ecosystem, Placed, Ready, StopSignal, Surroundings, declare, ecosystem,
};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::time::Duration;

const FILES: [&str; 3] = ["server.js", "worker", "app/server.js"];

fn read(
    exported: &Value,
    profile: Option<&str>,
    env: &[(&str, &str)],
) -> Result<Ecosystem, Vec<Placed>> {
    let env = |name: &str| {
        let found = env.iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| (*value).to_owned())
    };
    let around = Surroundings {
        cpus: 8,
        profile,
        env: &env,
        exists: &|path| FILES.contains(&path),
    };
    ecosystem(exported, &around)
}

/// A file of one app with a pool and a port, and these keys over them.
fn file(keys: Value) -> Value {
    let mut app = json!({
        "name": "web",
        "script": "server.js",
        "env": { "PORT": 3000 },
        "poolwright": { "pools": { "orm": { "max": 3 } } },
    });
    let object = app.as_object_mut().unwrap();
    for (key, value) in keys.as_object().unwrap() {
        object.insert(key.clone(), value.clone());
    }
    json!({ "apps": [app] })
}

fn app(keys: Value) -> App {
    let mut read = read(&file(keys), None, &[]).unwrap();
    read.topology.apps.remove(0)
}

#[test]
fn the_same_pools_are_the_same_topology_as_from_the_manifest() {
    let exported = json!({
        "apps": [{
            "name": "web",
            "script": "server.js",
            "exec_mode": "cluster",
            "wait_ready": true,
            "kill_timeout": 35000,
            "poolwright": {
                "instances": { "env": "PM2_INSTANCES", "default": 3 },
                "listen": "0.0.0.0:3000",
                "drain_timeout": "30s",
                "stop_signal": "SIGTERM",
                "pools": {
                    "prisma": { "max": { "env": "PRISMA_POOL_MAX", "default": 3 }, "url": { "env": "DATABASE_URL" } },
                    "dbos": { "max": 3, "url": { "env": "DBOS_SYSTEM_DATABASE_URL" }, "executor": true },
                },
            },
        }],
        "poolwright": { "prepare": { "commands": [["npm", "run", "migrate"]] } },
    });
    let manifest = r#"
        [apps.web]
        command = ["node", "server.js"]
        instances = { env = "PM2_INSTANCES", default = 3 }
        listen = "0.0.0.0:3000"
        ready = "pm2"
        cluster = true
        [apps.web.pools.prisma]
        max = { env = "PRISMA_POOL_MAX", default = 3 }
        url = { env = "DATABASE_URL" }
        [apps.web.pools.dbos]
        max = 3
        url = { env = "DBOS_SYSTEM_DATABASE_URL" }
        executor = true
        [prepare]
        commands = [["npm", "run", "migrate"]]
    "#;
    let env = [
        ("DATABASE_URL", "postgres://a:b@h/desk"),
        ("PM2_INSTANCES", "2"),
    ];
    let found = read(&exported, None, &env).unwrap();
    let look_up = |name: &str| {
        let found = env.iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| (*value).to_owned())
    };
    assert_eq!(found.topology, declare(manifest, &look_up).unwrap());
    assert!(found.notes.is_empty(), "{:?}", found.notes);
}

#[test]
fn instances_mean_what_they_mean_to_pm2_on_a_machine_of_8_cpus() {
    let table = [
        (Value::Null, 1),
        (json!(3), 3),
        (json!("3"), 3),
        (json!("max"), 8),
        (json!(0), 8),
        (json!(-1), 7),
        (json!(-20), 1),
    ];
    for (instances, workers) in table {
        let found = app(json!({ "instances": instances })).instances.value.0;
        assert_eq!(found, workers, "{instances}");
    }
}

#[test]
fn a_command_is_what_pm2_would_run() {
    let table: [(Value, &[&str]); 9] = [
        (json!({}), &["node", "server.js"]),
        (
            json!({ "args": "--name 'a b'", "node_args": ["--enable-source-maps"] }),
            &["node", "--enable-source-maps", "server.js", "--name", "a b"],
        ),
        (
            json!({ "interpreter": "/opt/node/bin/node", "args": [1, "x"] }),
            &["/opt/node/bin/node", "server.js", "1", "x"],
        ),
        (json!({ "script": "./run.py" }), &["python3", "./run.py"]),
        (
            json!({ "script": "/opt/app", "interpreter": "none" }),
            &["/opt/app"],
        ),
        (json!({ "script": "worker" }), &["./worker"]),
        (
            json!({ "script": "npm", "args": "start" }),
            &["npm", "start"],
        ),
        (
            json!({ "script": "npm start -- -p 1" }),
            &["bash", "-c", "npm start -- -p 1"],
        ),
        (
            json!({ "script": "server.js", "cwd": "app" }),
            &["node", "server.js"],
        ),
    ];
    for (keys, command) in table {
        assert_eq!(app(keys.clone()).command, command, "{keys}");
    }
}

#[test]
fn who_binds_and_how_a_worker_is_seen_to_serve_follows_from_pm2s_keys() {
    let held = "0.0.0.0:3000".parse().ok();
    // As PM2 has it: with instances, Node programs are a cluster.
    let table = [
        (json!({}), (false, Ready::Listening, held)),
        (json!({ "instances": 2 }), (true, Ready::Listening, held)),
        (
            json!({ "exec_mode": "cluster", "wait_ready": true }),
            (true, Ready::Pm2, held),
        ),
        (
            json!({ "exec_mode": "fork", "instances": 2 }),
            (false, Ready::Listening, held),
        ),
        // It binds by itself: a socket that is held would be in its way.
        (
            json!({ "exec_mode": "fork", "wait_ready": true }),
            (false, Ready::Pm2, None),
        ),
        (
            json!({ "env": {}, "port": 3000, "exec_mode": "cluster_mode" }),
            (true, Ready::Listening, held),
        ),
    ];
    for (keys, expected) in table {
        let app = app(keys.clone());
        assert_eq!((app.cluster, app.ready, app.listen), expected, "{keys}");
    }
}

#[test]
fn timeouts_the_signal_and_the_instance_variable_are_pm2s() {
    let app =
        app(json!({ "kill_timeout": 5000, "listen_timeout": "3000", "instance_var": "INSTANCE" }));
    assert_eq!(app.drain_timeout, Duration::from_secs(5));
    assert_eq!(app.ready_timeout, Duration::from_secs(3));
    assert_eq!(app.stop_signal, StopSignal::Int);
    assert_eq!(app.instance_var.as_deref(), Some("INSTANCE"));
}

#[test]
fn a_profile_is_laid_over_the_environment_and_settings_look_there_first() {
    let exported = file(json!({
        "env": { "PORT": 3000, "POOL": 2, "LEVEL": { "db": true }, "NONE": null },
        "env_production": { "POOL": "5", "DATABASE_URL": "postgres://app:s3cret@db/desk" },
        "poolwright": { "pools": { "orm": { "max": { "env": "POOL" }, "url": { "env": "DATABASE_URL" } } } },
    }));
    let around = [
        ("POOL", "9"),
        ("DATABASE_URL", "postgres://else@where/desk"),
    ];
    let plain = read(&exported, None, &around)
        .unwrap()
        .topology
        .apps
        .remove(0);
    assert_eq!(
        plain.pools[0].max.value.0, 2,
        "the file wins, as it does in PM2"
    );
    let found = read(&exported, Some("production"), &around).unwrap();
    let app = &found.topology.apps[0];
    assert_eq!(app.pools[0].max.value.0, 5);
    assert_eq!(app.pools[0].url.as_ref().unwrap().server(), "db:5432");
    let names: Vec<_> = app.env.0.keys().map(String::as_str).collect();
    assert_eq!(names, ["DATABASE_URL", "LEVEL", "POOL", "PORT"]);
    assert_eq!(app.env.0["LEVEL"], r#"{"db":true}"#);
    assert!(!format!("{found:?}").contains("s3cret"));

    let other = read(&exported, Some("staging"), &around).unwrap();
    assert_eq!(
        other.notes,
        ["web: has no `env_staging`, so --env changes nothing for it"]
    );
}

#[test]
fn every_mistake_is_reported_at_once_with_the_app_and_the_key() {
    let exported = json!({
        "apps": [
            {
                "name": "web",
                "exec_mode": "threads",
                "instances": "many",
                "kill_timeout": "1.6s",
                "wait_ready": "yes",
                "env": { "DBOS_POOL_MAX": 1, "PORT": "http" },
                "poolwright": {
                    "colour": "blue",
                    "pools": {
                        "orm": { "url": "postgres://app:s3cret@db/desk?connection_limit=3" },
                        "dbos": { "max": { "env": "DBOS_POOL_MAX" }, "executor": true },
                    },
                },
            },
            { "name": "Worker 1", "script": "worker.js", "poolwright": {} },
            { "name": "web", "script": "server.js", "poolwright": {} },
            "app.js",
        ],
        "poolwright": { "prepare": { "commands": "migrate" } },
    });
    let found: Vec<_> = read(&exported, None, &[])
        .unwrap_err()
        .iter()
        .map(ToString::to_string)
        .collect();
    insta::assert_snapshot!(found.join("\n"));
}

#[test]
fn a_file_that_declares_no_pools_says_what_to_write() {
    let exported = json!([{ "script": "server.js" }]);
    let found = read(&exported, None, &[]).unwrap_err();
    assert!(
        found[0]
            .to_string()
            .contains("no app with a `poolwright` key"),
        "{found:?}"
    );
    for nothing in [
        Value::Null,
        json!("text"),
        json!({ "apps": {} }),
        json!({ "apps": [] }),
    ] {
        assert!(read(&nothing, None, &[]).is_err(), "{nothing}");
    }
}

#[test]
fn what_is_not_honoured_is_said_unless_it_asks_for_nothing() {
    let exported = file(json!({
        "watch": false,
        "autorestart": true,
        "vizion": false,
        "max_memory_restart": "300M",
        "cron_restart": "0 3 * * *",
        "colour": "blue",
    }));
    let found = read(&exported, None, &[]).unwrap().notes;
    insta::assert_snapshot!(found.join("\n"), @r"
    web: max_memory_restart is not honoured: workers are not restarted for the memory they use
    web: cron_restart is not honoured: workers are not restarted by the clock
    web: colour is not honoured: it means nothing here
    ");
}

proptest! {
    #[test]
    fn any_text_arrives_as_it_is(text in "[^\\u{0}]*") {
        let exported = file(json!({ "args": [text], "env": { "PORT": 1, "TEXT": text } }));
        let read = read(&exported, None, &[]).unwrap();
        let app = &read.topology.apps[0];
        prop_assert_eq!(&app.command[2], &text);
        prop_assert_eq!(&app.env.0["TEXT"], &text);
    }

    #[test]
    fn no_export_is_too_strange_to_be_judged(text in r#"[\[\]{}":,a-z0-9 ]{0,40}"#) {
        if let Ok(value) = serde_json::from_str::<Value>(&text) {
            let app = file(json!({ "poolwright": value, "instances": value, "env": value, "args": value }));
            for exported in [value, app] {
                if let Err(mistakes) = read(&exported, None, &[]) {
                    prop_assert!(!mistakes.is_empty());
                }
            }
        }
    }
}
