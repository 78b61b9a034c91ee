//! The mark in a comment that says what of a role or a database is Poolwright's: `[poolwright: made]`,
//! or `[poolwright: limit, check]` on what somebody else made. Whatever else the comment says is kept.

const OPEN: &str = "[poolwright: ";

/// What is ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Mark {
    /// The thing itself, and with it everything below.
    pub(super) made: bool,
    /// Its `CONNECTION LIMIT`.
    pub(super) limit: bool,
    /// Its `client_connection_check_interval`.
    pub(super) check: bool,
}

impl Mark {
    pub(super) const MADE: Self = Self {
        made: true,
        limit: true,
        check: true,
    };

    /// What a comment says.
    pub(super) fn of(comment: Option<&str>) -> Self {
        let marked = comment
            .and_then(|comment| comment.split_once(OPEN))
            .and_then(|(_, rest)| rest.split_once(']'));
        let Some((words, _)) = marked else {
            return Self::default();
        };
        let has = |wanted| words.split(", ").any(|word| word == wanted);
        if has("made") {
            return Self::MADE;
        }
        Self {
            made: false,
            limit: has("limit"),
            check: has("check"),
        }
    }

    /// The comment with this mark in the place of an earlier one.
    pub(super) fn on(self, comment: Option<&str>) -> String {
        let words: Vec<&str> = [
            (self.made, "made"),
            (self.limit && !self.made, "limit"),
            (self.check && !self.made, "check"),
        ]
        .into_iter()
        .filter_map(|(is, word)| is.then_some(word))
        .collect();
        let mark = format!("{OPEN}{}]", words.join(", "));
        let text = comment.map(without).unwrap_or_default();
        match text.as_str() {
            "" => mark,
            text => format!("{text} {mark}"),
        }
    }
}

/// Whether the `CONNECTION LIMIT` of a role with this comment is Poolwright's to change.
#[must_use]
pub fn is_ours(comment: Option<&str>) -> bool {
    Mark::of(comment).limit
}

/// Whether the role or database with this comment was made by Poolwright.
#[must_use]
pub fn is_made(comment: Option<&str>) -> bool {
    Mark::of(comment).made
}

fn without(comment: &str) -> String {
    match comment.split_once(OPEN) {
        None => comment.trim().to_owned(),
        Some((before, rest)) => {
            let after = rest.split_once(']').map_or("", |(_, after)| after);
            format!("{}{after}", before.trim_end()).trim().to_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_read_back_and_what_else_was_said_is_kept() {
        let limit = Mark {
            limit: true,
            ..Mark::default()
        };
        let both = Mark {
            check: true,
            ..limit
        };
        for mark in [limit, both, Mark::MADE] {
            for said in [None, Some("The shop's role.")] {
                let comment = mark.on(said);
                assert_eq!(Mark::of(Some(&comment)), mark, "{comment}");
                assert_eq!(without(&comment), said.unwrap_or_default());
            }
        }
        assert_eq!(
            both.on(Some(&limit.on(Some("The shop's.")))),
            "The shop's. [poolwright: limit, check]"
        );
        assert_eq!(Mark::of(Some("made by hand")), Mark::default());
    }
}
