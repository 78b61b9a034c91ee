//! Writing the log, on a thread that may wait for its disk.

use super::{FLEET, Record, Source, current, folder, generations, put_away_last};
use crate::aside::{Aside, Given};
use poolwright_topology::tag::SlotId;
use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// When a file is put away, and how long it is kept.
#[derive(Debug, Clone, Copy)]
struct Rotation {
    /// In bytes: a file that an editor still opens.
    size: u64,
    /// A day of a quiet fleet is in one file.
    age: Duration,
    /// With the one being written: 80 MiB per slot at most.
    keep: usize,
    /// Of a slot that is gone, too: what it wrote is looked at by the next `up` that has this slot.
    keep_for: Duration,
}

const ROTATION: Rotation = Rotation {
    size: 10 * 1024 * 1024,
    age: Duration::from_secs(24 * 60 * 60),
    keep: 8,
    keep_for: Duration::from_secs(14 * 24 * 60 * 60),
};

/// The log of a running fleet.
pub(crate) struct Writer(Aside<Record>);

impl Writer {
    /// Makes the folder, so that a place that cannot be written to is known before the first worker. One that cannot be written to
    /// any more is told to `say`, and so is its end.
    pub(crate) fn start(
        state_dir: &Path,
        say: impl Fn(String) + Send + 'static,
    ) -> io::Result<Self> {
        let folder = folder(state_dir);
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&folder)?;
        let mut files = Files::new(folder, ROTATION, Box::new(say));
        Ok(Self(Aside::start("log", move |given| match given {
            Given::One(record) => files.write(&record),
            Given::Lost(count) => files.lost(count),
        })?))
    }

    /// Never waits.
    pub(crate) fn write(&self, slot: Option<&SlotId>, stream: Source, line: &str) {
        self.0.give(Record {
            at: SystemTime::now(),
            slot: slot.map_or_else(|| FLEET.to_owned(), ToString::to_string),
            stream,
            line: line.to_owned(),
        });
    }

    pub(crate) fn finish(self) {
        self.0.finish();
    }
}

/// The open files.
struct Files {
    folder: PathBuf,
    rotation: Rotation,
    open: BTreeMap<String, Open>,
    /// Records that the disk did not take, by slot: said in each slot's file as soon as it takes some again.
    missed: BTreeMap<String, u64>,
    /// How many there were since it took everything.
    missed_in_all: u64,
    say: Say,
}

/// Where people look who do not read the log.
type Say = Box<dyn Fn(String) + Send>;

impl Drop for Files {
    /// The last to say it.
    fn drop(&mut self) {
        if self.missed_in_all > 0 {
            self.own_up_everywhere(SystemTime::now());
        }
    }
}

struct Open {
    file: File,
    size: u64,
    since: SystemTime,
}

impl Files {
    fn new(folder: PathBuf, rotation: Rotation, say: Say) -> Self {
        Self {
            folder,
            rotation,
            open: BTreeMap::new(),
            missed: BTreeMap::new(),
            missed_in_all: 0,
            say,
        }
    }

    fn write(&mut self, record: &Record) {
        let slot = &record.slot;
        let written = self
            .own_up(slot, record.at)
            .and_then(|()| self.append(record));
        match written {
            Ok(()) if self.missed_in_all == 0 => {}
            Ok(()) => self.own_up_everywhere(record.at),
            Err(error) => self.miss(slot, &error),
        }
    }

    fn miss(&mut self, slot: &str, error: &io::Error) {
        if self.missed_in_all == 0 {
            (self.say)(format!(
                "the log cannot be written: {error}; the fleet goes on, and what is missing will be counted"
            ));
        }
        self.missed_in_all += 1;
        *self.missed.entry(slot.to_owned()).or_insert(0) += 1;
        // Anew next time: the file may have been cut short, or taken away.
        self.open.remove(slot);
    }

    /// Says in the slot's file what is missing there.
    fn own_up(&mut self, slot: &str, at: SystemTime) -> io::Result<()> {
        if let Some(count) = self.missed.get(slot) {
            let note = note(at, slot, missed_words(*count));
            if let Err(error) = self.append(&note) {
                self.open.remove(slot);
                return Err(error);
            }
            self.missed.remove(slot);
        }
        Ok(())
    }

    /// The same for slots that may never write again.
    fn own_up_everywhere(&mut self, at: SystemTime) {
        let slots: Vec<String> = self.missed.keys().cloned().collect();
        if slots.iter().all(|slot| self.own_up(slot, at).is_ok()) {
            let count = std::mem::take(&mut self.missed_in_all);
            (self.say)(format!(
                "the log is written again; {count} lines are missing in it"
            ));
        }
    }

    /// Whose the records were that found no room is not known: every file says it.
    fn lost(&mut self, count: u64) {
        let slots: Vec<String> = self.open.keys().cloned().collect();
        let words = format!("{count} lines of the fleet are missing here: the disk is too slow");
        for slot in slots {
            self.write(&note(SystemTime::now(), &slot, words.clone()));
        }
    }

    /// One `write` per line: a reader sees no half lines but at a full disk.
    fn append(&mut self, record: &Record) -> io::Result<()> {
        let mut line = serde_json::to_vec(record)?;
        line.push(b'\n');
        let length = u64::try_from(line.len()).unwrap_or(u64::MAX);
        let rotation = self.rotation;
        let full = |open: &Open| {
            let age = record.at.duration_since(open.since).unwrap_or_default();
            open.size > 0 && (open.size + length > rotation.size || age > rotation.age)
        };
        if !self.open.contains_key(&record.slot) {
            let opened = open(&self.folder, &record.slot)?;
            self.open.insert(record.slot.clone(), opened);
        }
        if self.open.get(&record.slot).is_some_and(full) {
            self.open.remove(&record.slot);
            put_away(&self.folder, &record.slot, record.at, rotation)?;
            let opened = open(&self.folder, &record.slot)?;
            self.open.insert(record.slot.clone(), opened);
        }
        if let Some(open) = self.open.get_mut(&record.slot) {
            open.file.write_all(&line)?;
            open.size += length;
        }
        Ok(())
    }
}

fn missed_words(count: u64) -> String {
    format!("{count} lines are missing here: the disk did not take them")
}

fn note(at: SystemTime, slot: &str, line: String) -> Record {
    Record {
        at,
        slot: slot.to_owned(),
        stream: Source::Supervisor,
        line,
    }
}

fn open(folder: &Path, slot: &str) -> io::Result<Open> {
    let file = OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(current(folder, slot))?;
    let metadata = file.metadata()?;
    let since = metadata.created().or_else(|_| metadata.modified())?;
    let size = metadata.len();
    let mut open = Open { file, size, since };
    if size > 0 {
        // A supervisor that was killed, or a disk that was full, may have left half a line; an empty one is passed over.
        open.file.write_all(b"\n")?;
        open.size += 1;
    }
    Ok(open)
}

/// Renames the slot's file and removes those that are too many or too old.
fn put_away(folder: &Path, slot: &str, at: SystemTime, rotation: Rotation) -> io::Result<()> {
    let current = current(folder, slot);
    let mut until = at
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_millis();
    // Younger than every other, also when the clock was set back: their order is that of their names.
    if let Some(last) = put_away_last(folder, slot)? {
        until = until.max(last + 1);
    }
    fs::rename(&current, folder.join(format!("{slot}.log.{until}")))?;
    let old = generations(folder, slot)?;
    let too_many = old.len().saturating_sub(rotation.keep.saturating_sub(1));
    for (index, path) in old.iter().enumerate() {
        let age = fs::metadata(path)
            .and_then(|metadata| metadata.modified())
            .map(|modified| at.duration_since(modified).unwrap_or_default());
        if index < too_many || age.is_ok_and(|age| age > rotation.keep_for) {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logs::Reader;
    use std::os::unix::fs::PermissionsExt;
    use std::sync::mpsc::channel;

    fn record(number: u64, at: SystemTime) -> Record {
        Record {
            at,
            slot: "web-0".into(),
            stream: Source::Stdout,
            line: format!("line {number}"),
        }
    }

    fn small(folder: &Path) -> Files {
        let rotation = Rotation {
            size: 500,
            keep: 3,
            ..ROTATION
        };
        Files::new(folder.to_owned(), rotation, Box::new(|_| ()))
    }

    /// A moment with whole milliseconds, as it is written.
    fn noon() -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(1_795_253_580_123)
    }

    #[test]
    fn files_are_private_put_away_when_large_and_removed_when_too_many() {
        let place = tempfile::tempdir().unwrap();
        let mut files = small(place.path());
        for number in 0..100 {
            files.write(&record(number, noon()));
        }
        let generations = generations(place.path(), "web-0").unwrap();
        assert_eq!(generations.len(), 3);
        for path in generations {
            let metadata = fs::metadata(path).unwrap();
            assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
            assert!(metadata.len() <= 500);
        }
    }

    #[test]
    fn a_file_is_put_away_when_it_is_a_day_old() {
        let place = tempfile::tempdir().unwrap();
        let mut files = Files::new(place.path().to_owned(), ROTATION, Box::new(|_| ()));
        let now = SystemTime::now();
        files.write(&record(1, now));
        files.write(&record(2, now + Duration::from_secs(60)));
        assert_eq!(generations(place.path(), "web-0").unwrap().len(), 1);
        files.write(&record(3, now + ROTATION.age + Duration::from_secs(1)));
        assert_eq!(generations(place.path(), "web-0").unwrap().len(), 2);
    }

    #[test]
    fn a_reader_that_follows_misses_nothing_when_files_are_put_away() {
        let place = tempfile::tempdir().unwrap();
        let mut files = small(place.path());
        files.rotation.keep = ROTATION.keep;
        files.write(&record(0, noon()));
        let mut reader = Reader::open(place.path().to_owned(), None, None);
        let mut read = 0;
        for number in 1..200 {
            files.write(&record(number, noon()));
            // Now and then several files at once have been put away since the last look.
            if number % 9 == 0 {
                while let Some(found) = reader.next().unwrap() {
                    assert_eq!(found, record(read, noon()));
                    read += 1;
                }
            }
        }
        assert_eq!(read, 199);
    }

    #[test]
    fn what_the_disk_did_not_take_is_counted_where_it_is_missing() {
        let place = tempfile::tempdir().unwrap();
        let gone = place.path().join("gone");
        let (tell, told) = channel();
        let mut files = small(&gone);
        files.say = Box::new(move |words| tell.send(words).unwrap());
        files.write(&record(1, noon()));
        files.write(&record(2, noon()));
        files.write(&Record {
            slot: "web-1".into(),
            ..record(1, noon())
        });
        fs::create_dir(&gone).unwrap();
        files.write(&record(3, noon()));
        files.write(&record(4, noon()));
        drop(files);
        let told: Vec<String> = told.iter().collect();
        assert_eq!(told.len(), 2, "{told:?}");
        assert!(told[0].starts_with("the log cannot be written: No such file"));
        assert_eq!(
            told[1],
            "the log is written again; 3 lines are missing in it"
        );
        let mut other = Reader::open(gone.clone(), Some("web-1".into()), None);
        let only = other.next().unwrap().unwrap();
        assert!(only.line.starts_with("1 lines are missing"), "{only:?}");
        let mut reader = Reader::open(gone, Some("web-0".into()), None);
        let first = reader.next().unwrap().unwrap();
        assert_eq!(first.stream, Source::Supervisor);
        assert!(
            first.line.starts_with("2 lines are missing"),
            "{}",
            first.line
        );
        assert_eq!(reader.next().unwrap(), Some(record(3, noon())));
    }
}
