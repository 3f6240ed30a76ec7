//! Finds the existing name that is nearest to a misspelt one.

/// Returns the one of `known` that is most like `word`, if any is like it at all. The part behind the last `/` may be
/// given alone, as in `Berlin` for `Europe/Berlin`.
pub(crate) fn nearest<'k>(word: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    /// A slip or two in a short word. Below this, suggestions look random.
    const ALIKE: f64 = 0.6;
    let word = word.to_lowercase();
    let likeness = |name: &str| {
        let name = name.to_lowercase();
        let last = name.rsplit('/').next().unwrap_or_default();
        strsim::normalized_damerau_levenshtein(&word, &name).max(strsim::normalized_damerau_levenshtein(&word, last))
    };
    known
        .into_iter()
        .map(|name| (likeness(name), name))
        .filter(|(likeness, _)| *likeness >= ALIKE)
        .max_by(|(one, _), (other, _)| one.total_cmp(other))
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn suggests_what_is_near_and_nothing_else() {
        let known = ["workers", "data_dir", "Europe/Berlin", "Europe/London"];
        let cases = [
            ("worker", Some("workers")),
            ("WORKERS", Some("workers")),
            ("datadir", Some("data_dir")),
            ("Berlin", Some("Europe/Berlin")),
            ("Europe/Lodnon", Some("Europe/London")),
            ("topics", None),
            ("", None),
        ];
        for (word, expected) in cases {
            assert_eq!(nearest(word, known), expected, "{word}");
        }
    }
}
