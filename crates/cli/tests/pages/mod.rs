//! The pages of the documentation, for the tests that hold them to what is true.

use poolwright_topology::declare::{Topology, declare};
use std::path::PathBuf;

/// A file of the repository.
pub(crate) fn path(of: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .join(of)
}

/// Its text.
pub(crate) fn read(of: &str) -> String {
    std::fs::read_to_string(path(of)).unwrap()
}

/// Fails unless what stands between a page's marks is `right`; writes it there under `SNAPSHOTS=overwrite`.
pub(crate) fn holds(page: &str, mark: &str, right: &str) {
    let text = read(page);
    let (begin, end) = (format!("<!-- {mark} -->\n"), format!("<!-- /{mark} -->"));
    let (before, rest) = text.split_once(&begin).unwrap();
    let (found, after) = rest.split_once(&end).unwrap();
    if std::env::var("SNAPSHOTS").is_ok_and(|mode| mode == "overwrite") && found != right {
        let text = format!("{before}{begin}{right}{end}{after}");
        std::fs::write(path(page), text).unwrap();
    } else {
        assert_eq!(found, right, "SNAPSHOTS=overwrite writes it anew");
    }
}

/// What a page's first settings declare, beside an app.
pub(crate) fn declared_in(page: &str) -> Topology {
    let text = read(page);
    let settings = text.split("```toml\n").nth(1).unwrap();
    let settings = settings.split("```").next().unwrap();
    let app = "[apps.web]\ncommand = [\"x\"]\n[apps.web.pools.orm]\nmax = 1\n";
    declare(&format!("{app}{settings}"), &|_| None).unwrap()
}
