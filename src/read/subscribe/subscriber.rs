//! One subscriber, from hello to the end: a snapshot if it wants one, then ticks of the output log, then ticks of the
//! hub. When it is too slow for the hub, it goes back to the log.

use super::frame::{self, Change, Delta, Dressed, Encoding};
use super::hub::{Hub, Mailbox, Next};
use super::query::Query;
use super::snapshot::Spool;
use super::spools::Unfinished;
use super::token::ResumeTokens;
use crate::collections::{Row, Schemas};
use crate::sync::{sleep, sleep_until, spawn_blocking};
use axum::body::Bytes;
use dataflows::Tick;
use headwater_log::error::LogError;
use headwater_log::output::{OutputLog, OutputReader, Pieces};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::Instant;

/// Bytes and ticks of the log that are turned into frames together.
const BATCH_BYTES: usize = 1 << 20;
const BATCH_TICKS: Tick = 4096;
/// Subscribers that read the log at the same time; the others wait for their turn.
const READING: usize = 4;
/// Until the hub is looked at again when it is behind.
const BEHIND: Duration = Duration::from_millis(5);

/// The state that all subscribers share.
pub struct Subscriptions {
    pub hub: Arc<Hub>,
    pub outputs: Arc<OutputLog>,
    pub schemas: Arc<Schemas>,
    pub tokens: Arc<ResumeTokens>,
    reading: Semaphore,
}

impl Subscriptions {
    pub fn new(
        hub: Arc<Hub>,
        outputs: Arc<OutputLog>,
        schemas: Arc<Schemas>,
        tokens: Arc<ResumeTokens>,
    ) -> Subscriptions {
        Subscriptions { hub, outputs, schemas, tokens, reading: Semaphore::new(READING) }
    }
}

/// The beginning of a subscription.
pub enum Start {
    /// With all rows at the tick before this one.
    Snapshot(Tick, Spool),
    /// With the changes from a tick on.
    From(Tick),
}

/// A subscriber.
pub struct Subscriber {
    pub subscriptions: Arc<Subscriptions>,
    pub query: Arc<Query>,
    pub encoding: Encoding,
    /// Without anything to be said, progress is said so often.
    pub heartbeat: Duration,
    /// The next tick when it was asked.
    pub upper: Tick,
    /// Ends when it has everything below this tick.
    pub until: Option<Tick>,
    pub client: mpsc::Sender<Bytes>,
}

/// Why a subscription ends.
enum End {
    /// The client has gone, or has what it wanted, or the process stops.
    Plain,
    Error {
        code: &'static str,
        message: String,
        oldest: Option<Tick>,
    },
}

impl Subscriber {
    /// Runs until the client has gone, or has everything that it wanted.
    pub async fn run(self, start: Start) {
        let End::Error { code, message, oldest } = self.follow(start).await else { return };
        tracing::debug!(code, message, "a subscription ends");
        let mut out = Vec::new();
        frame::error(self.encoding, code, &message, oldest, &mut out);
        let _gone = self.client.send(out.into()).await;
    }

    async fn follow(&self, start: Start) -> End {
        match self.all(start).await {
            Ok(()) => End::Plain,
            Err(end) => end,
        }
    }

    async fn all(&self, start: Start) -> Result<(), End> {
        let mut out = Vec::new();
        let Subscriptions { hub, outputs, schemas, tokens, .. } = &*self.subscriptions;
        let schema = schemas.of(self.query.collection);
        let program = tokens.program();
        frame::hello(self.encoding, schema, &program, outputs.oldest(), self.upper, &mut out);
        let mut position = match start {
            Start::From(tick) => tick,
            Start::Snapshot(upper, mut spool) => {
                self.send(out.split_off(0)).await?;
                let unfinished = |Unfinished { code, message }| End::Error { code, message, oldest: None };
                while let Some(bytes) = spool.next().await.map_err(unfinished)? {
                    self.send(bytes).await?;
                }
                upper
            }
        };
        self.progress(position, &mut out);
        self.send(out).await?;
        loop {
            if self.has_all(position) {
                return Ok(());
            }
            if let Some(mailbox) = hub.join(&self.query, self.encoding, position) {
                let member = Member { hub, query: &self.query, encoding: self.encoding, mailbox };
                if self.live(&member, &mut position).await? {
                    return Ok(());
                }
            } else {
                position = self.catch_up(position).await?;
            }
        }
    }

    /// Takes what the hub hands out, until it does no more. Returns whether that is the end.
    async fn live(&self, member: &Member<'_>, position: &mut Tick) -> Result<bool, End> {
        let mut heartbeat = Instant::now() + self.heartbeat;
        loop {
            match member.mailbox.take() {
                Next::Frames(upper, frames) => {
                    self.client.send(frames).await.map_err(|_| End::Plain)?;
                    *position = upper;
                    heartbeat = Instant::now() + self.heartbeat;
                }
                Next::Cut => return Ok(false),
                Next::Closed => return Ok(true),
                Next::Nothing => {
                    let idle = self.until.is_some().then(|| member.hub.idle_at(&member.mailbox)).flatten();
                    let caught_up = idle.filter(|next| self.has_all(*next));
                    tokio::select! {
                        () = member.mailbox.news(), if caught_up.is_none() => continue,
                        () = sleep_until(heartbeat), if caught_up.is_none() => {}
                        () = self.client.closed() => return Err(End::Plain),
                        () = std::future::ready(()), if caught_up.is_some() => {}
                    }
                    heartbeat = Instant::now() + self.heartbeat;
                    if let Some(next) = member.hub.idle_at(&member.mailbox) {
                        *position = next;
                        let mut out = Vec::new();
                        self.progress(next, &mut out);
                        self.send(out).await?;
                    }
                }
            }
            if self.has_all(*position) {
                return Ok(true);
            }
        }
    }

    /// Reads some of the log. Returns how far.
    async fn catch_up(&self, position: Tick) -> Result<Tick, End> {
        let upto = self.subscriptions.hub.next();
        if position >= upto {
            if self.subscriptions.hub.is_closed() {
                return Err(End::Plain);
            }
            sleep(BEHIND).await;
            return Ok(position);
        }
        let mut position = position;
        let mut reader = LogReader::new(&self.subscriptions.outputs, position);
        while position < upto {
            let turn = self.subscriptions.reading.acquire().await.map_err(|_| End::Plain)?;
            let (subscriptions, query, encoding) =
                (Arc::clone(&self.subscriptions), Arc::clone(&self.query), self.encoding);
            let batch = spawn_blocking(move || {
                let read = read(&mut reader, &subscriptions, &query, encoding, upto);
                (reader, read)
            });
            let internal = |message: String| End::Error { code: "internal", message, oldest: None };
            let (back, read) = batch.await.map_err(|error| internal(error.to_string()))?;
            drop(turn);
            reader = back;
            let out = read.map_err(|error| match self.subscriptions.outputs.gone(position, error) {
                LogError::Gone { oldest, .. } => expired(oldest),
                error => internal(error.to_string()),
            })?;
            position = reader.position();
            self.send(out).await?;
        }
        Ok(position)
    }

    fn progress(&self, upper: Tick, out: &mut Vec<u8>) {
        frame::progress(self.encoding, upper, &self.subscriptions.tokens.encode(upper, &self.query), out);
    }

    fn has_all(&self, position: Tick) -> bool {
        self.until.is_some_and(|until| position >= until)
    }

    async fn send(&self, bytes: Vec<u8>) -> Result<(), End> {
        self.client.send(bytes.into()).await.map_err(|_| End::Plain)
    }
}

fn expired(oldest: Tick) -> End {
    let message = "the changes from here on are not kept any more: begin again with a snapshot".into();
    End::Error { code: "token_expired", message, oldest: Some(oldest) }
}

/// Reads the output log, and a large tick piece by piece.
struct LogReader {
    ticks: OutputReader,
    /// Of the tick that is not complete.
    open: Option<(Tick, Pieces, Delta)>,
}

impl LogReader {
    fn new(outputs: &Arc<OutputLog>, position: Tick) -> LogReader {
        LogReader { ticks: OutputReader::new(Arc::clone(outputs), position), open: None }
    }

    /// Returns the first tick that has not been read to its end.
    fn position(&self) -> Tick {
        self.open.as_ref().map_or(self.ticks.position(), |(tick, ..)| *tick)
    }
}

/// Returns the frames of the ticks before `upto`, or of some of them, with the progress that they make. Within a large tick
/// there is none.
fn read(
    reader: &mut LogReader,
    subscriptions: &Subscriptions,
    query: &Query,
    encoding: Encoding,
    upto: Tick,
) -> Result<Vec<u8>, LogError> {
    let schema = subscriptions.schemas.of(query.collection);
    let from = reader.position();
    let mut out = Vec::new();
    while reader.position() < upto && reader.position() - from < BATCH_TICKS && out.len() < BATCH_BYTES {
        let (tick, mut pieces, mut delta) = match reader.open.take() {
            Some(open) => open,
            None => {
                let Some(output) = reader.ticks.tick()? else { break };
                let (tick, name) = (output.tick, query.collection.name());
                (tick, output.pieces(name, query.collection.same_key()), Delta::new(encoding, tick))
            }
        };
        let Some(piece) = pieces.next_piece()? else { continue };
        let rows: Vec<(Row<'_>, i64)> = piece
            .rows
            .iter()
            .filter_map(|(row, diff)| Some((query.collection.decode(row)?, *diff)))
            .filter(|(row, _)| query.wants(row))
            .collect();
        let rows: Vec<Change<'_>> = rows.iter().enumerate().map(|(index, (row, diff))| (index, row, *diff)).collect();
        delta.piece(query, schema, &rows, piece.last, &mut Dressed::default(), &mut out);
        if !piece.last {
            reader.open = Some((tick, pieces, delta));
        }
    }
    if reader.open.is_none() {
        let upper = reader.position();
        frame::progress(encoding, upper, &subscriptions.tokens.encode(upper, query), &mut out);
    }
    Ok(out)
}

/// A place at the hub, given up when it is dropped.
struct Member<'f> {
    hub: &'f Hub,
    query: &'f Query,
    encoding: Encoding,
    mailbox: Arc<Mailbox>,
}

impl Drop for Member<'_> {
    fn drop(&mut self) {
        self.hub.leave(self.query, self.encoding, &self.mailbox);
    }
}
