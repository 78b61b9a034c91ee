//! Where a value is kept, so that the next evaluation finds it: on `globalThis`, in a variable of the module, or nowhere.
//!
//! And the opposite of keeping: a boolean that is to say whether something was done.

use super::Reading;
use super::names::{Meaning, Root, text_of};
use super::units::ONCE;
use crate::sketch::Kept;
use oxc_ast::AstKind;
use oxc_ast::ast::{AssignmentExpression, Expression, IfStatement, Statement};
use oxc_semantic::{NodeId, SymbolId};
use oxc_span::{GetSpan, Span};
use oxc_syntax::operator::{AssignmentOperator, BinaryOperator, LogicalOperator};
use poolwright_topology::hazard::Position;

impl<'a> Reading<'_, 'a> {
    /// Where the value of an expression is kept by what is around it, up to the function it is evaluated in.
    pub(super) fn kept(&self, node: NodeId, span: Span) -> Kept {
        let mut inner = span;
        for around in self.around(node) {
            let kept = match around.kind() {
                // Nothing is hot-reloaded there.
                AstKind::IfStatement(test)
                    if test.consequent.span().contains_inclusive(inner)
                        && is_production(&test.test)
                        && self.within(node).is_none() =>
                {
                    Kept::Process
                }
                AstKind::ConditionalExpression(choice)
                    if choice.consequent.span().contains_inclusive(inner)
                        && is_production(&choice.test)
                        && self.within(node).is_none() =>
                {
                    Kept::Process
                }
                AstKind::AssignmentExpression(assignment)
                    if assignment.right.span().contains_inclusive(inner) =>
                {
                    self.kept_by_assignment(assignment, node)
                }
                AstKind::LogicalExpression(logical)
                    if logical.operator != LogicalOperator::And
                        && logical.right.span().contains_inclusive(inner) =>
                {
                    self.kept_in(&self.names.meaning(&logical.left))
                }
                AstKind::ConditionalExpression(choice)
                    if !choice.test.span().contains_inclusive(inner) =>
                {
                    self.kept_in(&self.names.meaning(tested(&choice.test)))
                }
                AstKind::VariableDeclarator(declarator) => {
                    let identifier = declarator.id.get_binding_identifier();
                    let symbol = identifier.and_then(|id| id.symbol_id.get());
                    symbol.map_or(Kept::Nowhere, |symbol| self.kept_later(symbol, node))
                }
                AstKind::CallExpression(call) => self.kept_by_call(call, inner),
                _ => Kept::Nowhere,
            };
            if kept != Kept::Nowhere {
                return kept;
            }
            if self.units.by_node.contains_key(&around.id()) {
                break;
            }
            inner = around.kind().span();
        }
        Kept::Nowhere
    }

    /// `globals.pool ??= open()`, and `if (!globals.pool) globals.pool = open()`.
    fn kept_by_assignment(&self, assignment: &'a AssignmentExpression<'a>, made: NodeId) -> Kept {
        let target = self.names.target(&assignment.left);
        match assignment.operator {
            AssignmentOperator::LogicalNullish | AssignmentOperator::LogicalOr => {
                self.kept_in(&target)
            }
            AssignmentOperator::Assign if self.is_tested(&target, made) => self.kept_in(&target),
            _ => Kept::Nowhere,
        }
    }

    /// `once(() => open())`.
    fn kept_by_call(&self, call: &'a oxc_ast::ast::CallExpression<'a>, inner: Span) -> Kept {
        if call.callee.span().contains_inclusive(inner) {
            return Kept::Nowhere;
        }
        let name = match call.callee.get_inner_expression() {
            Expression::Identifier(identifier) => identifier.name.as_str(),
            Expression::StaticMemberExpression(member) => member.property.name.as_str(),
            _ => return Kept::Nowhere,
        };
        let hands_a_function = call.arguments.iter().any(|argument| {
            let argument = argument.as_expression();
            argument.is_some_and(|argument| {
                argument.is_function() && argument.span().contains_inclusive(inner)
            })
        });
        match name {
            // `remember('prisma', () => …)` of @epic-web/remember keeps it on globalThis.
            "remember" | "singleton" if hands_a_function => Kept::Process,
            _ if ONCE.contains(&name) && hands_a_function => Kept::Module,
            _ => Kept::Nowhere,
        }
    }

    /// `const pool = open(); globals.pool = pool;`
    fn kept_later(&self, symbol: SymbolId, made: NodeId) -> Kept {
        let nodes = self.semantic.nodes();
        for reference in self.semantic.symbol_references(symbol) {
            let used = reference.node_id();
            if let AstKind::AssignmentExpression(assignment) = nodes.parent_kind(used)
                && assignment
                    .right
                    .span()
                    .contains_inclusive(nodes.kind(used).span())
            {
                let kept = self.kept_by_assignment(assignment, made);
                if kept != Kept::Nowhere {
                    return kept;
                }
            }
        }
        Kept::Nowhere
    }

    fn kept_in(&self, target: &Meaning<'a>) -> Kept {
        if target.is_global() {
            return Kept::Process;
        }
        match target.root {
            Root::Symbol(symbol) if self.is_of_the_module(symbol) => Kept::Module,
            Root::This | Root::Module(_) => Kept::Somewhere,
            // A parameter's member: whoever handed it over knows how long it lives.
            Root::Symbol(_) if !target.path.is_empty() => Kept::Somewhere,
            _ => Kept::Nowhere,
        }
    }

    fn is_of_the_module(&self, symbol: SymbolId) -> bool {
        self.semantic.symbol_scope(symbol) == self.semantic.scoping().root_scope_id()
    }

    /// Whether what is around `made`, or stands before it in the same function, asks first whether `target` is there.
    fn is_tested(&self, target: &Meaning<'a>, made: NodeId) -> bool {
        self.tests(made).any(|(_, test)| {
            let mut asked = Vec::new();
            parts(&test.test, &mut asked);
            asked.iter().any(|part| {
                let meaning = self.names.meaning(part);
                meaning.root == target.root || (meaning.is_global() && target.is_global())
            })
        })
    }

    /// The `if`s that an expression hides behind: those around it, and those before it that leave the function.
    fn tests(&self, made: NodeId) -> impl Iterator<Item = (Span, &'a IfStatement<'a>)> {
        let nodes = self.semantic.nodes();
        let at = nodes.kind(made).span();
        let mut found = Vec::new();
        for around in self.around(made) {
            match around.kind() {
                AstKind::IfStatement(test) if !test.test.span().contains_inclusive(at) => {
                    found.push((test.span, test));
                }
                AstKind::FunctionBody(body) => leaving(&body.statements, at, &mut found),
                AstKind::BlockStatement(block) => leaving(&block.body, at, &mut found),
                _ => {}
            }
            if self.units.by_node.contains_key(&around.id()) {
                break;
            }
        }
        found.into_iter()
    }

    /// What is set to `true` or `false`, by the function that does.
    pub(super) fn find_booleans(&mut self) {
        for node in self.semantic.nodes() {
            if let AstKind::AssignmentExpression(assignment) = node.kind()
                && assignment.operator == AssignmentOperator::Assign
                && matches!(
                    assignment.right.get_inner_expression(),
                    Expression::BooleanLiteral(_)
                )
            {
                let function = self.within(node.id());
                let set = self.booleans.entry(function).or_default();
                set.push(text_of(self.source, &assignment.left));
            }
        }
    }

    /// The test of a boolean that an expression hides behind, if the same function sets that boolean.
    pub(super) fn boolean_guard(&self, made: NodeId) -> Option<Position> {
        let set = self.booleans.get(&self.within(made))?;
        let mut tests = self.tests(made);
        let guard = tests.find(|(_, test)| {
            let mut asked = Vec::new();
            parts(&test.test, &mut asked);
            asked
                .iter()
                .any(|part| set.contains(&text_of(self.source, *part)))
        });
        guard.map(|(span, _)| self.position(span))
    }
}

/// The statements before `at` of the kind `if (…) return …`.
fn leaving<'a>(
    statements: &'a [Statement<'a>],
    at: Span,
    found: &mut Vec<(Span, &'a IfStatement<'a>)>,
) {
    for statement in statements {
        if statement.span().end > at.start {
            break;
        }
        if let Statement::IfStatement(test) = statement
            && leaves(&test.consequent)
        {
            found.push((test.span, test));
        }
    }
}

fn leaves(statement: &Statement<'_>) -> bool {
    match statement {
        Statement::ReturnStatement(_) | Statement::ThrowStatement(_) => true,
        Statement::BlockStatement(block) => block.body.last().is_some_and(leaves),
        _ => false,
    }
}

/// What a test is about: `!pool`, `pool === undefined` and `pool` all are about `pool`.
fn tested<'a>(test: &'a Expression<'a>) -> &'a Expression<'a> {
    match test.get_inner_expression() {
        Expression::UnaryExpression(unary) => tested(&unary.argument),
        Expression::BinaryExpression(binary) => tested(&binary.left),
        expression => expression,
    }
}

/// Every name and member that a test is about.
fn parts<'a>(test: &'a Expression<'a>, found: &mut Vec<&'a Expression<'a>>) {
    match test.get_inner_expression() {
        Expression::UnaryExpression(unary) => parts(&unary.argument, found),
        Expression::BinaryExpression(binary) => {
            parts(&binary.left, found);
            parts(&binary.right, found);
        }
        Expression::LogicalExpression(logical) => {
            parts(&logical.left, found);
            parts(&logical.right, found);
        }
        Expression::AssignmentExpression(_) => {}
        expression => found.push(expression),
    }
}

/// `process.env.NODE_ENV === 'production'`, `import.meta.env.PROD`.
fn is_production(test: &Expression<'_>) -> bool {
    match test.get_inner_expression() {
        Expression::BinaryExpression(binary) => {
            matches!(
                binary.operator,
                BinaryOperator::StrictEquality | BinaryOperator::Equality
            ) && [&binary.left, &binary.right]
                .iter()
                .any(|side| side.is_specific_string_literal("production"))
        }
        Expression::StaticMemberExpression(member) => member.property.name == "PROD",
        _ => false,
    }
}
