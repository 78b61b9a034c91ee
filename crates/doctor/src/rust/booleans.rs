//! Booleans that are to say whether something was done: which a function sets, and what depends on them.

use super::names::name_of;
use super::position;
use poolwright_topology::hazard::Position;
use std::collections::BTreeSet;
use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{Block, Expr, ExprAssign, ExprIf, ExprMethodCall, Lit, Stmt};

/// A condition, and what it is about.
#[derive(Debug)]
pub(super) struct Test {
    pub(super) position: Position,
    pub(super) about: Vec<String>,
}

impl Test {
    pub(super) fn of(test: &ExprIf) -> Self {
        let mut about = Vec::new();
        parts(&test.cond, &mut about);
        Self {
            position: position(test.span()),
            about,
        }
    }
}

/// The condition under which a statement leaves the function: `if done { return Ok(()); }`.
pub(super) fn leaves(statement: &Stmt) -> Option<Test> {
    let Stmt::Expr(Expr::If(test), _) = statement else {
        return None;
    };
    let leaves = test.then_branch.stmts.last().is_some_and(|last| {
        matches!(
            last,
            Stmt::Expr(Expr::Return(_) | Expr::Break(_) | Expr::Continue(_), _)
        )
    });
    leaves.then(|| Test::of(test))
}

fn parts(condition: &Expr, about: &mut Vec<String>) {
    match condition {
        Expr::Binary(binary) => {
            parts(&binary.left, about);
            parts(&binary.right, about);
        }
        Expr::Let(bound) => parts(&bound.expr, about),
        other => about.extend(name_of(other)),
    }
}

/// The booleans that a block sets: by assignment, or as an `AtomicBool`.
pub(super) fn set_in(block: &Block) -> BTreeSet<String> {
    let mut set = Set::default();
    set.visit_block(block);
    set.0
}

#[derive(Default)]
struct Set(BTreeSet<String>);

impl<'ast> Visit<'ast> for Set {
    fn visit_expr_assign(&mut self, assignment: &'ast ExprAssign) {
        if is_boolean(&assignment.right) {
            self.0.extend(name_of(&assignment.left));
        }
        visit::visit_expr_assign(self, assignment);
    }

    fn visit_expr_method_call(&mut self, call: &'ast ExprMethodCall) {
        const SETTERS: [&str; 5] = [
            "store",
            "swap",
            "compare_exchange",
            "compare_exchange_weak",
            "fetch_or",
        ];
        let sets = SETTERS.iter().any(|setter| call.method == setter);
        if sets && call.args.first().is_some_and(is_boolean) {
            self.0.extend(name_of(&call.receiver));
        }
        visit::visit_expr_method_call(self, call);
    }
}

fn is_boolean(expression: &Expr) -> bool {
    matches!(expression, Expr::Lit(literal) if matches!(literal.lit, Lit::Bool(_)))
}
