//! The file of generated passwords.
//!
//! Its format is `.pgpass`, which every client of Postgres reads when `PGPASSFILE` names it and a URL has no password: so
//! workers, `psql` and the commands of `[prepare]` find them, and no URL, argument or environment has to carry one. Like libpq, a
//! file that others may read is refused. What somebody else wrote in it is kept.

use crate::failure::Failure;
use poolwright_topology::declare::{DatabaseUrl, Topology};
use std::fs;
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The variable that leads a client to the file.
pub(crate) const VARIABLE: &str = "PGPASSFILE";

/// The random bytes of a password; twice as many letters.
const BYTES: usize = 24;

/// Fills with what the kernel has of randomness, or fails.
#[cfg(target_os = "linux")]
fn fill(random: &mut [u8]) -> io::Result<()> {
    // Up to 256 bytes come whole.
    match rustix::rand::getrandom(&mut *random, rustix::rand::GetRandomFlags::empty())? {
        filled if filled == random.len() => Ok(()),
        _ => Err(ErrorKind::UnexpectedEof.into()),
    }
}

/// macOS has it in a file; `getentropy` would save the opening.
#[cfg(not(target_os = "linux"))]
fn fill(random: &mut [u8]) -> io::Result<()> {
    io::Read::read_exact(&mut fs::File::open("/dev/urandom")?, random)
}

/// The passwords of a file that exists or will.
pub(crate) struct PasswordFile {
    path: PathBuf,
    lines: Vec<String>,
}

impl PasswordFile {
    /// Reads the file of an enforced topology; an absent one has no passwords.
    pub(crate) fn of(topology: &Topology) -> Result<Option<Self>, Failure> {
        let file = topology
            .enforce
            .as_ref()
            .and_then(|enforce| enforce.password_file.as_ref());
        file.map(|file| Self::read(Path::new(file))).transpose()
    }

    fn read(path: &Path) -> Result<Self, Failure> {
        let failed = || Failure::source(format!("reading the passwords in {}", path.display()));
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
            Err(error) => return Err(failed()(error)),
        };
        if !text.is_empty() {
            let mode = fs::metadata(path).map_err(failed())?.mode() & 0o777;
            if mode & 0o077 != 0 {
                return Err(Failure::declaration(format!(
                    "{}: found mode {mode:o}, expected 600: it has passwords, and no client of Postgres reads it like this",
                    path.display()
                )));
            }
        }
        Ok(Self {
            path: path.to_owned(),
            lines: text.lines().map(str::to_owned).collect(),
        })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The password of the role of a URL there.
    pub(crate) fn password(&self, url: &DatabaseUrl) -> Option<String> {
        let (host, port) = (url.host(), url.port().to_string());
        let (database, user) = (url.database(), url.user());
        self.lines.iter().find_map(|line| {
            let mut fields = fields(line)?;
            let password = fields.pop()?;
            let matches = |field: &String, value: &str| field == "*" || field == value;
            let wanted = [&host, &port, &database, &user];
            let all = fields
                .iter()
                .zip(wanted)
                .all(|(field, value)| matches(field, value));
            all.then_some(password)
        })
    }

    /// Makes a password for the role of these URLs, and writes it down before anybody uses it, under every spelling that
    /// they give its server.
    pub(crate) fn generate(&mut self, urls: &[DatabaseUrl]) -> Result<String, Failure> {
        let mut random = [0_u8; BYTES];
        fill(&mut random).map_err(Failure::source("making a password"))?;
        let password: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
        for url in urls {
            let (host, user) = (escaped(&url.host()), escaped(&url.user()));
            let line = format!("{host}:{}:*:{user}:{password}", url.port());
            if !self.lines.contains(&line) {
                self.lines.push(line);
            }
        }
        self.write()
            .map_err(Failure::source(format!("writing {}", self.path.display())))?;
        Ok(password)
    }

    /// Beside it first: a half-written file would be half of the passwords.
    fn write(&self) -> io::Result<()> {
        if let Some(folder) = self.path.parent() {
            fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(folder)?;
        }
        let mut beside = self.path.clone().into_os_string();
        beside.push(".new");
        match fs::remove_file(&beside) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&beside)?;
        for line in &self.lines {
            writeln!(file, "{line}")?;
        }
        file.sync_all()?;
        fs::rename(&beside, &self.path)
    }
}

/// The variable that leads workers and commands to the passwords that their URLs do not have.
pub(crate) fn variable(topology: &Topology) -> Option<(String, String)> {
    let file = topology.enforce.as_ref()?.password_file.as_ref()?;
    let bare = |url: &DatabaseUrl| url.password().is_none();
    topology
        .pools()
        .any(|(_, pool)| pool.url.as_ref().is_some_and(bare))
        .then(|| (VARIABLE.to_owned(), file.clone()))
}

/// The five fields of a line; `\` takes the meaning from the character after it.
fn fields(line: &str) -> Option<Vec<String>> {
    if line.starts_with('#') {
        return None;
    }
    let mut fields = vec![String::new()];
    let mut letters = line.chars();
    while let Some(letter) = letters.next() {
        let last = fields.len() - 1;
        match letter {
            // The password is the rest of the line.
            ':' if last < 4 => fields.push(String::new()),
            '\\' => fields[last].extend(letters.next()),
            letter => fields[last].push(letter),
        }
    }
    (fields.len() == 5).then_some(fields)
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace(':', "\\:")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> DatabaseUrl {
        DatabaseUrl::parse(text).unwrap()
    }

    #[test]
    fn a_generated_password_is_found_again_by_its_role_on_its_server_and_by_nobody_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("below/pgpass");
        let mut file = PasswordFile::read(&path).unwrap();
        let role = url("postgres://a%3Ab@db:5433/desk");
        let password = file.generate(std::slice::from_ref(&role)).unwrap();
        assert_eq!(password.len(), 2 * BYTES);
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);

        let again = PasswordFile::read(&path).unwrap();
        assert_eq!(again.password(&role), Some(password.clone()));
        let elsewhere = url("postgres://a%3Ab@db:5433/other");
        assert_eq!(again.password(&elsewhere), Some(password));
        for other in ["postgres://b@db:5433/desk", "postgres://a%3Ab@db/desk"] {
            assert_eq!(again.password(&url(other)), None, "{other}");
        }
    }

    #[test]
    fn what_somebody_else_wrote_is_kept_and_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pgpass");
        let theirs = "# mine\n*:*:desk:app:with\\:colon\nhalf a line\n";
        fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .and_then(|mut file| file.write_all(theirs.as_bytes()))
            .unwrap();
        let mut file = PasswordFile::read(&path).unwrap();
        let app = url("postgres://app@db/desk");
        assert_eq!(file.password(&app).as_deref(), Some("with:colon"));
        file.generate(&[url("postgres://other@db/desk")]).unwrap();
        assert!(fs::read_to_string(&path).unwrap().starts_with(theirs));
    }

    #[test]
    fn a_file_that_others_may_read_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pgpass");
        fs::write(&path, "*:*:*:app:s3cret\n").unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
        fs::set_permissions(&path, mode).unwrap();
        let Err(Failure::Said { message, .. }) = PasswordFile::read(&path) else {
            unreachable!("it was read");
        };
        assert!(
            message.contains("found mode 644, expected 600"),
            "{message}"
        );
        assert!(!message.contains("s3cret"), "{message}");
    }
}
