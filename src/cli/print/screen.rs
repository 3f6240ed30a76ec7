//! A collection on a terminal: a table that is updated in place.
//!
//! ```text
//! main: frames ──> Model <── painter: ten times a second, if something has changed ──> terminal
//!                                     signals: give the terminal back, and end
//! ```
//! The table uses the terminal's second screen. So the earlier text comes back at the end, and the last state of the
//! table is printed below it. Every picture asks for the size, so no signal has to announce a new one.

use super::model::{Model, State};
use super::stop::{lock_soon, on_signals};
use super::table::Table;
use crate::ending::end;
use crate::error::Error;
use crate::text::{BOLD, DIM, printable, wants_color};
use console::{Term, truncate_str};
use headwater_client::ClientError;
use headwater_client::Frame;
use headwater_client::{Builder, Event, Subscription};
use indicatif::HumanCount;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGTSTP};
use signal_hook::low_level::emulate_default_handler;
use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

const PAINT_EVERY: Duration = Duration::from_millis(100);
/// The rate falls also when nothing comes.
const PAINT_AT_LEAST: Duration = Duration::from_secs(1);
/// A row that has changed stands out for so long.
const FRESH: Duration = Duration::from_millis(1500);

/// The second screen, the cursor hidden, lines cut at the margin; and back.
const ENTER: &str = "\x1b[?1049h\x1b[?25l\x1b[?7l";
const LEAVE: &str = "\x1b[?7h\x1b[?25h\x1b[?1049l";
const PLAIN: &str = "\x1b[0m";

/// The terminal shows the second screen.
static ENTERED: AtomicBool = AtomicBool::new(false);

/// Gives the terminal back, if it was taken: before anything else is printed.
pub fn restore() {
    if ENTERED.swap(false, Ordering::SeqCst) {
        // A terminal that is gone needs nothing.
        let _ = write_all(LEAVE);
    }
}

/// Follows a collection on the terminal that is standard output.
///
/// # Errors
/// As [`super::subscribe`].
pub(super) fn follow(wanted: Builder) -> Result<(), Error> {
    let attempt = format!("follow `{}`", wanted.collection());
    let title = wanted.to_string();
    let mut subscription = wanted.build().map_err(|error| super::failed(&attempt, error))?;
    let model = Arc::new(Mutex::new(Model::new(Instant::now())));
    let painter = Arc::new(Mutex::new(Painter::new(title, wants_color())));
    {
        let (model, painter) = (Arc::clone(&model), Arc::clone(&painter));
        let handle = move |signal| {
            let mut painter = lock_soon(&painter);
            restore();
            if signal == SIGTSTP {
                // Returns when the process is continued.
                let _ = emulate_default_handler(SIGTSTP);
                if let Some(painter) = &mut painter {
                    let _ = painter.enter();
                }
                return None;
            }
            if let (Some(painter), Some(mut model)) = (&mut painter, lock_soon(&model)) {
                let _ = painter.leave(&mut model);
            }
            Some(0)
        };
        on_signals(&[SIGINT, SIGTERM, SIGHUP, SIGTSTP], handle).map_err(Error::run("handle signals"))?;
    }
    let painting = {
        let (model, painter) = (Arc::clone(&model), Arc::clone(&painter));
        move || {
            loop {
                let more = lock(&painter).paint_if_due(&model);
                match more {
                    Ok(true) => thread::sleep(PAINT_EVERY),
                    Ok(false) => return,
                    // The terminal is gone, and its reader too.
                    Err(_) => end(0),
                }
            }
        }
    };
    thread::Builder::new().name("painter".into()).spawn(painting).map_err(Error::run(attempt.clone()))?;

    let outcome = watch(&mut subscription, &model);
    let left = lock(&painter).leave(&mut lock(&model));
    outcome.map_err(|error| super::failed(&attempt, error))?;
    left.map_err(Error::run("write to the terminal"))
}

fn watch(subscription: &mut Subscription, model: &Mutex<Model>) -> Result<(), ClientError> {
    loop {
        let frame = match subscription.next_event()? {
            None => {
                lock(model).caught_up();
                return Ok(());
            }
            Some(Event::Line(head, line)) => match head.frame(line)? {
                Some(frame) => frame,
                None => continue,
            },
            Some(Event::Lost(reason) | Event::Waiting(reason)) => Frame::Rewind { reason },
        };
        let mut model = lock(model);
        match &frame {
            Frame::Hello(hello) => model.hello(hello, subscription.begins_with_a_snapshot(hello)),
            frame => model.take(frame, Instant::now()),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn write_all(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

struct Painter {
    /// What is followed.
    title: String,
    color: bool,
    /// The keys of the rows, line by line: a row stays on its line for as long as it is shown.
    slots: Vec<Option<String>>,
    painted: Option<Painted>,
    /// The terminal has been taken.
    entered: bool,
    ended: bool,
}

#[derive(Clone, Copy)]
struct Painted {
    version: u64,
    /// Columns and lines.
    size: (usize, usize),
    at: Instant,
}

impl Painter {
    fn new(title: String, color: bool) -> Painter {
        Painter { title: printable(&title), color, slots: Vec::new(), painted: None, entered: false, ended: false }
    }

    fn enter(&mut self) -> io::Result<()> {
        self.painted = None;
        ENTERED.store(true, Ordering::SeqCst);
        write_all(ENTER)
    }

    /// Gives the terminal back, and prints the last picture. Nothing is painted after that.
    fn leave(&mut self, model: &mut Model) -> io::Result<()> {
        restore();
        if std::mem::replace(&mut self.ended, true) || model.state == State::Connecting {
            return Ok(());
        }
        write_all(&(self.picture(model, size(), Instant::now()).join("\n") + "\n"))
    }

    /// `false`: there is nothing more to paint.
    fn paint_if_due(&mut self, model: &Mutex<Model>) -> io::Result<bool> {
        if self.ended {
            return Ok(false);
        }
        let (mut model, size, now) = (lock(model), size(), Instant::now());
        if model.state == State::Connecting {
            return Ok(true);
        }
        if !std::mem::replace(&mut self.entered, true) {
            self.enter()?;
        }
        let is_due = |painted: Painted| {
            painted.version != model.version || painted.size != size || now - painted.at >= PAINT_AT_LEAST
        };
        if self.painted.is_none_or(is_due) {
            let lines = self.picture(&mut model, size, now);
            self.painted = Some(Painted { version: model.version, size, at: now });
            drop(model);
            // Over the last one, line by line: a cleared screen would flicker.
            let mut text = "\x1b[H".to_owned();
            text += &lines.join("\x1b[K\r\n");
            text += "\x1b[K\x1b[J";
            write_all(&text)?;
        }
        Ok(true)
    }

    /// Draws at most `lines` lines, none wider than `columns`.
    fn picture(&mut self, model: &mut Model, (columns, lines): (usize, usize), now: Instant) -> Vec<String> {
        let clip = |text: &str| truncate_str(text, columns, if columns > 1 { "…" } else { "" }).into_owned();
        let totals = clip(&totals(model, now));
        // Of a terminal of one line, this is it.
        let Some(space) = lines.checked_sub(3).filter(|space| *space > 0) else { return vec![totals] };
        self.assign(model, space);
        let shown: Vec<_> = self
            .slots
            .iter()
            .filter_map(|key| model.recent().take(space).find(|recent| Some(&recent.key) == key.as_ref()))
            .collect();
        let (names, rows) = Table::of(shown.iter().map(|recent| &recent.row)).lines(columns.saturating_sub(MARK));
        let mut picture = vec![self.styled(BOLD, &clip(&self.title)), self.styled(DIM, &format!("  {names}"))];
        for (recent, row) in shown.iter().zip(rows) {
            picture.push(match recent {
                _ if recent.removed => self.styled(DIM, &format!("- {row}")),
                _ if now.duration_since(recent.changed) < FRESH => self.styled(BOLD, &format!("+ {row}")),
                _ => format!("  {row}"),
            });
        }
        picture.push(totals);
        picture.iter_mut().for_each(|line| *line = truncate_str(line, columns, "").into_owned());
        picture
    }

    /// Gives each of the rows that changed last a line, and those that had one theirs.
    fn assign(&mut self, model: &Model, space: usize) {
        self.slots.resize(space, None);
        let mut rows: Vec<Option<&str>> = model.recent().take(space).map(|recent| Some(recent.key.as_str())).collect();
        for slot in &mut self.slots {
            match rows.iter_mut().find(|row| row.is_some() && **row == slot.as_deref()) {
                Some(row) => *row = None,
                None => *slot = None,
            }
        }
        let mut new = rows.into_iter().flatten();
        for slot in self.slots.iter_mut().filter(|slot| slot.is_none()) {
            *slot = new.next().map(str::to_owned);
        }
    }

    fn styled(&self, style: &str, text: &str) -> String {
        if self.color { format!("{style}{text}{PLAIN}") } else { text.to_owned() }
    }
}

/// Before each row.
const MARK: usize = 2;

fn totals(model: &mut Model, now: Instant) -> String {
    let mut parts = Vec::new();
    if let Some(rows) = model.rows() {
        parts.push(format!("{} {}", HumanCount(rows.unsigned_abs()), if rows == 1 { "row" } else { "rows" }));
    }
    if let Some(upper) = model.upper {
        parts.push(format!("tick {}", upper.saturating_sub(1)));
    }
    let rate = model.rate(now);
    parts.push(if rate >= 10.0 {
        format!("{} updates/s", HumanCount(rate as u64))
    } else {
        format!("{rate:.1} updates/s")
    });
    match &model.state {
        State::Connecting => parts.push("connecting".into()),
        State::Snapshot(rows) => parts.push(format!("the snapshot comes: {} rows", HumanCount(*rows))),
        State::Away(reason) => parts.push(format!("no connection: {}; trying again", printable(reason))),
        State::CaughtUp => parts.push("caught up".into()),
        State::Live => {}
    }
    parts.join("   ")
}

/// Columns and lines of the terminal.
fn size() -> (usize, usize) {
    let (lines, columns) = Term::stdout().size();
    (usize::from(columns), usize::from(lines))
}

#[cfg(test)]
mod tests {
    use super::*;
    use console::measure_text_width;
    use headwater_client::Update;
    use headwater_client::{Hello, Kind, Progress};

    fn model() -> Model {
        let mut model = Model::new(Instant::now());
        let hello = Hello {
            collection: "sessions".into(),
            kind: Kind::View,
            key: vec!["id".into()],
            since: 0,
            upper: 9,
            program: String::new(),
        };
        model.hello(&hello, true);
        model.take(&Frame::Snapshot { as_of: 8, updates: Vec::new(), last: true }, Instant::now());
        model.take(&Frame::Progress(Progress { upper: 9, token: String::new() }), Instant::now());
        model
    }

    fn change(model: &mut Model, id: u64, events: u64, diff: i64) {
        let row = serde_json::from_str(&format!(r#"{{"id":"s{id}","number":{events}}}"#)).unwrap();
        model.take(&Frame::Delta { tick: 9, updates: vec![Update { row, tick: 9, diff }], last: true }, Instant::now());
    }

    fn picture(painter: &mut Painter, model: &mut Model, size: (usize, usize)) -> Vec<String> {
        let later = Instant::now() + FRESH * 2;
        painter.picture(model, size, later).iter().map(|line| line.trim_end().to_owned()).collect()
    }

    #[test]
    fn a_row_stays_on_its_line_and_the_oldest_gives_way() {
        let (mut model, mut painter) = (model(), Painter::new("sessions".into(), false));
        for id in 0..3 {
            change(&mut model, id, 1, 1);
        }
        let shown = picture(&mut painter, &mut model, (40, 6));
        assert_eq!(shown[..5], ["sessions", "  id  number", "  s2       1", "  s1       1", "  s0       1"]);
        assert!(shown[5].starts_with("3 rows   tick 8   "), "{shown:?}");
        change(&mut model, 1, 1, -1);
        change(&mut model, 1, 22, 1);
        assert_eq!(picture(&mut painter, &mut model, (40, 6))[2..5], ["  s2       1", "  s1      22", "  s0       1"]);
        change(&mut model, 3, 4, 1);
        assert_eq!(picture(&mut painter, &mut model, (40, 6))[2..5], ["  s2       1", "  s1      22", "  s3       4"]);
        change(&mut model, 2, 1, -1);
        assert_eq!(picture(&mut painter, &mut model, (40, 6))[2..5], ["- s2       1", "  s1      22", "  s3       4"]);
    }

    #[test]
    fn it_fits_whatever_the_size() {
        let (mut model, mut painter) = (model(), Painter::new("sessions of http://127.0.0.1:7474".into(), true));
        for id in 0..100 {
            change(&mut model, id, id, 1);
        }
        model.away("the connection was reset by a peer that is far away");
        for (columns, lines) in [(80, 24), (0, 0), (1, 1), (1, 5), (7, 4), (200, 3), (30, 300), (40, 10)] {
            let picture = picture(&mut painter, &mut model, (columns, lines));
            assert!(picture.len() <= lines.max(1), "{lines}: {picture:#?}");
            assert!(picture.iter().all(|line| measure_text_width(line) <= columns), "{columns}: {picture:#?}");
            if lines > 3 {
                assert_eq!(picture.len(), lines.min(3 + 100), "all of it is used");
            }
        }
    }

    #[test]
    fn totals_say_what_goes_on() {
        let mut model = model();
        model.take(&Frame::Rewind { reason: "\x1b[2Jgone".into() }, Instant::now());
        let text = totals(&mut model, Instant::now());
        assert_eq!(text, "0 rows   tick 8   0.0 updates/s   no connection: \\u{1b}[2Jgone; trying again");
    }
}
