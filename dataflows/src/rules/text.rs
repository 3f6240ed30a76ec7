//! What can be asked of a text: beginnings, ends, parts, and regular expressions.

use regex_automata::meta::{BuildError, Config, Regex};
use serde::{Deserialize, Serialize};
use std::cmp::Ordering;
use std::hash::{Hash, Hasher};
use std::ops::Range;

/// Asks whether one of some texts is somewhere in a value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TextTest {
    /// Where.
    pub place: Place,
    /// One of them has to be there. In lower case if `fold`.
    pub texts: Vec<String>,
    /// Upper and lower case are the same.
    pub fold: bool,
}

/// Where a text has to be in a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Place {
    /// It is the whole value.
    Whole,
    /// The value begins with it.
    Start,
    /// The value ends with it.
    End,
    /// Anywhere.
    Within,
}

impl TextTest {
    /// Makes a test; the texts may have any case.
    pub fn new(place: Place, texts: impl IntoIterator<Item = String>, fold: bool) -> TextTest {
        let case = |text: String| if fold { text.to_lowercase() } else { text };
        let mut texts: Vec<String> = texts.into_iter().map(case).collect();
        texts.sort_unstable();
        texts.dedup();
        TextTest { place, texts, fold }
    }

    /// Returns whether it holds for a value.
    pub fn holds(&self, value: &str) -> bool {
        if self.fold && value.chars().any(char::is_uppercase) {
            return self.any(&value.to_lowercase());
        }
        self.any(value)
    }

    fn any(&self, value: &str) -> bool {
        self.texts.iter().any(|text| match self.place {
            Place::Whole => value == text,
            Place::Start => value.starts_with(text.as_str()),
            Place::End => value.ends_with(text.as_str()),
            Place::Within => value.contains(text.as_str()),
        })
    }
}

/// A regular expression. Its text says which one: two are equal if their texts are.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Pattern {
    text: String,
    compiled: Regex,
}

/// Bytes of one compiled expression. A larger one is refused, as it would be slow and take memory on each worker.
const LARGEST: usize = 1 << 20;

impl Pattern {
    /// Compiles an expression. It has no look-around and no back-references, so its time is linear in the text.
    ///
    /// # Errors
    /// In words for the user.
    pub fn new(text: &str) -> Result<Pattern, String> {
        let config = Config::new().nfa_size_limit(Some(LARGEST)).hybrid_cache_capacity(LARGEST);
        let compiled = Regex::builder().configure(config).build(text).map_err(|error| explain(&error))?;
        Ok(Pattern { text: text.to_owned(), compiled })
    }

    /// Returns its text.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Returns whether some part of a value matches.
    pub fn matches(&self, value: &str) -> bool {
        self.compiled.is_match(value)
    }

    /// Returns the place of the first group that a match captures, else of the whole match.
    pub fn capture(&self, value: &str) -> Option<Range<usize>> {
        let mut found = self.compiled.create_captures();
        self.compiled.captures(value, &mut found);
        let whole = found.get_group(0)?;
        let group = (1..found.group_len()).find_map(|index| found.get_group(index));
        Some(group.unwrap_or(whole).range())
    }
}

fn explain(error: &BuildError) -> String {
    match error.syntax_error() {
        Some(syntax) => {
            let text = syntax.to_string();
            let last = text.lines().rfind(|line| !line.trim().is_empty()).unwrap_or_default();
            format!("it is no regular expression: {}", last.trim_start_matches("error: "))
        }
        None if error.size_limit().is_some() => "the regular expression is too large".into(),
        None => format!("it is no regular expression: {error}"),
    }
}

impl TryFrom<String> for Pattern {
    type Error = String;

    fn try_from(text: String) -> Result<Pattern, String> {
        Pattern::new(&text)
    }
}

impl From<Pattern> for String {
    fn from(pattern: Pattern) -> String {
        pattern.text
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Pattern) -> bool {
        self.text == other.text
    }
}

impl Eq for Pattern {}

impl PartialOrd for Pattern {
    fn partial_cmp(&self, other: &Pattern) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Pattern {
    fn cmp(&self, other: &Pattern) -> Ordering {
        self.text.cmp(&other.text)
    }
}

impl Hash for Pattern {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.text.hash(state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_looked_for_where_it_is_asked_for() {
        let holds = |place, texts: &[&str], fold, value| {
            TextTest::new(place, texts.iter().map(|text| (*text).to_owned()), fold).holds(value)
        };
        assert!(
            holds(Place::Within, &["x", "Bot"], false, "GoogleBot/2") && !holds(Place::Within, &["bot"], false, "Bot")
        );
        assert!(holds(Place::Within, &["BOT"], true, "Googlebot") && holds(Place::Within, &["ä"], true, "BÄR"));
        assert!(holds(Place::Start, &["/a", "/b"], false, "/b/c") && !holds(Place::Start, &["/b"], false, "a/b"));
        assert!(holds(Place::End, &[".CSS"], true, "/x.css") && !holds(Place::End, &[".js"], false, "/x.js?1"));
        assert!(holds(Place::Whole, &["Ann"], true, "aNN") && !holds(Place::Whole, &["ann"], true, "anne"));
    }

    #[test]
    fn expressions_match_and_capture() {
        let pattern = Pattern::new("(?i)bot|(spider)-([0-9]+)").unwrap();
        assert!(pattern.matches("GOOGLEBOT") && !pattern.matches("bo"));
        assert_eq!(
            (pattern.capture("a bot"), pattern.capture("spider-7"), pattern.capture("x")),
            (Some(2..5), Some(0..6), None)
        );
        assert!(Pattern::new("(").unwrap_err().contains("unclosed group"));
        assert!(Pattern::new("[a-z]{1000}{1000}").unwrap_err().contains("too large"));
        let json = |pattern: &Pattern| String::from(pattern.clone());
        assert_eq!(json(&pattern), pattern.as_str());
    }
}
