//! What a PM2 ecosystem file exports, found out by having Node evaluate it.
//!
//! Such a file is a program: it may require, compute and read the environment, and only evaluating it is always right.
//! So it is treated like one. It gets a time limit; what it prints goes nowhere, because the answer comes over a pipe of
//! its own; an answer that is too large, none at all, and an error are each said in words. A URL in those words has its
//! password replaced.
//!
//! It runs as whoever runs `poolwright`, like under PM2. That `poolwright plan` runs code of the project is the price of the
//! right answer.

use crate::failure::Failure;
use serde::Deserialize;
use serde_json::Value;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

const PROGRAM: &str = include_str!("evaluate.mjs");

/// Evaluating a file takes a tenth of a second; one that asks a network may take a while, one that waits takes for ever.
const TIME_LIMIT: Duration = Duration::from_secs(10);

/// Thousands of apps.
const SIZE_LIMIT: u64 = 4 * 1024 * 1024;

/// How much of what it wrote to standard error is kept, and for how long after its end that is waited for.
const WORDS_LIMIT: u64 = 4096;
const WORDS_PATIENCE: Duration = Duration::from_millis(200);

/// What Node found.
#[derive(Debug)]
pub(crate) struct Evaluated {
    /// What the file exports.
    pub(crate) exported: Value,
    /// How many CPUs Node sees, which `instances: "max"` means.
    pub(crate) cpus: u32,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Answer {
    Failed {
        failed: String,
        #[serde(default)]
        place: Option<String>,
    },
    Found {
        #[serde(default)]
        config: Value,
        cpus: u32,
    },
}

/// Has Node evaluate the file, which is an absolute path. Blocks, for ten seconds at most.
///
/// # Errors
/// What was wrong with the file, and what to do.
pub(crate) fn evaluate(file: &Path) -> Result<Evaluated, Failure> {
    evaluate_within(file, TIME_LIMIT)
}

fn evaluate_within(file: &Path, limit: Duration) -> Result<Evaluated, Failure> {
    let refused = |what: &str| Failure::declaration(format!("{}: {what}", file.display()));
    let (answers, theirs) = io::pipe().map_err(Failure::source("making a pipe"))?;
    let mut node = Command::new("node")
        .args(["--input-type=module", "--eval", PROGRAM, "--"])
        .arg(file)
        .current_dir(file.parent().unwrap_or(Path::new("/")))
        .stdin(theirs)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|source| {
            refused(&format!(
                "cannot be read without node, and it cannot be run: {source}; expected Node on PATH, or a poolwright.toml"
            ))
        })?;
    let words = node
        .stderr
        .take()
        .map(|stderr| in_background(stderr, WORDS_LIMIT, false));
    let line = in_background(answers, SIZE_LIMIT, true).recv_timeout(limit);
    let ended = end(&mut node, line.is_err());
    let answer = match line {
        Ok(line) if line.ends_with('\n') => line,
        Err(RecvTimeoutError::Timeout) => {
            return Err(refused(&format!(
                "still evaluated after {}, expected a file that exports its apps and ends",
                humantime::format_duration(limit)
            )));
        }
        Ok(line) if u64::try_from(line.len()).is_ok_and(|length| length >= SIZE_LIMIT) => {
            return Err(refused("exports more than 4 MiB, expected a few apps"));
        }
        Ok(_) | Err(RecvTimeoutError::Disconnected) => {
            let words = words.and_then(|words| words.recv_timeout(WORDS_PATIENCE).ok());
            let words: String = words
                .iter()
                .flat_map(|words| words.lines())
                .map(|line| format!("\n  | {}", masked(line)))
                .collect();
            let ended = ended.map_err(Failure::source("waiting for node"))?;
            return Err(refused(&format!(
                "ended the evaluation by itself ({ended}), expected a file that exports its apps{words}"
            )));
        }
    };
    match serde_json::from_str(&answer) {
        Ok(Answer::Found { config, cpus }) => Ok(Evaluated {
            exported: config,
            cpus,
        }),
        Ok(Answer::Failed { failed, place }) => {
            let place = place
                .map(|place| format!("\n  {place}"))
                .unwrap_or_default();
            Err(refused(&masked(&format!(
                "cannot be evaluated: {failed}{place}"
            ))))
        }
        Err(error) => Err(refused(&format!("exports what cannot be read: {error}"))),
    }
}

/// Ends it if it is still there, and takes it off the list of processes.
fn end(node: &mut Child, kill: bool) -> io::Result<std::process::ExitStatus> {
    if kill && node.try_wait()?.is_none() {
        node.kill()?;
    }
    node.wait()
}

/// What comes until the end or, if `line`, the end of the line. On a thread of its own, because a process that the file has
/// started may hold the other end open for ever.
fn in_background(source: impl Read + Send + 'static, limit: u64, line: bool) -> Receiver<String> {
    let (tell, told) = channel();
    std::thread::spawn(move || {
        let mut source = BufReader::new(source.take(limit));
        let mut bytes = Vec::new();
        let read = match line {
            true => source.read_until(b'\n', &mut bytes),
            false => source.read_to_end(&mut bytes),
        };
        if read.is_ok() {
            tell.send(String::from_utf8_lossy(&bytes).into_owned()).ok();
        }
        // Who writes more must not be held up by a full pipe.
        io::copy(source.get_mut().get_mut(), &mut io::sink()).ok();
    });
    told
}

/// Prose with the credentials of every URL replaced: a URL ends at a blank or a quote there. (A file's text, which may be torn
/// anywhere and keeps its places, is [`poolwright_topology::declare::blotted`].)
pub(crate) fn masked(text: &str) -> String {
    let mut parts = text.split("://");
    let mut masked = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let end = part
            .find(|c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '`'))
            .unwrap_or(part.len());
        let (url, rest) = part.split_at(end);
        masked.push_str("://");
        match url.rsplit_once('@') {
            Some((_, host)) => masked.push_str(&format!("***@{host}")),
            None => masked.push_str(url),
        }
        masked.push_str(rest);
    }
    masked
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(name: &str, text: &str) -> Result<Evaluated, String> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(name);
        std::fs::write(&file, text).unwrap();
        evaluate_within(&file, Duration::from_secs(5)).map_err(|failure| match failure {
            Failure::Said { message, .. } => message,
            other => format!("{other:?}"),
        })
    }

    #[test]
    fn every_kind_of_file_that_pm2_evaluates_is_evaluated() {
        let files = [
            (
                "ecosystem.config.cjs",
                "module.exports = { apps: [{ name: 'we' + 'b' }] }",
            ),
            (
                "ecosystem.config.js",
                "module.exports = { apps: [{ name: 'web', f() {} }] }",
            ),
            (
                "ecosystem.config.mjs",
                "export default { apps: [{ name: 'web' }] }",
            ),
            ("apps.config.mjs", "export const apps = [{ name: 'web' }]"),
            (
                "ecosystem.json",
                "{ \"apps\": [{ name: 'web', }] } // PM2 takes this",
            ),
        ];
        for (name, text) in files {
            let found = read(name, text).unwrap();
            assert_eq!(
                found.exported["apps"],
                serde_json::json!([{ "name": "web" }]),
                "{name}"
            );
            assert!(found.cpus > 0);
        }
    }

    #[test]
    fn what_a_file_prints_and_starts_is_no_part_of_the_answer() {
        let text = "
            console.log('{\"config\":{\"apps\":[]},\"cpus\":1}');
            require('fs').writeSync(1, '{}\\n');
            setInterval(() => {}, 1000);
            require('child_process').spawn('sleep', ['3'], { stdio: 'inherit' });
            module.exports = [{ name: 'web' }]";
        let found = read("ecosystem.config.cjs", text).unwrap();
        assert_eq!(found.exported[0]["name"], "web");
    }

    #[test]
    fn a_file_that_does_not_answer_is_refused_in_words_and_without_a_password() {
        let table = [
            (
                "throw new Error('no postgres://a:s3cret@h/d')",
                "Error: no postgres://***@h/d",
            ),
            ("module.exports = {", "SyntaxError"),
            (
                "console.error('no licence'); process.exit(3)",
                "exit status: 3",
            ),
            (
                "console.error('no postgres://a:s3cret@h/d'); process.exit(0)",
                "| no postgres://***@h/d",
            ),
            ("const a = {}; a.a = a; module.exports = a", "circular"),
            ("module.exports = { a: 'x'.repeat(5e6) }", "more than 4 MiB"),
        ];
        for (text, said) in table {
            let refused = read("ecosystem.config.cjs", text).unwrap_err();
            assert!(refused.contains(said), "{text}: {refused}");
            assert!(!refused.contains("s3cret"), "{refused}");
        }
    }

    #[test]
    fn a_file_that_never_ends_is_given_up() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ecosystem.config.cjs");
        std::fs::write(&file, "for (;;) {}").unwrap();
        let refused = evaluate_within(&file, Duration::from_millis(500)).unwrap_err();
        assert!(
            format!("{refused:?}").contains("still evaluated after 500ms"),
            "{refused:?}"
        );
    }

    #[test]
    fn credentials_are_masked_wherever_a_url_stands() {
        let text = "a postgres://u:p@h/d, \"postgres://u:p@x@h2\" and http://plain/";
        let expected = "a postgres://***@h/d, \"postgres://***@h2\" and http://plain/";
        assert_eq!(masked(text), expected);
    }
}
