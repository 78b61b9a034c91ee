//! The expressions that open, launch or call.

use super::Reading;
use super::entries::{self, DBOS};
use super::names::Meaning;
use crate::sketch::{Act, Heard, Opening, What};
use oxc_ast::AstKind;
use oxc_ast::ast::{Argument, CallExpression, Expression, NewExpression};
use oxc_semantic::NodeId;
use oxc_span::{GetSpan, Span};

/// What of the SDK reads a workflow's status over a connection of its own.
const STATUS: [&str; 4] = [
    "getWorkflowStatus",
    "listWorkflows",
    "listQueuedWorkflows",
    "listWorkflowSteps",
];

impl<'a> Reading<'_, 'a> {
    pub(super) fn find_acts(&mut self) {
        for node in self.semantic.nodes() {
            match node.kind() {
                AstKind::NewExpression(made) => self.made(node.id(), made),
                AstKind::CallExpression(call) => self.called(node.id(), call),
                _ => {}
            }
        }
    }

    fn made(&mut self, node: NodeId, made: &'a NewExpression<'a>) {
        let class = self.names.meaning(&made.callee);
        if let Some(opening) = opening(&class) {
            if opening == Opening::PgPool {
                self.pool_options(made.span, made.arguments.first());
            }
            return self.act(node, made.span, What::Opens(opening));
        }
        if matches!(class.imported(), Some(("@prisma/adapter-pg", ["PrismaPg"])))
            && let Some(argument @ Argument::ObjectExpression(_)) = made.arguments.first()
        {
            // Given options and no pool, it makes its own, and listens to that one's errors.
            self.pool_options(made.span, Some(argument));
        }
        if let Some(target) = self.target(&class, node) {
            self.act(node, made.span, What::Calls(target));
        }
    }

    fn called(&mut self, node: NodeId, call: &'a CallExpression<'a>) {
        if matches!(call.callee, Expression::Super(_)) {
            return self.made_as_subclass(node, call);
        }
        let callee = self.names.meaning(&call.callee);
        self.register(node, &callee, call);
        match callee.imported() {
            Some((DBOS, ["DBOS", "launch", ..])) => {
                return self.act(node, call.span, What::Launches);
            }
            Some((DBOS, ["DBOS", "setConfig"])) => {
                return self.executor_options(call.span, call.arguments.first());
            }
            Some((DBOS, ["DBOS", status])) if STATUS.contains(status) => {
                return self.act(node, call.span, What::ReadsStatus);
            }
            Some((DBOS, ["DBOSClient", "create"])) => {
                return self.act(node, call.span, What::Opens(Opening::DbosClient));
            }
            Some(("postgres", ["default"] | [])) => {
                return self.act(node, call.span, What::Opens(Opening::PostgresJs));
            }
            _ => {}
        }
        for argument in &call.arguments {
            self.handed_on(node, argument);
        }
        self.sketch.says_ready |= says_ready(call);
        if self.is_handle_status(call) {
            return self.act(node, call.span, What::ReadsStatus);
        }
        if let Some(target) = self.target(&callee, node) {
            self.act(node, call.span, What::Calls(target));
        }
    }

    /// `super({ … })` in a class that extends a pool.
    fn made_as_subclass(&mut self, node: NodeId, call: &'a CallExpression<'a>) {
        let class = self.class_around(node);
        let Some(AstKind::Class(class)) = class.map(|class| self.semantic.nodes().kind(class))
        else {
            return;
        };
        let Some(heritage) = &class.heritage else {
            return;
        };
        let base = self.names.meaning(&heritage.expression);
        if opening(&base) == Some(Opening::PgPool) {
            self.pool_options(call.span, call.arguments.first());
        }
    }

    /// A launch that is handed to somebody who will call it: `once(DBOS.launch)`.
    fn handed_on(&mut self, node: NodeId, argument: &'a Argument<'a>) {
        let Some(expression) = argument.as_expression() else {
            return;
        };
        let meaning = self.names.meaning(expression);
        if matches!(meaning.imported(), Some((DBOS, ["DBOS", "launch"]))) {
            self.act(node, expression.span(), What::Launches);
        }
    }

    /// `handle.getStatus()`, in a file that knows the SDK.
    fn is_handle_status(&self, call: &'a CallExpression<'a>) -> bool {
        let Expression::StaticMemberExpression(member) = &call.callee else {
            return false;
        };
        member.property.name == "getStatus" && call.arguments.is_empty() && self.knows_dbos()
    }

    fn knows_dbos(&self) -> bool {
        let mut statements = self.semantic.nodes().program().body.iter();
        statements.any(|statement| {
            matches!(statement, oxc_ast::ast::Statement::ImportDeclaration(import)
                if import.source.value.starts_with("@dbos-inc/"))
        })
    }

    /// Functions that are handed by name to whoever calls them for every request, workflow or step.
    fn register(&mut self, node: NodeId, callee: &Meaning<'a>, call: &'a CallExpression<'a>) {
        let Some(entry) = entries::registered(callee, call) else {
            return;
        };
        for argument in &call.arguments {
            if let Some(expression) = argument.as_expression()
                && !expression.is_function()
                && let Some(target) = self.target(&self.names.meaning(expression), node)
            {
                self.sketch.registered.push((target, entry));
            }
        }
    }

    fn act(&mut self, node: NodeId, span: Span, what: What) {
        let heard = match what {
            What::Opens(opening) if opening.needs_listener() => self.heard(node, span),
            What::Calls(_) => self.heard(node, span),
            _ => Heard::Yes,
        };
        let guard = match what {
            What::Launches | What::Calls(_) => self.boolean_guard(node),
            What::Opens(_) | What::ReadsStatus => None,
        };
        let act = Act {
            position: self.position(span),
            within: self.within(node),
            kept: self.kept(node, span),
            what,
            heard,
            guard,
        };
        self.sketch.acts.push(act);
    }
}

/// `process.send('ready')`, or the same as a message with a type.
fn says_ready(call: &CallExpression<'_>) -> bool {
    let Expression::StaticMemberExpression(member) = &call.callee else {
        return false;
    };
    let said = call.arguments.first().and_then(Argument::as_expression);
    member.property.name == "send"
        && match said {
            Some(Expression::StringLiteral(text)) => text.value == "ready",
            Some(Expression::ObjectExpression(message)) => {
                let mut properties = message.properties.iter();
                properties.any(|property| {
                    property.as_property().is_some_and(|property| {
                        property.key.static_name().as_deref() == Some("type")
                            && property.value.is_specific_string_literal("ready")
                    })
                })
            }
            _ => false,
        }
}

/// What making an instance of a class opens.
fn opening(class: &Meaning<'_>) -> Option<Opening> {
    match class.imported()? {
        ("pg" | "pg-native", ["Pool"] | ["native", "Pool"]) | ("pg-pool", ["default"] | []) => {
            Some(Opening::PgPool)
        }
        ("pg" | "pg-native", ["Client"] | ["native", "Client"]) => Some(Opening::PgClient),
        (_, [.., "PrismaClient"]) => Some(Opening::PrismaClient),
        _ => None,
    }
}

/// Whether a module is the driver's own, so that extending its pool makes a pool.
pub(crate) fn is_pg_pool(module: &str, path: &[String]) -> bool {
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    let path = match path.as_slice() {
        ["default", rest @ ..] if !rest.is_empty() => rest,
        path => path,
    };
    matches!(
        (module, path),
        ("pg" | "pg-native", ["Pool"]) | ("pg-pool", ["default"] | [])
    )
}
