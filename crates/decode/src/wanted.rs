//! The paths that settings ask for: they tell a header from a row of values.

use crate::defaults;
use crate::format::Format;
use crate::path::Path;
use dataflows::PathHash;
use std::collections::BTreeSet;
use std::fmt;

/// The paths that settings ask for: a row that has none of them is no header.
#[derive(Clone, PartialEq, Eq)]
pub struct Wanted(BTreeSet<u64>);

impl fmt::Debug for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} paths", self.0.len())
    }
}

impl Default for Wanted {
    /// Returns the built-in candidates.
    fn default() -> Wanted {
        let all = [defaults::user(Format::Csv), defaults::time(Format::Csv), defaults::kind(Format::Csv)];
        Wanted::of(all.iter().flatten().flat_map(|candidate| &candidate.parts))
    }
}

impl Wanted {
    /// Returns what candidates and fields ask for.
    pub(crate) fn of<'p>(paths: impl Iterator<Item = &'p Path>) -> Wanted {
        // Of a value that is derived from another one, that other one.
        let plain = |path: &Path| match path.is_plain() {
            true => Some(path.hash().bits()),
            false => path.parts().0.map(|base| base.hash().bits()),
        };
        Wanted(paths.filter_map(plain).collect())
    }

    /// Returns whether a column of this name is asked for.
    pub fn has(&self, name: &str) -> bool {
        self.0.contains(&PathHash::ROOT.key(name).bits())
    }
}
