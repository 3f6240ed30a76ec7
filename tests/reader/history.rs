//! A collection with a past: its rows at each tick, and the frames of a server.

use super::server::{Framing, Request, Step, streamed};
use headwater_client::Update;
use headwater_log::vfs::model::Rng;
use std::collections::BTreeMap;

/// Rows by text, and how often each is there.
pub type Rows = BTreeMap<String, i64>;

#[derive(Clone)]
pub struct History {
    /// Of each tick: rows and differences.
    ticks: Vec<Vec<(String, i64)>>,
    /// Snapshots are as of this tick.
    as_of: u64,
}

impl History {
    /// Makes sessions of a few users that begin, grow and vanish over `ticks` ticks. Some ticks change nothing.
    pub fn new(seed: u64, ticks: usize) -> History {
        let mut rng = Rng::new(seed);
        let mut sessions: BTreeMap<u64, u64> = BTreeMap::new();
        let row = |id: u64, events: u64| {
            format!(
                r#"{{"session_id":"s{id}","user":"u{}","start_us":{id},"end_us":{},"events":{events},"sum":{events}.100000}}"#,
                id % 3,
                id + events
            )
        };
        let mut all = Vec::new();
        for _ in 0..ticks {
            let mut updates = Vec::new();
            for _ in 0..rng.below(4) {
                let id = rng.below(12);
                if updates.iter().any(|(text, _): &(String, i64)| text.contains(&format!("\"s{id}\""))) {
                    continue;
                }
                let before = sessions.remove(&id);
                updates.extend(before.map(|events| (row(id, events), -1)));
                if before.is_none() || rng.below(4) > 0 {
                    let events = before.unwrap_or(0) + 1 + rng.below(3);
                    sessions.insert(id, events);
                    updates.push((row(id, events), 1));
                }
            }
            // The new row of a session may come before the old one goes.
            if rng.below(2) == 0 {
                updates.reverse();
            }
            all.push(updates);
        }
        History { as_of: ticks as u64 / 3, ticks: all }
    }

    pub fn upper(&self) -> u64 {
        self.ticks.len() as u64
    }

    /// The rows that there are when everything below `upper` has happened.
    pub fn rows(&self, upper: u64) -> Rows {
        let mut rows = Rows::new();
        for (row, diff) in self.ticks[..upper as usize].iter().flatten() {
            add(&mut rows, row, *diff);
        }
        rows
    }

    /// The lines of an answer to a request for changes.
    pub fn lines(&self, request: &Request) -> Vec<String> {
        let upper = self.upper();
        let mut lines = vec![format!(
            r#"{{"type":"hello","collection":"sessions","kind":"view","key":["session_id"],"since":0,"upper":{upper},"schema":{{}},"program":"p"}}"#
        )];
        let first = match request.asked("token") {
            Some(token) => token.strip_prefix("t.").unwrap().parse().unwrap(),
            None => {
                let rows: Vec<(String, i64)> = self.rows(self.as_of + 1).into_iter().collect();
                lines.extend(frames(&rows, |updates, last| {
                    format!(r#"{{"type":"snapshot","as_of":{},"updates":[{updates}],"last":{last}}}"#, self.as_of)
                }));
                lines.push(progress(self.as_of + 1));
                self.as_of + 1
            }
        };
        for tick in first..upper {
            let updates = &self.ticks[tick as usize];
            if !updates.is_empty() {
                lines.extend(frames(updates, |updates, last| {
                    format!(r#"{{"type":"delta","tick":{tick},"updates":[{updates}],"last":{last}}}"#)
                }));
            }
            // Progress comes when it comes; at the end it does.
            if tick % 3 == 1 || tick + 1 == upper {
                lines.push(progress(tick + 1));
            }
        }
        if first == upper {
            lines.push(progress(upper));
        }
        lines
    }

    /// All of an answer.
    pub fn answer(&self, request: &Request, framing: Framing) -> Vec<u8> {
        assert_eq!(request.path, "/v1/collections/sessions/changes");
        streamed(&self.lines(request), framing)
    }

    pub fn serve(&self, framing: Framing) -> impl FnMut(usize, &Request) -> Vec<Step> + Send + use<> {
        let history = self.clone();
        move |_, request| vec![Step::Send(history.answer(request, framing))]
    }
}

/// At most two updates in a frame.
fn frames(updates: &[(String, i64)], frame: impl Fn(&str, bool) -> String) -> Vec<String> {
    let chunks: Vec<_> = updates.chunks(2).collect();
    let last = chunks.len().saturating_sub(1);
    let text = |updates: &[(String, i64)]| {
        let update = |(row, diff): &(String, i64)| format!(r#"{{"row":{row},"diff":{diff}}}"#);
        updates.iter().map(update).collect::<Vec<_>>().join(",")
    };
    match chunks.is_empty() {
        true => vec![frame("", true)],
        false => chunks.iter().enumerate().map(|(at, chunk)| frame(&text(chunk), at == last)).collect(),
    }
}

fn progress(upper: u64) -> String {
    format!(r#"{{"type":"progress","upper":{upper},"token":"t.{upper}"}}"#)
}

pub fn add(rows: &mut Rows, row: &str, diff: i64) {
    let times = rows.entry(row.to_owned()).or_insert(0);
    *times += diff;
    if *times == 0 {
        rows.remove(row);
    }
}

pub fn apply(rows: &mut Rows, updates: &[Update]) {
    updates.iter().for_each(|update| add(rows, update.row.json(), update.diff));
}
