//! What the executor is told when it is made.

use super::{Reading, span_of};
use poolwright_topology::declare::MIN_EXECUTOR_POOL;
use poolwright_topology::hazard::Code;
use proc_macro2::Span;
use syn::{Expr, ExprAssign, ExprCall, ExprStruct, Lit, Member};

const MIGRATES: &str = "the executor migrates its schema at every launch: migrate";

/// A configuration with the SDK's defaults, which are changed afterwards.
#[derive(Debug)]
pub(super) struct Made {
    variable: String,
    span: Span,
    migrate_is_set: bool,
}

impl Made {
    pub(super) const fn new(variable: String, span: Span) -> Self {
        Self {
            variable,
            span,
            migrate_is_set: false,
        }
    }

    pub(super) fn is_at(&self, span: Span) -> bool {
        let (own, other) = (self.span.start(), span.start());
        (own.line, own.column) == (other.line, other.column)
    }
}

impl Reading<'_> {
    /// Whether a struct is the SDK's configuration. (Its system-database layer has one of its own, which only commands
    /// use that migrate.)
    pub(super) fn is_config(&self, made: &ExprStruct) -> bool {
        self.uses.whole(&made.path) == ["dbos", "Config"]
    }

    /// Whether a call makes the SDK's configuration with its defaults.
    pub(super) fn is_default_config(&self, call: &ExprCall) -> bool {
        let Expr::Path(path) = &*call.func else {
            return false;
        };
        let path = self.uses.whole(&path.path);
        matches!(
            path.iter().map(String::as_str).collect::<Vec<_>>()[..],
            ["dbos", "Config", "new" | "from_env"]
        )
    }

    /// `Config { migrate: false, ..Config::new(…) }`.
    pub(super) fn made(&mut self, made: &ExprStruct) {
        if !self.is_config(made) {
            return;
        }
        let mut migrate_is_set = false;
        for field in &made.fields {
            let Member::Named(name) = &field.member else {
                continue;
            };
            migrate_is_set |= name == "migrate";
            self.setting(&name.to_string(), &field.expr);
        }
        // A base of another origin may have said it.
        let by_default = match made.rest.as_deref() {
            None => true,
            Some(Expr::Call(base)) => self.is_default_config(base),
            Some(_) => false,
        };
        if !migrate_is_set && by_default {
            let message = format!("{MIGRATES} is not set, which means true");
            self.hazard(Code::MigratingWorkers, span_of(made), message);
        }
    }

    /// `config.migrate = false;`
    pub(super) fn assigned(&mut self, assignment: &ExprAssign) {
        let Expr::Field(field) = &*assignment.left else {
            return;
        };
        let (Some(variable), Member::Named(name)) =
            (super::names::name_of(&field.base), &field.member)
        else {
            return;
        };
        let mut configs = self.configs.iter_mut();
        let Some(config) = configs.find(|config| config.variable == variable) else {
            return;
        };
        config.migrate_is_set |= name == "migrate";
        self.setting(&name.to_string(), &assignment.right);
    }

    /// Those that were made with defaults, and kept the one that migrates.
    pub(super) fn judge_configs(&mut self) {
        for config in std::mem::take(&mut self.configs) {
            if !config.migrate_is_set {
                let message = format!("{MIGRATES} is not set, which means true");
                self.hazard(Code::MigratingWorkers, config.span, message);
            }
        }
    }

    fn setting(&mut self, name: &str, value: &Expr) {
        match (name, value) {
            ("migrate", Expr::Lit(literal)) => {
                if let Lit::Bool(migrate) = &literal.lit
                    && migrate.value
                {
                    self.hazard(
                        Code::MigratingWorkers,
                        span_of(value),
                        format!("{MIGRATES} is true"),
                    );
                }
            }
            ("max_connections", Expr::Lit(literal)) => {
                if let Lit::Int(max) = &literal.lit
                    && let Ok(max) = max.base10_parse::<u32>()
                {
                    self.sketch.executor_pools.push(max);
                    if max < MIN_EXECUTOR_POOL {
                        let message = format!(
                            "the executor's pool has {max}, it needs {MIN_EXECUTOR_POOL} at least"
                        );
                        self.hazard(Code::ExecutorPoolTooSmall, span_of(value), message);
                    }
                }
            }
            ("executor_id", value) => {
                if let Some(id) = written(value) {
                    let message = format!("the executor id is \"{id}\" in every worker");
                    self.hazard(Code::FixedExecutorId, span_of(value), message);
                }
            }
            _ => {}
        }
    }
}

/// Text that is written down: `"x"`, `"x".into()`, `Some("x".to_owned())`, `String::from("x")`.
fn written(value: &Expr) -> Option<String> {
    match value {
        Expr::Lit(literal) => match &literal.lit {
            Lit::Str(text) => Some(text.value()),
            _ => None,
        },
        Expr::MethodCall(call) if call.args.is_empty() => written(&call.receiver),
        Expr::Call(call) if call.args.len() == 1 => written(call.args.first()?),
        _ => None,
    }
}
