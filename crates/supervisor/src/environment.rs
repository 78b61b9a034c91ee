//! The variables of a worker: what surrounds the supervisor, then the app's, then the slot's.
//!
//! The slot's are set last and nothing overrides them: a `PM2_INSTANCE_ID` that leaks in from a shell
//! would make every worker the same executor.

use crate::spec::AppSpec;
use poolwright_topology::handover::Readiness;
use poolwright_topology::tag::SlotId;
use std::path::Path;
use std::process::Command;

/// The descriptor of the held listening socket: the first that `LISTEN_FDS` can mean.
pub(crate) const LISTENER_FD: i32 = 3;

/// The descriptor of the channel.
pub(crate) const CHANNEL_FD: i32 = 4;

/// Variables of whatever started the supervisor that would address the worker instead: descriptors,
/// sockets and watchdogs that are not the worker's, and identities of another process manager.
const FOREIGN: [&str; 9] = [
    "NOTIFY_SOCKET",
    "WATCHDOG_USEC",
    "WATCHDOG_PID",
    "LISTEN_FDS",
    "LISTEN_PID",
    "LISTEN_FDNAMES",
    "NODE_CHANNEL_FD",
    "NODE_CHANNEL_SERIALIZATION_MODE",
    "NODE_UNIQUE_ID",
];

/// Gives `command` the environment of a worker of `app` in `slot`.
///
/// `LISTEN_PID` is missing here: only the process itself knows it ([`crate::shim`]).
///
/// `notify` is the socket to say `READY=1` on, where the app is ready by that.
pub(crate) fn apply(
    command: &mut Command,
    app: &AppSpec,
    slot: &SlotId,
    held: bool,
    notify: Option<&Path>,
) {
    for name in FOREIGN {
        command.env_remove(name);
    }
    for name in &app.withheld {
        command.env_remove(name);
    }
    if let (Readiness::Listening, Some(address)) = (app.ready, app.listen) {
        command.env("HOST", address.ip().to_string());
        command.env("PORT", address.port().to_string());
    }
    command.envs(app.env.iter().map(|(name, value)| (name, value)));
    command.envs(app.slot_env.of(slot));
    if let Some(name) = &app.instance_var {
        command.env(name, slot.index().to_string());
    }
    command.envs(of_slot(app, slot));
    if held {
        command.env("LISTEN_FDS", "1");
    }
    if let Some(notify) = notify {
        command.env("NOTIFY_SOCKET", notify);
    }
}

fn of_slot(app: &AppSpec, slot: &SlotId) -> [(&'static str, String); 9] {
    let index = slot.index().to_string();
    let name = slot.to_string();
    [
        ("PM2_INSTANCE_ID", index.clone()),
        ("NODE_APP_INSTANCE", index),
        ("DBOS__VMID", name.clone()),
        ("PGAPPNAME", name),
        ("POOLWRIGHT_APP", app.name.to_string()),
        ("POOLWRIGHT_CHANNEL", "1".to_owned()),
        ("NODE_CHANNEL_FD", CHANNEL_FD.to_string()),
        ("NODE_CHANNEL_SERIALIZATION_MODE", "json".to_owned()),
        (
            "DRAIN_TIMEOUT_MS",
            app.drain_timeout.as_millis().to_string(),
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::{SlotVariables, StopSignal};
    use poolwright_topology::tag::Name;
    use std::collections::BTreeMap;
    use std::ffi::OsStr;
    use std::time::Duration;

    fn app(ready: Readiness, env: &[(&str, &str)]) -> AppSpec {
        AppSpec {
            name: Name::new("web").unwrap(),
            command: vec!["true".into()],
            cwd: "/".into(),
            env: env
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            withheld: Vec::new(),
            slot_env: SlotVariables::default(),
            instances: 3,
            listen: Some(([127, 0, 0, 1], 3000).into()),
            ready,
            ready_timeout: Duration::from_secs(1),
            drain_timeout: Duration::from_secs(30),
            stop_signal: StopSignal::Term,
            instance_var: None,
            pools: BTreeMap::new(),
            executor: true,
        }
    }

    /// `Some(None)`: removed from what surrounds the supervisor.
    fn variable(app: &AppSpec, name: &str) -> Option<Option<String>> {
        let mut command = Command::new("true");
        apply(&mut command, app, &"web-2".parse().unwrap(), true, None);
        command
            .get_envs()
            .find(|(found, _)| *found == OsStr::new(name))
            .map(|(_, value)| value.map(|value| value.to_string_lossy().into_owned()))
    }

    #[test]
    fn nothing_overrides_the_identity_of_a_slot() {
        let env = [("PM2_INSTANCE_ID", "0"), ("DBOS__VMID", "local")];
        let app = app(Readiness::Channel, &env);
        let expected = [
            ("PM2_INSTANCE_ID", "2"),
            ("NODE_APP_INSTANCE", "2"),
            ("DBOS__VMID", "web-2"),
            ("PGAPPNAME", "web-2"),
            ("POOLWRIGHT_APP", "web"),
            ("NODE_CHANNEL_FD", "4"),
            ("LISTEN_FDS", "1"),
            ("DRAIN_TIMEOUT_MS", "30000"),
        ];
        for (name, value) in expected {
            assert_eq!(variable(&app, name), Some(Some(value.into())), "{name}");
        }
    }

    #[test]
    fn the_number_of_the_slot_is_also_in_the_variable_of_the_apps_choice() {
        let own = AppSpec {
            instance_var: Some("INSTANCE".into()),
            ..app(Readiness::Channel, &[("INSTANCE", "7")])
        };
        assert_eq!(variable(&own, "INSTANCE"), Some(Some("2".into())));
    }

    #[test]
    fn what_depends_on_the_slot_wins_over_the_apps_variables_and_not_over_the_slots_identity() {
        let named = |slot: &SlotId| {
            let url = (
                "DATABASE_URL".to_owned(),
                format!("postgres:///?name={slot}"),
            );
            vec![url, ("PGAPPNAME".to_owned(), "mine".to_owned())]
        };
        let app = AppSpec {
            slot_env: SlotVariables::new(named),
            ..app(Readiness::Pm2, &[("DATABASE_URL", "postgres:///")])
        };
        let url = variable(&app, "DATABASE_URL");
        assert_eq!(url, Some(Some("postgres:///?name=web-2".into())));
        assert_eq!(variable(&app, "PGAPPNAME"), Some(Some("web-2".into())));
    }

    #[test]
    fn what_addresses_the_supervisor_does_not_reach_the_worker() {
        let app = app(Readiness::Channel, &[]);
        for name in ["NOTIFY_SOCKET", "LISTEN_PID", "WATCHDOG_USEC"] {
            assert_eq!(variable(&app, name), Some(None), "{name}");
        }
    }

    #[test]
    fn what_is_withheld_reaches_the_worker_only_where_the_app_declares_it_itself() {
        let withheld = |env: &[(&str, &str)]| AppSpec {
            withheld: vec!["TOKEN".into()],
            ..app(Readiness::Channel, env)
        };
        assert_eq!(variable(&withheld(&[]), "TOKEN"), Some(None));
        let own = withheld(&[("TOKEN", "its own")]);
        assert_eq!(variable(&own, "TOKEN"), Some(Some("its own".into())));
    }

    #[test]
    fn a_program_that_binds_by_itself_is_told_where_unless_the_app_says_otherwise() {
        let listening = app(Readiness::Listening, &[]);
        assert_eq!(variable(&listening, "PORT"), Some(Some("3000".into())));
        let own = app(Readiness::Listening, &[("PORT", "8080")]);
        assert_eq!(variable(&own, "PORT"), Some(Some("8080".into())));
        assert_eq!(variable(&app(Readiness::Channel, &[]), "PORT"), None);
    }
}
