//! Recognises, by content, the file at a place that this process has not read yet.
//!
//! | what was found | is taken for |
//! |---|---|
//! | agrees with a cursor at its beginning and before its offset, and no place has that cursor | that file, moved, compressed or from before a restart: goes on there |
//! | is equal to a file that is still there, or to its beginning | a copy in the making: waits until the original goes or changes, or nothing has changed for some seconds; then it is a file of its own, unless it has gone |
//! | begins as a file of which nothing was delivered yet and that has gone | waits until its rest is |
//! | anything else | a new file, from its beginning |
//!
//! Of several cursors that fit, the longest counts. If a cursor is short (below [`MARK_BYTES`]), a file that appeared
//! later or under the same name does not count as the same file. It is read again ([`super::known::Known::is_free`]).

use super::followed::{Reading, SETTLED};
use super::known::{MARK_BYTES, hash, tail};
use super::place::Place;
use super::reader::{Piece, Reached, Reader};
use super::{Follower, Turn};
use crate::queue::cursor::FileCursor;
use crate::source::SourceError;
use std::time::{Duration, Instant};

/// The time between two checks whether the original of a copy has gone.
const PATIENCE: Duration = Duration::from_secs(1);

/// The knowledge about a file that is not recognised yet: the cursors that its content fits.
pub struct Probe {
    /// The first bytes, up to [`MARK_BYTES`].
    head: Vec<u8>,
    /// Of files that begin alike, ascending by offset.
    cursors: Vec<FileCursor>,
    /// For the first of them: whether the content before its offset is the same too.
    fits: Vec<bool>,
    /// The end of the content if it is before the offset, and the mark before that.
    end: Option<(u64, [u64; 2])>,
}

pub enum Found {
    /// Cannot be decided before this.
    Wait(Instant),
    Budget,
    /// Has gone, and what was in it is there in another file.
    Copy,
    /// The file of this cursor.
    Known(FileCursor),
    New,
}

impl Probe {
    /// `None` if the beginning cannot be read yet.
    fn begin(follower: &Follower, reader: &mut Reader) -> Result<Option<Probe>, SourceError> {
        let mut head = vec![0; MARK_BYTES];
        let length = reader.fill(&mut 0, &mut head)?;
        let is_cut = length < MARK_BYTES && reader.damage().is_some();
        head.truncate(length);
        let cursors = follower.known.alike(&head);
        Ok((!is_cut).then_some(Probe { head, cursors, fits: Vec::new(), end: None }))
    }

    /// False if the budget was used up.
    fn run(&mut self, reader: &mut Reader, budget: &mut usize, piece: &mut Piece) -> Result<bool, SourceError> {
        while let Some(cursor) = self.cursors.get(self.fits.len()) {
            match reader.forward(cursor.offset, budget, piece)? {
                Reached::There => self.fits.push(tail(piece.window()) == cursor.tail),
                Reached::End(at) => {
                    self.end = Some((at, tail(piece.up_to(piece.new_bytes().len()))));
                    break;
                }
                Reached::Budget => return Ok(false),
            }
        }
        self.fits.resize(self.cursors.len(), false);
        Ok(true)
    }
}

impl Follower {
    pub(super) fn recognise(
        &mut self,
        turn: &mut Turn,
        now: Instant,
        budget: &mut usize,
    ) -> Result<Found, SourceError> {
        let file = &self.files[&turn.place];
        let (settles, is_gone) = (file.changed + SETTLED, file.gone);
        let is_settled = now >= settles;
        if turn.probe.is_none() {
            turn.probe = Probe::begin(self, &mut file.reader()?)?;
        }
        let Some(probe) = &mut turn.probe else {
            return Ok(if is_settled { Found::New } else { Found::Wait(settles) });
        };
        let is_compressed = turn.reader.is_compressed();
        let mut others = self.files.values().filter(|other| other.place != turn.place && other.is_untouched());
        let original = others.find(|other| {
            let begins_alike = other
                .head
                .is_some_and(|(length, other)| probe.head.get(..length).is_some_and(|head| hash(head) == other));
            // Two that have gone do not wait for each other.
            let wants_turn = other.gone && !(is_gone && is_settled);
            begins_alike && (wants_turn || is_compressed && !is_settled && self.follow)
        });
        if original.is_some() {
            return Ok(Found::Wait(now + PATIENCE));
        }
        let head = (probe.head.len(), hash(&probe.head));
        if !probe.run(&mut turn.reader, budget, &mut self.piece)? {
            return Ok(Found::Budget);
        }
        if let Some(file) = self.files.get_mut(&turn.place) {
            file.head = Some(head).filter(|_| !is_compressed);
        }
        let file = &self.files[&turn.place];
        let is_cut = turn.reader.damage().is_some();
        let end = if is_compressed {
            probe.end
        } else {
            let size = file.stamp.size;
            turn.reader.forward(size, budget, &mut self.piece)?;
            Some((size, tail(self.piece.window())))
        };
        let (path, since) = (file.path.clone(), file.since);
        let mut best: Option<&FileCursor> = None;
        let fits = std::mem::take(&mut probe.fits);
        for (cursor, fits) in probe.cursors.iter().zip(&fits) {
            if let Some(holder) = self.known.holder(&cursor.file) {
                let is_copy = self.is_copy(holder, cursor, *fits, end, is_compressed, now)?;
                let gone = self.files.get(&holder).is_some_and(|holder| holder.gone);
                if is_copy && is_gone && !gone && is_settled {
                    return Ok(Found::Copy);
                }
                if is_copy && (gone || is_gone || !is_settled && self.follow) {
                    return Ok(Found::Wait(if gone { now + PATIENCE } else { settles.min(now + PATIENCE) }));
                }
            }
            if !fits && is_cut && !is_settled {
                return Ok(Found::Wait(settles));
            }
            let is_better = |best: &FileCursor| {
                cursor.offset > best.offset || cursor.path == path.to_string_lossy() && cursor.offset == best.offset
            };
            let start = self.started.unwrap_or(now);
            if *fits && best.is_none_or(is_better) && self.known.is_free(cursor, turn.place, &path, since, start) {
                best = Some(cursor);
            }
        }
        Ok(best.map_or(Found::New, |cursor| Found::Known(cursor.clone())))
    }

    /// Returns whether the file may be a copy, perhaps still growing, of the one at `holder`. Releases the cursor of
    /// `holder` if that has other content by now.
    fn is_copy(
        &mut self,
        holder: Place,
        cursor: &FileCursor,
        fits: bool,
        end: Option<(u64, [u64; 2])>,
        is_compressed: bool,
        now: Instant,
    ) -> Result<bool, SourceError> {
        let Some(original) = self.files.get_mut(&holder) else { return Ok(false) };
        let was_open = original.handle.is_some();
        let path = original.path.clone();
        let Some(handle) = original.open()? else { return Ok(false) };
        let mut reader = Reader::new(&path, handle, self.syntax.encoding)?;
        if !was_open {
            original.handle = None;
        }
        if reader.is_compressed() {
            return Ok(fits && end.is_none_or(|(end, _)| end == cursor.offset));
        }
        let mut unbounded = usize::MAX;
        let mut before = |at| {
            reader.forward(at, &mut unbounded, &mut self.piece)?;
            Ok(tail(self.piece.window()))
        };
        if before(cursor.offset)? != cursor.tail {
            original.restart(&mut self.known, now);
            return Ok(false);
        }
        Ok(match end {
            Some((end, tail)) => before(end)? == tail,
            None => is_compressed && fits,
        })
    }

    /// Lets every plain file go on with the cursor that it fits, at the start. Files with unchanged names come first,
    /// so that no unfinished copy takes a cursor from its original.
    pub(super) fn recognise_at_start(&mut self, now: Instant) {
        let mut places: Vec<Place> = self.files.keys().copied().collect();
        places.sort_by(|left, right| self.files[left].path.cmp(&self.files[right].path));
        for by_path in [true, false] {
            for place in &places {
                // An error comes again when it is the file's turn, and is logged then.
                let _ = self.resume(*place, by_path, now);
            }
        }
    }

    fn resume(&mut self, place: Place, by_path: bool, now: Instant) -> Result<(), SourceError> {
        let Some(file) = self.files.get_mut(&place).filter(|file| file.reading.is_none()) else { return Ok(()) };
        let (was_open, path) = (file.handle.is_some(), file.path.clone());
        let Some(handle) = file.open()? else { return Ok(()) };
        let mut reader = Reader::new(&path, handle, self.syntax.encoding)?;
        if !was_open {
            file.handle = None;
        }
        if reader.is_compressed() {
            return Ok(());
        }
        let Some(mut probe) = Probe::begin(self, &mut reader)? else { return Ok(()) };
        let mut unbounded = usize::MAX;
        probe.run(&mut reader, &mut unbounded, &mut self.piece)?;
        let fitting = probe.cursors.iter().zip(&probe.fits).rev().find(|(cursor, fits)| {
            **fits
                && (!by_path || cursor.path == path.to_string_lossy())
                && self.known.is_free(cursor, place, &path, now, now)
        });
        if let Some((cursor, _)) = fitting {
            self.go_on(place, cursor.clone());
        }
        Ok(())
    }

    pub(super) fn go_on(&mut self, place: Place, cursor: FileCursor) {
        if let Some(file) = self.files.get_mut(&place) {
            self.known.hold(cursor.file, place);
            let FileCursor { file: id, path, offset, tail } = cursor;
            file.first_path = path;
            file.reading = Some(Reading { id: Some(id), offset, tail, head: Vec::new(), shape: None });
        }
    }
}
