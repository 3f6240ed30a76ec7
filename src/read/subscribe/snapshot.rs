//! Writes the rows of a view at a tick to disk as frames. So the workers finish early, however slowly a client reads.

use super::frame::{Encoding, Snapshot};
use super::query::Query;
use super::spools::{Place, Spools, Unfinished};
use crate::collections::{Held, Schema};
use crate::read::reads::{Answer, Whose};
use dataflows::sequence::ActivityId;
use dataflows::{SessionId, UserKey};
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use tokio::sync::watch;

/// Bytes that are written, or read, at once.
const CHUNK: usize = 256 << 10;

/// Returns the users or other keys whose rows a query can be about, if they can be looked up.
pub fn whose(query: &Query, schema: &Schema) -> Option<Whose> {
    let held = query.collection.held();
    if !matches!(
        held,
        Held::Sessions | Held::Closings | Held::Users | Held::Activities | Held::Identities | Held::State
    ) {
        return None;
    }
    let mut whose = Whose::default();
    for (column, text) in query.filter.as_ref()?.anchors()? {
        match schema.columns[column].name.as_str() {
            // An entity has the key that a user of that name has.
            _ if held == Held::State && schema.key.contains(&column) => whose.users.push(UserKey::of(&text)),
            _ if held == Held::State => return None,
            "id" if held == Held::Identities => whose.users.push(UserKey::of(&text)),
            "key" if held == Held::Activities => whose.users.push(UserKey::of(&text)),
            // What is no id has no activity.
            "activity_id" => whose.users.extend(ActivityId::parse(&text).map(|id| id.key)),
            "user" => whose.users.push(UserKey::of(&text)),
            // What is no id has no session.
            "session_id" => whose.ids.extend(SessionId::parse(&text)),
            _ => return None,
        }
    }
    Some(whose)
}

/// A file that a snapshot is written to. It has no name, so it is gone with the process.
#[derive(Debug)]
pub struct Spool {
    place: Arc<Place>,
    written: watch::Receiver<Written>,
    read: u64,
}

#[derive(Clone, Debug, Default)]
struct Written {
    bytes: u64,
    /// It is complete, or could not be.
    end: Option<Result<(), Unfinished>>,
}

/// Takes an answer as it comes, on a thread that may block, as far ahead of its reader as the bounds of `spools` allow.
///
/// # Errors
/// If there can be no file.
pub fn spool(
    spools: &Arc<Spools>,
    mut answer: Answer,
    query: Arc<Query>,
    schema: Arc<Schema>,
    encoding: Encoding,
    permit: impl Send + 'static,
) -> io::Result<Spool> {
    let place = Arc::new(spools.begin()?);
    let (progress, written) = watch::channel(Written::default());
    let out = Arc::clone(&place);
    tokio::task::spawn_blocking(move || {
        let mut bytes = 0;
        let write = |frames: &mut Vec<u8>, bytes: &mut u64| {
            for piece in frames.chunks(CHUNK) {
                out.room(piece.len() as u64)?;
                out.file.write_all_at(piece, *bytes).map_err(|error| internal(&error))?;
                *bytes += piece.len() as u64;
                progress.send_replace(Written { bytes: *bytes, end: None });
            }
            frames.clear();
            Ok(())
        };
        let mut all = || {
            let mut snapshot = Snapshot::new(encoding, &query, &schema, answer.tick);
            let mut frames = Vec::new();
            while let Some(chunk) = answer.blocking_next() {
                for row in chunk.iter().filter_map(|(_, row)| query.collection.decode(row)) {
                    snapshot.row(&row, &mut frames);
                }
                if frames.len() >= CHUNK {
                    write(&mut frames, &mut bytes)?;
                }
            }
            snapshot.finish(&mut frames);
            write(&mut frames, &mut bytes)
        };
        let end = all();
        progress.send_replace(Written { bytes, end: Some(end) });
        drop(permit);
    });
    Ok(Spool { place, written, read: 0 })
}

impl Spool {
    /// Returns the bytes that come next; `None` after the last ones.
    ///
    /// # Errors
    /// If the snapshot could not be written, or not be read back, or has been ended.
    pub async fn next(&mut self) -> Result<Option<Vec<u8>>, Unfinished> {
        let read = self.read;
        let more = |written: &Written| written.bytes > read || written.end.is_some();
        let written = match self.written.wait_for(more).await {
            Ok(written) => written.clone(),
            Err(error) => return Err(internal(&error)),
        };
        self.place.holds()?;
        if written.bytes == read {
            return written.end.unwrap_or(Ok(())).map(|()| None);
        }
        let size = usize::try_from(written.bytes - read).unwrap_or(CHUNK).min(CHUNK);
        let place = Arc::clone(&self.place);
        let bytes = tokio::task::spawn_blocking(move || {
            let mut bytes = vec![0; size];
            let outcome = place.file.read_exact_at(&mut bytes, read);
            // Ended meanwhile, it was cut.
            place.has_read(read + size as u64)?;
            outcome.map(|()| bytes).map_err(|error| internal(&error))
        });
        let bytes = bytes.await.map_err(|error| internal(&error))??;
        self.read += bytes.len() as u64;
        Ok(Some(bytes))
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        self.place.leave();
    }
}

fn internal(error: &dyn std::error::Error) -> Unfinished {
    Unfinished { code: "internal", message: format!("the snapshot was not finished: {error}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collections::sessions::SessionSchema;
    use crate::collections::{self, Collection, Schemas};
    use crate::read::reads::Chunk;
    use crate::read::subscribe::query::Parameters;
    use crate::read::subscribe::spools::Bounds;
    use std::time::Duration;
    use tokio::sync::mpsc;

    const MINUTES: Duration = Duration::from_secs(300);

    /// Takes a snapshot of `chunks` chunks, as fast as its reader and its bounds allow. Returns it, and the task that
    /// feeds it.
    fn take(spools: &Arc<Spools>, chunks: usize) -> (Spool, tokio::task::JoinHandle<bool>) {
        let schemas = Schemas::new(&SessionSchema::default(), false, &[]);
        let schema = schemas.of(Collection::COUNTS);
        let query = Query::new(schema, &Parameters::default()).unwrap();
        let (sender, chunks_of) = mpsc::channel(1);
        let answer = Answer::of(7, chunks_of);
        let feeding = tokio::spawn(async move {
            let chunk: Chunk =
                (0..256).map(|events| (None, collections::counts::encode("login", None, events))).collect();
            for _ in 0..chunks {
                if sender.send((0, chunk.clone())).await.is_err() {
                    return false;
                }
            }
            true
        });
        let spool = spool(spools, answer, Arc::new(query), Arc::new(schema.clone()), Encoding::Lines, ());
        (spool.unwrap(), feeding)
    }

    async fn to_the_end(mut spool: Spool) -> Result<Vec<u8>, Unfinished> {
        let mut all = Vec::new();
        while let Some(bytes) = spool.next().await? {
            all.extend(bytes);
        }
        Ok(all)
    }

    fn bounds() -> Bounds {
        Bounds { each: 1 << 20, all: 3 << 20, idle: MINUTES, patience: MINUTES, rate: u64::MAX }
    }

    /// 20 subscribers that never read took 45 MB of a disk of 52 MB, and intake answered 503 `full`.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn snapshots_that_nobody_reads_take_no_more_than_their_bounds_and_end() {
        let folder = tempfile::tempdir().unwrap();
        let spools = Spools::new(folder.path(), Bounds { patience: Duration::ZERO, ..bounds() });
        let mut unread = Vec::new();
        for _ in 0..20 {
            // 4 MiB and more of frames.
            let (spool, feeding) = take(&spools, 400);
            assert!(!feeding.await.unwrap(), "it is ended, and the workers are free");
            assert!(spools.bytes() <= 3 << 20, "{}", spools.bytes());
            unread.push(spool);
        }
        for spool in unread {
            let end = to_the_end(spool).await.unwrap_err();
            assert!(matches!(end.code, "timeout" | "busy"), "{end:?}");
        }
        assert_eq!(spools.bytes(), 0);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_snapshot_larger_than_its_bounds_comes_whole_to_one_who_reads() {
        let folder = tempfile::tempdir().unwrap();
        let spools = Spools::new(folder.path(), bounds());
        let (spool, feeding) = take(&spools, 400);
        let all = to_the_end(spool).await.unwrap();
        assert!(feeding.await.unwrap());
        assert!(all.len() > 4 << 20, "{}", all.len());
        let text = String::from_utf8(all).unwrap();
        assert_eq!(text.matches("\"diff\":1").count(), 400 * 256);
        assert!(text.trim_end().ends_with("\"last\":true}"));
        assert_eq!(spools.bytes(), 0);
    }

    #[test]
    fn one_that_is_left_lying_gives_its_room_to_others() {
        let folder = tempfile::tempdir().unwrap();
        let spools = Spools::new(folder.path(), Bounds { all: 1 << 20, idle: Duration::ZERO, ..bounds() });
        let (left, other) = (spools.begin().unwrap(), spools.begin().unwrap());
        left.room(1 << 20).unwrap();
        other.room(1 << 20).unwrap();
        assert_eq!((left.holds().unwrap_err().code, other.holds()), ("timeout", Ok(())));
        assert_eq!(spools.bytes(), 1 << 20);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_sender_without_space_ends_all_of_them() {
        let folder = tempfile::tempdir().unwrap();
        let spools = Spools::new(folder.path(), bounds());
        let (spool, feeding) = take(&spools, 20);
        assert!(feeding.await.unwrap());
        spools.clear();
        assert_eq!(spools.bytes(), 0);
        assert_eq!(to_the_end(spool).await.unwrap_err().code, "busy");
    }
}
