//! Who listens to the errors of a pool's idle connections.

use super::Reading;
use super::names::text_of;
use crate::sketch::Heard;
use oxc_ast::AstKind;
use oxc_ast::ast::{AssignmentTarget, CallExpression, Expression};
use oxc_semantic::{NodeId, SymbolId};
use oxc_span::{GetSpan, Span};

/// Whose errors are listened to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Whose<'a> {
    /// A variable's.
    Symbol(SymbolId),
    /// A member's, as it is written: `globals.pool`.
    Member(&'a str),
    /// Of what is made at this node: `new Pool().on('error', …)`.
    Node(NodeId),
}

/// How an emitter's listeners are added.
const LISTEN: [&str; 4] = ["on", "addListener", "prependListener", "once"];

impl<'a> Reading<'_, 'a> {
    pub(super) fn find_listeners(&mut self) {
        for node in self.semantic.nodes() {
            let AstKind::CallExpression(call) = node.kind() else {
                continue;
            };
            let Some(object) = listened(call) else {
                continue;
            };
            match object.get_inner_expression() {
                Expression::ThisExpression(_) => {
                    let class = self.class_around(node.id());
                    let function = class.and_then(|class| self.units.by_node.get(&class));
                    if let Some(function) = function
                        && let Some(function) = self.sketch.functions.get_mut(function.0)
                    {
                        function.listens = true;
                    }
                }
                Expression::Identifier(identifier) => {
                    if let Some(symbol) = self.names.resolved(identifier.reference_id.get()) {
                        self.heard.insert(Whose::Symbol(symbol));
                    }
                }
                Expression::NewExpression(made) => {
                    self.heard.insert(Whose::Node(made.node_id.get()));
                }
                Expression::CallExpression(made) => {
                    self.heard.insert(Whose::Node(made.node_id.get()));
                }
                member => {
                    self.heard
                        .insert(Whose::Member(text_of(self.source, member)));
                }
            }
        }
    }

    /// Whether somebody listens to what is made at a node.
    pub(super) fn heard(&self, node: NodeId, span: Span) -> Heard {
        if self.heard.contains(&Whose::Node(node)) {
            return Heard::Yes;
        }
        let mut inner = span;
        for around in self.around(node) {
            match around.kind() {
                AstKind::VariableDeclarator(declarator) => {
                    let identifier = declarator.id.get_binding_identifier();
                    let symbol = identifier.and_then(|id| id.symbol_id.get());
                    return symbol.map_or(Heard::No, |symbol| self.heard_variable(symbol));
                }
                AstKind::AssignmentExpression(assignment)
                    if assignment.right.span().contains_inclusive(inner) =>
                {
                    match &assignment.left {
                        AssignmentTarget::AssignmentTargetIdentifier(identifier) => {
                            let symbol = self.names.resolved(identifier.reference_id.get());
                            if let Some(symbol) = symbol
                                && self.heard_variable(symbol) != Heard::No
                            {
                                return self.heard_variable(symbol);
                            }
                        }
                        target => {
                            let text = text_of(self.source, target);
                            if self.heard.contains(&Whose::Member(text)) {
                                return Heard::Yes;
                            }
                        }
                    }
                }
                AstKind::ReturnStatement(_) => return Heard::ByCallers,
                AstKind::ArrowFunctionExpression(arrow) => {
                    let is_value = arrow
                        .body
                        .as_expression()
                        .is_some_and(|body| body.span().contains_inclusive(inner));
                    return if is_value {
                        Heard::ByCallers
                    } else {
                        Heard::No
                    };
                }
                AstKind::PropertyDefinition(property) => {
                    let key = property.key.static_name().unwrap_or_default();
                    let member = format!("this.{key}");
                    let heard = self.heard.contains(&Whose::Member(member.as_str()));
                    return if heard { Heard::Yes } else { Heard::No };
                }
                // Still the same value.
                AstKind::LogicalExpression(_)
                | AstKind::ConditionalExpression(_)
                | AstKind::AwaitExpression(_)
                | AstKind::TSAsExpression(_)
                | AstKind::TSSatisfiesExpression(_)
                | AstKind::TSNonNullExpression(_)
                | AstKind::TSTypeAssertion(_) => {}
                _ => return Heard::No,
            }
            inner = around.kind().span();
        }
        Heard::No
    }

    fn heard_variable(&self, symbol: SymbolId) -> Heard {
        if self.heard.contains(&Whose::Symbol(symbol)) {
            return Heard::Yes;
        }
        // What is returned afterwards may be listened to by whoever gets it.
        let nodes = self.semantic.nodes();
        let mut uses = self.semantic.symbol_references(symbol);
        let returned = uses.any(|reference| {
            matches!(
                nodes.parent_kind(reference.node_id()),
                AstKind::ReturnStatement(_)
            )
        });
        if returned {
            Heard::ByCallers
        } else {
            Heard::No
        }
    }

    pub(super) fn class_around(&self, node: NodeId) -> Option<NodeId> {
        let mut around = self.around(node);
        let class = around.find(|node| matches!(node.kind(), AstKind::Class(_)))?;
        Some(class.id())
    }
}

/// Whose `error` a call adds a listener for.
fn listened<'a>(call: &'a CallExpression<'a>) -> Option<&'a Expression<'a>> {
    let Expression::StaticMemberExpression(callee) = &call.callee else {
        return None;
    };
    if !LISTEN.contains(&callee.property.name.as_str()) {
        return None;
    }
    let event = call.arguments.first()?.as_expression()?;
    if !event.is_specific_string_literal("error") {
        return None;
    }
    let mut object = &callee.object;
    // `pool.on('connect', …).on('error', …)`
    while let Expression::CallExpression(before) = object
        && let Expression::StaticMemberExpression(member) = &before.callee
        && LISTEN.contains(&member.property.name.as_str())
    {
        object = &member.object;
    }
    Some(object)
}
