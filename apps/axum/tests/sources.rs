//! What the sources of the Rust stack may say only once, read with a parser instead of a search: a
//! comment, a string or another function's name is no call.

use anyhow::{Context, Result};
use std::path::{Path, PathBuf};
use syn::visit::{self, Visit};
use syn::{Expr, ExprCall, ExprMethodCall, ExprPath};

/// Where something is called: the file, relative to the repository, and how often.
#[derive(Default)]
struct Calls {
    launches: usize,
    instances: usize,
    pools: usize,
}

impl<'ast> Visit<'ast> for Calls {
    fn visit_expr_method_call(&mut self, call: &'ast ExprMethodCall) {
        // `opened.launch()` is the worker's own phase: what counts is a receiver that is the SDK's.
        if call.method == "launch" && ends_in(&call.receiver, "dbos") {
            self.launches += 1;
        }
        if ["connect_with", "connect_lazy", "connect_lazy_with"]
            .iter()
            .any(|method| call.method == method)
        {
            self.pools += 1;
        }
        visit::visit_expr_method_call(self, call);
    }

    fn visit_expr_call(&mut self, call: &'ast ExprCall) {
        if let Expr::Path(path) = &*call.func {
            let segments = segments(path);
            match segments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
                [.., "DBOS", "launch"] => self.launches += 1,
                [.., "DBOS", "new"] => self.instances += 1,
                [.., "PgPoolOptions", "new"]
                | [
                    ..,
                    "PgPool" | "Pool" | "Database",
                    "connect" | "connect_lazy",
                ]
                | [.., "SqlxPostgresConnector", _] => self.pools += 1,
                _ => {}
            }
        }
        visit::visit_expr_call(self, call);
    }

    fn visit_item_mod(&mut self, module: &'ast syn::ItemMod) {
        let for_tests = module.attrs.iter().any(|attribute| {
            attribute.path().is_ident("cfg")
                && attribute
                    .parse_args::<syn::Ident>()
                    .is_ok_and(|only| only == "test")
        });
        if !for_tests {
            visit::visit_item_mod(self, module);
        }
    }
}

/// Whether an expression's last name is `name`: `dbos`, `self.dbos`, `executor.dbos()`.
fn ends_in(expression: &Expr, name: &str) -> bool {
    match expression {
        Expr::Path(path) => segments(path).last().is_some_and(|last| last == name),
        Expr::Field(field) => matches!(&field.member, syn::Member::Named(last) if last == name),
        Expr::MethodCall(call) => call.method == name || ends_in(&call.receiver, name),
        Expr::Reference(reference) => ends_in(&reference.expr, name),
        Expr::Paren(inner) => ends_in(&inner.expr, name),
        _ => false,
    }
}

fn segments(path: &ExprPath) -> Vec<String> {
    let segments = path.path.segments.iter();
    segments.map(|segment| segment.ident.to_string()).collect()
}

fn calls(source: &str) -> Result<Calls> {
    let mut calls = Calls::default();
    calls.visit_file(&syn::parse_file(source)?);
    Ok(calls)
}

/// Every source of the Rust stack, without its tests.
fn sources() -> Result<Vec<(String, Calls)>> {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut found = Vec::new();
    for folder in ["crates/worker/src", "apps/axum/src"] {
        let mut files = Vec::new();
        collect(&repository.join(folder), &mut files)?;
        anyhow::ensure!(files.len() > 5, "only {} sources in {folder}", files.len());
        for file in files {
            let source = std::fs::read_to_string(&file)?;
            let calls = calls(&source).with_context(|| file.display().to_string())?;
            let name = file.strip_prefix(&repository)?.display().to_string();
            found.push((name, calls));
        }
    }
    Ok(found)
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else if path.extension().is_some_and(|end| end == "rs") {
            files.push(path);
        }
    }
    Ok(())
}

/// The files in which `count` finds something, and how much.
fn places(count: impl Fn(&Calls) -> usize) -> Result<Vec<(String, usize)>> {
    let found = sources()?.into_iter();
    let found = found.map(|(file, calls)| (file, count(&calls)));
    Ok(found.filter(|(_, count)| *count > 0).collect())
}

#[test]
fn the_sdk_is_launched_in_one_place_of_one_module() -> Result<()> {
    let only = [("crates/worker/src/executor.rs".to_owned(), 1)];
    assert_eq!(places(|calls| calls.launches)?, only);
    assert_eq!(places(|calls| calls.instances)?, only);
    Ok(())
}

#[test]
fn pools_are_made_in_their_module_only() -> Result<()> {
    let files: Vec<String> = places(|calls| calls.pools)?
        .into_iter()
        .map(|(file, _)| file)
        .collect();
    assert_eq!(files, ["crates/worker/src/pools.rs"]);
    Ok(())
}

#[test]
fn the_check_sees_calls_and_overlooks_what_only_looks_like_one() -> Result<()> {
    let seen = calls(
        r#"fn f() { dbos.launch(); self.dbos.launch(); executor.dbos().launch(); DBOS::launch(&x);
           dbos::DBOS::new(config); PgPoolOptions::new(); sea_orm::Database::connect(url); }"#,
    )?;
    assert_eq!((seen.launches, seen.instances, seen.pools), (4, 1, 2));
    let unseen = calls(
        r#"// dbos.launch()
           fn f() { "dbos.launch()"; opened.launch(); channel.launch(); }
           #[cfg(test)] mod tests { fn g() { dbos.launch(); } }"#,
    )?;
    assert_eq!((unseen.launches, unseen.instances, unseen.pools), (0, 0, 0));
    Ok(())
}
