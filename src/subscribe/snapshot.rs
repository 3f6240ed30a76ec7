//! The rows of a view at a tick, put on disk as frames: the workers are done with it as soon as they can be, however slowly
//! it is taken.

use super::frame::{Encoding, Snapshot};
use super::query::Query;
use crate::reads::{Answer, Whose};
use crate::rows::{Collection, Row, Schema};
use dataflows::{SessionId, UserKey};
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use tokio::sync::watch;

/// Bytes that are written, or read, at once.
const CHUNK: usize = 256 << 10;

/// Whose sessions a query is about, as far as they can be looked up.
pub fn whose(query: &Query, schema: &Schema) -> Option<Whose> {
    if !matches!(query.collection, Collection::Sessions | Collection::Closings) {
        return None;
    }
    let mut whose = Whose::default();
    for (column, text) in query.filter.as_ref()?.anchors()? {
        match schema.columns[column].name.as_str() {
            "user" => whose.users.push(UserKey::of(&text)),
            // What is no id has no session.
            "session_id" => whose.ids.extend(SessionId::parse(&text)),
            _ => return None,
        }
    }
    Some(whose)
}

/// A file that a snapshot is written to; nobody else sees it, and it is gone with the process.
pub struct Spool {
    file: Arc<File>,
    written: watch::Receiver<Written>,
    read: u64,
}

#[derive(Clone, Debug, Default)]
struct Written {
    bytes: u64,
    /// It is complete, or could not be.
    end: Option<Result<(), String>>,
}

/// Takes an answer as it comes, on a thread that may block.
///
/// # Errors
/// If there can be no file in `folder`.
pub fn spool(
    folder: &Path,
    mut answer: Answer,
    query: Arc<Query>,
    schema: Arc<Schema>,
    encoding: Encoding,
    permit: impl Send + 'static,
) -> io::Result<Spool> {
    let file = Arc::new(tempfile::tempfile_in(folder)?);
    let (progress, written) = watch::channel(Written::default());
    let out = Arc::clone(&file);
    tokio::task::spawn_blocking(move || {
        let mut bytes = 0;
        let write = |frames: &mut Vec<u8>, bytes: &mut u64| {
            (&*out).write_all(frames)?;
            *bytes += frames.len() as u64;
            frames.clear();
            io::Result::Ok(())
        };
        let mut all = || {
            let mut snapshot = Snapshot::new(encoding, &query, &schema, answer.tick);
            let mut frames = Vec::new();
            while let Some(chunk) = answer.chunks.blocking_recv() {
                for row in chunk.iter().filter_map(|(_, row)| Row::decode(query.collection, row)) {
                    snapshot.row(&row, &mut frames);
                }
                if frames.len() >= CHUNK {
                    write(&mut frames, &mut bytes)?;
                    progress.send_replace(Written { bytes, end: None });
                }
            }
            snapshot.finish(&mut frames);
            write(&mut frames, &mut bytes)
        };
        let end = all().map_err(|error| error.to_string());
        progress.send_replace(Written { bytes, end: Some(end) });
        drop(permit);
    });
    Ok(Spool { file, written, read: 0 })
}

impl Spool {
    /// The bytes that come next; `None` after the last ones.
    ///
    /// # Errors
    /// If the snapshot could not be written, or not be read back.
    pub async fn next(&mut self) -> Result<Option<Vec<u8>>, String> {
        let read = self.read;
        let more = |written: &Written| written.bytes > read || written.end.is_some();
        let written = match self.written.wait_for(more).await {
            Ok(written) => written.clone(),
            Err(_) => return Err("the snapshot was not finished".into()),
        };
        if written.bytes == read {
            return written.end.unwrap_or(Ok(())).map(|()| None);
        }
        let size = usize::try_from(written.bytes - read).unwrap_or(CHUNK).min(CHUNK);
        let file = Arc::clone(&self.file);
        let bytes = tokio::task::spawn_blocking(move || {
            let mut bytes = vec![0; size];
            file.read_exact_at(&mut bytes, read).map(|()| bytes)
        });
        let bytes = bytes.await.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
        self.read += bytes.len() as u64;
        Ok(Some(bytes))
    }
}
