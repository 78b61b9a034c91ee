//! Which of PM2's keys change nothing here, and what is said of those that would.

use super::{App, Reading};
use serde_json::Value;

/// They are read.
const HONOURED: [&str; 22] = [
    "name",
    "script",
    "exec",
    "cmd",
    "command",
    "args",
    "interpreter",
    "exec_interpreter",
    "interpreter_args",
    "interpreterArgs",
    "node_args",
    "cwd",
    "env",
    "port",
    "instances",
    "exec_mode",
    "instance_var",
    "kill_timeout",
    "listen_timeout",
    "wait_ready",
    "poolwright",
    "version",
];

/// About PM2's own lists, logs and agents: nothing of a worker depends on them.
const WITHOUT_EFFECT: [&str; 22] = [
    "append_env_to_name",
    "automation",
    "combine_logs",
    "deep_monitoring",
    "disable_source_map_support",
    "disable_trace",
    "event_loop_inspector",
    "force",
    "io",
    "kill_retry_time",
    "log_date_format",
    "merge_logs",
    "namespace",
    "pmx",
    "post_update",
    "source_map_support",
    "time",
    "trace",
    "treekill",
    "v8",
    "vizion",
    "windowsHide",
];

/// What is done instead.
fn instead(key: &str) -> &'static str {
    match key {
        "max_memory_restart" => "workers are not restarted for the memory they use",
        "cron_restart" | "cron" => "workers are not restarted by the clock",
        "watch" | "ignore_watch" | "watch_delay" | "watch_options" => {
            "files are not watched; `poolwright reload` brings a new release"
        }
        "restart_delay" | "exp_backoff_restart_delay" | "max_restarts" | "min_uptime" => {
            "a worker that fails is started again with growing pauses, and parked when it keeps failing"
        }
        "stop_exit_codes" => {
            "a worker that ends by itself is started again, whatever its exit code"
        }
        "autorestart" => "a worker that ends by itself is started again",
        "autostart" => "every app with a `poolwright` key is started",
        "shutdown_with_message" => "workers are asked to leave by SIGINT",
        "filter_env" => "workers get the whole environment",
        "uid" | "gid" | "user" => "workers run as the supervisor's user",
        "out_file" | "out" | "output" | "out_log" | "error_file" | "error" | "err" | "err_file"
        | "err_log" | "log_file" | "log" | "log_type" | "disable_logs" | "pid_file" | "pid" => {
            "`poolwright logs` has what workers write"
        }
        _ => "it means nothing here",
    }
}

impl Reading<'_> {
    pub(super) fn note_keys(&mut self, app: &App<'_>) {
        for (key, value) in app.keys {
            let known = HONOURED.contains(&key.as_str()) || WITHOUT_EFFECT.contains(&key.as_str());
            let asks = match key.as_str() {
                // These ask for something when they are off.
                "autorestart" | "autostart" => *value == Value::Bool(false),
                _ => asks_for_something(value),
            };
            if !known && !key.starts_with("env_") && asks {
                let (name, instead) = (&app.name, instead(key));
                self.notes
                    .push(format!("{name}: {key} is not honoured: {instead}"));
            }
        }
    }
}

fn asks_for_something(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => false,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(values) => !values.is_empty(),
        Value::Bool(true) | Value::Object(_) => true,
    }
}
