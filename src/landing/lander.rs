//! The thread that lands: reads ticks, gathers their rows, and commits them.

use super::action::Landed;
use super::files::Encoder;
use super::follow::{End, Follow};
use super::forgetting::Forgetting;
use super::harvest::Reader;
use super::rows::Rows;
use super::schema::{self, Name};
use super::store::Store;
use super::table::{CHECKPOINT_EVERY, File, Spec, Table, Written};
use super::tidy::Tidy;
use super::{Error, Shared};
use crate::observe::landing::LandingStatus;
use crate::plan::{LandingPlan, Plan};
use crate::queue::forgets::{Forgets, Forgotten};
use crate::queue::forgotten;
use crate::queue::intake::wall_ms;
use crate::queue::numbers::Numbers;
use crate::queue::timeline::Timeline;
use dataflows::Tick;
use headwater_client::Backoff;
use headwater_log::error::LogError;
use headwater_log::histories::Histories;
use headwater_log::partition;
use headwater_log::remap::{Binding, RemapReader};
use headwater_log::segment::LogId;
use headwater_log::vfs::{LockGuard, Vfs};
use headwater_log::{CONTROL, QUEUE, durable};
use jiff::civil::Date;
use jiff::{Span, ToSpan};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The time between two looks at what is published.
const POLL: Duration = Duration::from_millis(100);
/// Between two attempts: at first, and at most.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(60));
/// Ticks that are read together.
const TICKS: usize = 256;
/// Bytes of one part of the queue that are read together, if they are of more than one tick.
const READ_BYTES: u64 = 4 << 20;
/// In the data folder: which tables there have been.
const MARKER: &str = "landing.json";

/// The tables that were made once. Without their logs they are not made again.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Marker {
    tables: BTreeSet<PathBuf>,
    /// By the number of a forget: what has gone from the table of events.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    forgotten: BTreeMap<u64, forgotten::Landed>,
}

pub struct Lander {
    vfs: Arc<dyn Vfs>,
    id: LogId,
    plan: Arc<Plan>,
    landing: LandingPlan,
    timeline: Timeline,
    sources: Arc<Numbers>,
    histories: Arc<Histories>,
    forgets: Arc<Forgets>,
    remap: RemapReader,
    /// The oldest tick of the remap when the process started.
    oldest: Tick,
    /// By part of the queue: the oldest record when the process started.
    lows: Vec<u64>,
    readers: Vec<partition::Reader>,
    follow: Arc<Follow>,
    status: Arc<LandingStatus>,
    open: Option<Open>,
}

/// The tables, and what has been read for them and is not in them.
struct Open {
    events: Table,
    letters: Table,
    encoders: [Encoder; 2],
    reader: Reader,
    /// The next tick that is read.
    next: Tick,
    /// By part of the queue: the offset that is read next.
    queue: Vec<u64>,
    /// Of the last tick that was read.
    now_ms: i64,
    /// The first tick that waits for a commit, and since when.
    waits: Option<(Tick, Instant)>,
    tidy: Tidy,
    forgetting: Forgetting,
    _lock: LockGuard,
}

/// What a turn has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    /// There may be more to do at once.
    More,
    Idle,
}

impl Lander {
    pub fn new(
        vfs: Arc<dyn Vfs>,
        shared: &Shared<'_>,
        landing: &LandingPlan,
        readers: Vec<partition::Reader>,
        follow: &Arc<Follow>,
        status: &Arc<LandingStatus>,
    ) -> Lander {
        Lander {
            vfs,
            id: shared.id,
            plan: Arc::clone(shared.plan),
            landing: landing.clone(),
            timeline: Timeline::new(shared.definitions, Some(shared.log.control.reader())),
            sources: Arc::clone(shared.sources),
            histories: Arc::clone(shared.histories),
            forgets: Arc::clone(shared.forgets),
            remap: shared.log.remap.reader(),
            oldest: shared.log.remap.low(),
            lows: readers.iter().map(partition::Reader::low).collect(),
            readers,
            follow: Arc::clone(follow),
            status: Arc::clone(status),
            open: None,
        }
    }

    /// Lands until it is asked to stop.
    pub fn run(mut self) {
        let mut backoff = Backoff::new(BACK_OFF.0, BACK_OFF.1);
        loop {
            let until = self.follow.until();
            let outcome = self.turn(until.is_some());
            self.measure();
            match outcome {
                Ok(_) if until.is_some_and(|until| Instant::now() >= until) => return,
                Ok(Turn::More) => backoff = Backoff::new(BACK_OFF.0, BACK_OFF.1),
                Ok(Turn::Idle) if until.is_some() => return,
                Ok(Turn::Idle) => {
                    backoff = Backoff::new(BACK_OFF.0, BACK_OFF.1);
                    self.follow.wait(POLL);
                }
                Err(error) => {
                    let (why, wait) = (error.to_string(), backoff.wait());
                    let wait_ms = wait.as_millis() as u64;
                    // Events go on being taken. Once for each reason: it may be so for hours.
                    match self.status.failed(&why) {
                        true => tracing::error!(why, wait_ms, "the landing fails, and is tried again"),
                        false => tracing::debug!(why, wait_ms, "the landing still fails"),
                    }
                    // The tables say what of it has happened.
                    self.open = None;
                    if until.is_some() {
                        return;
                    }
                    self.follow.wait(wait);
                }
            }
        }
    }

    /// Reads some ticks, and commits if that is due. `last`: it is due.
    fn turn(&mut self, last: bool) -> Result<Turn, Error> {
        let mut open = match self.open.take() {
            Some(open) => open,
            None => self.open()?,
        };
        let ends = self.ends(open.next)?;
        let target = self.landing.target_file as usize;
        if !ends.is_empty() {
            self.read(&mut open, &ends)?;
        }
        let caught_up = ends.is_empty();
        let due = open.waits.is_some_and(|(_, since)| {
            since.elapsed() >= self.landing.visible_every || open.reader.memory() >= target || (last && caught_up)
        });
        if due {
            self.commit(&mut open)?;
        } else if open.waits.is_none() {
            self.status.landed(open.next);
            self.follow.landed(open.next, open.now_ms, &open.queue);
        }
        if caught_up && !last {
            let Open { events, letters, encoders, tidy, .. } = &mut open;
            tidy.turn([events, letters], encoders, &self.landing, &self.status)?;
            if self.forget(&mut open)? {
                self.open = Some(open);
                return Ok(Turn::More);
            }
        }
        self.open = Some(open);
        Ok(if caught_up { Turn::Idle } else { Turn::More })
    }

    fn open(&self) -> Result<Open, Error> {
        let root = &self.landing.path;
        let made = std::fs::create_dir_all(root).and_then(|()| root.parent().map_or(Ok(()), durable::sync_folder));
        made.map_err(|error| Error::Refused(format!("cannot make the folder {}: {error}", root.display())))?;
        let lock = self
            .vfs
            .lock(&root.join("LOCK"))?
            .ok_or_else(|| Error::Refused(format!("another process lands in {}: name another path", root.display())))?;
        let mut marker = self.marker()?;
        let fields = self.landing.fields(&self.plan);
        let open = |name: Name| {
            let path = root.join(name.text());
            let spec = Spec {
                name,
                columns: schema::columns(name, &fields),
                log: self.id,
                known: marker.tables.contains(&path),
                folders: self.landing.folders,
                checkpoint_every: CHECKPOINT_EVERY,
            };
            Table::open(Store::new(Arc::clone(&self.vfs), path), spec)
        };
        let (events, letters) = (open(Name::Events)?, open(Name::DeadLetters)?);
        let before = marker.tables.len();
        marker.tables.extend([Name::Events, Name::DeadLetters].map(|name| root.join(name.text())));
        if marker.tables.len() > before {
            self.mark(&marker)?;
        }
        marker.forgotten.iter().for_each(|(forget, landed)| self.forgets.landed(*forget, *landed));
        let (next, queue) = self.begin(&events)?;
        let names: Vec<String> = self.plan.sources.iter().map(|source| source.name.clone()).collect();
        let encoders =
            [Name::Events, Name::DeadLetters].map(|name| Encoder::new(schema::columns(name, &fields), names.clone()));
        let reader = Reader::new(self.defined(0), fields.len(), letters.upto());
        tracing::info!(path = %root.display(), tick = next, files = events.adds().len(), "the landing goes on");
        Ok(Open {
            events,
            letters,
            encoders,
            reader,
            next,
            queue,
            now_ms: 0,
            waits: None,
            tidy: Tidy::default(),
            forgetting: Forgetting::default(),
            _lock: lock,
        })
    }

    /// Takes rows of users who are forgotten out of the table. Returns whether there are more.
    fn forget(&self, open: &mut Open) -> Result<bool, Error> {
        // What waits for a commit may be theirs.
        if open.waits.is_some() {
            return Ok(false);
        }
        let next = open.next;
        let waits = |one: &Forgotten| one.is_done && self.forgets.has_landed(one.forget).is_none();
        let is_due = |one: &Forgotten| one.at <= next && waits(one);
        let pending: Vec<_> = self.forgets.gone().into_iter().filter(is_due).collect();
        if pending.is_empty() {
            return self.shorten(open).map(|()| false);
        }
        let Open { events, encoders, forgetting, .. } = open;
        let Some(landed) = forgetting.turn(events, &encoders[0], &pending, wall_ms())? else {
            return Ok(true);
        };
        let mut marker = self.marker()?;
        marker.forgotten.extend(pending.iter().map(|one| (one.forget, landed)));
        self.mark(&marker)?;
        pending.iter().for_each(|one| self.forgets.landed(one.forget, landed));
        tracing::info!(
            users = pending.len(),
            rows = landed.rows,
            files = landed.files,
            "forgotten users left the landing"
        );
        Ok(false)
    }

    /// Removes the part of the log of the table that has described the rows of users who are forgotten, when no reader needs
    /// it any more.
    fn shorten(&self, open: &mut Open) -> Result<(), Error> {
        let now_ms = wall_ms();
        let before_ms = now_ms.saturating_sub(self.landing.vacuum_after.as_millis() as i64);
        let is_due = |landed: &forgotten::Landed| landed.log_ms.is_none() && landed.at_ms <= before_ms;
        let all = self.forgets.gone();
        let mut due = all.iter().filter_map(|one| Some((one.forget, self.forgets.has_landed(one.forget)?)));
        if !due.any(|(_, landed)| is_due(&landed)) {
            return Ok(());
        }
        open.events.shorten()?;
        let mut marker = self.marker()?;
        marker.forgotten.values_mut().filter(|landed| is_due(landed)).for_each(|landed| landed.log_ms = Some(now_ms));
        self.mark(&marker)?;
        marker.forgotten.iter().for_each(|(forget, landed)| self.forgets.landed(*forget, *landed));
        Ok(())
    }

    fn mark(&self, marker: &Marker) -> Result<(), Error> {
        let bytes = serde_json::to_vec(marker).map_err(Error::encode)?;
        let path = self.plan.data_dir.join(MARKER);
        durable::replace(&path, &bytes)
            .map_err(|error| Error::Refused(format!("cannot write {}: {error}", path.display())))
    }

    fn marker(&self) -> Result<Marker, Error> {
        let path = self.plan.data_dir.join(MARKER);
        let failed = |error: std::io::Error| Error::Refused(format!("cannot read {}: {error}", path.display()));
        match std::fs::read(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Marker::default()),
            Err(error) => Err(failed(error)),
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| failed(error.into())),
        }
    }

    /// Returns the tick and the offsets that the landing goes on from: those behind the last commit.
    fn begin(&self, events: &Table) -> Result<(Tick, Vec<u64>), Error> {
        let lows: Vec<u64> = self.readers.iter().map(partition::Reader::low).collect();
        let behind = |queue: Vec<u64>| {
            let lost: u64 = queue.iter().zip(&lows).map(|(from, low)| low.saturating_sub(*from)).sum();
            if lost > 0 {
                self.lose(lost);
            }
            queue.iter().zip(&lows).map(|(from, low)| *low.max(from)).collect()
        };
        let Some(upto) = events.upto() else { return Ok((self.oldest, behind(self.lows.clone()))) };
        let next = upto + 1;
        let restored = || {
            Error::Refused(format!(
                "{} has events of ticks up to {upto} of another copy of this data folder, as before a backup was \
                 restored: name another path, or restore that folder too",
                self.landing.path.display()
            ))
        };
        if next > self.follow.upper() {
            return Err(restored());
        }
        let queue = match events.landed() {
            Some(landed) if !self.histories.has_ticks(landed.start, next) => return Err(restored()),
            Some(landed) if landed.queue.len() == lows.len() => landed.queue.clone(),
            _ => uppers(&self.remap.clone().binding(upto)?, lows.len()),
        };
        Ok((next, behind(queue)))
    }

    fn lose(&self, lost: u64) {
        self.status.lost.inc_by(lost);
        tracing::error!(
            records = lost,
            "records of the queue were released before they had landed: a gap in the landing"
        );
    }

    /// Returns the ends of the next ticks, from `next` on.
    fn ends(&mut self, next: Tick) -> Result<Vec<End>, Error> {
        let before = match self.follow.ahead(next, TICKS) {
            Ok(ends) => return Ok(ends),
            Err(before) => before,
        };
        let (mut ends, parts) = (Vec::new(), self.readers.len());
        let upto = before.min(self.remap.upper()).min(next + TICKS as Tick);
        let mut each = |binding: Binding| {
            let control = binding.uppers.get(&(CONTROL, 0)).copied().unwrap_or(0);
            let (tick, now_ms, queue) = (binding.tick, binding.now_ms, uppers(&binding, parts));
            ends.push(End { tick, now_ms, control, queue });
            Ok(())
        };
        match self.remap.bindings(next, upto.max(next), &mut each) {
            // Only where the queue was released too: what is lost is counted there.
            Err(LogError::Gone { oldest, .. }) => self.remap.bindings(oldest, oldest + 1, each)?,
            read => read?,
        }
        Ok(ends)
    }

    /// Reads ticks: as many as have the same definitions and few bytes, at least one.
    fn read(&mut self, open: &mut Open, ends: &[End]) -> Result<(), Error> {
        if let Some(last) = ends.last() {
            self.timeline.reach(last.control).map_err(Error::Refused)?;
        }
        let plan = Arc::clone(self.defined(ends[0].control));
        let mut taken = ends.iter().take_while(|end| Arc::ptr_eq(self.defined(end.control), &plan)).count();
        for (part, reader) in self.readers.iter().enumerate() {
            let (from, upto) = (open.queue[part], ends[taken - 1].queue[part]);
            if upto > from {
                let limit = reader.within(from, upto, READ_BYTES);
                taken = ends[..taken].partition_point(|end| end.queue[part] <= limit).max(1);
            }
        }
        let (ends, last) = (&ends[..taken], &ends[taken - 1]);
        open.reader.define(&plan);
        open.reader.forget(&self.forgets.gone());
        let (rows, mut wrong, mut lost) = (open.reader.memory(), None, 0);
        for (part, reader) in self.readers.iter_mut().enumerate() {
            let (from, upto) = (open.queue[part], last.queue[part]);
            let low = reader.low().clamp(from, upto.max(from));
            lost += low - from;
            let mut tick = ends.iter().peekable();
            let read = reader.read(low, upto.max(low), |record| {
                while tick.peek().is_some_and(|end| end.queue[part] <= record.offset) {
                    tick.next();
                }
                let tick = tick.peek().map_or(last.tick, |end| end.tick);
                if wrong.is_none() {
                    wrong = open.reader.read(tick, part as u32, &record, &self.sources).err();
                }
            });
            read?;
            open.queue[part] = upto.max(from);
        }
        if let Some(wrong) = wrong {
            return Err(Error::Refused(wrong));
        }
        if lost > 0 {
            self.lose(lost);
        }
        if open.waits.is_none() && open.reader.memory() > rows {
            open.waits = Some((ends[0].tick, Instant::now()));
        }
        (open.next, open.now_ms) = (last.tick + 1, last.now_ms);
        Ok(())
    }

    /// Commits the rows that wait. Dead letters first: the table of events says how far the landing has come.
    fn commit(&self, open: &mut Open) -> Result<(), Error> {
        let Some((from, _)) = open.waits else { return Ok(()) };
        let began = Instant::now();
        let queue = open.queue.clone();
        let landed = Landed { start: self.histories.current(), from, to: open.next - 1, queue };
        let (events, letters) = open.reader.rows();
        let [of_events, of_letters] = &open.encoders;
        let mut written = Written::default();
        if !letters.rows.is_empty() {
            let more = write(&mut open.letters, of_letters, letters, &landed, open.now_ms)?;
            written = Written { files: more.files, bytes: more.bytes };
        }
        let more = write(&mut open.events, of_events, events, &landed, open.now_ms)?;
        let (files, bytes) = (written.files + more.files, written.bytes + more.bytes);
        let rows = (events.rows.len() + letters.rows.len()) as u64;
        self.status.rows.inc_by(rows);
        self.status.files.inc_by(files);
        self.status.bytes.inc_by(bytes);
        let ms = began.elapsed().as_millis() as u64;
        tracing::debug!(tick = landed.to, rows, files, bytes, ms, "landed");
        open.reader.clear();
        open.waits = None;
        self.status.landed(open.next);
        self.follow.landed(open.next, open.now_ms, &open.queue);
        Ok(())
    }

    fn measure(&self) {
        let (held, ticks, ms) = self.follow.waiting();
        self.status.held.set(held as i64);
        self.status.lag_ticks.set(ticks as i64);
        self.status.lag_seconds.set(ms as f64 / 1e3);
    }

    /// Returns the plan with the definitions that are in force when the control partition has been taken up to `control`.
    fn defined(&self, control: u64) -> &Arc<Plan> {
        self.timeline.at(control).unwrap_or(&self.plan)
    }
}

fn uppers(binding: &Binding, parts: usize) -> Vec<u64> {
    (0..parts as u32).map(|part| binding.uppers.get(&(QUEUE, part)).copied().unwrap_or(0)).collect()
}

/// Writes rows as the files of one commit.
fn write(table: &mut Table, encoder: &Encoder, rows: &Rows, landed: &Landed, now_ms: i64) -> Result<Written, Error> {
    let mut numbers: Vec<Option<u32>> = vec![None; rows.names.count()];
    let mut folders: Vec<(String, &str)> = Vec::new();
    for row in &rows.rows {
        let number = &mut numbers[row.class as usize];
        if number.is_none() {
            let folder = table.folders.of(rows.names.text(row.class));
            let place = folders.iter().position(|known| *known == folder).unwrap_or_else(|| {
                folders.push(folder);
                folders.len() - 1
            });
            *number = Some(place as u32);
        }
    }
    let numbers: Vec<u32> = numbers.into_iter().map(Option::unwrap_or_default).collect();
    let order = rows.order(&numbers);
    let place = |number: &u32| {
        let row = &rows.rows[*number as usize];
        (numbers[row.class as usize], row.day)
    };
    let files = order.chunk_by(|one, other| place(one) == place(other)).map(|order| {
        let (folder, day) = place(&order[0]);
        let day = date(day);
        let (folder, value) = &folders[folder as usize];
        let (folder, value) = (format!("{folder}/{}={day}", schema::DAY), (*value).to_owned());
        let bytes = encoder.file(rows, order).map_err(Error::encode)?;
        Ok(File { folder, value, day, bytes, statistics: encoder.statistics(rows, order) })
    });
    table.commit(landed.clone(), now_ms, files)
}

/// Returns a date, from the days since 1970.
pub fn date(days: i32) -> String {
    const EPOCH: Date = Date::constant(1970, 1, 1);
    let span = Span::new().try_days(days).unwrap_or_else(|_| 0.days());
    EPOCH.checked_add(span).unwrap_or(EPOCH).to_string()
}
