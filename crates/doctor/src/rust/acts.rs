//! The expressions that open, launch or call, and what strings say.

use super::config::Made;
use super::names::name_of;
use super::{Reading, position, span_of};
use crate::sketch::{
    Act, Entry, Function, FunctionId, Heard, Kept, Opening, Target, Variable, What,
};
use crate::{environment, text};
use poolwright_topology::hazard::Code;
use proc_macro2::Span;
use syn::visit::{self, Visit};
use syn::{Expr, ExprCall, ExprMethodCall, Lit, Local, Pat};

/// How a pool is made of its options.
const CONNECT: [&str; 4] = [
    "connect",
    "connect_with",
    "connect_lazy",
    "connect_lazy_with",
];

/// How axum's routers name the method of a request.
const METHODS: [&str; 10] = [
    "get", "post", "put", "patch", "delete", "head", "options", "trace", "any", "on",
];

/// What calls a function once, and keeps its outcome for the process.
const ONCE: [&str; 4] = [
    "get_or_init",
    "get_or_try_init",
    "get_or_insert_with",
    "call_once",
];

impl Reading<'_> {
    pub(super) fn call(&mut self, call: &ExprCall) {
        let Expr::Path(function) = &*call.func else {
            return visit::visit_expr_call(self, call);
        };
        let whole = self.uses.whole(&function.path);
        let path: Vec<&str> = whole.iter().map(String::as_str).collect();
        let opened = match path.as_slice() {
            [.., "PgPool", connect] | ["sqlx", .., "Pool", connect]
                if CONNECT.contains(connect) =>
            {
                Some(Opening::SqlxPool)
            }
            [.., "PgConnection", "connect" | "connect_with"] => Some(Opening::SqlxConnection),
            ["sea_orm", .., "Database", "connect"] => Some(Opening::SeaOrm),
            ["dbos", "DBOS", "new"] => Some(Opening::DbosInstance),
            _ => None,
        };
        if let Some(opening) = opened {
            self.act(span_of(call), What::Opens(opening));
        } else if let ["dbos", "DBOS", "launch"] = path.as_slice() {
            self.act(span_of(call), What::Launches);
        } else if self.is_default_config(call) {
            let message = "the executor migrates its schema at every launch: migrate is not set, which means true";
            // One that a variable holds is judged when the function ends.
            let held = self.configs.iter().any(|made| made.is_at(span_of(call)));
            if !held {
                self.hazard(Code::MigratingWorkers, span_of(call), message);
            }
        } else if let Some(target) = self.named(&path) {
            self.act(span_of(call), What::Calls(target));
        }
        self.variable(call.args.iter());
        match path.as_slice() {
            ["dbos", "step" | "step_with"] => self.handed(call.args.iter(), Entry::Step),
            ["axum", "routing", .., method] if METHODS.contains(method) => {
                self.handed(call.args.iter(), Entry::Request);
            }
            [.., "LazyLock" | "Lazy" | "LazyCell", "new"] => self.kept(call.args.iter()),
            _ => visit::visit_expr_call(self, call),
        }
    }

    pub(super) fn method_call(&mut self, call: &ExprMethodCall) {
        let method = call.method.to_string();
        let method = method.as_str();
        if CONNECT.contains(&method) && self.is_pool_options(&call.receiver) {
            self.act(span_of(&call.method), What::Opens(Opening::SqlxPool));
        } else if method == "launch" && self.is_executor(&call.receiver) {
            self.act(span_of(&call.method), What::Launches);
        } else if method == "acquire_timeout" {
            self.acquire_timeout(call);
        } else if method == "max_connections" {
            if let Some(Expr::Lit(literal)) = call.args.first()
                && let Lit::Int(max) = &literal.lit
            {
                self.sketch.pools.extend(max.base10_parse::<u32>().ok());
            }
        } else {
            let target = Target::Named {
                qualifier: None,
                name: method.to_owned(),
                on_self: true,
            };
            self.act(span_of(&call.method), What::Calls(target));
        }
        self.variable(call.args.iter());
        self.visit_expr(&call.receiver);
        match method {
            "register_workflow" | "register_workflow_as" => {
                self.handed(call.args.iter(), Entry::Workflow);
            }
            // `get(list).post(place)`
            _ if METHODS.contains(&method) && self.is_router(&call.receiver) => {
                self.handed(call.args.iter(), Entry::Request);
            }
            "fallback" | "fallback_service" => self.handed(call.args.iter(), Entry::Request),
            _ if ONCE.contains(&method) => self.kept(call.args.iter()),
            _ => call
                .args
                .iter()
                .for_each(|argument| self.visit_expr(argument)),
        }
    }

    /// What a variable holds that later calls are about.
    pub(super) fn local(&mut self, local: &Local) {
        let Some(init) = &local.init else { return };
        let pattern = match &local.pat {
            Pat::Type(typed) => &*typed.pat,
            pattern => pattern,
        };
        let Pat::Ident(variable) = pattern else {
            return;
        };
        let variable = variable.ident.to_string();
        if self.is_pool_options(&init.expr) {
            self.options.insert(variable.clone());
        }
        if let Expr::Call(call) = &*init.expr {
            if self.is_default_config(call) {
                self.configs.push(Made::new(variable, span_of(call)));
            } else if let Expr::Path(path) = &*call.func
                && self.uses.whole(&path.path) == ["dbos", "DBOS", "new"]
            {
                self.executors.insert(variable);
            }
        }
    }

    /// `PgPoolOptions::new().max_connections(3)`, or a variable that holds it.
    fn is_pool_options(&self, expression: &Expr) -> bool {
        match expression {
            Expr::MethodCall(call) => {
                // What connects has made a pool of them.
                !CONNECT.iter().any(|connect| call.method == connect)
                    && self.is_pool_options(&call.receiver)
            }
            Expr::Call(call) => match &*call.func {
                Expr::Path(path) => {
                    let whole = self.uses.whole(&path.path);
                    let path: Vec<&str> = whole.iter().map(String::as_str).collect();
                    matches!(
                        path[..],
                        [.., "PgPoolOptions", "new"] | ["sqlx", .., "PoolOptions", "new"]
                    )
                }
                _ => false,
            },
            Expr::Paren(inner) => self.is_pool_options(&inner.expr),
            Expr::Path(_) => name_of(expression).is_some_and(|name| self.options.contains(&name)),
            _ => false,
        }
    }

    /// Whether a receiver is the SDK's handle: a variable that holds one, or something that is called `dbos`.
    fn is_executor(&self, receiver: &Expr) -> bool {
        match receiver {
            Expr::MethodCall(call) => call.method == "dbos" || self.is_executor(&call.receiver),
            Expr::Call(call) => match &*call.func {
                Expr::Path(path) => self.uses.whole(&path.path) == ["dbos", "DBOS", "new"],
                _ => false,
            },
            other => name_of(other).is_some_and(|name| {
                let last = name.rsplit(['.', ':']).next();
                last == Some("dbos") || self.executors.contains(&name)
            }),
        }
    }

    /// `get(…)`, `get(…).post(…)`.
    fn is_router(&self, expression: &Expr) -> bool {
        match expression {
            Expr::Call(call) => match &*call.func {
                Expr::Path(path) => {
                    let whole = self.uses.whole(&path.path);
                    whole.first().is_some_and(|first| first == "axum")
                        && whole
                            .last()
                            .is_some_and(|last| METHODS.contains(&last.as_str()))
                }
                _ => false,
            },
            Expr::MethodCall(call) => {
                METHODS.iter().any(|method| call.method == method) && self.is_router(&call.receiver)
            }
            _ => false,
        }
    }

    fn acquire_timeout(&mut self, call: &ExprMethodCall) {
        if let Some(Expr::Path(path)) = call.args.first() {
            let whole = self.uses.whole(&path.path);
            if let [.., duration, max] = whole.as_slice()
                && duration == "Duration"
                && max == "MAX"
            {
                let message = "the pool's callers wait for a connection without end: acquire_timeout is Duration::MAX";
                self.hazard(Code::EndlessAcquire, span_of(&call.method), message);
            }
        }
    }

    /// The function of the crate that a path can mean.
    fn named(&self, path: &[&str]) -> Option<Target> {
        let (name, before) = path.split_last()?;
        let qualifier = match before.last() {
            None | Some(&("self" | "crate" | "super")) => None,
            Some(&"Self") => Some(self.of_type.clone()?),
            Some(module) => Some((*module).to_owned()),
        };
        Some(Target::Named {
            qualifier,
            name: (*name).to_owned(),
            on_self: false,
        })
    }

    /// Arguments of which the functions are called from outside.
    fn handed<'e>(&mut self, arguments: impl Iterator<Item = &'e Expr>, entry: Entry) {
        for argument in arguments {
            match argument {
                Expr::Closure(closure) => self.closure(closure, entry),
                Expr::Path(path) => {
                    let whole = self.uses.whole(&path.path);
                    let path: Vec<&str> = whole.iter().map(String::as_str).collect();
                    if let Some(target) = self.named(&path) {
                        self.sketch.registered.push((target, entry));
                    }
                }
                other => self.visit_expr(other),
            }
        }
    }

    fn closure(&mut self, closure: &syn::ExprClosure, entry: Entry) {
        let id = FunctionId(self.sketch.functions.len());
        self.sketch.functions.push(Function {
            name: "a closure".to_owned(),
            position: Some(position(span_of(closure))),
            entry: Some(entry),
            ..Function::default()
        });
        let within = self.within.replace(id);
        let kept = std::mem::replace(&mut self.kept, Kept::Nowhere);
        self.visit_expr(&closure.body);
        self.within = within;
        self.kept = kept;
    }

    /// Arguments whose outcome is kept for the process.
    fn kept<'e>(&mut self, arguments: impl Iterator<Item = &'e Expr>) {
        let around = std::mem::replace(&mut self.kept, Kept::Process);
        arguments.for_each(|argument| self.visit_expr(argument));
        self.kept = around;
    }

    fn act(&mut self, span: Span, what: What) {
        let launches = matches!(what, What::Launches | What::Calls(_));
        let guard = self.tests.iter().rev().find(|test| {
            let mut about = test.about.iter();
            about.any(|name| self.set.contains(name))
        });
        let guard = guard.map(|test| test.position).filter(|_| launches);
        self.sketch.acts.push(Act {
            what,
            position: position(span),
            within: self.within,
            kept: self.kept,
            heard: Heard::Yes,
            guard,
        });
    }

    pub(super) fn string(&mut self, text: &str, span: Span) {
        for (code, found) in text::hazards(text) {
            self.hazard(code, span, found);
        }
        if text::is_address(text) {
            self.sketch.addresses.push(text.to_owned());
        }
    }

    /// `std::env::var("PORT")`, `reader.count("PRISMA_POOL_MAX", 3)`: names in capitals that are handed to a function are
    /// variables.
    fn variable<'e>(&mut self, mut arguments: impl Iterator<Item = &'e Expr>) {
        let Some(Expr::Lit(first)) = arguments.next() else {
            return;
        };
        let Lit::Str(name) = &first.lit else { return };
        let name = name.value();
        if !environment::is_variable(&name) {
            return;
        }
        let default = arguments.next().and_then(|second| match second {
            Expr::Lit(literal) => match &literal.lit {
                Lit::Int(number) => Some(number.base10_digits().to_owned()),
                Lit::Str(text) => Some(text.value()),
                _ => None,
            },
            _ => None,
        });
        self.sketch.variables.push(Variable { name, default });
    }
}
