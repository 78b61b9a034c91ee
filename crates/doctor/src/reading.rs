//! One file → what it says, or why it was not read.

use crate::packages::{self, Package};
use crate::sketch::Sketch;
use crate::walk::{Found, Kind};
use crate::{environment, prisma, rust, script};
use poolwright_topology::hazard::{Hazard, Position};

/// Larger than any source that somebody wrote; a bundle or a data file.
const MAX_BYTES: usize = 1024 * 1024;

/// Lock files are long, and flat.
const MAX_LOCK_BYTES: usize = 64 * 1024 * 1024;

/// The deepest nesting of brackets that is read. People reach 30, generators 200; every level costs the parsers stack.
const MAX_DEPTH: usize = 400;

/// The longest stretch without an end of anything: operators and words nest too (`a + a + …`, `!!!!…`, `a => a => …`).
const MAX_STRETCH: usize = 32 * 1024;

/// The most alternatives: each `else if` is nested in the one before it.
const MAX_ELSES: usize = 5000;

/// What a file says.
#[derive(Debug)]
pub(crate) enum Read {
    Source(Sketch),
    Package(Package),
    Tsconfig(String),
    Manifest(String),
    Ecosystem(String),
    Hazards(Vec<Hazard>),
}

/// Why a file was not read.
#[derive(Debug)]
pub(crate) struct Unread {
    pub(crate) position: Option<Position>,
    pub(crate) reason: String,
}

impl Unread {
    fn because(reason: impl Into<String>) -> Self {
        Self {
            position: None,
            reason: reason.into(),
        }
    }
}

/// Reads a file.
pub(crate) fn read(found: &Found) -> Result<Read, Unread> {
    let bytes = std::fs::read(&found.path).map_err(|error| Unread::because(error.to_string()))?;
    let is_lock = matches!(found.kind, Kind::NpmLock | Kind::CargoLock);
    let most = if is_lock { MAX_LOCK_BYTES } else { MAX_BYTES };
    if bytes.len() > most {
        let kib = bytes.len() / 1024;
        return Err(Unread::because(format!("{kib} KiB are more than is read")));
    }
    let text = String::from_utf8(bytes).map_err(|_| Unread::because("is no UTF-8"))?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let file = found.file.as_str();
    let not = |what: &str| Unread::because(format!("is no {what}"));
    let folder = file.rsplit_once('/').map_or("", |(folder, _)| folder);
    match found.kind {
        Kind::Script => {
            shallow(text)?;
            let read = script::read(file, text);
            let sketch = read.map_err(|(position, reason)| Unread { position, reason })?;
            Ok(Read::Source(sketch))
        }
        Kind::Rust => {
            shallow(text)?;
            let read = rust::read(file, text);
            let sketch = read.map_err(|(position, reason)| Unread { position, reason })?;
            Ok(Read::Source(sketch))
        }
        Kind::PackageJson => {
            shallow(text)?;
            let package = Package::node(folder, text).ok_or_else(|| not("JSON"))?;
            Ok(Read::Package(package))
        }
        // A workspace's has no package, which is nothing to be said.
        Kind::CargoToml => Ok(
            Package::rust(folder, text).map_or_else(|| Read::Hazards(Vec::new()), Read::Package)
        ),
        Kind::Tsconfig => {
            shallow(text)?;
            Ok(Read::Tsconfig(text.to_owned()))
        }
        Kind::NpmLock => {
            shallow(text)?;
            let found = packages::npm_lock(file, text);
            Ok(Read::Hazards(
                found.ok_or_else(|| not("lock file of npm 7 or later"))?,
            ))
        }
        Kind::CargoLock => {
            let found = packages::cargo_lock(file, text);
            Ok(Read::Hazards(
                found.ok_or_else(|| not("lock file of cargo"))?,
            ))
        }
        Kind::Manifest => Ok(Read::Manifest(text.to_owned())),
        Kind::Ecosystem => {
            shallow(text)?;
            Ok(Read::Ecosystem(text.to_owned()))
        }
        Kind::Dotenv => Ok(Read::Hazards(environment::judge(file, text))),
        Kind::PrismaSchema => Ok(Read::Hazards(prisma::judge(file, text))),
    }
}

/// Refuses what would take a parser deeper than its stack: they go down once for every level.
fn shallow(text: &str) -> Result<(), Unread> {
    let (mut depth, mut deepest, mut angles) = (0_usize, 0_usize, 0_usize);
    let (mut end, mut longest) = (0_usize, 0_usize);
    let mut before = 0_u8;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'(' | b'[' | b'{' => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            // `Array<Array<…`: what is compared has an end before the next comparison.
            b'<' if before.is_ascii_alphanumeric() => {
                angles += 1;
                deepest = deepest.max(angles);
            }
            b'>' => angles = angles.saturating_sub(1),
            _ => {}
        }
        if matches!(byte, b';' | b',' | b'{' | b'}') {
            longest = longest.max(at - end);
            end = at;
        }
        if matches!(byte, b';' | b'{' | b'}' | b')') {
            angles = 0;
        }
        before = byte;
    }
    longest = longest.max(text.len() - end);
    let elses = text.matches("else").take(MAX_ELSES + 1).count();
    if deepest > MAX_DEPTH || longest > MAX_STRETCH || elses > MAX_ELSES {
        return Err(Unread::because("is nested deeper than is read"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parallel;

    #[test]
    fn what_is_nested_too_deep_is_refused_and_everything_else_is_survived() {
        let folder = tempfile::tempdir().unwrap();
        let most = MAX_BYTES / 4;
        let repeated = |text: &str| text.repeat(most / text.len());
        let just = |text: &str| text.repeat((MAX_STRETCH - 64) / text.len());
        let texts = [
            "(".repeat(MAX_DEPTH),
            format!("x = {}1{}", "[".repeat(MAX_DEPTH), "]".repeat(MAX_DEPTH)),
            format!(
                "{}1{}",
                "f(() => {".repeat(MAX_DEPTH / 2),
                "})".repeat(MAX_DEPTH / 2)
            ),
            format!(
                "type A = {}1{}",
                "A<".repeat(MAX_DEPTH),
                ">".repeat(MAX_DEPTH)
            ),
            format!("x = {}1", just("!")),
            format!("x = {}1", just("a+")),
            format!("x = {}1", just("a=>")),
            format!("x = {}1", just("a?b:")),
            format!("x = {}1", just("void ")),
            format!("x = a{}", just(".a")),
            format!("x = a{}", just("()")),
            format!("x = a{}", repeated(".a({})")),
            format!("if(a)b;{}", "else if(a)b;".repeat(MAX_ELSES - 1)),
            repeated("{"),
            repeated("("),
            repeated("else if(a)b;"),
            repeated("`${"),
            repeated("<a>"),
            repeated("\u{0}"),
        ];
        let files: Vec<Found> = texts
            .iter()
            .enumerate()
            .flat_map(|(at, text)| {
                [
                    ("ts", Kind::Script),
                    ("rs", Kind::Rust),
                    ("json", Kind::PackageJson),
                ]
                .map(|(extension, kind)| {
                    let file = format!("{at}.{extension}");
                    let path = folder.path().join(&file);
                    std::fs::write(&path, text).unwrap();
                    Found { path, file, kind }
                })
            })
            .collect();
        let read = parallel::map(&files, |found| read(found).is_ok()).unwrap();
        assert_eq!(read.len(), files.len());
    }

    #[test]
    fn what_cannot_be_read_is_said_with_its_place() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.ts");
        let found = Found {
            path: path.clone(),
            file: "a.ts".into(),
            kind: Kind::Script,
        };
        std::fs::write(&path, "const a = 1;\nconst = 2;\n").unwrap();
        let unread = read(&found).unwrap_err();
        assert_eq!(unread.position.map(|position| position.line), Some(2));
        std::fs::write(&path, [0xff, 0xfe]).unwrap();
        assert_eq!(read(&found).unwrap_err().reason, "is no UTF-8");
        std::fs::write(&path, "x".repeat(MAX_BYTES + 1)).unwrap();
        assert!(
            read(&found)
                .unwrap_err()
                .reason
                .contains("more than is read")
        );
    }
}
