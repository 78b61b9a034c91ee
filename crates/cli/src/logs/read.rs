//! Reading the log while it is written: the lines of all slots in one order, over rotation.

use super::{Record, current, generations, slots};
use std::collections::BTreeMap;
use std::fs::{File, metadata};
use std::io::{self, BufRead, BufReader};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// The records of a fleet, or of one slot, oldest first.
pub(crate) struct Reader {
    folder: PathBuf,
    only: Option<String>,
    since: Option<SystemTime>,
    slots: BTreeMap<String, Slot>,
}

/// One slot's files, one after the other.
struct Slot {
    file: Option<Reading>,
    /// Read and not yet given out.
    head: Option<Record>,
}

struct Reading {
    reader: BufReader<File>,
    inode: u64,
    /// A line whose end is not written yet.
    partial: Vec<u8>,
}

impl Reader {
    /// Of `only` this slot, and only what was written `since`.
    pub(crate) fn open(folder: PathBuf, only: Option<String>, since: Option<SystemTime>) -> Self {
        Self {
            folder,
            only,
            since,
            slots: BTreeMap::new(),
        }
    }

    /// The slots that have a log.
    pub(crate) fn slots(&self) -> io::Result<Vec<String>> {
        slots(&self.folder)
    }

    /// The next record; `None` when there is none at present. There may be one later, also of a slot that is new.
    pub(crate) fn next(&mut self) -> io::Result<Option<Record>> {
        if self.slots.values().all(|slot| slot.head.is_none()) {
            self.look_for_slots()?;
        }
        for (name, slot) in &mut self.slots {
            if slot.head.is_none() {
                slot.head = slot.next(&self.folder, name, self.since)?;
            }
        }
        let oldest = self
            .slots
            .values_mut()
            .filter(|slot| slot.head.is_some())
            .min_by_key(|slot| slot.head.as_ref().map(|record| record.at));
        Ok(oldest.and_then(|slot| slot.head.take()))
    }

    fn look_for_slots(&mut self) -> io::Result<()> {
        let wanted = |name: &String| self.only.as_ref().is_none_or(|only| only == name);
        for name in slots(&self.folder)?.into_iter().filter(wanted) {
            self.slots.entry(name).or_insert(Slot {
                file: None,
                head: None,
            });
        }
        Ok(())
    }
}

impl Slot {
    fn next(
        &mut self,
        folder: &Path,
        name: &str,
        since: Option<SystemTime>,
    ) -> io::Result<Option<Record>> {
        loop {
            let Some(file) = &mut self.file else {
                match first(folder, name, since)? {
                    Some(path) => self.file = Some(Reading::open(&path)?),
                    None => return Ok(None),
                }
                continue;
            };
            if let Some(line) = file.line()? {
                // A line that is none of ours was cut at a full disk, or written by somebody else.
                match serde_json::from_slice::<Record>(&line) {
                    Ok(record) if since.is_none_or(|since| record.at >= since) => {
                        return Ok(Some(record));
                    }
                    _ => continue,
                }
            }
            let Some(after) = file.successor(folder, name)? else {
                return Ok(None);
            };
            // Written between the last look and the rotation; after it nothing is.
            match file.reader.fill_buf()? {
                [] => self.file = Some(Reading::open(&after)?),
                _ => continue,
            }
        }
    }
}

impl Reading {
    fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let inode = file.metadata()?.ino();
        Ok(Self {
            reader: BufReader::new(file),
            inode,
            partial: Vec::new(),
        })
    }

    /// The next whole line.
    fn line(&mut self) -> io::Result<Option<Vec<u8>>> {
        self.reader.read_until(b'\n', &mut self.partial)?;
        Ok(match self.partial.last() {
            Some(b'\n') => Some(std::mem::take(&mut self.partial)),
            _ => None,
        })
    }

    /// The file that is written after this one, if this one was put away.
    fn successor(&self, folder: &Path, slot: &str) -> io::Result<Option<PathBuf>> {
        let is_this = |path: &Path| metadata(path).is_ok_and(|found| found.ino() == self.inode);
        if is_this(&current(folder, slot)) {
            return Ok(None);
        }
        let all = generations(folder, slot)?;
        let next = match all.iter().position(|path| is_this(path)) {
            Some(this) => all.get(this + 1),
            // Removed already: whatever is left is younger.
            None => all.first(),
        };
        Ok(next.cloned())
    }
}

/// The oldest file that may have something to show.
fn first(folder: &Path, slot: &str, since: Option<SystemTime>) -> io::Result<Option<PathBuf>> {
    let all = generations(folder, slot)?;
    let young = |path: &&PathBuf| match since {
        None => true,
        Some(since) => metadata(path)
            .and_then(|found| found.modified())
            .is_ok_and(|modified| modified >= since),
    };
    Ok(all.iter().find(young).or(all.last()).cloned())
}
