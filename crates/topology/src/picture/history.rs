//! What pictures came to over the last hour, in as few bytes as a plot takes: sums by pool, and the steps of reloads.
//!
//! Bounded twice: by time, and by number, so that a clock that is set back cannot make it grow.

use super::Picture;
use crate::status::Step;
use crate::tag::SlotId;
use serde::ser::SerializeStruct;
use serde::{Deserialize, Serialize, Serializer};
use std::collections::{BTreeMap, VecDeque};

/// How far back it goes, in milliseconds.
const HOUR_MS: u64 = 60 * 60 * 1000;

/// The most pictures: one a second.
const POINTS: usize = 3600;

/// The most steps: three a slot, for ten reloads of a large fleet.
const MARKS: usize = 1500;

/// The last hour of a fleet. As JSON it is columns of one length, the oldest first:
///
/// ```json
/// {"at":[1700000000000],"bound":[18],"seen":[18],
///  "pools":[{"app":"web","pool":"dbos","declared":[9],"open":[9],"busy":[1],"shown":[9],"waiting":[0]}],
///  "marks":[{"slot":"web-0","step":"serves","at_unix_ms":1700000000000}]}
/// ```
#[derive(Debug, Default)]
pub struct History {
    /// App and pool, in the order in which they were first seen.
    pools: Vec<(String, String)>,
    points: VecDeque<Point>,
    marks: VecDeque<Mark>,
}

/// A step of a reload or restart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// Whose.
    pub slot: SlotId,
    /// What.
    pub step: Step,
    /// When, in milliseconds since 1970.
    pub at_unix_ms: u64,
}

#[derive(Debug)]
struct Point {
    at_unix_ms: u64,
    bound: u32,
    seen: u32,
    /// In the order of [`History::pools`]; those that were not known yet are missing at the end.
    sums: Box<[Sums]>,
}

/// One pool over all slots of its app.
#[derive(Debug, Clone, Copy, Default)]
struct Sums {
    declared: u32,
    open: u32,
    busy: u32,
    shown: u32,
    waiting: u32,
}

impl History {
    /// Takes in the next picture: of those of one second, the last one stays.
    pub fn add(&mut self, picture: &Picture) {
        let mut sums = vec![Sums::default(); self.pools.len()];
        for app in &picture.apps {
            for slot in &app.slots {
                for (pool, declared) in &slot.status.pools {
                    let place = self.place(app.app.as_str(), pool);
                    if sums.len() <= place {
                        sums.resize(place + 1, Sums::default());
                    }
                    let Some(sum) = sums.get_mut(place) else {
                        continue;
                    };
                    let shown = slot.shown.get(pool).map_or(0, |shown| shown.open);
                    sum.declared = sum.declared.saturating_add(*declared);
                    sum.shown = sum.shown.saturating_add(shown);
                    if let Some(gauge) = slot.status.gauges.get(pool) {
                        sum.open = sum.open.saturating_add(gauge.open);
                        sum.busy = sum.busy.saturating_add(gauge.busy);
                        sum.waiting = sum.waiting.saturating_add(gauge.waiting);
                    }
                }
            }
        }
        let of_second = |at: u64| at / 1000;
        let last = self.points.back().map(|point| of_second(point.at_unix_ms));
        if last == Some(of_second(picture.at_unix_ms)) {
            self.points.pop_back();
        }
        self.points.push_back(Point {
            at_unix_ms: picture.at_unix_ms,
            bound: picture.budget.bound.0,
            seen: picture.budget.seen.0,
            sums: sums.into(),
        });
        self.forget(picture.at_unix_ms);
    }

    /// Takes in a step, at the time at which it was taken.
    pub fn mark(&mut self, mark: Mark) {
        let now = mark.at_unix_ms;
        self.marks.push_back(mark);
        self.forget(now);
    }

    fn place(&mut self, app: &str, pool: &str) -> usize {
        let known = self.pools.iter();
        let mut known = known.map(|(app, pool)| (app.as_str(), pool.as_str()));
        known
            .position(|known| known == (app, pool))
            .unwrap_or_else(|| {
                self.pools.push((app.to_owned(), pool.to_owned()));
                self.pools.len() - 1
            })
    }

    fn forget(&mut self, now: u64) {
        let oldest = now.saturating_sub(HOUR_MS);
        let old = |at: Option<u64>| at.is_some_and(|at| at < oldest);
        while self.points.len() > POINTS || old(self.points.front().map(|point| point.at_unix_ms)) {
            self.points.pop_front();
        }
        while self.marks.len() > MARKS || old(self.marks.front().map(|mark| mark.at_unix_ms)) {
            self.marks.pop_front();
        }
    }
}

/// One pool's columns.
#[derive(Serialize)]
struct Columns<'a> {
    app: &'a str,
    pool: &'a str,
    #[serde(flatten)]
    of: BTreeMap<&'static str, Vec<u32>>,
}

impl Serialize for History {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let points = || self.points.iter();
        let column = |place: usize, read: fn(&Sums) -> u32| -> Vec<u32> {
            points()
                .map(|point| point.sums.get(place).map_or(0, read))
                .collect()
        };
        let pools = self.pools.iter().enumerate();
        let pools: Vec<_> = pools
            .map(|(place, (app, pool))| Columns {
                app,
                pool,
                of: [
                    ("declared", column(place, |sums| sums.declared)),
                    ("open", column(place, |sums| sums.open)),
                    ("busy", column(place, |sums| sums.busy)),
                    ("shown", column(place, |sums| sums.shown)),
                    ("waiting", column(place, |sums| sums.waiting)),
                ]
                .into(),
            })
            .collect();
        let mut history = serializer.serialize_struct("History", 5)?;
        let at: Vec<u64> = points().map(|point| point.at_unix_ms).collect();
        let bound: Vec<u32> = points().map(|point| point.bound).collect();
        let seen: Vec<u32> = points().map(|point| point.seen).collect();
        history.serialize_field("at", &at)?;
        history.serialize_field("bound", &bound)?;
        history.serialize_field("seen", &seen)?;
        history.serialize_field("pools", &pools)?;
        history.serialize_field("marks", &self.marks)?;
        history.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handover::SlotState;
    use crate::picture::tests::{fleet_picture, slot};

    fn picture(at_unix_ms: u64, open: &[u32]) -> Picture {
        let slots = (0..).zip(open);
        let slots = slots.map(|(index, open)| slot(index, SlotState::Serving, *open));
        Picture {
            at_unix_ms,
            ..fleet_picture(slots.collect())
        }
    }

    fn mark(at_unix_ms: u64) -> Mark {
        Mark {
            slot: "web-0".parse().unwrap(),
            step: Step::Drains,
            at_unix_ms,
        }
    }

    #[test]
    fn the_pools_of_all_slots_are_summed_up_and_a_pool_that_comes_later_had_nothing_before() {
        let mut history = History::default();
        history.add(&picture(1_000, &[]));
        history.add(&picture(2_000, &[2, 1]));
        history.mark(mark(2_500));
        let json = serde_json::to_string(&history).unwrap();
        insta::assert_snapshot!(json, @r#"{"at":[1000,2000],"bound":[4,4],"seen":[0,0],"pools":[{"app":"web","pool":"db","busy":[0,0],"declared":[0,4],"open":[0,3],"shown":[0,0],"waiting":[0,0]}],"marks":[{"slot":"web-0","step":"drains","at_unix_ms":2500}]}"#);
    }

    #[test]
    fn of_the_pictures_of_one_second_the_last_one_is_kept() {
        let mut history = History::default();
        for (at, open) in [(1_000, 1), (1_400, 2), (1_999, 0), (2_000, 2)] {
            history.add(&picture(at, &[open]));
        }
        let kept = |point: &Point| (point.at_unix_ms, point.sums[0].open);
        let kept: Vec<_> = history.points.iter().map(kept).collect();
        assert_eq!(kept, [(1_999, 0), (2_000, 2)]);
    }

    #[test]
    fn what_is_older_than_an_hour_is_forgotten() {
        let mut history = History::default();
        history.mark(mark(0));
        history.add(&picture(0, &[]));
        history.add(&picture(HOUR_MS, &[]));
        assert_eq!((history.points.len(), history.marks.len()), (2, 1));
        history.add(&picture(HOUR_MS + 1_000, &[]));
        assert_eq!((history.points.len(), history.marks.len()), (2, 0));
    }

    #[test]
    fn it_does_not_grow_though_the_clock_stands_still() {
        let mut history = History::default();
        let (one, other) = (picture(1_000, &[1]), picture(2_000, &[1]));
        for _ in 0..POINTS {
            history.add(&one);
            history.add(&other);
            history.mark(mark(1_000));
        }
        assert_eq!(history.points.len(), POINTS);
        assert_eq!(history.marks.len(), MARKS);
    }
}
