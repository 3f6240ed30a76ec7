//! Where each byte of an input went: into an event, into a dead letter, or into something that is skipped for a reason.

use crate::framing::{Framing, MARK};

/// Why bytes are part of no event and of no dead letter. [`Skip::code`] is part of the interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Skip {
    /// Line ends, and what stands between JSON values.
    Separator,
    /// Lines with nothing but blanks.
    Blank,
    /// Rows that name the columns, repeated ones too.
    Header,
    /// Lines that begin with the mark of comments, and directives of a log.
    Comment,
    /// Lines above the first record that the configuration skips, and `sep=` lines.
    Above,
    /// Byte order marks.
    Mark,
    /// NUL bytes around records and behind compressed data.
    Padding,
    /// Objects whose array of events is empty.
    NoElements,
}

impl Skip {
    /// Every reason.
    pub const ALL: [Skip; 8] = [
        Skip::Separator,
        Skip::Blank,
        Skip::Header,
        Skip::Comment,
        Skip::Above,
        Skip::Mark,
        Skip::Padding,
        Skip::NoElements,
    ];

    /// Returns the stable name of this reason in outputs.
    pub fn code(self) -> &'static str {
        match self {
            Skip::Separator => "separators",
            Skip::Blank => "blank_lines",
            Skip::Header => "headers",
            Skip::Comment => "comments",
            Skip::Above => "lines_above",
            Skip::Mark => "byte_order_marks",
            Skip::Padding => "padding",
            Skip::NoElements => "no_elements",
        }
    }
}

/// Bytes that are skipped for one reason, and how often.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Skipped {
    /// Lines, marks, objects, or runs of bytes.
    pub times: u64,
    /// In total.
    pub bytes: u64,
}

/// The bytes of an input, by where they went.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// Of records that gave events.
    pub events: u64,
    /// Of records that gave dead letters only.
    pub dead_letters: u64,
    skipped: [Skipped; Skip::ALL.len()],
}

impl Account {
    /// Returns the number of bytes together.
    pub fn total(&self) -> u64 {
        self.events + self.dead_letters + self.skipped.iter().map(|skipped| skipped.bytes).sum::<u64>()
    }

    /// Returns what was skipped for a reason.
    pub fn of(&self, skip: Skip) -> Skipped {
        self.skipped[skip as usize]
    }

    /// Counts bytes as skipped for a reason.
    #[inline]
    pub fn skip(&mut self, skip: Skip, bytes: usize) {
        let skipped = &mut self.skipped[skip as usize];
        skipped.times += u64::from(bytes > 0);
        skipped.bytes += bytes as u64;
    }

    /// Adds another account.
    pub fn add(&mut self, other: &Account) {
        self.events += other.events;
        self.dead_letters += other.dead_letters;
        for (skipped, other) in self.skipped.iter_mut().zip(&other.skipped) {
            skipped.times += other.times;
            skipped.bytes += other.bytes;
        }
    }

    /// Counts the bytes behind a record, up to the next one.
    #[inline]
    pub fn between(&mut self, framing: Framing, gap: &[u8]) {
        match gap {
            [] => {}
            [b'\n'] | [b'\r', b'\n'] => self.skip(Skip::Separator, gap.len()),
            _ => self.sort(framing, gap, true),
        }
    }

    /// Counts the bytes before the first record.
    pub fn before(&mut self, framing: Framing, bytes: &[u8]) {
        self.sort(framing, bytes, false);
    }

    /// `is_behind`: the first line end belongs to a record before.
    #[cold]
    fn sort(&mut self, framing: Framing, mut rest: &[u8], mut is_behind: bool) {
        // The start of a line that has been blank so far.
        let mut blank = 0;
        while !rest.is_empty() {
            let line_end = match rest {
                [b'\r', b'\n', ..] => 2,
                [b'\n' | b'\r', ..] => 1,
                _ => 0,
            };
            let (skip, length) = match rest {
                [0, ..] => (Skip::Padding, rest.iter().take_while(|byte| **byte == 0).count()),
                _ if rest.starts_with(MARK) => (Skip::Mark, MARK.len()),
                _ if framing == Framing::JsonValues => {
                    let is_part = |rest: &[u8]| rest[0] != 0 && !rest.starts_with(MARK);
                    (Skip::Separator, (0..rest.len()).take_while(|at| is_part(&rest[*at..])).count())
                }
                _ if line_end > 0 && std::mem::take(&mut is_behind) => (Skip::Separator, line_end),
                _ if line_end > 0 => {
                    let length = std::mem::take(&mut blank) + line_end;
                    self.skip(Skip::Blank, length);
                    rest = &rest[line_end..];
                    continue;
                }
                _ => {
                    blank += 1;
                    rest = &rest[1..];
                    continue;
                }
            };
            self.skip(skip, length);
            rest = &rest[length..];
        }
        self.skip(Skip::Blank, blank);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_between_records_have_their_reasons() {
        let mut account = Account::default();
        account.between(Framing::Lines, b"\r\n  \n\n\0\0\xef\xbb\xbf\0 ");
        account.between(Framing::JsonValues, b",\n [\0");
        account.between(Framing::Lines, b"\n");
        let counts = |skip| (account.of(skip).times, account.of(skip).bytes);
        assert_eq!(counts(Skip::Separator), (3, 2 + 4 + 1));
        assert_eq!(counts(Skip::Blank), (3, 3 + 1 + 1));
        assert_eq!(counts(Skip::Padding), (3, 2 + 1 + 1));
        assert_eq!(counts(Skip::Mark), (1, 3));
        assert_eq!(account.total(), 2 + 4 + 2 + 3 + 1 + 1 + 5 + 1);
    }
}
