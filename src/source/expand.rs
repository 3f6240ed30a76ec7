//! Configured paths -> the files that they match.

use super::SourceError;
use glob::MatchOptions;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Hidden files have to be asked for by name; `*` stays within a folder and `**` does not.
const MATCHING: MatchOptions =
    MatchOptions { case_sensitive: true, require_literal_separator: true, require_literal_leading_dot: true };

/// Expands files, folders and globs into a list that is sorted by path and names no file twice. A file that is reached
/// by two paths counts by the lesser one.
///
/// Folders are searched recursively; hidden files and folders in them are skipped, and links to folders are not
/// followed, so that a loop cannot arise. What exists under a name is meant literally, even if it looks like a glob.
///
/// # Errors
/// A path, folder or pattern that matches no file, a malformed pattern, a folder that cannot be listed.
pub fn expand(paths: &[PathBuf]) -> Result<Vec<PathBuf>, SourceError> {
    let mut files = BTreeSet::new();
    for path in paths {
        let found = search(path, &mut Err)?;
        if found.is_empty() {
            return Err(SourceError::NoMatch { pattern: path.clone() });
        }
        files.extend(found);
    }
    let mut seen = BTreeSet::new();
    // A pipe has no canonical path; it is what it is called.
    Ok(files.into_iter().filter(|file| seen.insert(fs::canonicalize(file).unwrap_or_else(|_| file.clone()))).collect())
}

/// As [`expand`], for files that may come and go. Nothing has to match. A folder that cannot be listed is handed to
/// `failed` and left out. A file that two names lead to is listed under both.
///
/// # Errors
/// A malformed pattern.
pub fn expand_some(paths: &[PathBuf], mut failed: impl FnMut(SourceError)) -> Result<Vec<PathBuf>, SourceError> {
    let mut files = BTreeSet::new();
    for path in paths {
        files.extend(search(path, &mut |error| {
            failed(error);
            Ok(())
        })?);
    }
    Ok(files.into_iter().collect())
}

/// Returns whether a file of this name is no log: hidden files, checksums, and what Spark, Hadoop and Hive leave beside
/// the files that they write. Such a file has to be asked for by name.
pub(super) fn is_aside(name: &[u8]) -> bool {
    const NAMES: [&[u8]; 4] = [b"_SUCCESS", b"_metadata", b"_common_metadata", b"_temporary"];
    name.starts_with(b".")
        || name.starts_with(b"_committed_")
        || name.starts_with(b"_started_")
        || name.ends_with(b".crc")
        || NAMES.contains(&name)
}

/// Called with what cannot be listed: to end the search with it, or go on without.
type Failed<'f> = dyn FnMut(SourceError) -> Result<(), SourceError> + 'f;

fn search(path: &Path, failed: &mut Failed<'_>) -> Result<Vec<PathBuf>, SourceError> {
    let mut found = Vec::new();
    if path.exists() {
        gather(path, &mut found, failed)?;
    } else {
        for entry in matches(path)? {
            match entry {
                // A pattern that spells such a name asks for it.
                Ok(entry) if entry.file_name().is_some_and(|name| is_aside(name.as_encoded_bytes())) => {
                    if path.file_name().is_some_and(|name| is_aside(name.as_encoded_bytes())) {
                        gather(&entry, &mut found, failed)?;
                    }
                }
                Ok(entry) => gather(&entry, &mut found, failed)?,
                Err(error) => failed(error)?,
            }
        }
    }
    Ok(found)
}

fn matches(pattern: &Path) -> Result<impl Iterator<Item = Result<PathBuf, SourceError>>, SourceError> {
    let refused = |message| SourceError::Pattern { pattern: pattern.to_path_buf(), message };
    let text = pattern.to_str().ok_or_else(|| refused("it is not valid UTF-8"))?;
    let entries = glob::glob_with(text, MATCHING).map_err(|error| refused(error.msg))?;
    Ok(entries.map(|entry| {
        entry.map_err(|error| {
            let path = error.path().to_path_buf();
            SourceError::io("list", &path, error.into())
        })
    }))
}

/// Adds the file itself, or all files below the folder.
fn gather(path: &Path, files: &mut Vec<PathBuf>, failed: &mut Failed<'_>) -> Result<(), SourceError> {
    let listing = |error| SourceError::io("list", path, error);
    match fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => {}
        Ok(_) => {
            files.push(path.to_path_buf());
            return Ok(());
        }
        Err(error) => return failed(listing(error)),
    }
    let entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) => return failed(listing(error)),
    };
    for entry in entries {
        let (below, kind) = match entry.and_then(|entry| Ok((entry.path(), entry.file_type()?))) {
            Ok(entry) => entry,
            Err(error) => {
                failed(listing(error))?;
                continue;
            }
        };
        if below.file_name().is_none_or(|name| is_aside(name.as_encoded_bytes())) {
            continue;
        }
        if kind.is_dir() {
            gather(&below, files, failed)?;
            continue;
        }
        match fs::metadata(&below) {
            Ok(metadata) if metadata.is_file() => files.push(below),
            Ok(_) => {}
            Err(error) => failed(SourceError::io("open", &below, error))?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for name in [
            "b.log",
            "a.log",
            "sub/c.log",
            "sub/.hidden.log",
            ".git/d.log",
            "sub/deep/e.gz",
            "odd[1].log",
            "sub/_SUCCESS",
            "sub/_committed_7",
            "sub/c.log.crc",
        ] {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, name).unwrap();
        }
        fs::create_dir(folder.path().join("empty")).unwrap();
        folder
    }

    #[test]
    fn folders_globs_and_files_are_expanded_in_order_and_once() {
        let folder = folder();
        let check = |patterns: &[&str], expected: &[&str]| {
            let patterns: Vec<_> = patterns.iter().map(|pattern| folder.path().join(pattern)).collect();
            let expected: Vec<_> = expected.iter().map(|name| folder.path().join(name)).collect();
            assert_eq!(expand(&patterns).unwrap(), expected, "{patterns:?}");
        };
        let all = ["a.log", "b.log", "odd[1].log", "sub/c.log", "sub/deep/e.gz"];
        check(&["."], &all.map(|name| ["./", name].concat()).each_ref().map(String::as_str));
        check(&["sub", "b.log", "a.log", "b.log"], &["a.log", "b.log", "sub/c.log", "sub/deep/e.gz"]);
        check(&["*.log"], &["a.log", "b.log", "odd[1].log"]);
        check(&["**/*.log"], &["a.log", "b.log", "odd[1].log", "sub/c.log"]);
        check(&["s*"], &["sub/c.log", "sub/deep/e.gz"]);
        check(&["odd[1].log"], &["odd[1].log"]);
        check(&["sub/.hidden.log"], &["sub/.hidden.log"]);
        check(&["sub/*"], &["sub/c.log", "sub/deep/e.gz"]);
        check(&["sub/_committed_*"], &["sub/_committed_7"]);
        check(&["sub/_SUCCESS"], &["sub/_SUCCESS"]);
        check(&["b.log", "sub/../b.log"], &["b.log"]);
    }

    #[test]
    fn what_matches_nothing_is_named() {
        let folder = folder();
        for pattern in ["nope.log", "*.nope", "empty"] {
            let pattern = folder.path().join(pattern);
            let error = expand(&[folder.path().join("a.log"), pattern.clone()]).unwrap_err();
            assert_eq!(error.to_string(), format!("no file matches `{}`", pattern.display()));
        }
        let error = expand(&[folder.path().join("a***")]).unwrap_err();
        assert!(error.to_string().contains("wildcards are either regular `*` or recursive `**`"), "{error}");
    }
}
