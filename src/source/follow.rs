//! Reads files that grow into the durable queue: each record once, however the files are rotated.
//!
//! ```text
//! expand: paths -> place: what lies there -> recognise: which file that is -> turn: its next whole records -> delivery
//!                                              known: cursors                 shape: of the records   reader: bytes
//! ```

use super::expand::expand_some;
use super::{Deliver, Polled, Source, SourceError, expand};
use crate::collections::place::DELIVERY_BYTES;
use crate::plan::{SourceKind, SourcePlan};
use crate::queue::cursor::{Cursor, FileCursor};
use crate::queue::delivery::Delivery;
use crate::queue::intake::Refusal;
use crate::queue::numbers::SourceNumber;
use followed::{Followed, SETTLED};
use headwater_decode::spec::Format;
use headwater_decode::syntax::Syntax;
use known::Known;
use place::Place;
use reader::Piece;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use turn::{Parcel, Step, Turn};

mod followed;
mod known;
mod place;
mod reader;
mod recognise;
mod shape;
#[cfg(test)]
mod tests;
mod turn;

/// Bytes of content that one poll reads, and then one delivery more: the caller can stop in between.
const POLL_BYTES: usize = 8 << 20;

/// Bytes of content that are read of one file before it is the turn of others.
const TURN_BYTES: usize = 64 << 20;

/// Turns that are broken off at once, each with its file open and up to one record in memory. If there are more, a file
/// keeps its turn.
const TURNS: usize = 64;

/// The time between two searches for new files.
const SCAN: Duration = Duration::from_secs(1);

/// The time before a failure is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// Files that are kept open, those that changed last. What is written to another one between the last look at it and
/// its being moved out of sight is not read.
const HANDLES: usize = 256;

/// A file that has not changed for so long is looked at when folders are, and not at each poll.
const QUIET: Duration = Duration::from_secs(60);

/// Largest limit of a record, so that one that is too large fits into a delivery.
pub(crate) const EVENT_BYTES: usize = DELIVERY_BYTES - 1024;

/// The files of one source.
///
/// - **Order.** Records of one file are delivered in their order. Files take turns, by name; a turn ends where the file
///   ended when it was looked at, or after 64 MiB: a large file, or a record without end, keeps the others waiting no
///   longer. There is no order between files.
/// - **Once.** A delivery and its cursor in the file become durable together. So every record is delivered once, after
///   any crash, and however files are renamed, compressed, truncated or removed. The exceptions are below. Two records
///   with equal bytes are two records, and two files with equal content two files.
/// - **Whole records.** While a file may grow, what follows its last whole record is left. The unterminated rest is
///   delivered from a file that is compressed, was renamed or has gone, after five seconds without a change; and, without
///   `follow`, from every file. A record that is too large is delivered up to where that can be seen: the length of its
///   dead letter is a lower bound.
/// - **Identity.** While the process lives, a file is its device, inode and time of creation, if the bytes before its
///   cursor stay the same. Otherwise it is its content (`recognise`).
/// - **Resuming.** From the newest cursor of each [`crate::queue::cursor::FileId`] in the deliveries that are durable. A
///   delivery that was refused is offered again, byte for byte.
/// - **Errors.** A file that cannot be read is logged once and tried again. The others go on. Only refusals are
///   returned.
///
/// Repeated, rather than left out: a copy that stays beside its original; a file below 1 KiB that was replaced by a copy
/// of itself under the same name; a file that lost bytes which had been read; what is added to a record whose beginning
/// was delivered as an unterminated rest (as a record of its own).
///
/// Left out, since nothing shows it: the earlier content of a file that was rewritten in place, or while the process
/// did not run, with the same bytes up to its cursor. Also lines that were written and then moved out of sight or
/// truncated, while the process did not run. The same can happen between two polls of a file that is not held open.
/// Also a file below 1 KiB, if another one with the same beginning vanished within the same few seconds under another
/// name. The unterminated rest of a file that was never seen under another name waits for its end.
pub struct Follower {
    source: SourceNumber,
    paths: Vec<PathBuf>,
    format: Option<Format>,
    syntax: Arc<Syntax>,
    event_bytes: usize,
    follow: bool,
    known: Known,
    files: BTreeMap<Place, Followed>,
    /// First look at the folders, and the last.
    started: Option<Instant>,
    scanned: Option<Instant>,
    /// Files that are still to be looked at before all are again, by name.
    round: VecDeque<Place>,
    /// That were broken off, and will be continued.
    turns: BTreeMap<Place, Turn>,
    /// Was refused.
    refused: Option<Parcel>,
    piece: Piece,
    /// Failures that were logged.
    told: BTreeMap<PathBuf, String>,
}

impl Source for Follower {
    /// Looks once at all files and delivers what is new; or goes on where the poll before stopped, as it reads no more
    /// than 8 MiB.
    fn poll(&mut self, deliver: &mut Deliver<'_>) -> Result<Polled, Refusal> {
        Ok(match self.poll_at(Instant::now(), deliver)? {
            true => Polled::More,
            false if self.finished() => Polled::End,
            false => Polled::Nothing,
        })
    }
}

impl Follower {
    /// `cursors`: those of its deliveries. Those of other kinds of sources are of no use here.
    ///
    /// # Errors
    /// A malformed pattern; records that fit into no delivery; without `follow`, a path that nothing was ever found at.
    pub fn new(source: SourceNumber, plan: &SourcePlan, cursors: Vec<Cursor>) -> Result<Follower, SourceError> {
        let follow = plan.kind == SourceKind::File { follow: true };
        let cursors: Vec<FileCursor> = cursors
            .into_iter()
            .filter_map(|cursor| match cursor {
                Cursor::File(cursor) => Some(cursor),
                Cursor::Kafka(_) | Cursor::Backfill(_) => None,
            })
            .collect();
        if follow || !cursors.is_empty() {
            expand_some(&plan.paths, |_| {})?;
        } else {
            expand(&plan.paths)?;
        }
        let event_bytes = plan.events.limits.event_bytes.max(1);
        if event_bytes > EVENT_BYTES {
            return Err(SourceError::LargeRecords { name: plan.name.clone(), limit: EVENT_BYTES });
        }
        Ok(Follower {
            source,
            paths: plan.paths.clone(),
            format: plan.format,
            syntax: Arc::clone(&plan.syntax),
            event_bytes,
            follow,
            known: Known::new(cursors),
            files: BTreeMap::new(),
            started: None,
            scanned: None,
            round: VecDeque::new(),
            turns: BTreeMap::new(),
            refused: None,
            piece: Piece::default(),
            told: BTreeMap::new(),
        })
    }

    /// Returns whether all content of the start was delivered. With `follow` this never happens, nor while a file
    /// cannot be read or recognised.
    pub fn finished(&self) -> bool {
        !self.follow
            && self.started.is_some()
            && self.refused.is_none()
            && self.turns.is_empty()
            && self.files.values().all(|file| file.done)
    }

    /// Returns the newest of each file.
    pub fn cursors(&self) -> impl Iterator<Item = &FileCursor> {
        self.known.cursors()
    }

    /// As [`Source::poll`]; returns whether there was something, or there is more.
    fn poll_at(&mut self, now: Instant, deliver: &mut Deliver<'_>) -> Result<bool, Refusal> {
        let mut any = false;
        if let Some(parcel) = self.refused.take() {
            self.hand_over(parcel, deliver)?;
            any = true;
        }
        if self.round.is_empty() {
            self.begin_round(now);
        }
        let mut budget = POLL_BYTES;
        while let Some(place) = self.round.front().copied() {
            match self.turn(place, now, &mut budget) {
                Ok(Step::Parcel(parcel)) => {
                    self.hand_over(parcel, deliver)?;
                    any = true;
                }
                Ok(Step::Budget) => return Ok(true),
                Ok(Step::Again) => {}
                Ok(Step::Share) => {
                    any = true;
                    self.round.pop_front();
                }
                Ok(Step::End) => {
                    self.round.pop_front();
                }
                Err(error) => {
                    self.round.pop_front();
                    self.fail(place, &error, now);
                }
            }
        }
        Ok(any)
    }

    fn hand_over(&mut self, parcel: Parcel, deliver: &mut Deliver<'_>) -> Result<(), Refusal> {
        let Some(file) = self.files.get_mut(&parcel.place) else { return Ok(()) };
        let Some(reading) = &mut file.reading else { return Ok(()) };
        let Some(shape) = &reading.shape else { return Ok(()) };
        let delivery = Delivery {
            source: self.source,
            format: shape.format,
            framing: shape.framing,
            messages: false,
            header: parcel.header.as_deref().or(shape.header.as_deref()),
            cursors: vec![Cursor::File(parcel.cursor.clone())],
            events: &parcel.events,
        };
        if let Err(refusal) = deliver(&delivery) {
            self.refused = Some(parcel);
            return Err(refusal);
        }
        if let (Some(shape), true) = (&mut reading.shape, parcel.header.is_some()) {
            shape.header.clone_from(&parcel.header);
        }
        reading.id = Some(parcel.cursor.file);
        (reading.offset, reading.tail, reading.head) = (parcel.cursor.offset, parcel.cursor.tail, Vec::new());
        self.known.hold(parcel.cursor.file, parcel.place);
        self.known.advance(parcel.cursor);
        Ok(())
    }

    fn begin_round(&mut self, now: Instant) {
        let is_due = self.scanned.is_none_or(|scanned| now >= scanned + SCAN);
        if is_due && (self.follow || self.started.is_none()) {
            self.scan(now);
        } else {
            let follow = self.follow;
            let is_awaited = |file: &&mut Followed| match follow {
                true => now < file.changed + QUIET || file.again.is_some(),
                // What is added to it now was not there at the start.
                false => !file.done,
            };
            for file in self.files.values_mut().filter(is_awaited) {
                if let Some(metadata) = file.look() {
                    file.note(&metadata, now);
                }
            }
        }
        let mut due: Vec<&Followed> = self.files.values().filter(|file| file.is_due(now)).collect();
        // Of one name, what has gone was there before.
        due.sort_by_key(|file| (&file.path, !file.gone));
        self.round = due.into_iter().map(|file| file.place).collect();
    }

    fn scan(&mut self, now: Instant) {
        let mut failures = Vec::new();
        let paths = expand_some(&self.paths, |error| failures.push(error)).unwrap_or_else(|error| {
            // Was checked at the start, and patterns do not change.
            failures.push(error);
            Vec::new()
        });
        let mut found = BTreeSet::new();
        for path in paths {
            match fs::metadata(&path) {
                Ok(metadata) if metadata.is_file() => {
                    let place = Place::of(&metadata);
                    // By the first of its names.
                    if found.insert(place) {
                        self.see(place, path, &metadata, now);
                    }
                }
                Ok(_) => self.tell_once(&path, "it is no regular file"),
                Err(error) => failures.push(SourceError::io("open", &path, error)),
            }
        }
        // What cannot be listed is not gone.
        let mut hidden = Vec::new();
        for failure in failures {
            match failure {
                SourceError::Io { source, .. } if source.kind() == io::ErrorKind::NotFound => {}
                SourceError::Io { ref path, ref source, .. } => {
                    self.tell_once(path, &format!("{failure}: {source}"));
                    hidden.push(path.clone());
                }
                failure => self.tell_once(Path::new(""), &failure.to_string()),
            }
        }
        let missing: Vec<Place> = self.files.keys().filter(|place| !found.contains(place)).copied().collect();
        for place in missing {
            self.miss(place, &hidden, now);
        }
        self.hold();
        self.scanned = Some(now);
        if self.started.is_none() {
            self.started = Some(now);
            self.recognise_at_start(now);
        }
    }

    fn see(&mut self, place: Place, path: PathBuf, metadata: &fs::Metadata, now: Instant) {
        let Some(file) = self.files.get_mut(&place) else {
            let since = self.scanned.unwrap_or(now);
            self.files
                .insert(place, Followed { since, ..Followed::new(place, path, metadata, self.syntax.encoding, now) });
            return;
        };
        file.note(metadata, now);
        if file.gone || file.path != path {
            (file.gone, file.path, file.changed) = (false, path, now);
            file.again = Some(now + SETTLED);
        }
    }

    /// Removes a file that no path leads to any more.
    fn miss(&mut self, place: Place, hidden: &[PathBuf], now: Instant) {
        let Some(file) = self.files.get_mut(&place) else { return };
        if let Some(metadata) = file.look() {
            file.note(&metadata, now);
        }
        if file.gone || hidden.iter().any(|path| file.path.starts_with(path)) {
            return;
        }
        if file.handle.is_none() {
            if file.seen != Some(file.stamp) {
                let path = file.path.display();
                tracing::warn!(%path, "a file has gone before it was read to its end");
            }
            return self.forget(place, now);
        }
        (file.gone, file.changed, file.again) = (true, now, Some(now));
    }

    fn forget(&mut self, place: Place, now: Instant) {
        let Some(file) = self.files.remove(&place) else { return };
        self.turns.remove(&place);
        self.told.remove(&file.path);
        if let Some(id) = file.reading.and_then(|reading| reading.id) {
            self.known.release(id, &file.path, now, false);
        }
    }

    /// Opens the files that changed last, and closes others.
    fn hold(&mut self) {
        let mut files: Vec<&mut Followed> = self.files.values_mut().filter(|file| !file.gone).collect();
        files.sort_by_key(|file| std::cmp::Reverse(file.stamp));
        for (index, file) in files.into_iter().enumerate() {
            file.held = index < HANDLES;
            // An error comes again when it is the file's turn, and is logged then.
            if file.held && file.open().is_err() || !file.held && !self.turns.contains_key(&file.place) {
                file.handle = None;
            }
        }
    }

    fn fail(&mut self, place: Place, error: &SourceError, now: Instant) {
        let Some(file) = self.files.get_mut(&place) else { return };
        let path = file.path.clone();
        file.done = false;
        let message = match error {
            SourceError::Io { source, .. } => {
                file.again = Some(now + RETRY);
                format!("{error}: {source}")
            }
            // As long as its content is what it is.
            _ => {
                (file.seen, file.again) = (Some(file.stamp), file.gone.then_some(file.changed + SETTLED));
                error.to_string()
            }
        };
        if !file.held && !file.gone {
            file.handle = None;
        }
        if file.gone && file.is_settled(now) {
            self.forget(place, now);
        }
        self.tell_once(&path, &message);
    }

    fn tell_once(&mut self, path: &Path, message: &str) {
        if self.told.get(path).is_none_or(|told| told != message) {
            tracing::warn!(path = %path.display(), "a file cannot be followed: {message}");
            self.told.insert(path.to_path_buf(), message.to_string());
        }
    }
}
