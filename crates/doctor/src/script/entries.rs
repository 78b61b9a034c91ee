//! Which functions are called from outside the project's sources: by a framework for every request, or by the executor for
//! every run of a workflow or a step.

use super::names::Meaning;
use crate::sketch::Entry;
use oxc_ast::ast::{Argument, CallExpression, Expression};
use std::path::Path;

/// The DBOS SDK and what belongs to it.
pub(super) const DBOS: &str = "@dbos-inc/dbos-sdk";

/// What SvelteKit, Next and Astro call by the name of the method.
const VERBS: [&str; 9] = [
    "GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "HEAD", "QUERY", "ALL",
];

/// What routers of the express kind register with.
const ROUTES: [&str; 10] = [
    "get", "post", "put", "patch", "delete", "options", "head", "all", "use", "route",
];

/// How a framework takes a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Serving {
    /// The exports that it calls for every request.
    exports: &'static [&'static str],
    verbs: bool,
}

impl Serving {
    /// Whether it calls the export of that name.
    pub(super) fn calls(self, export: &str) -> bool {
        self.exports.contains(&export) || (self.verbs && VERBS.contains(&export))
    }
}

/// What a framework does with a file of that name; `None` when it takes no notice of it.
pub(super) fn serving(file: &str) -> Option<Serving> {
    let path = Path::new(file);
    let name = path.file_name()?.to_str()?;
    let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
    let below = |folder: &str| {
        path.parent()
            .is_some_and(|parents| parents.iter().any(|part| part == folder))
    };
    let serving = |exports, verbs| Some(Serving { exports, verbs });
    match stem {
        "+server" => serving(&["fallback"], true),
        "+page.server" | "+layout.server" => serving(&["load", "actions"], false),
        "+page" | "+layout" => serving(&["load"], false),
        "hooks.server" | "hooks" => serving(
            &[
                "handle",
                "handleFetch",
                "handleError",
                "handleValidationError",
            ],
            false,
        ),
        _ if stem.ends_with(".remote") => serving(&[], false),
        "route" if below("app") => serving(&[], true),
        "page" | "layout" if below("app") => serving(&["default", "generateMetadata"], false),
        "middleware" | "proxy" => serving(&["middleware", "proxy", "default"], false),
        _ if below("pages") && below("api") => serving(&["default", "handler"], true),
        _ if below("pages") => serving(&["default", "getServerSideProps", "getStaticProps"], true),
        _ if below("app") && below("routes") => serving(&["default", "loader", "action"], false),
        _ if below("server") && (below("api") || below("routes")) => serving(&["default"], false),
        _ => None,
    }
}

/// Which of a call's arguments are called from outside, by whom: `None` when none is.
pub(super) fn registered<'a>(callee: &Meaning<'a>, call: &CallExpression<'a>) -> Option<Entry> {
    if let Some((module, path)) = callee.imported() {
        let last = path.last().copied().unwrap_or_default();
        if module.starts_with("@dbos-inc/") {
            return match last {
                "registerWorkflow" | "startWorkflow" => Some(Entry::Workflow),
                "registerStep" | "runStep" | "registerTransaction" | "runTransaction" => {
                    Some(Entry::Step)
                }
                _ => None,
            };
        }
        let request = match module {
            "node:http" | "node:https" | "node:http2" | "http" | "https" | "http2" => {
                matches!(last, "createServer" | "createSecureServer")
            }
            "$app/server" => matches!(last, "query" | "form" | "command" | "prerender" | "batch"),
            "h3" | "nitropack/runtime" => matches!(last, "defineEventHandler" | "eventHandler"),
            _ => false,
        };
        if request {
            return Some(Entry::Request);
        }
    }
    let unbound = callee.path.last().copied().unwrap_or_default();
    if let super::names::Root::Global(name) = callee.root
        && callee.path.is_empty()
        && matches!(name, "defineEventHandler" | "eventHandler")
    {
        return Some(Entry::Request);
    }
    (ROUTES.contains(&unbound) && names_a_route(call)).then_some(Entry::Request)
}

/// `app.get('/orders', …)`, and not `cache.get('orders', …)`; `app.use((request, response, next) => …)`.
fn names_a_route(call: &CallExpression<'_>) -> bool {
    let Some(first) = call.arguments.first() else {
        return false;
    };
    match first {
        Argument::StringLiteral(text) => {
            (text.value.starts_with('/') || text.value == "*") && call.arguments.len() > 1
        }
        Argument::ArrowFunctionExpression(function) => function.params.parameters_count() >= 2,
        Argument::FunctionExpression(function) => function.params.parameters_count() >= 2,
        _ => false,
    }
}

/// What a decorator makes of a method.
pub(super) fn decorated(decorator: &Meaning<'_>) -> Option<Entry> {
    match decorator.imported()? {
        (module, [.., "workflow" | "scheduled"]) if module.starts_with("@dbos-inc/") => {
            Some(Entry::Workflow)
        }
        (module, [.., "step" | "transaction"]) if module.starts_with("@dbos-inc/") => {
            Some(Entry::Step)
        }
        ("@nestjs/common", ["Get" | "Post" | "Put" | "Patch" | "Delete" | "All"]) => {
            Some(Entry::Request)
        }
        _ => None,
    }
}

/// The expression that a decorator applies: `DBOS.step` of `@DBOS.step()`.
pub(super) fn applied<'e, 'a>(expression: &'e Expression<'a>) -> &'e Expression<'a> {
    match expression {
        Expression::CallExpression(call) => &call.callee,
        plain => plain,
    }
}
