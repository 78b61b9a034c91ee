//! What the last words of a worker that failed are known to mean, and what to do about it.

use poolwright_supervisor::who_listens;
use poolwright_topology::declare::{App, Ready, Topology};
use poolwright_topology::tag::SlotId;

/// How an address that is taken reads on standard error, in lower case: the system's words, as most languages repeat them,
/// and its number's name.
const TAKEN: [&str; 2] = ["address already in use", "eaddrinuse"];

/// What to do, where the last words of a slot's worker say what went wrong.
pub(crate) fn of(topology: &Topology, slot: &SlotId, last_words: &[String]) -> Option<String> {
    let app = topology.app(slot.app().as_str())?;
    let taken = |line: &String| {
        let line = line.to_lowercase();
        TAKEN.iter().any(|words| line.contains(words))
    };
    last_words.iter().any(taken).then(|| of_address(app))
}

/// A program that binds an address that is taken already: by its like, by the supervisor, or by somebody else.
fn of_address(app: &App) -> String {
    let name = &app.name;
    let address = match app.listen {
        Some(address) => address.to_string(),
        None => "its address".to_owned(),
    };
    let node = "declare cluster = true if it is a Node program: it shares the socket then without its doing";
    match (app.ready, app.listen) {
        (Ready::Listening, _) | (_, None) if app.instances.value.0 > 1 => format!(
            "every worker of {name} binds {address} by itself, and one of them has it; have the program bind with SO_REUSEPORT \
             (reusePort: true in Node) or take LISTEN_FDS (ready = \"accepting\"), or {node}"
        ),
        (Ready::Listening, Some(address)) => format!(
            "another process listens there; `{}` says which",
            who_listens(address.port())
        ),
        (_, None) => format!("another process has what {name} binds"),
        (_, Some(_)) => format!(
            "the supervisor holds {address} for {name} and hands it down as LISTEN_FDS; take `listen` away, or say \
             ready = \"listening\", for a program that binds by itself, or {node}"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use poolwright_topology::declare::declare;

    fn hint(app: &str, last_words: &str) -> Option<String> {
        let manifest = format!(
            "[apps.web]\ncommand = [\"x\"]\n{app}\n[apps.web.pools.db]\nmax = 1\nurl = \"postgres://a@h/d\"\n"
        );
        let topology = declare(&manifest, &|_| None).unwrap();
        let last_words: Vec<String> = last_words.lines().map(str::to_owned).collect();
        of(&topology, &"web-0".parse().unwrap(), &last_words)
    }

    #[test]
    fn an_address_that_is_taken_is_explained_by_who_has_it() {
        let node = "node:events:485\nError: listen EADDRINUSE: address already in use :::3000";
        let rust = "Error: Os { code: 98, kind: AddrInUse, message: \"Address already in use\" }";
        let listen = "listen = \"127.0.0.1:3000\"";
        let table = [
            (
                format!("{listen}\nready = \"listening\"\ninstances = 2"),
                "reusePort: true",
            ),
            (format!("{listen}\nready = \"listening\""), "sport = :3000"),
            (
                format!("{listen}\nready = \"pm2\""),
                "the supervisor holds 127.0.0.1:3000",
            ),
            (
                "ready = \"pm2\"\ninstances = 2".to_owned(),
                "binds its address by itself",
            ),
        ];
        for (app, expected) in table {
            for words in [node, rust] {
                let found = hint(&app, words).unwrap_or_default();
                assert!(found.contains(expected), "{app}: {found}");
            }
        }
        assert_eq!(hint(listen, "Error: password authentication failed"), None);
    }
}
