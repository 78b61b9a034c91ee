//! Where the apps of an ecosystem file and their keys stand in it.
//!
//! What they are is found out by evaluating the file; this only says where to look.

use oxc_allocator::Allocator;
use oxc_ast::AstKind;
use oxc_ast::ast::{Expression, ObjectExpression, ObjectPropertyKind};
use oxc_parser::{ParseOptions, Parser};
use oxc_semantic::SemanticBuilder;
use oxc_span::{GetSpan, SourceType};
use poolwright_topology::hazard::Position;
use std::collections::BTreeMap;

/// An app, as it is written.
#[derive(Debug, Default)]
pub(crate) struct WrittenApp {
    /// Its name, where that is written down.
    pub(crate) name: Option<String>,
    pub(crate) position: Option<Position>,
    /// Where its keys stand.
    pub(crate) keys: BTreeMap<String, Position>,
}

/// The apps of a file, in the order in which they are written.
pub(crate) fn written_apps(file: &str, text: &str) -> Vec<WrittenApp> {
    let allocator = Allocator::default();
    // JSON is no program, but an expression in parentheses is one.
    let wrapped = file.ends_with(".json").then(|| format!("({text}\n)"));
    let source = wrapped.as_deref().unwrap_or(text);
    let kind = SourceType::from_path(file).unwrap_or_default();
    let options = ParseOptions {
        allow_return_outside_function: true,
        ..ParseOptions::default()
    };
    let parsed = Parser::new(&allocator, source, kind)
        .with_options(options)
        .parse();
    let program = &*allocator.alloc(parsed.program);
    let built = SemanticBuilder::new().with_build_nodes(true).build(program);
    let place = |start: u32| {
        let at = usize::try_from(start).unwrap_or(0);
        Position::of(text, at.saturating_sub(usize::from(wrapped.is_some())))
    };
    let nodes = built.semantic.nodes().iter();
    let objects = nodes.filter_map(|node| match node.kind() {
        AstKind::ObjectExpression(object) => app(object, &place),
        _ => None,
    });
    objects.collect()
}

fn app(object: &ObjectExpression<'_>, place: &impl Fn(u32) -> Position) -> Option<WrittenApp> {
    let mut app = WrittenApp {
        position: Some(place(object.span.start)),
        ..WrittenApp::default()
    };
    for property in &object.properties {
        let ObjectPropertyKind::ObjectProperty(property) = property else {
            continue;
        };
        let Some(key) = property.key.static_name() else {
            continue;
        };
        if key == "name"
            && let Expression::StringLiteral(name) = &property.value
        {
            app.name = Some(name.value.to_string());
        }
        app.keys
            .insert(key.into_owned(), place(property.key.span().start));
    }
    let is_app = ["script", "exec", "cmd", "command"]
        .iter()
        .any(|key| app.keys.contains_key(*key));
    is_app.then_some(app)
}
