//! Sends the pieces of all files from where the engine is, and goes on through lost connections, starts of the engine and
//! pauses.

use super::cut::{Cut, Piece, Pieces, Trouble, Unit};
use super::pace::Pace;
use super::survey::Survey;
use super::{History, Options, failed};
use crate::error::Error;
use crate::fingerprint::hex;
use crate::observe::backfills::{BackfillReport, Changed};
use crate::queue::cursor::BackfillPlace;
use crate::queue::delivery::Delivery;
use crate::queue::numbers::SourceNumber;
use crate::text::progress::Progress;
use headwater_client::{Backfills, Backoff, ClientError};
use headwater_decode::framing::Framing;
use headwater_decode::spec::Format;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// The first wait before a request is tried again, and the longest.
const WAITS: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(5));
/// An engine that is away for longer is given up. The same command then goes on.
const PATIENCE: Duration = Duration::from_secs(600);
/// The time between two questions whether a pause is over.
const PAUSE: Duration = Duration::from_secs(1);

/// One client of a backfill.
pub struct Sender<'s> {
    client: &'s Backfills,
    name: &'s str,
    /// The body that opens the backfill.
    described: String,
    lease: String,
    /// Of the engine.
    place: BackfillPlace,
    /// The engine has all.
    done: bool,
    /// Bytes of the files before each one.
    before: Vec<u64>,
    progress: Progress,
    /// Bytes and records that the progress has.
    shown: (u64, u64),
}

/// What became of a piece.
enum Sent {
    Taken,
    /// The engine is elsewhere than where the client was.
    Elsewhere,
}

impl<'s> Sender<'s> {
    pub fn new(
        client: &'s Backfills,
        options: &'s Options,
        source: &str,
        settings: String,
        survey: &Survey,
    ) -> Sender<'s> {
        let mut before = vec![0];
        before.extend(survey.files.iter().scan(0, |sum, file| {
            *sum += file.bytes;
            Some(*sum)
        }));
        let content = survey.content.map(|half| hex(&half.to_be_bytes())).concat();
        let described = serde_json::json!({
            "name": options.name, "source": source, "content": content, "files": survey.files.len(),
            "records": survey.all.records, "bytes": survey.all.bytes, "settings": settings,
        });
        Sender {
            client,
            name: &options.name,
            described: described.to_string(),
            lease: String::new(),
            place: BackfillPlace::default(),
            done: false,
            before,
            progress: Progress::start(survey.all.bytes, options.progress),
            shown: (0, 0),
        }
    }

    /// Sends everything that the engine does not have. Returns what it says at the end.
    pub fn send(
        &mut self,
        history: &History<'_>,
        pieces: &mut Pieces,
        mut pace: Pace,
    ) -> Result<BackfillReport, Error> {
        self.open()?;
        while !self.done {
            if let Sent::Elsewhere = self.send_from(history, pieces, &mut pace)? {
                continue;
            }
            let end = Piece { from: self.place.offset, to: self.place.offset, ..Piece::default() };
            let empty = (Format::Json, Framing::Lines, None);
            if let Sent::Taken = self.hand_over(self.place, &end, empty, &mut pace, true)? {
                break;
            }
        }
        super::status_of(self.client, self.name)
    }

    fn send_from(&mut self, history: &History<'_>, pieces: &mut Pieces, pace: &mut Pace) -> Result<Sent, Error> {
        let trouble = |trouble: Trouble| {
            Error::run("go on with the backfill; what has been sent stays")(headwater_log::error::chain(&trouble))
        };
        let first = self.place.file as usize;
        let files = history.parts.iter().zip(&history.survey.files).enumerate().skip(first);
        for (index, (part, surveyed)) in files {
            let changed = || trouble(Trouble::Changed { path: part.path.display().to_string() });
            let mut units = surveyed.units.iter();
            let mut cut = Cut::open(index, part, history.limit).map_err(trouble)?;
            while let Some(unit) = cut.next().map_err(trouble)? {
                if !surveyed.is_same(part) || units.next() != Some(&unit.hash()) {
                    return Err(changed());
                }
                while let Some(piece) = pieces.next(&unit, self.after(index), pace.size()) {
                    let to = BackfillPlace { file: index as u32, offset: piece.to };
                    if let Sent::Elsewhere = self.hand_over(to, &piece, shape(&unit), pace, false)? {
                        return Ok(Sent::Elsewhere);
                    }
                }
            }
            if units.next().is_some() {
                return Err(changed());
            }
        }
        Ok(Sent::Taken)
    }

    /// Returns up to where the engine has a file.
    fn after(&self, file: usize) -> u64 {
        if file == self.place.file as usize { self.place.offset } else { 0 }
    }

    /// Sends a piece until it is taken.
    fn hand_over(
        &mut self,
        to: BackfillPlace,
        piece: &Piece,
        (format, framing, header): (Format, Framing, Option<&[u8]>),
        pace: &mut Pace,
        last: bool,
    ) -> Result<Sent, Error> {
        let (source, cursors, events) = (SourceNumber(0), Vec::new(), &piece.bytes[..]);
        let chunk = Delivery { source, format, framing, messages: false, header, cursors, events }.encode();
        let passed = |place: BackfillPlace| self.before[place.file as usize] + place.offset;
        // What is behind the last record is passed with the end.
        let upper = if last { self.before.last().copied().unwrap_or(0) } else { passed(to) };
        let bytes = upper.saturating_sub(passed(self.place));
        sleep(pace.wait());
        let (mut backoff, mut away) = (Backoff::new(WAITS.0, WAITS.1), Instant::now());
        loop {
            let parameters = [
                ("lease", self.lease.clone()),
                ("after_file", self.place.file.to_string()),
                ("after", self.place.offset.to_string()),
                ("file", to.file.to_string()),
                ("to", to.offset.to_string()),
                ("from", piece.from.to_string()),
                ("records", piece.records.to_string()),
                ("bytes", bytes.to_string()),
                ("last", last.to_string()),
            ];
            let began = Instant::now();
            let error = match self.client.chunk::<Changed>(self.name, &parameters, &chunk) {
                Ok(_) => {
                    pace.sent(piece.records, began.elapsed());
                    self.place = to;
                    self.progress.tick(bytes, piece.records);
                    self.shown = (self.shown.0 + bytes, self.shown.1 + piece.records);
                    return Ok(Sent::Taken);
                }
                Err(error) => error,
            };
            match error.code() {
                "paused" => {
                    sleep(PAUSE);
                    away = Instant::now();
                }
                "closed" | "place" => {
                    let before = self.place;
                    self.open()?;
                    if self.done || self.place != before {
                        return Ok(Sent::Elsewhere);
                    }
                }
                "done" => {
                    self.done = true;
                    return Ok(Sent::Elsewhere);
                }
                _ if error.may_pass() => self.wait(&mut backoff, away, error)?,
                _ => return Err(failed(error)),
            }
        }
    }

    /// Opens the backfill, and takes the place of the engine.
    fn open(&mut self) -> Result<(), Error> {
        let (mut backoff, away) = (Backoff::new(WAITS.0, WAITS.1), Instant::now());
        loop {
            match self.client.open::<Changed>(&self.described) {
                Ok(Changed { report, lease }) => {
                    self.lease = lease.unwrap_or_default();
                    self.place = BackfillPlace { file: report.file, offset: report.offset };
                    // What another client has sent counts too.
                    let (bytes, records) = self.shown;
                    self.progress.tick(report.bytes.saturating_sub(bytes), report.records.saturating_sub(records));
                    self.shown = (report.bytes.max(bytes), report.records.max(records));
                    return Ok(());
                }
                Err(error) if error.code() == "done" => {
                    self.done = true;
                    return Ok(());
                }
                Err(error) if error.may_pass() => self.wait(&mut backoff, away, error)?,
                Err(error) => return Err(failed(error)),
            }
        }
    }

    fn wait(&self, backoff: &mut Backoff, away: Instant, error: ClientError) -> Result<(), Error> {
        if away.elapsed() > PATIENCE {
            return Err(failed(error));
        }
        sleep(backoff.wait());
        Ok(())
    }
}

/// Returns how the records of a unit are read.
fn shape<'u>(unit: &Unit<'u>) -> (Format, Framing, Option<&'u [u8]>) {
    (unit.chunk.format, unit.chunk.framing, unit.chunk.header.as_deref())
}
