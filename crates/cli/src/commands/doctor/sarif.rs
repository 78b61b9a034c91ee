//! A report as SARIF 2.1.0, which code reviews show beside the lines.
//!
//! Places are relative to the working directory, so that a run at the top of a repository names its files as the
//! repository does. What the manifest accepts is in it, suppressed, with its reason.
//! <https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html>

use poolwright_doctor::Report;
use poolwright_topology::finding::Severity;
use poolwright_topology::hazard::{Code, Hazard, Place};
use serde_json::{Value, json};
use std::path::Path;

const SCHEMA: &str =
    "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json";

/// The report on the project at `root`, seen from the working directory `here`.
pub(crate) fn sarif(report: &Report, root: &Path, here: &Path) -> Value {
    let seen = Seen {
        prefix: root.strip_prefix(here).ok(),
    };
    let findings = report.findings.iter().map(|hazard| seen.result(hazard));
    let allowed = report.allowed.iter().map(|allowance| {
        let mut result = seen.result(&allowance.hazard);
        result["suppressions"] = json!([{
            "kind": "external",
            "status": "accepted",
            "justification": allowance.reason,
        }]);
        result
    });
    let notes = report.notes.iter().map(|note| {
        let mut notification = json!({ "level": "note", "message": { "text": note.text } });
        if let Some(place) = &note.place {
            notification["locations"] = json!([seen.location(place)]);
        }
        notification
    });
    json!({
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": {
                "name": "poolwright",
                "semanticVersion": env!("CARGO_PKG_VERSION"),
                "informationUri": env!("CARGO_PKG_REPOSITORY"),
                "rules": Code::ALL.iter().map(|code| rule(*code)).collect::<Vec<_>>(),
            } },
            "columnKind": "unicodeCodePoints",
            "invocations": [{
                "executionSuccessful": true,
                "toolExecutionNotifications": notes.collect::<Vec<_>>(),
            }],
            "results": findings.chain(allowed).collect::<Vec<_>>(),
        }],
    })
}

fn rule(code: Code) -> Value {
    let why = sentence(code.why());
    let cure = sentence(code.cure());
    json!({
        "id": code.id(),
        "name": code.name(),
        "shortDescription": { "text": sentence(&code.name().replace('-', " ")) },
        "fullDescription": { "text": why },
        "help": { "text": format!("{why} {cure}") },
        "defaultConfiguration": { "level": level(code) },
    })
}

const fn level(code: Code) -> &'static str {
    match code.severity() {
        Severity::Error => "error",
        Severity::Warning => "warning",
        Severity::Info => "note",
    }
}

/// With a capital and a full stop, as SARIF's viewers expect it.
fn sentence(text: &str) -> String {
    let mut characters = text.chars();
    let first = characters.next().into_iter().flat_map(char::to_uppercase);
    first.chain(characters).chain(['.']).collect()
}

/// Where the places are seen from.
struct Seen<'a> {
    /// The way from the working directory to the root, where the root is below it.
    prefix: Option<&'a Path>,
}

impl Seen<'_> {
    fn result(&self, hazard: &Hazard) -> Value {
        let code = hazard.code;
        let index = Code::ALL.iter().position(|other| *other == code);
        let locations = hazard.place.iter().map(|place| self.location(place));
        json!({
            "ruleId": code.id(),
            "ruleIndex": index,
            "level": level(code),
            "message": { "text": sentence(&hazard.message) },
            "locations": locations.collect::<Vec<_>>(),
        })
    }

    fn location(&self, place: &Place) -> Value {
        let parts = self.prefix.into_iter().flat_map(Path::iter);
        let parts = parts.filter_map(|part| part.to_str());
        let parts = parts.chain(place.file.split('/'));
        let uri: Vec<String> = parts.map(encoded).collect();
        let mut physical = json!({
            "artifactLocation": { "uri": uri.join("/"), "uriBaseId": "SRCROOT" },
        });
        if let Some(position) = place.position {
            physical["region"] = json!({
                "startLine": position.line,
                "startColumn": position.column,
            });
        }
        json!({ "physicalLocation": physical })
    }
}

/// A part of a path as a URI has it: `[id]` is a folder of SvelteKit's.
fn encoded(part: &str) -> String {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=@".contains(byte);
    let bytes = part.bytes().map(|byte| match plain(&byte) {
        true => char::from(byte).to_string(),
        false => format!("%{byte:02X}"),
    });
    bytes.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use poolwright_doctor::{Allowance, Note};
    use poolwright_topology::hazard::Position;

    #[test]
    fn a_report_is_valid_with_encoded_places_from_the_working_directory_and_suppressions() {
        let position = Some(Position { line: 4, column: 8 });
        let place = Place::new("src/routes/[id]/+server.ts", position);
        let hazard = Hazard::at(Code::PoolPerRequest, place, "a pg.Pool is made");
        let report = Report {
            findings: vec![hazard.clone()],
            allowed: vec![Allowance {
                hazard,
                reason: "once a night".into(),
            }],
            notes: vec![Note {
                place: Some(Place::new("a.ts", None)),
                text: "not read: is no UTF-8".into(),
            }],
            files: 2,
        };
        let sarif = sarif(&report, Path::new("/repo/apps/web"), Path::new("/repo"));
        // Its types are made from the standard's own schema.
        let log: serde_sarif::sarif::Sarif = serde_json::from_value(sarif.clone()).unwrap();
        let run = &log.runs[0];
        let results = run.results.as_ref().unwrap();
        assert_eq!(results.len(), 2);
        let rules = run.tool.driver.rules.as_ref().unwrap();
        assert_eq!(rules.len(), Code::ALL.len());
        let of_result = usize::try_from(results[0].rule_index.unwrap()).unwrap();
        assert_eq!(Some(&rules[of_result].id), results[0].rule_id.as_ref());
        let physical = &sarif["runs"][0]["results"][0]["locations"][0]["physicalLocation"];
        assert_eq!(
            physical["artifactLocation"]["uri"],
            "apps/web/src/routes/%5Bid%5D/+server.ts"
        );
        assert_eq!(physical["region"]["startLine"], 4);
        let suppressed = &sarif["runs"][0]["results"][1]["suppressions"][0];
        assert_eq!(suppressed["justification"], "once a night");
    }
}
