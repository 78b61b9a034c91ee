//! JSON with the places of its keys. Comments and trailing commas are taken, as `tsconfig.json` has them.

use oxc_allocator::Allocator;
use oxc_ast::ast::{ArrayExpressionElement, Expression, ObjectPropertyKind};
use oxc_parser::Parser;
use oxc_span::{GetSpan, SourceType};

/// A value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Json {
    Object(Vec<Entry>),
    Array(Vec<Json>),
    Text(String),
    Bool(bool),
    /// A number, or nothing: neither is read here.
    Other,
}

/// A key of an object, and its value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Entry {
    pub(crate) key: String,
    /// Where the key stands, in bytes.
    pub(crate) at: usize,
    pub(crate) value: Json,
}

impl Json {
    /// The value of a text; `None` for a text that is no JSON.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let allocator = Allocator::default();
        let parsed = Parser::new(&allocator, text, SourceType::ts()).parse_expression();
        parsed.ok().map(|expression| Self::of(&expression))
    }

    fn of(expression: &Expression<'_>) -> Self {
        match expression {
            Expression::ObjectExpression(object) => {
                let entries = object
                    .properties
                    .iter()
                    .filter_map(|property| match property {
                        ObjectPropertyKind::ObjectProperty(property) => Some(Entry {
                            key: property.key.static_name()?.into_owned(),
                            at: usize::try_from(property.key.span().start).ok()?,
                            value: Self::of(&property.value),
                        }),
                        ObjectPropertyKind::SpreadProperty(_) => None,
                    });
                Self::Object(entries.collect())
            }
            Expression::ArrayExpression(array) => {
                let values = array.elements.iter();
                let values = values.filter_map(ArrayExpressionElement::as_expression);
                Self::Array(values.map(Self::of).collect())
            }
            Expression::StringLiteral(text) => Self::Text(text.value.to_string()),
            Expression::BooleanLiteral(literal) => Self::Bool(literal.value),
            _ => Self::Other,
        }
    }

    pub(crate) fn entries(&self) -> &[Entry] {
        match self {
            Self::Object(entries) => entries,
            _ => &[],
        }
    }

    pub(crate) fn get(&self, key: &str) -> Option<&Self> {
        let mut entries = self.entries().iter();
        entries
            .find(|entry| entry.key == key)
            .map(|entry| &entry.value)
    }

    pub(crate) fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Json;

    #[test]
    fn keys_have_their_places_and_comments_are_taken() {
        let text = "{\n  // why\n  \"a\": { \"b\": [true, \"x\",], },\n}\n";
        let json = Json::parse(text).unwrap();
        let a = &json.entries()[0];
        assert_eq!((a.key.as_str(), a.at), ("a", text.find("\"a\"").unwrap()));
        let b = a.value.get("b").unwrap();
        assert_eq!(
            *b,
            Json::Array(vec![Json::Bool(true), Json::Text("x".into())])
        );
        assert_eq!(Json::parse("{ \"a\": "), None);
        assert_eq!(Json::parse(""), None);
    }
}
