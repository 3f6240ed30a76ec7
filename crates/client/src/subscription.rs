//! Following a collection: every change once, over any number of connections.
//!
//! ```text
//! connect ── hello ── frames ── progress(token) ── frames ── progress(token) ── …
//!    ↑                             │                  ╳ lost: frames since the last progress are void
//!    └────────── back-off ─────────┴──── resumes here ┘
//! ```
//! The updates are consistent only at a progress. So a batch ends there, and a subscription resumes there. Before the
//! first progress it begins again, with another snapshot.

use super::connection::{Came, Endpoint, Failure, Lines, path};
use super::error::ClientError;
use super::frame::{self, Frame, Head, Hello, Kind, Progress};
use super::order::Order;
use super::row::{Update, consolidate};
use crate::Tick;
use crate::backoff::Backoff;
use std::fmt;
use std::thread::sleep;
use std::time::{Duration, Instant};

const NDJSON: &str = "application/x-ndjson";
const HEARTBEAT: Duration = Duration::from_secs(5);
/// A connection that brings nothing for this number of heartbeats is lost.
const SILENT_HEARTBEATS: u32 = 3;
/// Between two attempts: at first, and at most.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(10));
/// Codes of `error` frames after which the same request may succeed, as the statuses that they come with do.
const PASSING: [&str; 6] = ["starting", "recovering", "draining", "busy", "rate", "timeout"];

/// The collection and the query of a subscription.
#[derive(Clone, Debug)]
pub struct Builder {
    url: String,
    collection: String,
    bearer: Option<String>,
    snapshot: Option<bool>,
    from: Option<Tick>,
    envelope: Option<&'static str>,
    filter: Option<String>,
    keys: Vec<String>,
    columns: Option<String>,
    heartbeat: Duration,
    until_caught_up: bool,
    token: Option<String>,
    back_off: (Duration, Duration),
    patience: Duration,
}

/// A collection that is followed. See [`Subscription::builder`].
pub struct Subscription {
    wanted: Builder,
    endpoint: Endpoint,
    connection: Option<Connection>,
    /// Of the last progress.
    token: Option<String>,
    upper: Tick,
    /// The tick at which it is caught up: the first tick that was not published at the first request.
    target: Option<Tick>,
    backoff: Backoff,
    /// To wait before the next attempt.
    wait: Duration,
    /// Since when there has been no progress, if the connection is lost.
    lost: Option<Instant>,
    /// A server has answered before.
    reached: bool,
    ended: bool,
}

struct Connection {
    lines: Lines,
    order: Order,
}

/// The updates between two consistent points.
#[derive(Clone, Debug)]
pub struct Batch {
    /// By tick. There may be none, and as many as a snapshot has rows: [`Subscription::next_frame`] gives them in parts.
    pub updates: Vec<Update>,
    /// Everything below this tick has come.
    pub upper: Tick,
    /// Where to [resume](Builder::resume), once this batch has been dealt with.
    pub token: String,
    /// These are all rows that there are: whatever was known before is void.
    pub reset: bool,
}

/// An event of a subscription, with its text.
pub enum Event<'l> {
    /// A line, parsed but for its updates.
    Line(Head, &'l str),
    /// Updates since the last progress are void.
    Lost(String),
    /// There is no connection, and the next call waits before it tries again.
    Waiting(String),
}

impl Builder {
    /// Sets a bearer token with the scope `subscribe`.
    pub fn bearer(mut self, token: impl Into<String>) -> Builder {
        self.bearer = Some(token.into());
        self
    }

    /// Sets whether all rows come first. For views the default is yes. Journals have no snapshot.
    pub fn snapshot(mut self, snapshot: bool) -> Builder {
        self.snapshot = Some(snapshot);
        self
    }

    /// Asks for all changes from this tick on, and no snapshot. Without this call, a journal is followed from now on.
    pub fn from(mut self, tick: Tick) -> Builder {
        self.from = Some(tick);
        self
    }

    /// Asks only for rows for which this expression holds.
    pub fn filter(mut self, expression: impl Into<String>) -> Builder {
        self.filter = Some(expression.into());
        self
    }

    /// Asks only for rows with this key. After several calls: with any of these keys.
    pub fn key(mut self, key: impl Into<String>) -> Builder {
        self.keys.push(key.into());
        self
    }

    /// Asks only for these fields of each row.
    pub fn columns<C: AsRef<str>>(mut self, columns: impl IntoIterator<Item = C>) -> Builder {
        let columns: Vec<_> = columns.into_iter().map(|column| column.as_ref().to_owned()).collect();
        self.columns = Some(columns.join(","));
        self
    }

    /// Goes on after the batch that came with this token. The rest has to be asked for as it was then.
    pub fn resume(mut self, token: impl Into<String>) -> Builder {
        self.token = Some(token.into());
        self
    }

    /// Sets the longest time between two frames, from 0.1 s to an hour; 5 s by default. After three times as long
    /// without a frame the connection counts as lost.
    pub fn heartbeat(mut self, heartbeat: Duration) -> Builder {
        self.heartbeat = heartbeat;
        self
    }

    /// Ends when everything has come that had been published when it began.
    pub fn until_caught_up(mut self, ends: bool) -> Builder {
        self.until_caught_up = ends;
        self
    }

    /// Sets how long the server may be away. Without this call there is no bound. The first attempt has to find the
    /// server.
    pub fn patience(mut self, patience: Duration) -> Builder {
        self.patience = patience;
        self
    }

    /// Sets the wait before a second attempt to connect, and the longest wait. Waits double.
    pub fn back_off(mut self, first: Duration, most: Duration) -> Builder {
        self.back_off = (first, most);
        self
    }

    /// Updates as key and value. For callers that pass lines on.
    pub fn upsert(mut self) -> Builder {
        self.envelope = Some("upsert");
        self
    }

    /// Makes the subscription. It sends nothing before the first call of [`Subscription::next_batch`] or
    /// [`Subscription::next_frame`].
    ///
    /// # Errors
    /// [`ClientError::Usage`] of the URL or the bearer token.
    pub fn build(self) -> Result<Subscription, ClientError> {
        let endpoint = Endpoint::new(&self.url, self.bearer.as_deref(), self.heartbeat * SILENT_HEARTBEATS)?;
        Ok(Subscription {
            endpoint,
            connection: None,
            token: self.token.clone(),
            upper: 0,
            target: None,
            backoff: Backoff::new(self.back_off.0, self.back_off.1),
            wait: Duration::ZERO,
            lost: None,
            reached: false,
            ended: false,
            wanted: self,
        })
    }

    /// Returns the name of the collection that is followed.
    pub fn collection(&self) -> &str {
        &self.collection
    }

    /// Returns whether all rows come first, of a view.
    fn wants_snapshot(&self) -> bool {
        self.snapshot != Some(false) && self.from.is_none()
    }

    fn parameters(&self, token: Option<&str>) -> Vec<(&'static str, String)> {
        let mut parameters = vec![("heartbeat", self.heartbeat.as_secs_f64().to_string())];
        parameters.extend(self.keys.iter().map(|key| ("key", key.clone())));
        let given = [("filter", &self.filter), ("columns", &self.columns)];
        parameters.extend(given.into_iter().filter_map(|(name, value)| Some((name, value.clone()?))));
        parameters.extend(self.envelope.map(|envelope| ("envelope", envelope.to_owned())));
        if self.until_caught_up {
            parameters.push(("until", "caught_up".to_owned()));
        }
        match token {
            Some(token) => parameters.push(("token", token.to_owned())),
            None => {
                parameters.extend(self.snapshot.map(|snapshot| ("snapshot", snapshot.to_string())));
                parameters.extend(self.from.map(|tick| ("from", tick.to_string())));
            }
        }
        parameters
    }
}

/// For people: what is followed.
impl fmt::Display for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.collection, self.url)?;
        self.keys.iter().try_for_each(|key| write!(f, ", key {key}"))?;
        self.filter.iter().try_for_each(|filter| write!(f, ", {filter}"))
    }
}

impl Subscription {
    /// Follows a collection of the process whose HTTP server is at `url`.
    ///
    /// ```no_run
    /// # use headwater_client::{ClientError, Subscription};
    /// # fn main() -> Result<(), ClientError> {
    /// let mut sessions = Subscription::builder("http://127.0.0.1:7474", "sessions").filter("events > 1").build()?;
    /// while let Some(batch) = sessions.next_batch()? {
    ///     for update in &batch.updates {
    ///         println!("{:+} {}", update.diff, update.row.json());
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn builder(url: impl Into<String>, collection: impl Into<String>) -> Builder {
        Builder {
            url: url.into(),
            collection: collection.into(),
            bearer: None,
            snapshot: None,
            from: None,
            envelope: None,
            filter: None,
            keys: Vec::new(),
            columns: None,
            heartbeat: HEARTBEAT,
            until_caught_up: false,
            token: None,
            back_off: BACK_OFF,
            patience: Duration::MAX,
        }
    }

    /// Waits for the next consistent point: what has changed since the last one. While the server is there this returns
    /// with each heartbeat at the latest, if need be without updates. `None`: it has
    /// [caught up](Builder::until_caught_up).
    ///
    /// # Errors
    /// Any [`ClientError`]: what may pass by itself has been tried again. What came with the last batch holds.
    pub fn next_batch(&mut self) -> Result<Option<Batch>, ClientError> {
        let mut updates = Vec::new();
        let mut reset = false;
        while let Some(frame) = self.next_frame()? {
            match frame {
                Frame::Hello(hello) => reset = self.begins_with_a_snapshot(&hello),
                Frame::Snapshot { updates: more, .. } | Frame::Delta { updates: more, .. } => updates.extend(more),
                Frame::Rewind { .. } => updates.clear(),
                Frame::Progress(Progress { upper, token }) => {
                    return Ok(Some(Batch { updates, upper, token, reset }));
                }
            }
        }
        Ok(None)
    }

    /// Waits for the next frame. What comes with it is void if a [`Frame::Rewind`] comes before the next
    /// [`Frame::Progress`]: frames are for those to whom batches are too large. `None`: it has
    /// [caught up](Builder::until_caught_up).
    ///
    /// # Errors
    /// As [`Subscription::next_batch`].
    pub fn next_frame(&mut self) -> Result<Option<Frame>, ClientError> {
        loop {
            let frame = match self.next_event()? {
                None => return Ok(None),
                Some(Event::Line(head, line)) => head.frame(line)?,
                Some(Event::Lost(reason)) => Some(Frame::Rewind { reason }),
                Some(Event::Waiting(_)) => None,
            };
            if frame.is_some() {
                return Ok(frame);
            }
        }
    }

    /// Returns the token of the last progress, to resume after it.
    pub fn token(&self) -> Option<&str> {
        self.token.as_deref()
    }

    /// Returns whether all rows come after this hello.
    pub fn begins_with_a_snapshot(&self, hello: &Hello) -> bool {
        self.token.is_none() && self.wanted.wants_snapshot() && hello.kind == Kind::View
    }

    /// Returns the URL of the requests, without the token.
    pub fn url(&self) -> &str {
        self.endpoint.url()
    }

    /// Waits for the next line, or loses the connection, or tries once to make one.
    pub fn next_event(&mut self) -> Result<Option<Event<'_>>, ClientError> {
        while !self.ended {
            if self.connection.is_none()
                && let Some(reason) = self.connect()?
            {
                return Ok(Some(Event::Waiting(reason)));
            }
            match self.receive()? {
                Received::Line(head) => {
                    let line = self.connection.as_ref().map_or("", |connection| connection.lines.line());
                    return Ok(Some(Event::Line(head, line)));
                }
                Received::CaughtUp if self.target <= Some(self.upper) => {
                    (self.connection, self.ended) = (None, true);
                }
                // More was published while the server took the request, or it is about to stop.
                Received::CaughtUp => self.reconnect(),
                Received::Lost(reason) => {
                    self.reconnect();
                    return Ok(Some(Event::Lost(reason)));
                }
            }
        }
        Ok(None)
    }

    fn reconnect(&mut self) {
        self.connection = None;
        self.lost.get_or_insert_with(Instant::now);
        self.wait = self.backoff.wait();
    }

    /// Tries to connect; if that may succeed later, says why it has not.
    fn connect(&mut self) -> Result<Option<String>, ClientError> {
        sleep(std::mem::take(&mut self.wait));
        let wanted = &self.wanted;
        let parameters = wanted.parameters(self.token.as_deref());
        match self.endpoint.get(&path(&wanted.collection, "/changes"), &parameters, NDJSON) {
            Ok(body) => {
                let wants_snapshot = self.token.is_none() && wanted.wants_snapshot();
                let order = Order::new(wants_snapshot, self.upper);
                self.connection = Some(Connection { lines: Lines::new(body), order });
                self.reached = true;
                Ok(None)
            }
            Err(Failure::Never(error)) => Err(error),
            Err(Failure::Later { url, reason, after, reached, .. }) => {
                self.reached |= reached;
                self.wait = self.backoff.wait().max(after);
                let away = self.lost.get_or_insert_with(Instant::now).elapsed();
                if !self.reached || away.saturating_add(self.wait) > self.wanted.patience {
                    return Err(ClientError::Unreachable { url, reason });
                }
                Ok(Some(reason))
            }
        }
    }

    fn receive(&mut self) -> Result<Received, ClientError> {
        let Some(Connection { lines, order }) = &mut self.connection else {
            return Ok(Received::Lost("there is no connection".to_owned()));
        };
        match lines.read()? {
            Came::Line => {}
            Came::Lost(reason) => return Ok(Received::Lost(reason)),
            Came::End if self.wanted.until_caught_up && order.is_consistent() => return Ok(Received::CaughtUp),
            Came::End => return Ok(Received::Lost("the server has ended the connection".to_owned())),
        }
        let head = frame::head(lines.line())?;
        order.take(&head)?;
        match &head {
            Head::Hello(hello) => {
                self.target.get_or_insert(hello.upper);
                if hello.kind == Kind::Journal && self.token.is_none() {
                    // "From now on" means the first time that it was asked.
                    self.wanted.from.get_or_insert(hello.upper);
                }
            }
            Head::Progress(Progress { upper, token }) => {
                (self.upper, self.token) = (*upper, Some(token.clone()));
                self.backoff.reset();
                self.lost = None;
            }
            Head::Error(refusal) if PASSING.contains(&refusal.code.as_str()) => {
                return Ok(Received::Lost(refusal.message.clone()));
            }
            _ => {}
        }
        Ok(Received::Line(head))
    }
}

enum Received {
    Line(Head),
    /// The server has sent what it was asked for.
    CaughtUp,
    Lost(String),
}

impl Batch {
    /// Sums the diffs of equal rows, and leaves what is not zero: first the rows that are no longer there, then those that
    /// are new. So updates can be applied one after the other to a table with unique keys.
    pub fn consolidate(&mut self) {
        consolidate(&mut self.updates);
    }
}
