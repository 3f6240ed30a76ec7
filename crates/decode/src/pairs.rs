//! Lines of named values: LTSV (`host:::1<tab>status:200`) and logfmt (`level=info user="u 1"`) -> [`Reading`].
//!
//! A name is a path in which dots descend, and every value is a string. In logfmt, a comma or a semicolon behind a value
//! that is not in quotes is no part of it, and a word without a value is passed.
//!
//! A line of text has the pairs of logfmt that are in it, its first time as `time`, and itself as `line`.

use crate::clf::{plain, quoted};
use crate::fault::Fault;
use crate::leaves::{self, Told};
use crate::path_set::PathSet;
use crate::prefix;
use crate::reading::Reading;
use dataflows::{PathHash, Reason, ShapeId, ValueKind};
use std::borrow::Cow;
use std::sync::Arc;

/// The forms of a line of pairs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pairs {
    /// `key:value`, separated by tabs.
    Ltsv,
    /// `key=value`, separated by blanks.
    Logfmt,
    /// Any line.
    Text,
}

/// Reads lines one after the other.
#[derive(Debug)]
pub struct PairsReader {
    pairs: Pairs,
    paths: Arc<PathSet>,
    leaves: Vec<u64>,
    told: Told,
    most: usize,
}

impl PairsReader {
    /// A line may have `most` pairs.
    pub fn new(pairs: Pairs, paths: &Arc<PathSet>, most: usize) -> PairsReader {
        PairsReader { pairs, paths: Arc::clone(paths), leaves: Vec::new(), told: Told::default(), most }
    }

    /// Replaces what `reading` holds by `line`, with or without its line end. After a fault (not UTF-8, no pairs, too
    /// many of them) `reading` is empty.
    pub fn read(&mut self, line: &[u8], reading: &mut Reading) -> Result<(), Fault> {
        reading.clear();
        let text =
            simdutf8::basic::from_utf8(line).map_err(|_| Fault::new(Reason::NotUtf8, "the line is not valid UTF-8"))?;
        self.leaves.clear();
        let mut count = 0;
        let text = text.trim_end_matches(['\r', '\n']);
        let pairs = self.pairs;
        for (name, value) in pairs.of(text).chain(pairs.whole(text)) {
            count += 1;
            if count > self.most {
                reading.clear();
                let message = format!("the line has more pairs than the limit of {}", self.most);
                return Err(Fault::new(Reason::TooManyKeys, message));
            }
            if value.is_empty() {
                continue;
            }
            let path = PathHash::ROOT.key(name);
            self.leaves.push(path.leaf(ValueKind::String));
            if let Some(slot) = self.paths.slot(path) {
                reading.push(slot, ValueKind::String, &value);
            }
            self.paths.through(PathHash::ROOT, name).for_each(|slot| reading.contain(slot));
        }
        if count == 0 {
            return Err(Fault::new(Reason::NoLogLine, format!("the line has no {}", self.pairs.form())));
        }
        let shape = ShapeId::of(&mut self.leaves);
        let present = || pairs.of(text).chain(pairs.whole(text)).filter(|(_, value)| !value.is_empty());
        let names = || Some(present().map(|(name, _)| leaves::of_key(name)).collect());
        (reading.shape, reading.leaves) = (Some(shape), self.told.tell(shape, names));
        Ok(())
    }
}

impl Pairs {
    fn form(self) -> &'static str {
        match self {
            Pairs::Ltsv => "`name:value` between tabs",
            Pairs::Logfmt | Pairs::Text => "`name=value`",
        }
    }

    /// Returns the pairs of a line, in order.
    pub fn of(self, line: &str) -> impl Iterator<Item = (&str, Cow<'_, str>)> {
        let mut rest = line;
        std::iter::from_fn(move || {
            while !rest.is_empty() {
                let pair = match self {
                    Pairs::Ltsv => {
                        let (field, after) = rest.split_once('\t').unwrap_or((rest, ""));
                        rest = after;
                        field.split_once(':').map(|(name, value)| (name, plain(value)))
                    }
                    Pairs::Logfmt | Pairs::Text => logfmt(&mut rest),
                };
                if let Some(pair) = pair.filter(|(name, _)| is_name(name)) {
                    return Some(pair);
                }
            }
            None
        })
    }

    /// Returns the values that a line of text has as a whole.
    fn whole(self, line: &str) -> impl Iterator<Item = (&str, Cow<'_, str>)> {
        let time = (self == Pairs::Text).then(|| prefix::time(line.as_bytes(), true)).flatten();
        let time = time.map(|time| ("time", Cow::Borrowed(time)));
        time.into_iter().chain((self == Pairs::Text).then_some(("line", Cow::Borrowed(line))))
    }

    /// Returns whether a line is nothing but pairs, at least two of them.
    pub fn fits(self, line: &str) -> bool {
        let words = match self {
            Pairs::Ltsv => line.split('\t').count(),
            Pairs::Text => return true,
            Pairs::Logfmt => {
                let mut rest = line;
                let mut words = 0;
                while !rest.is_empty() {
                    let before = rest.len();
                    logfmt(&mut rest);
                    words += usize::from(before > rest.len() && !line[line.len() - before..].trim().is_empty());
                }
                words
            }
        };
        let pairs = self.of(line).count();
        pairs > 1 && pairs == words
    }
}

fn is_name(name: &str) -> bool {
    !name.is_empty()
        && name.starts_with(|first: char| first.is_alphabetic() || "_@$".contains(first))
        && !name.contains([' ', '"', '{', '[', '(', '=', ',', '/', '?'])
}

/// Takes a word or a pair from the front of `rest`.
fn logfmt<'l>(rest: &mut &'l str) -> Option<(&'l str, Cow<'l, str>)> {
    let text = rest.trim_start();
    let end = text.find(|c: char| c.is_whitespace() || c == '=').unwrap_or(text.len());
    let (name, after) = text.split_at(end);
    let Some(value) = after.strip_prefix('=') else {
        *rest = after.trim_start();
        return None;
    };
    if let Some(inner) = value.strip_prefix('"') {
        let mut escaped = false;
        let end = inner.bytes().position(|byte| {
            let closes = byte == b'"' && !escaped;
            escaped = byte == b'\\' && !escaped;
            closes
        });
        let end = end.unwrap_or(inner.len());
        *rest = inner.get(end + 1..).unwrap_or_default().trim_start_matches([',', ';', ' ']);
        return Some((name, quoted(&inner[..end])));
    }
    let end = value.find(char::is_whitespace).unwrap_or(value.len());
    *rest = value[end..].trim_start();
    Some((name, plain(value[..end].trim_end_matches([',', ';']))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tabular::tests::{path_set, shape_of, texts};
    use proptest::prelude::*;

    fn read(pairs: Pairs, line: &str) -> Result<(String, Option<ShapeId>), Fault> {
        let paths = Arc::new(path_set(&["user", "time", "c.d"]));
        let mut reading = Reading::default();
        PairsReader::new(pairs, &paths, 4).read(line.as_bytes(), &mut reading)?;
        Ok((texts(&reading, &paths).join("|"), reading.shape))
    }

    #[test]
    fn pairs() {
        let cases = [
            (Pairs::Ltsv, "user:u1\ttime:10:00\tc.d:x y", "u1|10:00|x y"),
            (Pairs::Ltsv, "time:\tuser:-\tc.d:x", "||x"),
            (Pairs::Logfmt, "user=u1 time=10:00 c.d=\"x \\\"y\\\"\"\r\n", "u1|10:00|x \"y\""),
            (Pairs::Logfmt, "user=u1, time=10:00, c.d=x;", "u1|10:00|x"),
            (Pairs::Logfmt, "a word user=u1  c.d=a=b time=", "u1||a=b"),
            (Pairs::Logfmt, "user=\"u1", "u1||"),
            (Pairs::Text, "2024-05-01 10:00:00,5 WARN c.Login - user=u1, took 5 ms", "u1|2024-05-01 10:00:00,5|"),
            (Pairs::Text, "prose without any", "||"),
            (Pairs::Text, "May  1 10:00:01 web sshd[7]: time=now", "|now|"),
        ];
        for (pairs, line, expected) in cases {
            assert_eq!(read(pairs, line).unwrap().0, expected, "{line}");
        }
        assert_eq!(read(Pairs::Logfmt, "user=u1 x=\"\" c.d=1").unwrap().1, shape_of(&["user", "c.d"]));
        assert_eq!(read(Pairs::Text, "a user=u1").unwrap().1, shape_of(&["user", "line"]));
        assert_eq!(read(Pairs::Logfmt, "prose without any").unwrap_err().reason, Reason::NoLogLine);
        assert_eq!(read(Pairs::Logfmt, "a=1 b=2 c=3 d=4 e=5").unwrap_err().reason, Reason::TooManyKeys);
    }

    #[test]
    fn lines_of_pairs_are_told_from_prose() {
        for (pairs, line, fits) in [
            (Pairs::Logfmt, "user=u1, time=2024-05-01T10:00:00Z, event=view", true),
            (Pairs::Logfmt, "level=info msg=\"a b\"", true),
            (Pairs::Logfmt, "level=info and more msg=x", false),
            (Pairs::Logfmt, "https://x/?a=b c=d", false),
            (Pairs::Ltsv, "host:::1\tstatus:200", true),
            (Pairs::Ltsv, "host:::1", false),
            (Pairs::Ltsv, "a\tb:c", false),
        ] {
            assert_eq!(pairs.fits(line), fits, "{line}");
        }
    }

    proptest! {
        #[test]
        fn what_was_written_is_read(
            values in prop::collection::vec(("[a-z][a-z0-9_.]{0,5}", "[a-z0-9 =\"\\\\:é]{1,8}"), 1..4)
        ) {
            let line: Vec<String> = (values.iter())
                .map(|(name, value)| format!("{name}=\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\"")))
                .collect();
            let line = line.join(" ");
            let read: Vec<_> = Pairs::Logfmt.of(&line).map(|(name, value)| (name.to_owned(), value.into_owned())).collect();
            prop_assert_eq!(read, values);
        }

        #[test]
        fn no_line_panics(line in "[a=:\"\\\\ \t,é]{0,16}") {
            for pairs in [Pairs::Ltsv, Pairs::Logfmt, Pairs::Text] {
                _ = pairs.fits(&line);
                _ = read(pairs, &line);
            }
        }
    }
}
