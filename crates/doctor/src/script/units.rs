//! The functions and classes of a file that somebody can call, and who does so from outside.
//!
//! A function that is handed to a call inside another function (`rows.map(…)`, `transaction(async () => …)`) counts as
//! part of that function: it runs on its behalf, if it runs.

use super::Reading;
use super::entries::{self, Serving};
use super::names::Root;
use crate::sketch::{Entry, Function, FunctionId, Target};
use oxc_ast::AstKind;
use oxc_ast::ast::{
    BindingPattern, CallExpression, Class, Decorator, FunctionBody, MethodDefinitionKind,
};
use oxc_semantic::{AstNode, NodeId, SymbolId};
use oxc_span::{GetSpan, Span};
use rustc_hash::FxHashMap;
use std::collections::HashMap;

/// Where the functions of a file are.
#[derive(Debug, Default)]
pub(super) struct Units {
    pub(super) by_node: FxHashMap<NodeId, FunctionId>,
    pub(super) by_symbol: FxHashMap<SymbolId, FunctionId>,
    /// By class and name.
    pub(super) methods: FxHashMap<(NodeId, String), FunctionId>,
}

/// What calls its function argument at once, or never again: the function is a part of where it stands.
const AT_ONCE: [&str; 12] = [
    "map", "forEach", "filter", "flatMap", "reduce", "some", "every", "find", "then", "catch",
    "finally", "run",
];

/// What calls its function argument once, and keeps the outcome in the closure that it gives back.
pub(super) const ONCE: [&str; 8] = [
    "once",
    "memoize",
    "memoise",
    "memo",
    "lazy",
    "singleton",
    "cache",
    "remember",
];

impl<'a> Reading<'_, 'a> {
    pub(super) fn find_units(&mut self) {
        let exported = self.exported_names();
        for node in self.semantic.nodes() {
            match node.kind() {
                AstKind::Class(class) => self.class(node.id(), class),
                AstKind::Function(function) => {
                    if let Some(body) = &function.body {
                        let own = function.id.as_ref();
                        let name = own.map(|id| (id.name.as_str(), id.symbol_id.get()));
                        let is_declared = function.is_function_declaration();
                        let declared = name.filter(|_| is_declared);
                        self.unit(node.id(), function.span, declared, Some(body), &exported);
                    }
                }
                AstKind::ArrowFunctionExpression(arrow) => {
                    let body = arrow.body.as_function_body();
                    self.unit(node.id(), arrow.span, None, body, &exported);
                }
                _ => {}
            }
        }
    }

    fn class(&mut self, node: NodeId, class: &'a Class<'a>) {
        let name = class.id.as_ref().map_or("a class", |id| id.name.as_str());
        let extends = class.heritage.as_ref().and_then(|heritage| {
            let meaning = self.names.meaning(&heritage.expression);
            self.target(&meaning, node)
        });
        let made = self.add(Function {
            name: name.to_owned(),
            position: Some(self.position(class.span)),
            extends,
            ..Function::default()
        });
        // Only the constructor and the fields' values are evaluated with it; methods are units of their own.
        self.units.by_node.insert(node, made);
        let bound = class.id.as_ref().and_then(|id| id.symbol_id.get());
        if let Some(symbol) = bound.or_else(|| self.bound_by_parent(node)) {
            self.units.by_symbol.insert(symbol, made);
        }
    }

    /// Makes a function a unit, unless it is a part of the one around it.
    fn unit(
        &mut self,
        node: NodeId,
        span: Span,
        declared: Option<(&'a str, Option<SymbolId>)>,
        body: Option<&'a FunctionBody<'a>>,
        exported: &HashMap<SymbolId, String>,
    ) {
        let mut function = Function {
            position: Some(self.position(span)),
            ..Function::default()
        };
        let mut symbol = declared.and_then(|(_, symbol)| symbol);
        if let Some((name, _)) = declared {
            function.name = name.to_owned();
        } else {
            let parent = self.holder(node);
            match self.semantic.nodes().kind(parent) {
                AstKind::VariableDeclarator(declarator) => {
                    if let BindingPattern::BindingIdentifier(identifier) = &declarator.id {
                        function.name = identifier.name.to_string();
                        symbol = identifier.symbol_id.get();
                    }
                }
                AstKind::MethodDefinition(method) => {
                    if method.kind == MethodDefinitionKind::Constructor {
                        return;
                    }
                    function.name = method.key.static_name().unwrap_or_default().into_owned();
                    function.entry = self.decorated(&method.decorators);
                    return self.method(node, parent, function);
                }
                AstKind::PropertyDefinition(property) => {
                    function.name = property.key.static_name().unwrap_or_default().into_owned();
                    function.entry = self.decorated(&property.decorators);
                    return self.method(node, parent, function);
                }
                AstKind::ObjectProperty(property) => {
                    function.name = property.key.static_name().unwrap_or_default().into_owned();
                    function.entry = self.exported_entry(parent, exported);
                }
                AstKind::ExportDefaultDeclaration(_) => function.name = "default".to_owned(),
                AstKind::AssignmentExpression(assignment) => {
                    let target = self.names.target(&assignment.left);
                    function.name = target.path.last().copied().unwrap_or_default().to_owned();
                }
                AstKind::CallExpression(call) if !call.callee.span().contains_inclusive(span) => {
                    match self.handed(node, parent, call, exported) {
                        Some((entry, kept_by)) => {
                            function.entry = entry;
                            function.name = "a function".to_owned();
                            symbol = kept_by;
                        }
                        None => return,
                    }
                }
                // What is called where it stands, or handed on inside a function, is a part of what is around it.
                AstKind::CallExpression(_) | AstKind::NewExpression(_) => return,
                _ if self.within(node).is_some() => return,
                _ => function.name = "a function".to_owned(),
            }
        }
        let export = symbol
            .and_then(|symbol| exported.get(&symbol).cloned())
            .or_else(|| (function.name == "default").then(|| "default".to_owned()));
        if let Some(export) = export {
            let called = self.serving.is_some_and(|serving| serving.calls(&export));
            if called || self.is_server_module() {
                function.entry = function.entry.or(Some(Entry::Request));
            }
        }
        if body.is_some_and(is_for_the_server) {
            function.entry = function.entry.or(Some(Entry::Request));
        }
        let id = self.add(function);
        self.units.by_node.insert(node, id);
        if let Some(symbol) = symbol {
            self.units.by_symbol.insert(symbol, id);
        }
    }

    /// A function that is handed to a call: `None` for a part of what is around it, else who calls it and what variable
    /// the call's outcome goes to.
    fn handed(
        &self,
        node: NodeId,
        parent: NodeId,
        call: &'a CallExpression<'a>,
        exported: &HashMap<SymbolId, String>,
    ) -> Option<(Option<Entry>, Option<SymbolId>)> {
        let callee = self.names.meaning(&call.callee);
        if let Some(entry) = entries::registered(&callee, call) {
            return Some((Some(entry), self.bound_by_parent(parent)));
        }
        if let Some(entry) = self.exported_entry(parent, exported) {
            return Some((Some(entry), self.bound_by_parent(parent)));
        }
        let last = match callee.root {
            Root::Global(name) if callee.path.is_empty() => name,
            _ => callee.path.last().copied().unwrap_or_default(),
        };
        let at_once = AT_ONCE.contains(&last) || ONCE.contains(&last);
        let bare = call.callee.get_identifier_reference();
        let once = bare.is_some_and(|bare| ONCE.contains(&bare.name.as_str()));
        if at_once || once || self.within(node).is_some() {
            return None;
        }
        Some((None, self.bound_by_parent(parent)))
    }

    fn method(&mut self, node: NodeId, definition: NodeId, function: Function) {
        let nodes = self.semantic.nodes();
        let class = nodes.parent_id(nodes.parent_id(definition));
        let name = function.name.clone();
        let id = self.add(function);
        self.units.by_node.insert(node, id);
        self.units.methods.insert((class, name), id);
    }

    fn add(&mut self, function: Function) -> FunctionId {
        let id = FunctionId(self.sketch.functions.len());
        self.sketch.functions.push(function);
        id
    }

    fn decorated(&self, decorators: &'a [Decorator<'a>]) -> Option<Entry> {
        decorators.iter().find_map(|decorator| {
            let applied = entries::applied(&decorator.expression);
            entries::decorated(&self.names.meaning(applied))
        })
    }

    /// The node that holds a function, past casts.
    fn holder(&self, node: NodeId) -> NodeId {
        let mut around = self.around(node);
        let holder = around.find(|around| {
            !matches!(
                around.kind(),
                AstKind::TSAsExpression(_)
                    | AstKind::TSSatisfiesExpression(_)
                    | AstKind::TSNonNullExpression(_)
                    | AstKind::TSTypeAssertion(_)
                    | AstKind::ParenthesizedExpression(_)
            )
        });
        holder.map_or(node, AstNode::id)
    }

    /// The variable that an expression is the value of.
    fn bound_by_parent(&self, node: NodeId) -> Option<SymbolId> {
        match self.semantic.nodes().kind(self.holder(node)) {
            AstKind::VariableDeclarator(declarator) => {
                let identifier = declarator.id.get_binding_identifier()?;
                identifier.symbol_id.get()
            }
            _ => None,
        }
    }

    /// Who calls what a function is a part of: `export const actions = { default: async () => … }`,
    /// `export const POST = guarded(async () => …)`.
    fn exported_entry(&self, node: NodeId, exported: &HashMap<SymbolId, String>) -> Option<Entry> {
        let serving: Serving = self.serving?;
        for around in self.around(node) {
            match around.kind() {
                AstKind::VariableDeclarator(declarator) => {
                    let symbol = declarator.id.get_binding_identifier()?.symbol_id.get()?;
                    let name = exported.get(&symbol)?;
                    return serving.calls(name).then_some(Entry::Request);
                }
                AstKind::ExportDefaultDeclaration(_) => {
                    return serving.calls("default").then_some(Entry::Request);
                }
                AstKind::Function(_) | AstKind::ArrowFunctionExpression(_) => return None,
                _ => {}
            }
        }
        None
    }

    /// Whether the file begins with `'use server'`: all its exports are called by requests then.
    fn is_server_module(&self) -> bool {
        let program = self.semantic.nodes().program();
        let mut directives = program.directives.iter();
        directives.any(|directive| directive.directive == "use server")
    }

    /// What a name stands for, if it is a function, a class or an import. `node` is where it is said.
    pub(super) fn target(
        &self,
        meaning: &super::names::Meaning<'a>,
        node: NodeId,
    ) -> Option<Target> {
        let function = match (meaning.root, meaning.path.as_slice()) {
            (Root::Module(module), path) => {
                return Some(Target::Imported {
                    module: module.to_owned(),
                    path: path.iter().map(|name| (*name).to_owned()).collect(),
                });
            }
            (Root::Symbol(symbol), []) => self.units.by_symbol.get(&symbol),
            (Root::Symbol(symbol), [method]) => {
                let class = self.semantic.scoping().symbol_declaration(symbol);
                self.units.methods.get(&(class, (*method).to_owned()))
            }
            (Root::This, [method]) => {
                let class = self.class_around(node)?;
                self.units.methods.get(&(class, (*method).to_owned()))
            }
            _ => None,
        };
        function.copied().map(Target::Function)
    }
}

fn is_for_the_server(body: &FunctionBody<'_>) -> bool {
    let mut directives = body.directives.iter();
    directives.any(|directive| directive.directive == "use server")
}
