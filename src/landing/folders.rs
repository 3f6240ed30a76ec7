//! The outer folders of a table: a bounded number, with names that every file system takes.

use super::schema::Name;
use std::collections::BTreeSet;

/// The value of the classes that have no folder of their own.
pub const OTHER: &str = "_other";
/// Bytes of a class in a name.
const NAME_BYTES: usize = 120;
/// Readers take it for no value.
const NULL: &str = "__HIVE_DEFAULT_PARTITION__";

/// The folders that are in use.
#[derive(Debug)]
pub struct Folders {
    table: Name,
    used: BTreeSet<String>,
    most: usize,
}

impl Folders {
    /// `used`: the folders of a table, as they are named. `most`: of classes, at most.
    pub fn new(table: Name, used: impl Iterator<Item = String>, most: usize) -> Folders {
        let other = folder(table, OTHER);
        Folders { table, used: used.filter(|name| *name != other).collect(), most }
    }

    /// Returns the folder of a class, which is in use from now on, and the value that it stands for: the class, or
    /// [`OTHER`].
    pub fn of<'c>(&mut self, class: &'c str) -> (String, &'c str) {
        if let Some(safe) = safe(class) {
            let name = folder(self.table, &safe);
            if self.used.contains(&name) {
                return (name, class);
            }
            if self.used.len() < self.most {
                self.used.insert(name.clone());
                return (name, class);
            }
        }
        (folder(self.table, OTHER), OTHER)
    }
}

fn folder(table: Name, safe: &str) -> String {
    format!("{}={safe}", table.folder())
}

/// Returns a class as a part of a name: what is no letter, digit, `-` or `_` as `%` and its code, as Hive does. `None` if
/// the name would be too long, or mean no value or another one.
fn safe(class: &str) -> Option<String> {
    let mut name = String::new();
    for byte in class.bytes() {
        match byte {
            b'-' | b'_' => name.push(char::from(byte)),
            _ if byte.is_ascii_alphanumeric() => name.push(char::from(byte)),
            _ => name += &format!("%{byte:02X}"),
        }
    }
    (!name.is_empty() && name.len() <= NAME_BYTES && name != NULL && name != OTHER).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_safe_and_bounded() {
        let long = "x".repeat(NAME_BYTES + 1);
        let bytes = "é".repeat(NAME_BYTES / 6 + 1);
        for (class, name) in [
            ("page_view", Some("page_view")),
            ("PushEvent/opened", Some("PushEvent%2Fopened")),
            ("..", Some("%2E%2E")),
            ("../../etc", Some("%2E%2E%2F%2E%2E%2Fetc")),
            ("100%", Some("100%25")),
            ("a b=é\0", Some("a%20b%3D%C3%A9%00")),
            ("", None),
            (NULL, None),
            (OTHER, None),
            (&long, None),
            (&long[1..], Some(&long[1..])),
            (&bytes, None),
        ] {
            assert_eq!(safe(class).as_deref(), name, "{class:?}");
        }
        let used = ["class=a", "class=_other"].map(str::to_owned);
        let mut folders = Folders::new(Name::Events, used.into_iter(), 3);
        let of: Vec<_> = ["b", "a/b", "c", "a", "b", ""].map(|class| folders.of(class)).into();
        let named = |folder: &str, value| (format!("class={folder}"), value);
        let other = || named("_other", "_other");
        assert_eq!(of, [named("b", "b"), named("a%2Fb", "a/b"), other(), named("a", "a"), named("b", "b"), other()]);
    }
}
