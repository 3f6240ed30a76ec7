//! The frames of a subscription: one JSON object on each line. The client ignores unknown fields and types of frames,
//! so that the wire can be extended.

use super::error::ClientError;
use super::row::{Row, Update};
use crate::Tick;
use crate::text::printable;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;

/// Of a line that is no frame, so much is shown.
const EXCERPT: usize = 120;

/// A frame of a subscription.
#[derive(Clone, Debug)]
pub enum Frame {
    /// A connection begins.
    Hello(Hello),
    /// Part of all rows as of a tick.
    Snapshot {
        /// The tick whose rows these are.
        as_of: Tick,
        /// Rows that are there, each with its number of copies.
        updates: Vec<Update>,
        /// The snapshot is complete.
        last: bool,
    },
    /// Part of what changed in a tick.
    Delta {
        /// The tick that changed them.
        tick: Tick,
        /// Rows that go and come.
        updates: Vec<Update>,
        /// The tick is complete.
        last: bool,
    },
    /// Everything below `upper` has come: the only consistent points.
    Progress(Progress),
    /// The connection is lost. What has come since the last progress is void and comes again, after a `Hello`; if there
    /// has been no progress, everything is.
    Rewind {
        /// How it was lost.
        reason: String,
    },
}

/// How the rows of a collection change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Rows come and go.
    View,
    /// Rows only come.
    Journal,
}

/// The first frame of each connection.
#[derive(Clone, Debug)]
pub struct Hello {
    /// Name of the collection that is followed.
    pub collection: String,
    /// Whether its rows go again.
    pub kind: Kind,
    /// The fields that a row is known by.
    pub key: Vec<String>,
    /// The first tick that is kept.
    pub since: Tick,
    /// Ticks below this one had been published when the request came.
    pub upper: Tick,
    /// Which program computes the rows.
    pub program: String,
}

/// Says how far everything has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Everything below this tick has come.
    pub upper: Tick,
    /// Where to resume.
    pub token: String,
}

/// A frame without its updates.
#[derive(Clone, Debug)]
pub enum Head {
    /// As [`Frame::Hello`].
    Hello(Hello),
    /// As [`Frame::Snapshot`].
    Snapshot {
        /// The tick whose rows these are.
        as_of: Tick,
        /// The snapshot is complete.
        last: bool,
    },
    /// As [`Frame::Delta`].
    Delta {
        /// The tick that changed them.
        tick: Tick,
        /// The tick is complete.
        last: bool,
    },
    /// As [`Frame::Progress`].
    Progress(Progress),
    /// The server ends the connection, and says why.
    Error(Refusal),
    /// A frame that this version does not know.
    Other,
}

/// The last frame of a server before it ends the connection.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// A word for the reason, such as `token_expired`.
    pub code: String,
    /// The reason in words.
    pub message: String,
    /// The first tick that is still kept, if that is the reason.
    pub oldest: Option<Tick>,
}

impl From<Refusal> for ClientError {
    fn from(Refusal { code, message, oldest }: Refusal) -> ClientError {
        let message = printable(&message);
        match code.as_str() {
            "token_expired" => ClientError::Expired { oldest, message },
            "other_history" => ClientError::OtherHistory { message },
            "program_changed" => ClientError::ProgramChanged { message },
            _ => ClientError::Refused { status: None, code: printable(&code), message },
        }
    }
}

impl Head {
    /// Parses a frame with its updates, from a line in the envelope `diff`. Returns `None` for a frame that a
    /// subscriber does not need.
    ///
    /// # Errors
    /// What an `error` frame says; [`ClientError::Protocol`].
    pub fn frame(self, line: &str) -> Result<Option<Frame>, ClientError> {
        Ok(Some(match self {
            Head::Hello(hello) => Frame::Hello(hello),
            Head::Snapshot { as_of, last } => Frame::Snapshot { as_of, updates: updates(line, as_of)?, last },
            Head::Delta { tick, last } => Frame::Delta { tick, updates: updates(line, tick)?, last },
            Head::Progress(progress) => Frame::Progress(progress),
            Head::Error(refusal) => return Err(refusal.into()),
            Head::Other => return Ok(None),
        }))
    }
}

#[derive(Deserialize)]
struct Wire<'l> {
    #[serde(rename = "type", borrow)]
    name: Cow<'l, str>,
    collection: Option<String>,
    kind: Option<Kind>,
    key: Option<Vec<String>>,
    since: Option<Tick>,
    upper: Option<Tick>,
    program: Option<String>,
    as_of: Option<Tick>,
    tick: Option<Tick>,
    last: Option<bool>,
    token: Option<String>,
    code: Option<String>,
    message: Option<String>,
    oldest: Option<Tick>,
    #[serde(borrow)]
    updates: Option<&'l RawValue>,
}

#[derive(Deserialize)]
struct WireUpdate {
    row: Row,
    diff: i64,
}

/// Reads all of a line but its updates.
///
/// # Errors
/// [`ClientError::Protocol`].
pub(crate) fn head(line: &str) -> Result<Head, ClientError> {
    let wire = wire(line)?;
    let missing = |field: &str| not_a_frame(line, &format!("a `{}` frame without `{field}`", wire.name));
    Ok(match &*wire.name {
        "hello" => Head::Hello(Hello {
            kind: wire.kind.ok_or_else(|| missing("kind"))?,
            key: wire.key.ok_or_else(|| missing("key"))?,
            upper: wire.upper.ok_or_else(|| missing("upper"))?,
            collection: wire.collection.unwrap_or_default(),
            since: wire.since.unwrap_or_default(),
            program: wire.program.unwrap_or_default(),
        }),
        "snapshot" => Head::Snapshot {
            as_of: wire.as_of.ok_or_else(|| missing("as_of"))?,
            last: wire.last.ok_or_else(|| missing("last"))?,
        },
        "delta" => Head::Delta { tick: wire.tick.ok_or_else(|| missing("tick"))?, last: wire.last.unwrap_or(true) },
        "progress" => Head::Progress(Progress {
            upper: wire.upper.ok_or_else(|| missing("upper"))?,
            token: wire.token.ok_or_else(|| missing("token"))?,
        }),
        "error" => Head::Error(Refusal {
            code: wire.code.ok_or_else(|| missing("code"))?,
            message: wire.message.unwrap_or_default(),
            oldest: wire.oldest,
        }),
        _ => Head::Other,
    })
}

/// Returns the updates of a snapshot or a delta, in the envelope `diff`.
///
/// # Errors
/// [`ClientError::Protocol`].
fn updates(line: &str, tick: Tick) -> Result<Vec<Update>, ClientError> {
    let Some(updates) = wire(line)?.updates else { return Err(not_a_frame(line, "a frame without `updates`")) };
    let updates: Vec<WireUpdate> =
        serde_json::from_str(updates.get()).map_err(|error| not_a_frame(line, &error.to_string()))?;
    Ok(updates.into_iter().map(|WireUpdate { row, diff }| Update { row, tick, diff }).collect())
}

fn wire(line: &str) -> Result<Wire<'_>, ClientError> {
    serde_json::from_str(line).map_err(|error| not_a_frame(line, &error.to_string()))
}

fn not_a_frame(line: &str, why: &str) -> ClientError {
    ClientError::protocol(format!("the server sent what is no frame: {why}: {}", excerpt(line)))
}

/// Returns the beginning of a text, fit for a terminal.
pub(crate) fn excerpt(text: &str) -> String {
    let cut = &text[..text.floor_char_boundary(EXCERPT)];
    printable(cut) + if cut.len() < text.len() { "…" } else { "" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_of_the_wire() {
        let hello = r#"{"type":"hello","collection":"sessions","kind":"view","key":["session_id"],"since":40,"upper":121,"schema":{},"program":"p"}"#;
        let Head::Hello(hello) = head(hello).unwrap() else { panic!() };
        assert_eq!((hello.kind, hello.since, hello.upper), (Kind::View, 40, 121));
        assert_eq!((hello.collection.as_str(), hello.key[0].as_str()), ("sessions", "session_id"));

        let snapshot = r#"{"type":"snapshot","as_of":120,"updates":[{"row":{"a":1.50},"diff":1}],"last":true}"#;
        assert!(matches!(head(snapshot), Ok(Head::Snapshot { as_of: 120, last: true })));
        let rows = updates(snapshot, 120).unwrap();
        assert_eq!((rows[0].row.json(), rows[0].tick, rows[0].diff), (r#"{"a":1.50}"#, 120, 1));

        let delta = r#"{"type":"delta","tick":121,"updates":[{"row":{},"diff":-1}]}"#;
        assert!(matches!(head(delta), Ok(Head::Delta { tick: 121, last: true })), "one frame is a whole tick");
        let progress = r#"{"type":"progress","upper":122,"token":"t","added later":[1]}"#;
        assert!(matches!(head(progress), Ok(Head::Progress(Progress { upper: 122, .. }))));
        let error = r#"{"type":"error","code":"token_expired","message":"…","oldest":90}"#;
        assert!(matches!(head(error), Ok(Head::Error(Refusal { oldest: Some(90), .. }))));
        assert!(matches!(head(r#"{"type":"schema"}"#), Ok(Head::Other)));
    }

    #[test]
    fn what_is_no_frame_is_told_with_its_beginning() {
        let cases = [
            "",
            "<html>",
            "[]",
            "{}",
            r#"{"type":1}"#,
            r#"{"type":"hello"}"#,
            r#"{"type":"snapshot","as_of":1}"#,
            r#"{"type":"delta","tick":-1}"#,
            r#"{"type":"delta","tick":1.5}"#,
            r#"{"type":"progress","upper":1}"#,
            r#"{"type":"progress","upper":1,"token":"a"} {}"#,
            r#"{"type":"error"}"#,
        ];
        for line in cases {
            let Err(ClientError::Protocol { message }) = head(line) else { panic!("{line}") };
            assert!(message.ends_with(&excerpt(line)), "{message}");
        }
        for line in
            [r#"{"type":"delta","updates":[{"row":{}}]}"#, r#"{"type":"delta","updates":{}}"#, r#"{"type":"delta"}"#]
        {
            assert!(matches!(updates(line, 0), Err(ClientError::Protocol { .. })), "{line}");
        }
        assert_eq!(excerpt(&format!("\x1b{}", "é".repeat(200))).chars().count(), 6 + 59 + 1);
    }
}
