//! What a pool and the executor are told when they are made, where it is written down.

use super::Reading;
use super::names::Names;
use oxc_ast::ast::{Argument, Expression, ObjectExpression, ObjectPropertyKind, PropertyKey};
use oxc_span::{GetSpan, Span};
use poolwright_topology::hazard::Code;

/// Fewer than this, and the SDK does not work as it should.
const EXECUTOR_POOL_FLOOR: u32 = poolwright_topology::declare::MIN_EXECUTOR_POOL;

/// An option of an object.
enum Given<'a> {
    /// It is there.
    Value(&'a Expression<'a>),
    /// It is not there, nor in anything that is spread into the object.
    Absent,
    /// Something is spread into the object that only running the program would show.
    Unknown,
}

impl<'a> Reading<'_, 'a> {
    /// The options of a pool of `pg`, by whatever is made: a pool, or an adapter that makes its own.
    pub(super) fn pool_options(&mut self, made: Span, options: Option<&'a Argument<'a>>) {
        const ENDLESS: &str = "the pool's callers wait for a connection without end";
        let object = options.and_then(Argument::as_expression);
        let object = object.and_then(|options| self.names.object(options));
        if let Some(Given::Value(max)) = object.map(|object| self.names.option(object, "max")) {
            let written = number(self.names.constant_value(max));
            self.sketch.pools.extend(written);
        }
        let timeout = match options {
            None => Given::Absent,
            Some(argument) => match argument.as_expression().map(|e| self.names.object(e)) {
                Some(Some(object)) => self.names.option(object, "connectionTimeoutMillis"),
                _ => Given::Unknown,
            },
        };
        match timeout {
            Given::Unknown => {}
            Given::Absent => {
                let message = format!("{ENDLESS}: connectionTimeoutMillis is not set");
                self.hazard(Code::EndlessAcquire, made, message);
            }
            Given::Value(value) => {
                if number(self.names.constant_value(value)) == Some(0) {
                    let message = format!("{ENDLESS}: connectionTimeoutMillis is 0");
                    self.hazard(Code::EndlessAcquire, value.span(), message);
                }
            }
        }
    }

    /// What `DBOS.setConfig` is told.
    pub(super) fn executor_options(&mut self, call: Span, options: Option<&'a Argument<'a>>) {
        let object = options.and_then(|argument| argument.as_expression());
        let Some(object) = object.and_then(|object| self.names.object(object)) else {
            return;
        };
        match self.names.option(object, "runMigrations") {
            Given::Absent => {
                let message = "the executor migrates its schema at every launch: runMigrations is not set, which means true";
                self.hazard(Code::MigratingWorkers, call, message);
            }
            Given::Value(value) if is_true(self.names.constant_value(value)) => {
                let message =
                    "the executor migrates its schema at every launch: runMigrations is true";
                self.hazard(Code::MigratingWorkers, value.span(), message);
            }
            Given::Value(_) | Given::Unknown => {}
        }
        if let Given::Value(value) = self.names.option(object, "executorID")
            && let Some(id) = text(self.names.constant_value(value))
        {
            let message = format!("the executor id is \"{id}\" in every worker");
            self.hazard(Code::FixedExecutorId, value.span(), message);
        }
        self.executor_pool(object);
    }

    fn executor_pool(&mut self, object: &'a ObjectExpression<'a>) {
        let size = match self.names.option(object, "systemDatabasePoolSize") {
            Given::Value(size) => Some(size),
            Given::Absent | Given::Unknown => {
                let pool = self.names.option(object, "systemDatabasePool");
                match pool {
                    Given::Value(pool) => self.max_of(self.names.constant_value(pool)),
                    Given::Absent | Given::Unknown => None,
                }
            }
        };
        let Some(size) = size else { return };
        let Some(count) = number(self.names.constant_value(size)) else {
            return;
        };
        self.sketch.executor_pools.push(count);
        if count < EXECUTOR_POOL_FLOOR {
            let message =
                format!("the executor's pool has {count}, it needs {EXECUTOR_POOL_FLOOR} at least");
            self.hazard(Code::ExecutorPoolTooSmall, size.span(), message);
        }
    }

    /// `max` of `new Pool({ max: … })`.
    fn max_of(&self, pool: &'a Expression<'a>) -> Option<&'a Expression<'a>> {
        let Expression::NewExpression(made) = pool.get_inner_expression() else {
            return None;
        };
        let options = made.arguments.first()?.as_expression()?;
        match self.names.option(self.names.object(options)?, "max") {
            Given::Value(value) => Some(value),
            Given::Absent | Given::Unknown => None,
        }
    }
}

impl<'a> Names<'_, 'a> {
    /// The object that an expression is, also through a constant.
    fn object(self, expression: &'a Expression<'a>) -> Option<&'a ObjectExpression<'a>> {
        match self.constant_value(expression) {
            Expression::ObjectExpression(object) => Some(object),
            _ => None,
        }
    }

    fn option(self, object: &'a ObjectExpression<'a>, name: &str) -> Given<'a> {
        let mut given = Given::Absent;
        for property in &object.properties {
            match property {
                ObjectPropertyKind::ObjectProperty(property) => {
                    if property.computed {
                        if !matches!(given, Given::Value(_)) {
                            given = Given::Unknown;
                        }
                    } else if is_called(&property.key, name) {
                        given = Given::Value(&property.value);
                    }
                }
                ObjectPropertyKind::SpreadProperty(spread) => match self.object(&spread.argument) {
                    Some(inner) => match self.option(inner, name) {
                        Given::Absent => {}
                        found => given = found,
                    },
                    None => given = Given::Unknown,
                },
            }
        }
        given
    }
}

fn is_called(key: &PropertyKey<'_>, name: &str) -> bool {
    key.static_name().is_some_and(|key| key == name)
}

/// A whole number that is written down.
pub(super) fn number(expression: &Expression<'_>) -> Option<u32> {
    let Expression::NumericLiteral(literal) = expression.get_inner_expression() else {
        return None;
    };
    let raw = literal.raw.as_ref()?.replace('_', "");
    raw.parse().ok()
}

fn is_true(expression: &Expression<'_>) -> bool {
    matches!(expression.get_inner_expression(), Expression::BooleanLiteral(literal) if literal.value)
}

/// Text that is written down, without a part that is computed.
fn text<'a>(expression: &'a Expression<'a>) -> Option<&'a str> {
    match expression.get_inner_expression() {
        Expression::StringLiteral(text) => Some(text.value.as_str()),
        Expression::TemplateLiteral(template) => {
            let quasi = template.single_quasi()?;
            Some(quasi.as_str())
        }
        _ => None,
    }
}
