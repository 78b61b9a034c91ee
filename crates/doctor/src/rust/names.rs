//! What names stand for: through `use`.

use std::collections::HashMap;
use syn::{Expr, File, Item, UseTree};

/// The names that a file imports, anywhere in it, with their whole paths.
#[derive(Debug, Default)]
pub(super) struct Uses(HashMap<String, Vec<String>>);

impl Uses {
    pub(super) fn of(file: &File) -> Self {
        let mut uses = Self::default();
        uses.items(&file.items);
        uses
    }

    fn items(&mut self, items: &[Item]) {
        for item in items {
            match item {
                Item::Use(import) => self.tree(&import.tree, &mut Vec::new()),
                Item::Mod(module) => {
                    if let Some((_, items)) = &module.content {
                        self.items(items);
                    }
                }
                _ => {}
            }
        }
    }

    fn tree(&mut self, tree: &UseTree, path: &mut Vec<String>) {
        match tree {
            UseTree::Path(next) => {
                path.push(next.ident.to_string());
                self.tree(&next.tree, path);
                path.pop();
            }
            UseTree::Name(name) => {
                let name = name.ident.to_string();
                let mut whole = path.clone();
                let local = if name == "self" {
                    path.last().cloned().unwrap_or_default()
                } else {
                    whole.push(name.clone());
                    name
                };
                self.0.insert(local, whole);
            }
            UseTree::Rename(renamed) => {
                let mut whole = path.clone();
                whole.push(renamed.ident.to_string());
                self.0.insert(renamed.rename.to_string(), whole);
            }
            UseTree::Group(group) => {
                for tree in &group.items {
                    self.tree(tree, path);
                }
            }
            UseTree::Glob(_) => {}
        }
    }

    /// A path with its first name followed.
    pub(super) fn whole(&self, path: &syn::Path) -> Vec<String> {
        let mut segments = path
            .segments
            .iter()
            .map(|segment| segment.ident.to_string());
        let Some(first) = segments.next() else {
            return Vec::new();
        };
        let mut whole = match self.0.get(&first) {
            Some(whole) => whole.clone(),
            None => vec![first],
        };
        whole.extend(segments);
        whole
    }
}

/// An expression as a name: `self.dbos`, `LAUNCHED`; of a method call its receiver's.
pub(super) fn name_of(expression: &Expr) -> Option<String> {
    match expression {
        Expr::Path(path) => {
            let segments = path.path.segments.iter();
            let names: Vec<String> = segments.map(|segment| segment.ident.to_string()).collect();
            Some(names.join("::"))
        }
        Expr::Field(field) => {
            let member = match &field.member {
                syn::Member::Named(name) => name.to_string(),
                syn::Member::Unnamed(index) => index.index.to_string(),
            };
            Some(format!("{}.{member}", name_of(&field.base)?))
        }
        Expr::MethodCall(call) => name_of(&call.receiver),
        Expr::Reference(reference) => name_of(&reference.expr),
        Expr::Unary(unary) => name_of(&unary.expr),
        Expr::Paren(inner) => name_of(&inner.expr),
        Expr::Await(awaited) => name_of(&awaited.base),
        Expr::Try(tried) => name_of(&tried.expr),
        _ => None,
    }
}
