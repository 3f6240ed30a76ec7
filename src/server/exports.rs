//! `GET /v1/collections/{name}.parquet`, `.csv`, `.jsonl`: a view at a tick as a file, also a range of its bytes.
//!
//! Readers of Parquet ask for the length, then for the footer, then for columns: several requests that have to mean one file.
//! So a file is kept for a while, and asked for again it is the same one. Its `ETag` says which tick it is of.

use super::changes::{of_history, query_of, unreadable};
use super::collections::{self, Name};
use super::parameters::Parameters;
use super::problem::Problem;
use super::rows::wait_for;
use super::{Shared, body};
use crate::read::reads::{Answer, Wanted};
use crate::read::subscribe::query::Query;
use crate::read::subscribe::snapshot::whose;
use crate::tables::{self, OutputFormat, Table, TableWriter};
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderMap, HeaderName, IF_RANGE,
    RANGE,
};
use axum::http::request::Parts;
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use dataflows::Tick;
use futures_util::stream;
use rustix::fs::statvfs;
use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

const PARAMETERS: [&str; 6] = ["key", "filter", "columns", "as_of", "history", "wait_for"];
/// A file that is older is made again for a request that begins: one without a range.
const FRESH: Duration = Duration::from_secs(1);
/// A file is kept for so long after it was asked for.
const KEPT: Duration = Duration::from_secs(60);
/// Files that are kept.
const FILES: usize = 16;
/// A file takes at most this part of the free space: the rest is for the log.
const PART: u64 = 4;
/// Bytes that are read at once.
const PIECE: u64 = 256 << 10;
const TICK: HeaderName = HeaderName::from_static("headwater-tick");

/// The files that were made.
pub(super) struct Exports {
    folder: PathBuf,
    made: Mutex<BTreeMap<String, Kept>>,
}

struct Kept {
    export: Arc<Export>,
    made: Instant,
    used: Instant,
}

/// A view at a tick, as a file without a name.
struct Export {
    file: File,
    bytes: u64,
    tick: Tick,
    tag: String,
}

impl Exports {
    /// Files are made in a folder of the data folder, which begins empty: a process that was killed may have left some.
    pub fn new(data: &Path) -> Exports {
        let folder = data.join("exports");
        let begun = std::fs::remove_dir_all(&folder).or_else(|error| match error.kind() {
            io::ErrorKind::NotFound => Ok(()),
            _ => Err(error),
        });
        if let Err(error) = begun.and_then(|()| std::fs::create_dir(&folder)) {
            // Each request says so too.
            tracing::warn!(%error, folder = %folder.display(), "there is no folder for exports");
        }
        Exports { folder, made: Mutex::default() }
    }

    /// Returns the file that was made for what `key` asks, if it is young enough.
    fn find(&self, key: &str, oldest: Duration) -> Option<Arc<Export>> {
        let mut made = self.lock();
        made.retain(|_, kept| kept.used.elapsed() < KEPT);
        let kept = made.get_mut(key).filter(|kept| kept.made.elapsed() <= oldest)?;
        kept.used = Instant::now();
        Some(Arc::clone(&kept.export))
    }

    fn keep(&self, key: String, export: &Arc<Export>) {
        let (mut made, now) = (self.lock(), Instant::now());
        made.insert(key, Kept { export: Arc::clone(export), made: now, used: now });
        while made.len() > FILES {
            let oldest = made.iter().min_by_key(|(_, kept)| kept.used).map(|(key, _)| key.clone());
            oldest.map(|key| made.remove(&key));
        }
    }

    /// Nothing panics while it holds the lock.
    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Kept>> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) async fn serve(State(shared): State<Arc<Shared>>, Name(file): Name, request: Request) -> Response {
    let (parts, mut body) = request.into_parts();
    match answer(&shared, &file, &parts, &mut body).await {
        Ok(response) => response,
        Err(problem) => body::refuse(&parts.headers, &mut body, problem).await,
    }
}

async fn answer(shared: &Arc<Shared>, file: &str, parts: &Parts, body: &mut Body) -> Result<Response, Problem> {
    let found = OutputFormat::ALL.into_iter().find_map(|format| Some((file.strip_suffix(&format.file(""))?, format)));
    let Some((name, format)) = found else {
        let message =
            "a collection is read at `…/rows` and `…/changes`; as a file with .parquet, .csv or .jsonl behind its name";
        return Err(Problem::new(StatusCode::NOT_FOUND, "not_found", message));
    };
    let collection = collections::find_view(shared, shared.access.caller(&parts.headers)?, name)?;
    let parameters = Parameters::of(shared, parts, body, &PARAMETERS).await?;
    let query = query_of(shared, collection, &parameters)?;
    let as_of: Option<Tick> = parameters.parsed("as_of", "the number of a tick")?;
    of_history(shared, &parameters, as_of.map(|tick| tick.saturating_add(1)))?;
    if let Some(token) = parameters.get("wait_for") {
        wait_for(shared, token).await?;
    }
    let key = format!("{file}?{}", parts.uri.query().unwrap_or_default());
    // A range is of what a request before it has seen. A tick does not change.
    let goes_on = parts.headers.contains_key(RANGE) || as_of.is_some();
    let kept = shared.exports.find(&key, if goes_on { Duration::MAX } else { FRESH });
    let export = match kept.filter(|_| parameters.get("wait_for").is_none()) {
        Some(export) => export,
        None => {
            let export = Arc::new(make(shared, query, format, as_of).await?);
            shared.exports.keep(key, &export);
            export
        }
    };
    Ok(response(export, format, &parts.method, &parts.headers))
}

/// Makes the file of a view.
async fn make(
    shared: &Arc<Shared>,
    query: Query,
    format: OutputFormat,
    as_of: Option<Tick>,
) -> Result<Export, Problem> {
    let busy = || Problem::later("busy", "other snapshots are being taken");
    let permit = Arc::clone(&shared.snapshots).acquire_owned();
    let permit =
        tokio::time::timeout(shared.bounds.snapshot_turn, permit).await.map_err(|_| busy())?.map_err(|_| busy())?;
    let schemas = Arc::clone(&shared.services.subscriptions.schemas);
    let wanted = Wanted { of: whose(&query, schemas.of(query.collection)), after: None };
    let answer = shared.services.reads.at(as_of, query.collection, wanted, query.filter.clone(), usize::MAX);
    let answer = answer.map_err(unreadable)?;
    let history = shared.services.subscriptions.tokens.histories.current();
    let tag = format!("\"{history}-{}\"", answer.tick);
    let folder = shared.exports.folder.clone();
    let columns = query.columns.iter().map(|column| schemas.of(query.collection).columns[*column].clone()).collect();
    let table = Table { name: query.collection.name(), columns };
    let written = tokio::task::spawn_blocking(move || {
        let _permit = permit;
        write(answer, &query, &table, format, &folder)
    });
    let failed = |error: &dyn std::fmt::Display| {
        tracing::warn!(%error, "a view cannot be written to a file");
        Problem::new(
            StatusCode::INSUFFICIENT_STORAGE,
            "no_space",
            format!("the view cannot be written to a file: {error}"),
        )
    };
    let (file, bytes, tick) = written.await.map_err(|error| failed(&error))?.map_err(|error| failed(&error))?;
    Ok(Export { file, bytes, tick, tag })
}

/// Writes the rows of an answer to a file without a name, those of each worker in their order.
fn write(
    mut answer: Answer,
    query: &Query,
    table: &Table,
    format: OutputFormat,
    folder: &Path,
) -> io::Result<(File, u64, Tick)> {
    let scratch = tempfile::tempdir_in(folder)?;
    let mut writers: BTreeMap<usize, TableWriter> = BTreeMap::new();
    let mut taken = 0;
    while let Some((worker, chunk)) = answer.blocking_next_of() {
        taken += chunk.iter().map(|(_, row)| row.len() as u64).sum::<u64>();
        // A file takes no more than its rows in memory. What others write meanwhile counts for them.
        let free = statvfs(folder)?;
        if taken > free.f_bavail.saturating_mul(free.f_frsize) / PART {
            return Err(io::Error::new(io::ErrorKind::StorageFull, "it takes too much of the free space"));
        }
        let writer = match writers.entry(worker) {
            std::collections::btree_map::Entry::Occupied(writer) => writer.into_mut(),
            std::collections::btree_map::Entry::Vacant(entry) => {
                entry.insert(TableWriter::new(table, format, scratch.path(), worker).map_err(io::Error::other)?)
            }
        };
        for row in chunk.iter().filter_map(|(_, row)| query.collection.decode(row)) {
            writer.write(query.columns.iter().map(|column| row.value(*column).clone())).map_err(io::Error::other)?;
        }
    }
    let parts =
        writers.into_values().map(TableWriter::finish).collect::<Result<Vec<_>, _>>().map_err(io::Error::other)?;
    let file = tempfile::tempfile_in(folder)?;
    tables::join(parts, format, table, file.try_clone()?)?;
    let bytes = file.metadata()?.len();
    Ok((file, bytes, answer.tick))
}

fn response(export: Arc<Export>, format: OutputFormat, method: &Method, headers: &HeaderMap) -> Response {
    let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let same = text(IF_RANGE).is_none_or(|tag| tag == export.tag);
    let asked = text(RANGE).filter(|_| same && *method == Method::GET);
    let (status, range) = match asked.map_or(Asked::Whole, |range| asked_of(range, export.bytes)) {
        Asked::Whole => (StatusCode::OK, 0..export.bytes),
        Asked::Part(range) => (StatusCode::PARTIAL_CONTENT, range),
        Asked::Nothing => {
            let headers = [(CONTENT_RANGE, format!("bytes */{}", export.bytes))];
            return (StatusCode::RANGE_NOT_SATISFIABLE, headers).into_response();
        }
    };
    let media = match format {
        OutputFormat::Parquet => "application/vnd.apache.parquet",
        OutputFormat::Csv => "text/csv; charset=utf-8",
        OutputFormat::Jsonl => "application/x-ndjson",
    };
    let all = [
        (CONTENT_TYPE, media.to_owned()),
        (CACHE_CONTROL, "no-store".to_owned()),
        (ACCEPT_RANGES, "bytes".to_owned()),
        (CONTENT_LENGTH, (range.end - range.start).to_string()),
        (ETAG, export.tag.clone()),
        (TICK, export.tick.to_string()),
    ];
    let part = (status == StatusCode::PARTIAL_CONTENT)
        .then(|| [(CONTENT_RANGE, format!("bytes {}-{}/{}", range.start, range.end - 1, export.bytes))]);
    let body = if *method == Method::HEAD { Body::empty() } else { pieces(export, range) };
    let mut response = (status, all, body).into_response();
    for (name, value) in part.into_iter().flatten() {
        response.headers_mut().extend(value.parse().ok().map(|value| (name, value)));
    }
    response
}

/// What a request asks of a file.
#[derive(Debug, PartialEq)]
enum Asked {
    Whole,
    Part(Range<u64>),
    /// What the file does not have.
    Nothing,
}

/// Reads a range of a file of this length, after RFC 9110, section 14. Several ranges, and what is none, ask for the whole.
fn asked_of(range: &str, bytes: u64) -> Asked {
    let Some((first, last)) = range.strip_prefix("bytes=").and_then(|range| range.trim().split_once('-')) else {
        return Asked::Whole;
    };
    let range = match (first.parse::<u64>(), last.parse::<u64>()) {
        (Ok(first), Ok(last)) if first <= last => first..last.saturating_add(1).min(bytes),
        (Ok(first), Err(_)) if last.is_empty() => first..bytes,
        (Err(_), Ok(last)) if first.is_empty() => bytes.saturating_sub(last)..bytes,
        _ => return Asked::Whole,
    };
    if range.is_empty() { Asked::Nothing } else { Asked::Part(range) }
}

/// Reads a range as a body, a piece at a time.
fn pieces(export: Arc<Export>, range: Range<u64>) -> Body {
    let pieces = stream::unfold(range, move |rest| {
        let export = Arc::clone(&export);
        async move {
            if rest.is_empty() {
                return None;
            }
            let piece = rest.start..rest.end.min(rest.start + PIECE);
            let read = tokio::task::spawn_blocking(move || {
                let mut bytes = vec![0; (piece.end - piece.start) as usize];
                export.file.read_exact_at(&mut bytes, piece.start).map(|()| (Bytes::from(bytes), piece.end))
            });
            match read.await.map_err(io::Error::other).flatten() {
                Ok((bytes, end)) => Some((Ok(bytes), end..rest.end)),
                Err(error) => Some((Err(error), rest.end..rest.end)),
            }
        }
    });
    Body::from_stream(pieces)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_as_the_standard_says() {
        for (range, asked) in [
            ("bytes=0-9", Asked::Part(0..10)),
            ("bytes=90-200", Asked::Part(90..100)),
            ("bytes=99-", Asked::Part(99..100)),
            ("bytes=-8", Asked::Part(92..100)),
            ("bytes=-800", Asked::Part(0..100)),
            ("bytes=100-", Asked::Nothing),
            ("bytes=-0", Asked::Nothing),
            ("bytes=9-3", Asked::Whole),
            ("bytes=0-1,5-6", Asked::Whole),
            ("rows=0-1", Asked::Whole),
            ("bytes=x-", Asked::Whole),
        ] {
            assert_eq!(asked_of(range, 100), asked, "{range}");
        }
    }
}
