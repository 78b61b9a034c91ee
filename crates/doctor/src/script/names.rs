//! What an expression stands for: through imports, aliases, casts and members.

use oxc_ast::AstKind;
use oxc_ast::ast::{
    AssignmentTarget, BindingPattern, CallExpression, ChainElement, ComputedMemberExpression,
    Expression, MemberExpression, ModuleExportName, StaticMemberExpression, VariableDeclarator,
};
use oxc_semantic::{NodeId, Semantic, SymbolId};
use oxc_span::GetSpan;

/// How many aliases are followed. Nobody writes more; a circle of them has no end.
const MAX_ALIASES: usize = 16;

/// Whose member an expression is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Root<'a> {
    /// An import: its module.
    Module(&'a str),
    /// Nothing in the file: `globalThis`, `process`.
    Global(&'a str),
    /// A variable, a parameter, a function or a class of the file.
    Symbol(SymbolId),
    This,
    Unknown,
}

/// A root, and the names that follow it: `pg.Pool` is `Pool` of the module `pg`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Meaning<'a> {
    pub(super) root: Root<'a>,
    pub(super) path: Vec<&'a str>,
}

/// A member that is computed: not known by its name.
const COMPUTED: &str = "[]";

impl<'a> Meaning<'a> {
    const fn of(root: Root<'a>) -> Self {
        Self {
            root,
            path: Vec::new(),
        }
    }

    fn member(mut self, name: &'a str) -> Self {
        self.path.push(name);
        self
    }

    /// The module and what of it, for what is imported. A default export's members count as the module's: CommonJS
    /// modules arrive either way.
    pub(super) fn imported(&self) -> Option<(&'a str, &[&'a str])> {
        let Root::Module(module) = self.root else {
            return None;
        };
        match self.path.as_slice() {
            ["default", rest @ ..] if !rest.is_empty() => Some((module, rest)),
            path => Some((module, path)),
        }
    }

    /// Whether it outlives the evaluation of its module: a part of `globalThis`, or of `process` beside its environment.
    pub(super) fn is_global(&self) -> bool {
        match self.root {
            Root::Global("globalThis" | "global" | "window" | "self") => true,
            Root::Global("process") => self.path.first().is_some_and(|name| *name != "env"),
            _ => false,
        }
    }
}

/// The names of one file.
#[derive(Clone, Copy)]
pub(super) struct Names<'s, 'a> {
    semantic: &'s Semantic<'a>,
}

impl<'s, 'a> Names<'s, 'a> {
    pub(super) const fn of(semantic: &'s Semantic<'a>) -> Self {
        Self { semantic }
    }

    pub(super) fn meaning(self, expression: &'s Expression<'a>) -> Meaning<'a> {
        self.expression(expression, MAX_ALIASES)
    }

    /// What an assignment changes.
    pub(super) fn target(self, target: &'s AssignmentTarget<'a>) -> Meaning<'a> {
        self.assigned(target, MAX_ALIASES)
    }

    pub(super) fn symbol(self, symbol: SymbolId) -> Meaning<'a> {
        self.variable(symbol, MAX_ALIASES)
    }

    /// The expression that a constant stands for, where it is one; else the expression itself.
    pub(super) fn constant_value(self, expression: &'a Expression<'a>) -> &'a Expression<'a> {
        let mut expression = expression.get_inner_expression();
        for _ in 0..MAX_ALIASES {
            let Expression::Identifier(identifier) = expression else {
                break;
            };
            let symbol = self.resolved(identifier.reference_id.get());
            let declared = symbol.and_then(|symbol| self.constant(symbol));
            match declared {
                Some(declarator) if declarator.id.is_binding_identifier() => {
                    match &declarator.init {
                        Some(init) => expression = init.get_inner_expression(),
                        None => break,
                    }
                }
                _ => break,
            }
        }
        expression
    }

    pub(super) fn resolved(
        self,
        reference: Option<oxc_syntax::reference::ReferenceId>,
    ) -> Option<SymbolId> {
        let reference = self.semantic.scoping().get_reference(reference?);
        reference.symbol_id()
    }

    fn expression(self, expression: &'s Expression<'a>, left: usize) -> Meaning<'a> {
        let unknown = Meaning::of(Root::Unknown);
        let Some(left) = left.checked_sub(1) else {
            return unknown;
        };
        match expression.get_inner_expression() {
            Expression::Identifier(identifier) => {
                match self.resolved(identifier.reference_id.get()) {
                    Some(symbol) => self.variable(symbol, left),
                    None => Meaning::of(Root::Global(identifier.name.as_str())),
                }
            }
            Expression::StaticMemberExpression(member) => self.static_member(member, left),
            Expression::ComputedMemberExpression(member) => self.computed_member(member, left),
            Expression::PrivateFieldExpression(member) => {
                let object = self.expression(&member.object, left);
                object.member(member.field.name.as_str())
            }
            Expression::ChainExpression(chain) => match &chain.expression {
                ChainElement::CallExpression(call) => self.call(call, left),
                ChainElement::TSNonNullExpression(inner) => {
                    self.expression(&inner.expression, left)
                }
                element => element
                    .as_member_expression()
                    .map_or(unknown, |member| self.member(member, left)),
            },
            Expression::AwaitExpression(awaited) => self.expression(&awaited.argument, left),
            Expression::ImportExpression(import) => module_named(&import.source),
            Expression::CallExpression(call) => self.call(call, left),
            Expression::ThisExpression(_) => Meaning::of(Root::This),
            Expression::AssignmentExpression(assignment) => self.assigned(&assignment.left, left),
            Expression::LogicalExpression(logical) => self.expression(&logical.left, left),
            _ => unknown,
        }
    }

    fn call(self, call: &'s CallExpression<'a>, left: usize) -> Meaning<'a> {
        match (&call.callee, call.arguments.first()) {
            (Expression::Identifier(require), Some(argument))
                if require.name == "require"
                    && self.resolved(require.reference_id.get()).is_none() =>
            {
                let argument = argument.as_expression();
                argument.map_or_else(|| Meaning::of(Root::Unknown), module_named)
            }
            // `Symbol.for('…')` and the like have no name; `promise.then(…)` is about its receiver.
            (Expression::StaticMemberExpression(member), _)
                if matches!(
                    member.property.name.as_str(),
                    "then" | "catch" | "finally" | "$extends"
                ) =>
            {
                self.expression(&member.object, left)
            }
            _ => Meaning::of(Root::Unknown),
        }
    }

    fn member(self, member: &'s MemberExpression<'a>, left: usize) -> Meaning<'a> {
        match member {
            MemberExpression::StaticMemberExpression(member) => self.static_member(member, left),
            MemberExpression::ComputedMemberExpression(member) => {
                self.computed_member(member, left)
            }
            MemberExpression::PrivateFieldExpression(member) => {
                let object = self.expression(&member.object, left);
                object.member(member.field.name.as_str())
            }
        }
    }

    fn static_member(self, member: &'s StaticMemberExpression<'a>, left: usize) -> Meaning<'a> {
        let object = self.expression(&member.object, left);
        object.member(member.property.name.as_str())
    }

    fn computed_member(self, member: &'s ComputedMemberExpression<'a>, left: usize) -> Meaning<'a> {
        let name = match member.expression.get_inner_expression() {
            Expression::StringLiteral(text) => text.value.as_str(),
            _ => COMPUTED,
        };
        self.expression(&member.object, left).member(name)
    }

    fn assigned(self, target: &'s AssignmentTarget<'a>, left: usize) -> Meaning<'a> {
        match target {
            AssignmentTarget::AssignmentTargetIdentifier(identifier) => {
                match self.resolved(identifier.reference_id.get()) {
                    Some(symbol) => self.variable(symbol, left),
                    None => Meaning::of(Root::Global(identifier.name.as_str())),
                }
            }
            target => match (target.as_member_expression(), target.get_expression()) {
                (Some(member), _) => self.member(member, left),
                (None, Some(cast)) => self.expression(cast, left),
                (None, None) => Meaning::of(Root::Unknown),
            },
        }
    }

    fn variable(self, symbol: SymbolId, left: usize) -> Meaning<'a> {
        let own = Meaning::of(Root::Symbol(symbol));
        let declaration = self.semantic.scoping().symbol_declaration(symbol);
        match self.semantic.nodes().kind(declaration) {
            AstKind::ImportSpecifier(specifier) => {
                let name = export_name(&specifier.imported);
                self.import(declaration).map_or(own, |m| m.member(name))
            }
            AstKind::ImportDefaultSpecifier(_) => self
                .import(declaration)
                .map_or(own, |module| module.member("default")),
            AstKind::ImportNamespaceSpecifier(_) => self.import(declaration).unwrap_or(own),
            AstKind::VariableDeclarator(_) => {
                let Some((declarator, init)) = self
                    .constant(symbol)
                    .and_then(|declarator| Some((declarator, declarator.init.as_ref()?)))
                else {
                    return own;
                };
                let Some(left) = left.checked_sub(1) else {
                    return own;
                };
                let Some(keys) = path_to(&declarator.id, symbol) else {
                    return own;
                };
                let mut meaning = self.expression(init, left);
                if meaning.root == Root::Unknown {
                    return own;
                }
                meaning.path.extend(keys);
                meaning
            }
            _ => own,
        }
    }

    fn import(self, specifier: NodeId) -> Option<Meaning<'a>> {
        match self.semantic.nodes().parent_kind(specifier) {
            AstKind::ImportDeclaration(import) => {
                Some(Meaning::of(Root::Module(import.source.value.as_str())))
            }
            _ => None,
        }
    }

    /// The declaration of a variable that is never assigned again.
    fn constant(self, symbol: SymbolId) -> Option<&'a VariableDeclarator<'a>> {
        let scoping = self.semantic.scoping();
        if scoping.symbol_is_mutated(symbol) {
            return None;
        }
        match self
            .semantic
            .nodes()
            .kind(scoping.symbol_declaration(symbol))
        {
            AstKind::VariableDeclarator(declarator) => Some(declarator),
            _ => None,
        }
    }
}

fn module_named<'a>(source: &Expression<'a>) -> Meaning<'a> {
    match source.get_inner_expression() {
        Expression::StringLiteral(text) => Meaning::of(Root::Module(text.value.as_str())),
        _ => Meaning::of(Root::Unknown),
    }
}

/// The name of an export or an import.
pub(super) fn export_name<'a>(name: &ModuleExportName<'a>) -> &'a str {
    match name {
        ModuleExportName::IdentifierName(name) => name.name.as_str(),
        ModuleExportName::IdentifierReference(name) => name.name.as_str(),
        ModuleExportName::StringLiteral(text) => text.value.as_str(),
    }
}

/// The keys that lead to a name in a pattern; none for names in arrays and rests.
fn path_to<'a>(pattern: &'a BindingPattern<'a>, symbol: SymbolId) -> Option<Vec<&'a str>> {
    match pattern {
        BindingPattern::BindingIdentifier(identifier) => {
            (identifier.symbol_id.get() == Some(symbol)).then(Vec::new)
        }
        BindingPattern::AssignmentPattern(with_default) => path_to(&with_default.left, symbol),
        BindingPattern::ObjectPattern(object) => object.properties.iter().find_map(|property| {
            let mut path = path_to(&property.value, symbol)?;
            let oxc_ast::ast::PropertyKey::StaticIdentifier(key) = &property.key else {
                return None;
            };
            path.insert(0, key.name.as_str());
            Some(path)
        }),
        BindingPattern::ArrayPattern(_) => None,
    }
}

/// The text of an expression: two with the same text are the same place.
pub(super) fn text_of<'a>(source: &'a str, expression: &impl GetSpan) -> &'a str {
    expression.span().source_text(source)
}
