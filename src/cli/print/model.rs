//! The state of a watched collection: its number of rows, its tick, its speed, and the rows that changed last.

use dataflows::Tick;
use headwater_client::{Frame, Hello, Kind, Progress};
use headwater_client::{Row, Update};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::{Duration, Instant};

/// No terminal shows more rows.
const RECENT: usize = 256;
/// Over how long updates per second are measured.
const RATE: Duration = Duration::from_secs(5);

pub(super) struct Model {
    key: Vec<String>,
    is_view: bool,
    /// `None`: it did not begin with all rows, so their number is unknown.
    rows: Option<i64>,
    /// The value of `rows` at the last progress.
    rows_then: Option<i64>,
    pub upper: Option<Tick>,
    pub state: State,
    rate: VecDeque<(Instant, u64)>,
    began: Instant,
    recent: BTreeMap<u64, Recent>,
    /// By key: the place in `recent`.
    places: HashMap<String, u64>,
    next: u64,
    /// It differs from what was seen at an earlier version.
    pub version: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum State {
    Connecting,
    /// The number of its rows that have come.
    Snapshot(u64),
    Live,
    /// There is no connection.
    Away(String),
    CaughtUp,
}

/// A row that changed not long ago.
pub(super) struct Recent {
    pub key: String,
    pub row: Row,
    /// It is no longer there.
    pub removed: bool,
    pub changed: Instant,
}

impl Model {
    pub(super) fn new(now: Instant) -> Model {
        Model {
            key: Vec::new(),
            is_view: true,
            rows: None,
            rows_then: None,
            upper: None,
            state: State::Connecting,
            rate: VecDeque::new(),
            began: now,
            recent: BTreeMap::new(),
            places: HashMap::new(),
            next: 0,
            version: 0,
        }
    }

    /// `fresh`: all rows come after this hello.
    pub(super) fn hello(&mut self, hello: &Hello, fresh: bool) {
        self.version += 1;
        (self.key, self.is_view) = (hello.key.clone(), hello.kind == Kind::View);
        self.state = State::Live;
        if fresh {
            (self.rows, self.state) = (Some(0), State::Snapshot(0));
            (self.recent, self.places) = Default::default();
        }
    }

    pub(super) fn take(&mut self, frame: &Frame, now: Instant) {
        self.version += 1;
        match frame {
            Frame::Hello(_) => {}
            Frame::Snapshot { updates, .. } => {
                if let State::Snapshot(came) = &mut self.state {
                    *came += updates.len() as u64;
                }
                self.updates(updates, now);
            }
            Frame::Delta { updates, .. } => {
                self.rate.push_back((now, updates.len() as u64));
                self.updates(updates, now);
            }
            Frame::Progress(Progress { upper, .. }) => {
                (self.upper, self.state, self.rows_then) = (Some(*upper), State::Live, self.rows);
            }
            Frame::Rewind { reason } => self.away(reason),
        }
    }

    pub(super) fn away(&mut self, reason: &str) {
        self.version += 1;
        self.rows = self.rows_then;
        self.state = State::Away(reason.to_owned());
    }

    pub(super) fn caught_up(&mut self) {
        self.version += 1;
        self.state = State::CaughtUp;
    }

    fn updates(&mut self, updates: &[Update], now: Instant) {
        if let Some(rows) = &mut self.rows {
            *rows += updates.iter().map(|update| update.diff).sum::<i64>();
        }
        for update in &updates[updates.len().saturating_sub(RECENT)..] {
            let key = self.key_of(&update.row);
            let before = self.places.get(&key).copied();
            // The new row of a key may come before the old one goes.
            let shows_another = |at: &u64| self.recent.get(at).is_some_and(|recent| recent.row != update.row);
            if update.diff < 0 && before.as_ref().is_some_and(shows_another) {
                continue;
            }
            if let Some(before) = before {
                self.recent.remove(&before);
            }
            self.places.insert(key.clone(), self.next);
            let recent = Recent { key, row: update.row.clone(), removed: update.diff < 0, changed: now };
            self.recent.insert(self.next, recent);
            self.next += 1;
            if self.recent.len() > RECENT
                && let Some((_, oldest)) = self.recent.pop_first()
            {
                self.places.remove(&oldest.key);
            }
        }
    }

    /// Rows of a journal are all different. A row that has not all fields of its key is known by all that it has.
    fn key_of(&self, row: &Row) -> String {
        let fields = row.fields();
        let value = |name: &String| fields.iter().find(|(field, _)| field == name).map(|(_, value)| value.get());
        let key: Option<Vec<&str>> = self.key.iter().map(value).collect();
        match key {
            _ if !self.is_view => self.next.to_string(),
            Some(key) if !key.is_empty() => key.join("\n"),
            _ => row.json().to_owned(),
        }
    }

    /// Returns those that changed last, the last first.
    pub(super) fn recent(&self) -> impl Iterator<Item = &Recent> {
        self.recent.values().rev()
    }

    pub(super) fn rows(&self) -> Option<i64> {
        self.rows
    }

    /// Updates per second.
    pub(super) fn rate(&mut self, now: Instant) -> f64 {
        while self.rate.front().is_some_and(|(at, _)| now.duration_since(*at) > RATE) {
            self.rate.pop_front();
        }
        let updates: u64 = self.rate.iter().map(|(_, updates)| updates).sum();
        updates as f64 / now.duration_since(self.began).clamp(Duration::from_secs(1), RATE).as_secs_f64()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view() -> Model {
        let mut model = Model::new(Instant::now());
        model.hello(&hello("view"), true);
        model
    }

    fn hello(kind: &str) -> Hello {
        Hello {
            collection: "sessions".into(),
            kind: if kind == "view" { Kind::View } else { Kind::Journal },
            key: vec!["id".into()],
            since: 0,
            upper: 9,
            program: String::new(),
        }
    }

    /// `+1a`: the row of key 1 with value a is there; `-1a`: no longer.
    fn updates(words: &str) -> Vec<Update> {
        let update = |word: &str| {
            let row = format!(r#"{{"v":"{}","id":{}}}"#, &word[2..], &word[1..2]);
            Update {
                row: serde_json::from_str(&row).unwrap(),
                tick: 0,
                diff: if word.starts_with('+') { 1 } else { -1 },
            }
        };
        words.split_whitespace().map(update).collect()
    }

    fn delta(model: &mut Model, words: &str) {
        model.take(&Frame::Delta { tick: 0, updates: updates(words), last: true }, Instant::now());
    }

    /// The last change first.
    fn recent(model: &Model) -> String {
        let word = |recent: &Recent| {
            let row: serde_json::Value = recent.row.read().unwrap();
            format!("{}{}{}", if recent.removed { '-' } else { '+' }, row["id"], row["v"].as_str().unwrap())
        };
        model.recent().map(word).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_row_is_shown_once_with_its_last_value_whatever_the_order_within_a_tick() {
        let mut model = view();
        model.take(&Frame::Snapshot { as_of: 5, updates: updates("+1a +2a +3a"), last: true }, Instant::now());
        assert_eq!(model.state, State::Snapshot(3));
        delta(&mut model, "-1a +1b");
        delta(&mut model, "+2b -2a");
        assert_eq!((recent(&model).as_str(), model.rows()), ("+2b +1b +3a", Some(3)));
        delta(&mut model, "-3a -9z");
        assert_eq!((recent(&model).as_str(), model.rows()), ("-9z -3a +2b +1b", Some(1)));
        delta(&mut model, "+9y");
        assert_eq!(recent(&model), "+9y -3a +2b +1b");
    }

    #[test]
    fn after_a_lost_connection_nothing_is_counted_twice() {
        let mut model = view();
        model.take(&Frame::Snapshot { as_of: 5, updates: updates("+1a +2a"), last: true }, Instant::now());
        model.take(&Frame::Progress(Progress { upper: 6, token: String::new() }), Instant::now());
        delta(&mut model, "+3a");
        model.take(&Frame::Rewind { reason: "gone".into() }, Instant::now());
        assert_eq!((model.rows(), &model.state), (Some(2), &State::Away("gone".into())));
        model.hello(&hello("view"), false);
        delta(&mut model, "+3a");
        assert_eq!((model.rows(), model.upper), (Some(3), Some(6)));
        model.hello(&hello("view"), true);
        assert_eq!((model.rows(), recent(&model).as_str()), (Some(0), ""));
    }

    #[test]
    fn rows_of_a_journal_are_not_counted_and_never_replaced() {
        let mut model = Model::new(Instant::now());
        model.hello(&hello("journal"), false);
        delta(&mut model, "+1a +1a");
        assert_eq!((recent(&model).as_str(), model.rows()), ("+1a +1a", None));
    }

    #[test]
    fn memory_is_bounded() {
        let mut model = view();
        for id in 0..3 * RECENT {
            let row = serde_json::from_str(&format!(r#"{{"id":{id}}}"#)).unwrap();
            model.take(
                &Frame::Delta { tick: 0, updates: vec![Update { row, tick: 0, diff: 1 }], last: true },
                Instant::now(),
            );
        }
        assert_eq!((model.recent.len(), model.places.len(), model.rows()), (RECENT, RECENT, Some(3 * RECENT as i64)));
    }

    #[test]
    fn updates_per_second_are_those_of_the_last_seconds() {
        let mut model = view();
        let times = [1, 2, 7].map(|seconds| model.began + Duration::from_secs(seconds));
        for now in &times[..2] {
            model.take(&Frame::Delta { tick: 0, updates: updates("+1a -1a +1b -1b +1c"), last: true }, *now);
        }
        assert_eq!(model.rate(times[1]), 5.0);
        assert_eq!(model.rate(times[2]), 1.0);
        assert_eq!(model.rate(times[2] + Duration::from_secs(60)), 0.0);
    }
}
