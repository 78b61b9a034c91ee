//! What a file offers to others.

use super::Reading;
use super::names::{Root, export_name};
use crate::sketch::Target;
use oxc_ast::AstKind;
use oxc_ast::ast::{
    Declaration, ExportDefaultDeclarationKind, Expression, ObjectPropertyKind, Statement,
};
use oxc_semantic::{NodeId, SymbolId};
use std::collections::HashMap;

impl<'a> Reading<'_, 'a> {
    /// The variables, functions and classes that are exported, with the names they have outside.
    pub(super) fn exported_names(&self) -> HashMap<SymbolId, String> {
        let mut names = HashMap::new();
        for statement in &self.semantic.nodes().program().body {
            match statement {
                Statement::ExportDeclaration(export) => {
                    for (name, symbol) in declared(&export.declaration) {
                        names.insert(symbol, name.to_owned());
                    }
                }
                Statement::ExportNamedDeclaration(export) => {
                    for specifier in &export.specifiers {
                        let oxc_ast::ast::ModuleExportName::IdentifierReference(local) =
                            &specifier.local
                        else {
                            continue;
                        };
                        if let Some(symbol) = self.names.resolved(local.reference_id.get()) {
                            names.insert(symbol, export_name(&specifier.exported).to_owned());
                        }
                    }
                }
                Statement::ExportDefaultDeclaration(export) => {
                    let symbol = match &export.declaration {
                        ExportDefaultDeclarationKind::FunctionDeclaration(function) => {
                            function.id.as_ref().and_then(|id| id.symbol_id.get())
                        }
                        ExportDefaultDeclarationKind::ClassDeclaration(class) => {
                            class.id.as_ref().and_then(|id| id.symbol_id.get())
                        }
                        ExportDefaultDeclarationKind::Identifier(identifier) => {
                            self.names.resolved(identifier.reference_id.get())
                        }
                        _ => None,
                    };
                    if let Some(symbol) = symbol {
                        names.insert(symbol, "default".to_owned());
                    }
                }
                _ => {}
            }
        }
        names
    }

    pub(super) fn find_exports(&mut self) {
        let program = self.semantic.nodes().program();
        for (symbol, name) in self.exported_names() {
            let meaning = self.names.symbol(symbol);
            let own = self.units.by_symbol.get(&symbol).copied();
            let target = own
                .map(Target::Function)
                .or_else(|| self.target(&meaning, NodeId::ROOT));
            if let Some(target) = target {
                self.sketch.exports.insert(name, target);
            }
        }
        for statement in &program.body {
            match statement {
                Statement::ExportFromDeclaration(export) => {
                    for specifier in &export.specifiers {
                        let target = Target::Imported {
                            module: export.source.value.to_string(),
                            path: vec![export_name(&specifier.local).to_owned()],
                        };
                        let name = export_name(&specifier.exported).to_owned();
                        self.sketch.exports.insert(name, target);
                    }
                }
                Statement::ExportAllDeclaration(export) => {
                    let module = export.source.value.to_string();
                    match &export.exported {
                        None => self.sketch.passes_on.push(module),
                        Some(name) => {
                            let path = Vec::new();
                            let target = Target::Imported { module, path };
                            self.sketch
                                .exports
                                .insert(export_name(name).to_owned(), target);
                        }
                    }
                }
                Statement::ExportDefaultDeclaration(export) => {
                    let unit = self.default_unit(&export.declaration);
                    if let Some(target) = unit {
                        self.sketch.exports.insert("default".to_owned(), target);
                    }
                }
                _ => {}
            }
        }
        self.find_commonjs_exports();
    }

    /// A default export without a name of its own.
    fn default_unit(&self, declaration: &'a ExportDefaultDeclarationKind<'a>) -> Option<Target> {
        let node = match declaration {
            ExportDefaultDeclarationKind::FunctionDeclaration(function) => function.node_id.get(),
            ExportDefaultDeclarationKind::ClassDeclaration(class) => class.node_id.get(),
            ExportDefaultDeclarationKind::ArrowFunctionExpression(arrow) => arrow.node_id.get(),
            _ => return None,
        };
        let unit = self.units.by_node.get(&node).copied();
        unit.map(Target::Function)
    }

    /// `exports.open = open`, `module.exports = { open }`.
    fn find_commonjs_exports(&mut self) {
        for node in self.semantic.nodes() {
            let AstKind::AssignmentExpression(assignment) = node.kind() else {
                continue;
            };
            let target = self.names.target(&assignment.left);
            match (target.root, target.path.as_slice()) {
                (Root::Global("exports"), [name]) | (Root::Global("module"), ["exports", name]) => {
                    self.offer(name, &assignment.right, node.id());
                }
                (Root::Global("module"), ["exports"]) => match &assignment.right {
                    Expression::ObjectExpression(object) => {
                        for property in &object.properties {
                            if let ObjectPropertyKind::ObjectProperty(property) = property
                                && let Some(name) = property.key.static_name()
                            {
                                self.offer(&name, &property.value, node.id());
                            }
                        }
                    }
                    value => self.offer("default", value, node.id()),
                },
                _ => {}
            }
        }
    }

    fn offer(&mut self, name: &str, value: &'a Expression<'a>, node: NodeId) {
        let own = match value.get_inner_expression() {
            Expression::FunctionExpression(function) => Some(function.node_id.get()),
            Expression::ArrowFunctionExpression(arrow) => Some(arrow.node_id.get()),
            _ => None,
        };
        let target = match own {
            Some(own) => self.units.by_node.get(&own).copied().map(Target::Function),
            None => self.target(&self.names.meaning(value), node),
        };
        if let Some(target) = target {
            self.sketch.exports.insert(name.to_owned(), target);
        }
    }
}

/// The names that a declaration makes.
fn declared<'a>(declaration: &'a Declaration<'a>) -> Vec<(&'a str, SymbolId)> {
    let named = |id: Option<&'a oxc_ast::ast::BindingIdentifier<'a>>| {
        let id = id?;
        Some((id.name.as_str(), id.symbol_id.get()?))
    };
    match declaration {
        Declaration::VariableDeclaration(variables) => {
            let patterns = variables.declarations.iter();
            let identifiers = patterns.flat_map(|variable| variable.id.get_binding_identifiers());
            identifiers.filter_map(|id| named(Some(id))).collect()
        }
        Declaration::FunctionDeclaration(function) => {
            named(function.id.as_ref()).into_iter().collect()
        }
        Declaration::ClassDeclaration(class) => named(class.id.as_ref()).into_iter().collect(),
        _ => Vec::new(),
    }
}
