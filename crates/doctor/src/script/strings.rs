//! What strings say: SQL that sets a tenant for the session, URLs that limit a pool, and the names of variables.

use super::Reading;
use super::names::Root;
use super::options::number;
use crate::sketch::Variable;
use crate::{text, url};
use oxc_ast::AstKind;
use oxc_ast::ast::{Argument, CallExpression, Expression};
use oxc_semantic::NodeId;
use oxc_span::Span;
use oxc_syntax::operator::LogicalOperator;
use poolwright_topology::hazard::Code;

impl<'a> Reading<'_, 'a> {
    pub(super) fn find_strings(&mut self) {
        for node in self.semantic.nodes() {
            match node.kind() {
                AstKind::StringLiteral(text) => self.text(text.span, &text.value),
                AstKind::TemplateLiteral(template) => {
                    // What is computed stands as a parameter, which is what it is in a tagged template.
                    let parts = template.quasis.iter().map(|part| {
                        let cooked = part.value.cooked.as_ref();
                        cooked.map_or("", |text| text.as_str())
                    });
                    let text = parts.collect::<Vec<_>>().join("$1");
                    self.text(template.span, &text);
                }
                AstKind::CallExpression(call) => {
                    self.url_parameter(call);
                    self.named_variables(call);
                }
                AstKind::StaticMemberExpression(member) => {
                    let object = self.names.meaning(&member.object);
                    let is_environment = match (object.root, object.path.as_slice()) {
                        (Root::Global("process"), ["env"]) => true,
                        (Root::Module(module), _) => module.starts_with("$env/"),
                        _ => false,
                    };
                    if is_environment {
                        let default = self.fallback(node.id());
                        self.variable(&member.property.name, default);
                    }
                }
                _ => {}
            }
        }
        self.sketch.variables.sort();
        self.sketch.variables.dedup();
    }

    fn text(&mut self, span: Span, text: &str) {
        for (code, found) in text::hazards(text) {
            self.hazard(code, span, found);
        }
        if text::is_address(text) {
            self.sketch.addresses.push(text.to_owned());
        }
    }

    /// `url.searchParams.set('connection_limit', '5')`.
    fn url_parameter(&mut self, call: &'a CallExpression<'a>) {
        let Expression::StaticMemberExpression(method) = &call.callee else {
            return;
        };
        let Expression::StaticMemberExpression(object) = method.object.get_inner_expression()
        else {
            return;
        };
        let sets = matches!(method.property.name.as_str(), "set" | "append");
        let name = call.arguments.first().and_then(Argument::as_expression);
        let limits = name.is_some_and(|name| name.is_specific_string_literal(url::PARAMETER));
        if sets && limits && object.property.name == "searchParams" {
            let message = "connection_limit is added to a URL, where it is ignored";
            self.hazard(Code::ConnectionLimitInUrl, call.span, message);
        }
    }

    /// `read.wholeNumber('PRISMA_POOL_MAX', 3)`: names in capitals that are handed to a function are variables.
    fn named_variables(&mut self, call: &'a CallExpression<'a>) {
        let mut arguments = call.arguments.iter();
        let Some(Argument::StringLiteral(name)) = arguments.next() else {
            return;
        };
        let default = arguments.next().and_then(Argument::as_expression);
        let default = default.and_then(|default| self.written(default));
        self.variable(&name.value, default);
    }

    /// `process.env.PORT ?? 3000`
    fn fallback(&self, node: NodeId) -> Option<String> {
        match self.semantic.nodes().parent_kind(node) {
            AstKind::LogicalExpression(logical) if logical.operator != LogicalOperator::And => {
                self.written(&logical.right)
            }
            _ => None,
        }
    }

    fn written(&self, expression: &'a Expression<'a>) -> Option<String> {
        match self.names.constant_value(expression) {
            Expression::StringLiteral(text) => Some(text.value.to_string()),
            other => number(other).map(|number| number.to_string()),
        }
    }

    fn variable(&mut self, name: &str, default: Option<String>) {
        if crate::environment::is_variable(name) {
            let name = name.to_owned();
            self.sketch.variables.push(Variable { name, default });
        }
    }
}
