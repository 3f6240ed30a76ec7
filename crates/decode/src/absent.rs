//! Values that stand for no value: words such as `null` and `-`, and times such as the year 1.

use dataflows::EventTime;

/// Words for an absent value, as writers of logs have them. The empty text and blanks are absent anyway.
pub const WORDS: [&str; 20] = [
    "-",
    "null",
    "NULL",
    "Null",
    "(null)",
    "<null>",
    "\\N",
    "undefined",
    "None",
    "nil",
    "<nil>",
    "(nil)",
    "NaN",
    "nan",
    "NA",
    "N/A",
    "n/a",
    "(not set)",
    "00000000-0000-0000-0000-000000000000",
    "{00000000-0000-0000-0000-000000000000}",
];

/// Words of [`is_weak`].
const WEAK: [&str; 2] = ["0", "false"];

/// The start of the year 2 and of the year 9999: times outside are those that programs write for "never".
const NEVER: [i64; 2] = [-62_104_060_800_000_000, 253_370_764_800_000_000];

/// The start of the year 1990, in microseconds. No log of events is older.
const PLAUSIBLE: i64 = 631_152_000_000_000;

/// Recognises absent values.
#[derive(Clone, Debug)]
pub struct Absent {
    words: Vec<String>,
    /// By byte: a word for none, or one that [`is_weak`], begins with it.
    begins: [bool; 256],
    /// Bytes of the longest word.
    longest: usize,
    /// Times that stand for none are absent.
    never: bool,
}

impl Absent {
    /// Makes it from the configured words, else from [`WORDS`]. An empty list means: every value is one.
    pub fn new(words: Option<&[String]>) -> Absent {
        let words: Vec<String> = match words {
            Some(words) => words.to_vec(),
            None => WORDS.map(str::to_owned).to_vec(),
        };
        let mut begins = [false; 256];
        for byte in words.iter().filter_map(|word| word.bytes().next()).chain(*b" \t\n\r") {
            begins[usize::from(byte)] = !words.is_empty();
        }
        WEAK.iter().for_each(|word| begins[usize::from(word.as_bytes()[0])] = true);
        let longest = words.iter().map(String::len).max().unwrap_or_default();
        Absent { never: !words.is_empty(), words, begins, longest }
    }

    /// Returns whether a text, which is not empty, stands for no value.
    #[inline]
    pub fn has(&self, text: &str) -> bool {
        self.begins_with(text.as_bytes()[0]) && self.is_word(text)
    }

    /// Returns whether a text that begins with this byte may stand for no value, or be one that [`is_weak`].
    #[inline]
    pub fn begins_with(&self, byte: u8) -> bool {
        self.begins[usize::from(byte)]
    }

    fn is_word(&self, text: &str) -> bool {
        let text = text.trim_ascii();
        (text.is_empty() && !self.words.is_empty())
            || (text.len() <= self.longest && self.words.iter().any(|word| word == text))
    }

    /// Returns whether a time stands for none. 0 is a time where the unit of epochs is known.
    #[inline]
    pub fn is_never(&self, time: EventTime, has_unit: bool) -> bool {
        let micros = time.micros();
        self.never && (micros < NEVER[0] || micros >= NEVER[1] || (micros == 0 && !has_unit))
    }

    /// Returns whether a text is the date that MySQL writes for none.
    pub fn is_zero_date(&self, text: &str) -> bool {
        self.never && text.trim_start().starts_with("0000-00-00")
    }
}

/// Returns whether a text is a user only if no other candidate has one: `0` and `false` are names in few logs, and mean
/// "none" in many.
#[inline]
pub fn is_weak(text: &str) -> bool {
    WEAK.contains(&text)
}

/// Returns whether a time is before the first that an event can be expected to have.
#[inline]
pub fn is_early(time: EventTime) -> bool {
    time.micros() < PLAUSIBLE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_times_stand_for_none() {
        let absent = Absent::new(None);
        for word in WORDS.into_iter().chain([" ", "\t-\n"]) {
            assert!(absent.has(word), "{word:?}");
        }
        for word in ["--", "nullable", "ann", "0", "none", "undefined1"] {
            assert!(!absent.has(word), "{word:?}");
        }
        let time = |micros| EventTime::from_micros(micros).unwrap();
        let never = |absent: &Absent, micros| absent.is_never(time(micros), false);
        assert!(
            never(&absent, 0) && never(&absent, -62_135_596_800_000_000) && never(&absent, EventTime::MAX.micros())
        );
        assert!(!never(&absent, 1) && !never(&absent, -1) && !absent.is_never(time(0), true));
        assert!(absent.is_zero_date("0000-00-00 00:00:00"));

        let own = Absent::new(Some(&["guest".to_owned()]));
        assert!(own.has("guest") && !own.has("null") && never(&own, 0));
        let none = Absent::new(Some(&[]));
        assert!(!none.has("-") && !none.has(" ") && !never(&none, 0) && !none.is_zero_date("0000-00-00"));
    }

    #[test]
    fn times_before_1990_are_early() {
        let early = |text: &str| {
            is_early(EventTime::from_micros(text.parse::<jiff::Timestamp>().unwrap().as_microsecond()).unwrap())
        };
        assert!(early("1989-12-31T23:59:59Z") && !early("1990-01-01T00:00:00Z"));
    }
}
