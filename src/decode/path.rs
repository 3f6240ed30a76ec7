//! Paths into an event, as the configuration writes them (design §12): dots descend, `[]` is any array element, a
//! quoted segment is literal (`meta."a b".x`). A dotted key and a nested path are the same path.

use dataflows::PathHash;
use std::fmt;

/// A canonical path. Prints as the configuration writes it.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Path {
    text: String,
    steps: Vec<Step>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Step {
    Key(String),
    /// Any element of an array.
    Element,
}

impl Path {
    /// Errors say, in words for the user, what is wrong with the text.
    pub fn parse(text: &str) -> Result<Path, String> {
        let _ = text;
        unimplemented!()
    }

    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    pub fn hash(&self) -> PathHash {
        self.steps.iter().fold(PathHash::ROOT, |path, step| match step {
            Step::Key(key) => path.segment(key.as_bytes()),
            Step::Element => path.element(),
        })
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.text)
    }
}
