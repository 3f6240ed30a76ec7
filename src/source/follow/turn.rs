//! Reads on in one file, from the cursor to the end, a delivery at a time.

use super::followed::{Followed, Reading, SETTLED};
use super::known::{MARK_BYTES, tail};
use super::place::{Place, Stamp};
use super::reader::{Piece, Reached, Reader};
use super::recognise::{Found, Probe};
use super::shape::{Question, Shape};
use super::{Follower, RETRY, TURN_BYTES, TURNS};
use crate::queue::cursor::FileCursor;
use crate::source::SourceError;
use crate::source::cutter::{Fields, Survey};
use headwater_decode::framing::Scanner;
use std::sync::Arc;
use std::time::Instant;

/// Of a delivery with more than one record.
const PARCEL_BYTES: usize = 1 << 20;

/// The file that is being read; survives the end of a poll, and is broken off for other files.
pub struct Turn {
    pub place: Place,
    pub reader: Reader,
    pub probe: Option<Probe>,
    /// When it began, or was continued.
    stamp: Stamp,
    /// The reader stands where reading goes on.
    is_there: bool,
    /// Bytes that may still be read before others have their turn.
    left: usize,
    large: Option<Large>,
}

/// A record that is too large: its beginning is kept and the rest is passed, before it is delivered.
struct Large {
    scanner: Scanner,
    beginning: Vec<u8>,
    at: u64,
    tail: [u64; 2],
    head: Vec<u8>,
}

/// The next delivery. It counts when it is durable.
pub struct Parcel {
    pub place: Place,
    pub cursor: FileCursor,
    pub events: Vec<u8>,
    /// From here on, records have another header.
    pub header: Option<Arc<[u8]>>,
}

pub enum Step {
    Parcel(Parcel),
    Budget,
    /// It has had its share, and goes on after the others.
    Share,
    /// Another file has taken the place: it is its turn.
    Again,
    End,
}

enum Read {
    Step(Step),
    /// Nothing more is to be had now.
    End {
        /// An unterminated record is left.
        rest: bool,
    },
    /// The bytes before are not those that were there.
    Changed,
}

impl Follower {
    /// Goes on with a file up to the next delivery, or the end of what is there.
    pub(super) fn turn(&mut self, place: Place, now: Instant, budget: &mut usize) -> Result<Step, SourceError> {
        let broken_off = self.turns.remove(&place);
        let Some(file) = self.files.get_mut(&place) else { return Ok(Step::End) };
        let stamp = file.stamp;
        if stamp.size == 0 && file.reading.is_none() {
            return Ok(self.leave(place, stamp, now, true, None));
        }
        let path = file.path.clone();
        let Some(handle) = file.open()? else {
            // Moved or removed; the next look at the folder tells.
            file.again = Some(now + RETRY);
            return Ok(Step::End);
        };
        let mut turn = match broken_off {
            Some(turn) if turn.left == 0 => {
                let others = self.turns.len() < TURNS;
                self.turns.insert(place, Turn { left: TURN_BYTES, ..turn });
                return Ok(if others { Step::Share } else { Step::Again });
            }
            Some(turn) => Turn { stamp, ..turn },
            None => {
                let reader = Reader::new(&path, handle, self.syntax.encoding)?;
                Turn { place, reader, probe: None, stamp, is_there: false, left: TURN_BYTES, large: None }
            }
        };
        let before = *budget;
        let step = self.advance(&mut turn, now, budget)?;
        turn.left = turn.left.saturating_sub(before - *budget);
        let goes_on = match step {
            Step::Parcel(_) | Step::Budget => true,
            // What has been passed of a record that is too large need not be read again when the file has grown.
            Step::End => turn.large.is_some() && !turn.reader.is_compressed() && self.turns.len() < TURNS,
            Step::Share | Step::Again => false,
        };
        if goes_on && self.files.contains_key(&place) {
            self.turns.insert(place, turn);
        }
        Ok(step)
    }

    fn advance(&mut self, turn: &mut Turn, now: Instant, budget: &mut usize) -> Result<Step, SourceError> {
        let (place, stamp) = (turn.place, turn.stamp);
        if self.files[&place].reading.is_none() {
            match self.recognise(turn, now, budget)? {
                Found::Wait(until) => return Ok(self.leave(place, stamp, now, false, Some(until))),
                Found::Budget => return Ok(Step::Budget),
                Found::Copy => return Ok(self.leave(place, stamp, now, true, None)),
                Found::Known(cursor) => self.go_on(place, cursor),
                Found::New => {}
            }
            (turn.probe, turn.large, turn.is_there) = (None, None, false);
            turn.reader = self.files[&place].reader()?;
        }
        if self.files[&place].shape().is_none() && !self.tell(turn, now)? {
            let file = &self.files[&place];
            let again = Some(file.changed + SETTLED).filter(|settles| now < *settles);
            // There are no records in blanks.
            return Ok(self.leave(place, stamp, now, self.is_complete(file, now), again));
        }
        let Some(file) = self.files.get_mut(&place) else { return Ok(Step::End) };
        let Some(reading) = &file.reading else { return Ok(Step::End) };
        if turn.reader.is_compressed() && !turn.is_there {
            match turn.reader.forward(reading.offset, budget, &mut self.piece)? {
                Reached::Budget => return Ok(Step::Budget),
                Reached::There if tail(self.piece.window()) == reading.tail => turn.is_there = true,
                Reached::End(_) if turn.reader.damage().is_some() && !file.is_settled(now) => {
                    let settles = file.changed + SETTLED;
                    return Ok(self.leave(place, stamp, now, false, Some(settles)));
                }
                _ => {
                    file.restart(&mut self.known, now);
                    return Ok(Step::Again);
                }
            }
        }
        let mut piece = std::mem::take(&mut self.piece);
        let read = self.read(turn, now, budget, &mut piece);
        self.piece = piece;
        match read? {
            Read::Step(step) => Ok(step),
            Read::End { rest } => Ok(self.at_end(turn, rest, now)),
            Read::Changed => {
                if let Some(file) = self.files.get_mut(&place) {
                    file.restart(&mut self.known, now);
                }
                Ok(Step::Again)
            }
        }
    }

    /// Tells the shape of the file, and where its first record is; false if there is too little to tell.
    fn tell(&mut self, turn: &Turn, now: Instant) -> Result<bool, SourceError> {
        let file = &self.files[&turn.place];
        let mut reader = file.reader()?;
        // Whether compression ends in damage is known at its end only, and there it is rare.
        let is_final = self.is_complete(file, now) || turn.reader.is_compressed() && file.is_settled(now);
        let question = Question {
            path: &file.path,
            format: self.format,
            syntax: &self.syntax,
            event_bytes: self.event_bytes,
            is_settled: file.is_settled(now),
            is_final,
            is_compressed: turn.reader.is_compressed(),
        };
        let Some(mut shape) = Shape::tell(&question, &mut reader)? else { return Ok(false) };
        if let Some(reading) = &file.reading {
            shape.go_to(reading.offset, &mut file.reader()?)?;
        }
        let mut started = None;
        if file.reading.is_none() {
            let mut head = vec![0; shape.start.min(MARK_BYTES as u64) as usize];
            file.reader()?.fill(&mut 0, &mut head)?;
            let mut unbounded = usize::MAX;
            file.reader()?.forward(shape.start, &mut unbounded, &mut self.piece)?;
            let (offset, tail) = (shape.start, tail(self.piece.window()));
            started = Some(Reading { id: None, offset, tail, head, shape: None });
        }
        if let Some(file) = self.files.get_mut(&turn.place) {
            file.reading = started.or(file.reading.take());
            if let Some(reading) = &mut file.reading {
                reading.shape = Some(shape);
            }
        }
        Ok(true)
    }

    /// Returns whether nothing more is to be expected of a plain file.
    fn is_complete(&self, file: &Followed, now: Instant) -> bool {
        !self.follow || file.is_settled(now) && (file.gone || file.is_renamed())
    }

    fn at_end(&mut self, turn: &Turn, rest: bool, now: Instant) -> Step {
        let file = &self.files[&turn.place];
        let mut again = None;
        let mut is_done = !rest;
        if let Some(damage) = turn.reader.damage() {
            if file.is_settled(now) {
                let path = file.path.display();
                tracing::warn!(%path, "what lies behind the damage cannot be read: {damage}");
            } else {
                again = Some(file.changed + SETTLED);
                is_done = false;
            }
        } else if rest && (file.gone || file.is_renamed()) {
            again = Some(file.changed + SETTLED);
        }
        self.leave(turn.place, turn.stamp, now, is_done, again)
    }

    /// Ends a turn. What is gone is forgotten as soon as it is done.
    fn leave(&mut self, place: Place, stamp: Stamp, now: Instant, is_done: bool, again: Option<Instant>) -> Step {
        let Some(file) = self.files.get_mut(&place) else { return Step::End };
        (file.seen, file.again, file.done) = (Some(stamp), again.filter(|_| !is_done), is_done);
        self.told.remove(&file.path);
        if file.gone && is_done {
            match file.is_settled(now) || !self.follow {
                true => self.forget(place, now),
                false => file.again = Some(file.changed + SETTLED),
            }
        } else if !file.held && !file.gone {
            file.handle = None;
        }
        Step::End
    }

    fn read(
        &mut self,
        turn: &mut Turn,
        now: Instant,
        budget: &mut usize,
        piece: &mut Piece,
    ) -> Result<Read, SourceError> {
        let file = &self.files[&turn.place];
        let Some(reading @ Reading { shape: Some(shape), .. }) = &file.reading else { return Ok(Read::Changed) };
        let (framing, limit) = (shape.framing, self.event_bytes);
        let is_complete = self.is_complete(file, now);
        // Enough to show a record that is too large, with its line end.
        let most = PARCEL_BYTES.max(limit + 4);
        let mut wanted = PARCEL_BYTES.min(most);
        loop {
            if *budget == 0 {
                return Ok(Read::Step(Step::Budget));
            }
            let (at, before) =
                turn.large.as_ref().map_or((reading.offset, reading.tail), |large| (large.at, large.tail));
            // The turn ends where the file ended when it began: a busy file must not keep the others waiting.
            let there = match turn.reader.is_compressed() || !self.follow {
                true => wanted,
                false => usize::try_from(turn.stamp.size.saturating_sub(at)).unwrap_or(wanted).min(wanted),
            };
            turn.reader.look(at, there, piece)?;
            let new = piece.new_bytes();
            *budget = budget.saturating_sub(new.len());
            if tail(piece.window()) != before {
                return Ok(Read::Changed);
            }
            let ended = piece.ended || there < wanted;
            let takes_rest = ended
                && if turn.reader.is_compressed() {
                    turn.reader.damage().is_none() || file.is_settled(now)
                } else {
                    is_complete
                };
            if let Some(large) = &mut turn.large {
                let end = large.scanner.end(new);
                let length = end.unwrap_or(new.len());
                turn.reader.used(piece, length);
                large.at += length as u64;
                large.tail = tail(piece.up_to(length));
                extend(&mut large.head, &new[..length]);
                if end.is_some() || takes_rest {
                    let Some(large) = turn.large.take() else { continue };
                    let cursor = self.cursor(file, reading, large.at, large.tail, &large.head);
                    return Ok(Read::Step(Step::Parcel(Parcel {
                        place: turn.place,
                        cursor,
                        events: large.beginning,
                        header: None,
                    })));
                }
                if ended {
                    return Ok(Read::End { rest: true });
                }
                continue;
            }
            let length = match Survey::of(framing, new, limit) {
                Survey { whole: 0, large: Some(large) } => {
                    turn.large = Some(Large {
                        scanner: Scanner::new(framing),
                        beginning: beginning(&new[large.start..], limit).to_vec(),
                        at: reading.offset,
                        tail: reading.tail,
                        head: reading.head.clone(),
                    });
                    turn.reader.used(piece, 0);
                    continue;
                }
                Survey { whole: 0, .. } if takes_rest => new.len(),
                Survey { whole: 0, .. } if ended => {
                    turn.reader.used(piece, 0);
                    return Ok(Read::End { rest: framing.records(new).next().is_some() });
                }
                Survey { whole: 0, .. } if wanted < most => {
                    turn.reader.used(piece, 0);
                    wanted = (2 * wanted).min(most);
                    continue;
                }
                // Nothing but what separates records.
                Survey { whole: 0, .. } => framing.separators(new).max(1),
                Survey { whole, .. } => whole,
            };
            if length == 0 {
                return Ok(Read::End { rest: false });
            }
            let Fields { header, end } = Fields::of(shape.format, shape.header.as_ref(), &new[..length]);
            let length = end.unwrap_or(length);
            turn.reader.used(piece, length);
            let mut head = reading.head.clone();
            extend(&mut head, &new[..length]);
            let cursor = self.cursor(file, reading, at + length as u64, tail(piece.up_to(length)), &head);
            // What a truncation left behind may be longer than all that was ever written.
            let nuls = new[..length].iter().take_while(|byte| **byte == 0).count();
            let events = new[nuls..length].to_vec();
            return Ok(Read::Step(Step::Parcel(Parcel { place: turn.place, cursor, events, header })));
        }
    }

    /// `head`: the first bytes before `offset`.
    fn cursor(&self, file: &Followed, reading: &Reading, offset: u64, tail: [u64; 2], head: &[u8]) -> FileCursor {
        let id = reading.id.unwrap_or_else(|| self.known.new_id(head));
        FileCursor { file: id, path: file.first_path.clone(), offset, tail }
    }
}

/// Returns enough of a record that is too large for the decoder to see that. The last byte is not one that counts as a
/// line end, or as a blank behind a value.
fn beginning(record: &[u8], limit: usize) -> &[u8] {
    let more = record[limit..].iter().position(|byte| !byte.is_ascii_whitespace());
    &record[..more.map_or(record.len(), |more| limit + more + 1)]
}

fn extend(head: &mut Vec<u8>, bytes: &[u8]) {
    head.extend_from_slice(&bytes[..bytes.len().min(MARK_BYTES.saturating_sub(head.len()))]);
}
