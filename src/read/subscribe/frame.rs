//! The frames of a subscription: one JSON object each, as a line or as a server-sent event.
//!
//! ```text
//! {"type":"hello","collection":"sessions","kind":"view","key":["session_id"],"since":40,"upper":121,"schema":{},"program":"…"}
//! {"type":"snapshot","as_of":120,"updates":[{"row":{},"diff":1}],"last":true}
//! {"type":"delta","tick":121,"updates":[{"row":{},"diff":-1},{"row":{},"diff":1}],"last":true}
//! {"type":"progress","upper":122,"token":"…"}
//! {"type":"error","code":"token_expired","message":"…","oldest":90}
//! ```
//! The frames of a tick are a function of its rows: removals come first, then the order of the rows' bytes. A frame
//! holds a fixed number of them. A tick of many rows comes in pieces
//! ([`TickOutput`](headwater_log::output::TickOutput)), each in that order.

use super::query::{Envelope, Query};
use crate::collections::{Row, Schema};
use dataflows::Tick;
use serde::Serialize;
use std::collections::BTreeMap;
use std::io::Write;
use std::ops::Range;

/// Updates of a frame.
const UPDATES: usize = 1000;

/// How frames are separated on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Encoding {
    /// JSON lines.
    Lines,
    /// Server-sent events. Only progress has an id, so that `Last-Event-ID` is always a consistent point.
    Events,
}

impl Encoding {
    pub fn media_type(self) -> &'static str {
        match self {
            Encoding::Lines => "application/x-ndjson",
            Encoding::Events => "text/event-stream",
        }
    }

    fn begin(self, out: &mut Vec<u8>) {
        if self == Encoding::Events {
            out.extend_from_slice(b"data: ");
        }
    }

    fn end(self, out: &mut Vec<u8>) {
        out.extend_from_slice(if self == Encoding::Events { b"\n\n" } else { b"\n" });
    }

    /// Appends a frame.
    fn frame(self, frame: &impl Serialize, out: &mut Vec<u8>) {
        self.begin(out);
        serde_json::to_writer(&mut *out, frame).expect("memory can be written to");
        self.end(out);
    }
}

/// The first frame of a subscription.
#[derive(Serialize)]
struct Hello<'h> {
    r#type: &'static str,
    collection: &'static str,
    kind: &'static str,
    key: &'static [&'static str],
    since: Tick,
    upper: Tick,
    schema: serde_json::Value,
    program: &'h str,
}

/// `since`: the oldest tick whose changes can be had. `upper`: the next tick.
pub fn hello(encoding: Encoding, schema: &Schema, program: &str, since: Tick, upper: Tick, out: &mut Vec<u8>) {
    let collection = schema.collection;
    let (name, kind, key) = (collection.name(), collection.kind(), collection.key());
    let schema = schema.json();
    encoding.frame(&Hello { r#type: "hello", collection: name, kind, key, since, upper, schema, program }, out);
}

pub fn progress(encoding: Encoding, upper: Tick, token: &str, out: &mut Vec<u8>) {
    if encoding == Encoding::Events {
        writeln!(out, "id: {token}").expect("memory can be written to");
    }
    encoding.begin(out);
    write!(out, "{{\"type\":\"progress\",\"upper\":{upper},\"token\":\"{token}\"}}").expect("memory can be written to");
    encoding.end(out);
}

/// The last frame of a subscription that cannot go on.
#[derive(Serialize)]
struct Failure<'f> {
    r#type: &'static str,
    code: &'f str,
    message: &'f str,
    #[serde(skip_serializing_if = "Option::is_none")]
    oldest: Option<Tick>,
}

/// Writes an error frame. After it the stream ends.
pub fn error(encoding: Encoding, code: &str, message: &str, oldest: Option<Tick>, out: &mut Vec<u8>) {
    encoding.frame(&Failure { r#type: "error", code, message, oldest }, out);
}

/// The rows of a tick that any subscriber wants, each turned into text once.
#[derive(Default)]
pub struct Dressed {
    json: Vec<u8>,
    /// By index of the row.
    updates: Vec<Option<Range<usize>>>,
}

impl Dressed {
    fn update(&mut self, index: usize, row: &Row<'_>, diff: i64, schema: &Schema) -> &[u8] {
        if self.updates.len() <= index {
            self.updates.resize(index + 1, None);
        }
        let range = match &self.updates[index] {
            Some(range) => range.clone(),
            None => {
                let start = self.json.len();
                let mut whole = Vec::new();
                row.json(schema, 0..schema.columns.len(), &mut whole);
                update(&whole, diff, &mut self.json);
                let range = start..self.json.len();
                self.updates[index] = Some(range.clone());
                range
            }
        };
        &self.json[range]
    }
}

/// One of the changes of a tick: its index among them, its row, how often it is added.
pub type Change<'c> = (usize, &'c Row<'c>, i64);

/// Appends the frames of a tick that is one piece. None if there are no changes.
pub fn delta(
    encoding: Encoding,
    query: &Query,
    schema: &Schema,
    tick: Tick,
    changes: &[Change<'_>],
    dressed: &mut Dressed,
    out: &mut Vec<u8>,
) {
    Delta::new(encoding, tick).piece(query, schema, changes, true, dressed, out);
}

/// The frames of a tick, made piece by piece.
pub struct Delta {
    frames: Frames,
    /// There has been a frame, which was not the last.
    begun: bool,
}

impl Delta {
    pub fn new(encoding: Encoding, tick: Tick) -> Delta {
        Delta { frames: Frames::new(encoding, "delta", "tick", tick), begun: false }
    }

    /// Appends frames with the changes of a piece, in its order. With the last piece, marks the last frame of the tick, if
    /// it has any.
    pub fn piece(
        &mut self,
        query: &Query,
        schema: &Schema,
        changes: &[Change<'_>],
        last: bool,
        dressed: &mut Dressed,
        out: &mut Vec<u8>,
    ) {
        let frames = &mut self.frames;
        match query.envelope {
            Envelope::Diff if query.is_whole(schema) => {
                for (index, row, diff) in changes {
                    let update = dressed.update(*index, row, *diff, schema);
                    frames.update(out, |out| out.extend_from_slice(update));
                }
            }
            Envelope::Diff => {
                // Without the columns in which they differ, rows may be equal.
                let mut shown: BTreeMap<Vec<u8>, i64> = BTreeMap::new();
                for (_, row, diff) in changes {
                    *shown.entry(projected(row, query, schema)).or_insert(0) += diff;
                }
                let (removed, added): (Vec<_>, Vec<_>) =
                    shown.iter().filter(|(_, diff)| **diff != 0).partition(|(_, diff)| **diff < 0);
                for (row, diff) in removed.into_iter().chain(added) {
                    frames.update(out, |out| update(row, *diff, out));
                }
            }
            Envelope::Upsert => {
                let mut by_key: BTreeMap<Vec<u8>, [Option<Vec<u8>>; 2]> = BTreeMap::new();
                for (_, row, diff) in changes {
                    let mut key = Vec::new();
                    row.json(schema, schema.key.iter().copied(), &mut key);
                    by_key.entry(key).or_default()[usize::from(*diff > 0)] = Some(projected(row, query, schema));
                }
                for (key, [_, after]) in by_key.into_iter().filter(|(_, [before, after])| before != after) {
                    frames.update(out, |out| upsert(&key, after.as_deref(), out));
                }
            }
        }
        if last {
            frames.finish(out, self.begun);
        } else {
            // What is sent ends with a whole frame.
            self.begun |= frames.cut(out);
        }
    }
}

/// The frames of a snapshot: rows come one by one.
pub struct Snapshot<'q> {
    frames: Frames,
    query: &'q Query,
    schema: &'q Schema,
}

impl Snapshot<'_> {
    pub fn new<'q>(encoding: Encoding, query: &'q Query, schema: &'q Schema, as_of: Tick) -> Snapshot<'q> {
        Snapshot { frames: Frames::new(encoding, "snapshot", "as_of", as_of), query, schema }
    }

    pub fn row(&mut self, row: &Row<'_>, out: &mut Vec<u8>) {
        let Snapshot { frames, query, schema } = self;
        let shown = projected(row, query, schema);
        frames.update(out, |out| match query.envelope {
            Envelope::Diff => update(&shown, 1, out),
            Envelope::Upsert => {
                let mut key = Vec::new();
                row.json(schema, schema.key.iter().copied(), &mut key);
                upsert(&key, Some(&shown), out);
            }
        });
    }

    pub fn finish(mut self, out: &mut Vec<u8>) {
        self.frames.finish(out, true);
    }
}

/// Returns the columns of a row that are asked for, as an object.
fn projected(row: &Row<'_>, query: &Query, schema: &Schema) -> Vec<u8> {
    let mut json = Vec::new();
    row.json(schema, query.columns.iter().copied(), &mut json);
    json
}

fn update(row: &[u8], diff: i64, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"row\":");
    out.extend_from_slice(row);
    write!(out, ",\"diff\":{diff}}}").expect("memory can be written to");
}

fn upsert(key: &[u8], value: Option<&[u8]>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"key\":");
    out.extend_from_slice(key);
    out.extend_from_slice(b",\"value\":");
    out.extend_from_slice(value.unwrap_or(b"null"));
    out.push(b'}');
}

/// Cuts updates into frames, and marks the last one.
struct Frames {
    encoding: Encoding,
    /// The beginning of every frame.
    head: String,
    /// Updates of the open frame; `None`: no frame is open.
    open: Option<usize>,
}

impl Frames {
    fn new(encoding: Encoding, kind: &str, of: &str, tick: Tick) -> Frames {
        Frames { encoding, head: format!("{{\"type\":\"{kind}\",\"{of}\":{tick},\"updates\":["), open: None }
    }

    fn update(&mut self, out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
        if self.open == Some(UPDATES) {
            self.close(out, false);
        }
        match &mut self.open {
            Some(updates) => {
                *updates += 1;
                out.push(b',');
            }
            None => {
                self.open = Some(1);
                self.encoding.begin(out);
                out.extend_from_slice(self.head.as_bytes());
            }
        }
        write(out);
    }

    fn close(&mut self, out: &mut Vec<u8>, last: bool) {
        self.open = None;
        write!(out, "],\"last\":{last}}}").expect("memory can be written to");
        self.encoding.end(out);
    }

    /// Closes the open frame, which is not the last one. Returns whether there was one.
    fn cut(&mut self, out: &mut Vec<u8>) -> bool {
        let open = self.open.is_some();
        if open {
            self.close(out, false);
        }
        open
    }

    /// `always`: with a frame also if there were no updates.
    fn finish(&mut self, out: &mut Vec<u8>, always: bool) {
        if self.open.is_none() && always {
            self.encoding.begin(out);
            out.extend_from_slice(self.head.as_bytes());
            self.open = Some(0);
        }
        if self.open.is_some() {
            self.close(out, true);
        }
    }
}
