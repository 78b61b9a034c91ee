//! Rust → a [`Sketch`].
//!
//! Read with syn. Names are followed through the file's own `use`s; what a macro hides is read where its tokens are
//! expressions, as those of `query!` and `vec!` are. Types are not inferred: a method counts by its name and its
//! receiver's, as far as both can only mean one thing.

mod acts;
mod booleans;
mod config;
mod names;

use crate::sketch::{Entry, Function, FunctionId, Kept, Sketch};
use booleans::Test;
use names::Uses;
use poolwright_topology::hazard::{Code, Hazard, Place, Position};
use proc_macro2::Span;
use std::collections::BTreeSet;
use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{Attribute, Block, FnArg, ImplItemFn, ItemFn, ItemImpl, ItemMod, Pat, Signature};

/// What axum takes apart a request with, in patterns: `State(desk): State<Desk>`.
const EXTRACTORS: [&str; 9] = [
    "State",
    "Path",
    "Query",
    "Json",
    "Form",
    "Extension",
    "TypedHeader",
    "WebSocketUpgrade",
    "Multipart",
];

/// What makes a function a handler: of actix, of Rocket, of axum's macros.
const HANDLERS: [&str; 10] = [
    "get",
    "post",
    "put",
    "patch",
    "delete",
    "head",
    "options",
    "route",
    "handler",
    "debug_handler",
];

/// Reads a file.
///
/// # Errors
/// Why it is not Rust, and where.
pub(crate) fn read(file: &str, text: &str) -> Result<Sketch, (Option<Position>, String)> {
    let parsed = syn::parse_file(text);
    let read = match parsed {
        Ok(parsed) => {
            let mut reading = Reading {
                file,
                uses: Uses::of(&parsed),
                of_type: None,
                within: None,
                kept: Kept::Nowhere,
                tests: Vec::new(),
                set: BTreeSet::new(),
                options: BTreeSet::new(),
                executors: BTreeSet::new(),
                configs: Vec::new(),
                sketch: Sketch::default(),
            };
            reading.visit_file(&parsed);
            Ok(reading.sketch)
        }
        Err(error) => Err((Some(position(error.span())), error.to_string())),
    };
    // The positions of all files that a thread has read would add up otherwise.
    proc_macro2::extra::invalidate_current_thread_spans();
    read
}

fn position(span: Span) -> Position {
    let start = span.start();
    let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    Position {
        line: number(start.line),
        column: number(start.column + 1),
    }
}

/// A file while it is read.
struct Reading<'f> {
    file: &'f str,
    uses: Uses,
    /// The type whose functions are read.
    of_type: Option<String>,
    within: Option<FunctionId>,
    /// Where the value of what is read is kept by what is around it.
    kept: Kept,
    /// The conditions that what is read depends on.
    tests: Vec<Test>,
    /// The booleans that the function sets.
    set: BTreeSet<String>,
    /// The function's variables that are options of a pool, and those that are the SDK's handle.
    options: BTreeSet<String>,
    executors: BTreeSet<String>,
    /// The function's configurations of the executor that are made with the SDK's defaults.
    configs: Vec<config::Made>,
    sketch: Sketch,
}

impl Reading<'_> {
    fn hazard(&mut self, code: Code, span: Span, message: impl Into<String>) {
        let place = Place::new(self.file, Some(position(span)));
        self.sketch.hazards.push(Hazard::at(code, place, message));
    }

    /// Reads a function's body as a function of its own.
    fn function(&mut self, function: Function, block: &Block) {
        let id = FunctionId(self.sketch.functions.len());
        self.sketch.functions.push(function);
        let around = (
            self.within.replace(id),
            std::mem::replace(&mut self.kept, Kept::Nowhere),
            std::mem::take(&mut self.tests),
            std::mem::replace(&mut self.set, booleans::set_in(block)),
            std::mem::take(&mut self.options),
            std::mem::take(&mut self.executors),
            std::mem::take(&mut self.configs),
        );
        self.visit_block(block);
        self.judge_configs();
        (
            self.within,
            self.kept,
            self.tests,
            self.set,
            self.options,
            self.executors,
            self.configs,
        ) = around;
    }

    fn signed(&self, signature: &Signature, attributes: &[Attribute]) -> Function {
        let takes_a_request = signature.inputs.iter().any(|input| match input {
            FnArg::Typed(typed) => match &*typed.pat {
                Pat::TupleStruct(pattern) => {
                    let last = pattern.path.segments.last();
                    last.is_some_and(|last| EXTRACTORS.iter().any(|name| last.ident == name))
                }
                _ => false,
            },
            FnArg::Receiver(_) => false,
        });
        let is_handler = attributes.iter().any(|attribute| {
            let last = attribute.path().segments.last();
            last.is_some_and(|last| HANDLERS.iter().any(|name| last.ident == name))
        });
        let called = signature.asyncness.is_some() && takes_a_request || is_handler;
        Function {
            name: signature.ident.to_string(),
            position: Some(position(signature.ident.span())),
            entry: called.then_some(Entry::Request),
            of_type: self.of_type.clone(),
            takes_self: signature.receiver().is_some(),
            ..Function::default()
        }
    }
}

impl<'ast> Visit<'ast> for Reading<'_> {
    // Comments are attributes to syn, and their text is no string of the program.
    fn visit_attribute(&mut self, _attribute: &'ast Attribute) {}

    fn visit_item_mod(&mut self, module: &'ast ItemMod) {
        if !is_test(&module.attrs) {
            visit::visit_item_mod(self, module);
        }
    }

    fn visit_item_impl(&mut self, item: &'ast ItemImpl) {
        if is_test(&item.attrs) {
            return;
        }
        let name = match &*item.self_ty {
            syn::Type::Path(path) => path.path.segments.last().map(|last| last.ident.to_string()),
            _ => None,
        };
        let around = std::mem::replace(&mut self.of_type, name);
        visit::visit_item_impl(self, item);
        self.of_type = around;
    }

    fn visit_item_fn(&mut self, item: &'ast ItemFn) {
        if !is_test(&item.attrs) {
            let function = self.signed(&item.sig, &item.attrs);
            self.function(function, &item.block);
        }
    }

    fn visit_impl_item_fn(&mut self, item: &'ast ImplItemFn) {
        if !is_test(&item.attrs) {
            let function = self.signed(&item.sig, &item.attrs);
            self.function(function, &item.block);
        }
    }

    fn visit_block(&mut self, block: &'ast Block) {
        let before = self.tests.len();
        for statement in &block.stmts {
            self.visit_stmt(statement);
            self.tests.extend(booleans::leaves(statement));
        }
        self.tests.truncate(before);
    }

    fn visit_expr_if(&mut self, test: &'ast syn::ExprIf) {
        self.visit_expr(&test.cond);
        self.tests.push(Test::of(test));
        self.visit_block(&test.then_branch);
        if let Some((_, otherwise)) = &test.else_branch {
            self.visit_expr(otherwise);
        }
        self.tests.pop();
    }

    fn visit_local(&mut self, local: &'ast syn::Local) {
        self.local(local);
        visit::visit_local(self, local);
    }

    fn visit_expr_call(&mut self, call: &'ast syn::ExprCall) {
        self.call(call);
    }

    fn visit_expr_method_call(&mut self, call: &'ast syn::ExprMethodCall) {
        self.method_call(call);
    }

    fn visit_expr_struct(&mut self, made: &'ast syn::ExprStruct) {
        self.made(made);
        for field in &made.fields {
            self.visit_expr(&field.expr);
        }
        // The base of a configuration is judged with it.
        if let Some(rest) = &made.rest
            && !self.is_config(made)
        {
            self.visit_expr(rest);
        }
    }

    fn visit_expr_assign(&mut self, assignment: &'ast syn::ExprAssign) {
        self.assigned(assignment);
        visit::visit_expr_assign(self, assignment);
    }

    fn visit_macro(&mut self, mac: &'ast syn::Macro) {
        let parser = syn::punctuated::Punctuated::<syn::Expr, syn::Token![,]>::parse_terminated;
        if let Ok(arguments) = mac.parse_body_with(parser) {
            for argument in &arguments {
                self.visit_expr(argument);
            }
        }
    }

    fn visit_pat(&mut self, pattern: &'ast Pat) {
        if let Pat::Lit(literal) = pattern
            && let syn::Lit::Str(word) = &literal.lit
        {
            self.sketch.words.insert(word.value());
        }
        visit::visit_pat(self, pattern);
    }

    fn visit_lit_str(&mut self, literal: &'ast syn::LitStr) {
        self.string(&literal.value(), literal.span());
    }
}

/// Whether what carries these is compiled for tests only, or is one.
fn is_test(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let last = attribute.path().segments.last();
        let named = last.is_some_and(|last| last.ident == "test");
        let configured = attribute.path().is_ident("cfg")
            && attribute
                .parse_args::<syn::Ident>()
                .is_ok_and(|only| only == "test");
        named || configured
    })
}

/// The place of an expression.
fn span_of(expression: &impl Spanned) -> Span {
    expression.span()
}
