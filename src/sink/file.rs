//! A file that a sink appends lines to. The cursor holds the length of the file. After a crash the sink cuts off the
//! bytes behind it and writes them again. So each change is in the file once, as long as no other program touches the
//! file.

use super::Outcome;
use super::changes::Change;
use headwater_log::durable::sync_folder;
use serde::{Deserialize, Serialize};
use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// The beginning of every line, before the key.
const LINE: &[u8] = b"{\"key\":\"";

/// The part of the file that counts as handed over.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Written {
    /// Bytes.
    pub length: u64,
    /// The last line: a file that does not have it there is another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<Line>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Line {
    pub start: u64,
    pub key: String,
}

pub(super) struct File {
    path: PathBuf,
    lines: Vec<u8>,
}

impl File {
    /// `written`: what the cursor holds; `None` if the sink is new. An existing file is continued.
    pub fn open(path: PathBuf, written: Option<Written>) -> io::Result<(File, Written)> {
        let length = open(&path)?.metadata()?.len();
        let written = written.unwrap_or(Written { length, last: None });
        Ok((File { path, lines: Vec::new() }, written))
    }

    /// Appends the changes, durably. `written` is moved on with them.
    pub fn deliver(&mut self, changes: &[Change], written: &mut Option<Written>) -> Outcome {
        match self.append(changes, written.take().unwrap_or_default()) {
            (after, Ok(())) => {
                *written = Some(after);
                Outcome::Delivered
            }
            (before, Err(error)) => {
                *written = Some(before);
                Outcome::Later { why: format!("write {}: {error}", self.path.display()), after: None }
            }
        }
    }

    fn append(&mut self, changes: &[Change], mut written: Written) -> (Written, io::Result<()>) {
        self.lines.clear();
        let appended = prepare(&self.path, &mut written).and_then(|(file, complete)| {
            if !complete {
                self.lines.push(b'\n');
            }
            let mut last = None;
            for change in changes {
                let start = written.length + self.lines.len() as u64;
                last = Some(Line { start, key: change.key.clone() });
                self.lines.extend_from_slice(&change.json);
                self.lines.push(b'\n');
            }
            file.write_all_at(&self.lines, written.length)?;
            file.sync_data()?;
            Ok(Written { length: written.length + self.lines.len() as u64, last })
        });
        match appended {
            Ok(after) => (after, Ok(())),
            Err(error) => (written, Err(error)),
        }
    }
}

/// Opens the file, and cuts off what is behind that which was handed over. If it is another file, nothing is cut, and
/// the sink goes on at its end. Returns also whether its last line is complete.
fn prepare(path: &Path, written: &mut Written) -> io::Result<(fs::File, bool)> {
    let file = open(path)?;
    let length = file.metadata()?.len();
    if length >= written.length && is_own(&file, written, length)? {
        if length > written.length {
            let (path, bytes) = (path.display(), length - written.length);
            tracing::warn!(%path, bytes, "what was written and not yet known to be is written again");
            file.set_len(written.length)?;
        }
    } else {
        tracing::warn!(path = %path.display(), length, "the file of a sink is not the one that it was: goes on at its end");
        *written = Written { length, last: None };
    }
    let mut last = *b"\n";
    if written.length > 0 {
        file.read_exact_at(&mut last, written.length - 1)?;
    }
    Ok((file, last == *b"\n"))
}

/// Returns whether the file, which is long enough, is the one that was written.
fn is_own(file: &fs::File, written: &Written, length: u64) -> io::Result<bool> {
    let expected = match &written.last {
        Some(last) => [LINE, last.key.as_bytes()].concat(),
        // Then only what follows can tell.
        None => LINE.to_vec(),
    };
    let at = written.last.as_ref().map_or(written.length, |last| last.start);
    let mut found = vec![0; expected.len().min((length - at.min(length)) as usize)];
    file.read_exact_at(&mut found, at)?;
    Ok(expected.starts_with(&found) && (written.last.is_none() || found.len() == expected.len()))
}

/// Opens the file, and creates it if there is none, so that it survives a loss of power.
fn open(path: &Path) -> io::Result<fs::File> {
    let options = || OpenOptions::new().read(true).write(true).to_owned();
    let file = match options().open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let file = options().create(true).truncate(false).open(path)?;
            path.parent().map_or(Ok(()), sync_folder)?;
            file
        }
        opened => opened?,
    };
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(io::Error::other("this is no regular file")),
    }
}
