//! TypeScript and JavaScript → a [`Sketch`].
//!
//! Read with oxc's parser and its scopes: a comment or a string is no call, and `new P()` is a pool where `P` was imported
//! as one, through whatever alias. Types are not computed; a value that only types could follow (a pool in a
//! parameter, a method of an instance) is followed no further.

mod acts;
mod ecosystem;
mod entries;
mod exports;
mod hearing;
mod keeping;
mod names;
mod options;
mod strings;
mod units;

pub(crate) use acts::is_pg_pool;
pub(crate) use ecosystem::{WrittenApp, written_apps};

use crate::lines::Lines;
use crate::sketch::{FunctionId, Sketch};
use entries::Serving;
use names::Names;
use oxc_allocator::Allocator;
use oxc_ast::AstKind;
use oxc_parser::{ParseOptions, Parser};
use oxc_semantic::{AstNode, NodeId, Semantic, SemanticBuilder};
use oxc_span::{SourceType, Span};
use poolwright_topology::hazard::{Code, Hazard, Place, Position};
use rustc_hash::{FxHashMap, FxHashSet};
use units::Units;

/// Reads a file.
///
/// # Errors
/// Why it is not JavaScript or TypeScript, and where.
pub(crate) fn read(file: &str, text: &str) -> Result<Sketch, (Option<Position>, String)> {
    let kind = SourceType::from_path(file).unwrap_or_default();
    let allocator = Allocator::default();
    let options = ParseOptions {
        preserve_parens: false,
        // Scripts of CommonJS may.
        allow_return_outside_function: true,
        ..ParseOptions::default()
    };
    let parsed = Parser::new(&allocator, text, kind)
        .with_options(options)
        .parse();
    if parsed.panicked {
        let said = parsed.diagnostics.into_iter().next();
        let said = said.ok_or((None, "cannot be parsed".to_owned()))?;
        let at = said.labels.first().map(|label| label.offset());
        let position = at.and_then(|at| Some(Position::of(text, usize::try_from(at).ok()?)));
        return Err((position, said.message.to_string()));
    }
    let program = &*allocator.alloc(parsed.program);
    let built = SemanticBuilder::new().with_build_nodes(true).build(program);
    let reading = Reading {
        semantic: &built.semantic,
        names: Names::of(&built.semantic),
        source: text,
        lines: Lines::of(text),
        file,
        serving: entries::serving(file),
        units: Units::default(),
        heard: FxHashSet::default(),
        booleans: FxHashMap::default(),
        sketch: Sketch::default(),
    };
    Ok(reading.sketch())
}

/// How many levels are looked up at. Nothing that somebody wrote has so many; a chain of a hundred thousand calls, each
/// looking up to the top, would take a minute.
const MAX_LEVELS: usize = 500;

/// A file while it is read.
struct Reading<'s, 'a> {
    semantic: &'s Semantic<'a>,
    names: Names<'s, 'a>,
    source: &'a str,
    lines: Lines<'a>,
    file: &'s str,
    serving: Option<Serving>,
    units: Units,
    /// Whose errors somebody listens to.
    heard: FxHashSet<hearing::Whose<'a>>,
    /// What each function sets to `true` or `false`, as it is written.
    booleans: FxHashMap<Option<FunctionId>, Vec<&'a str>>,
    sketch: Sketch,
}

impl<'a> Reading<'_, 'a> {
    fn sketch(mut self) -> Sketch {
        self.sketch.serves = self.serving.is_some();
        self.find_units();
        self.find_exports();
        self.find_listeners();
        self.find_booleans();
        self.find_acts();
        self.find_strings();
        self.sketch
    }

    fn position(&self, span: Span) -> Position {
        self.lines
            .position(usize::try_from(span.start).unwrap_or(0))
    }

    fn hazard(&mut self, code: Code, span: Span, message: impl Into<String>) {
        let place = Place::new(self.file, Some(self.position(span)));
        self.sketch.hazards.push(Hazard::at(code, place, message));
    }

    /// What a node stands in, from the inside out.
    fn around(&self, node: NodeId) -> impl Iterator<Item = &AstNode<'a>> + use<'_, 'a> {
        self.semantic.nodes().ancestors(node).take(MAX_LEVELS)
    }

    /// The function that a node is evaluated in; none while the file is loaded.
    fn within(&self, node: NodeId) -> Option<FunctionId> {
        let mut of_the_class = false;
        for around in self.around(node) {
            match around.kind() {
                AstKind::PropertyDefinition(property) => of_the_class = property.r#static,
                AstKind::StaticBlock(_) => of_the_class = true,
                // Evaluated with the class, not with its instances.
                AstKind::Class(_) if of_the_class => {
                    of_the_class = false;
                    continue;
                }
                _ => {}
            }
            if let Some(unit) = self.units.by_node.get(&around.id()) {
                return Some(*unit);
            }
        }
        None
    }
}
