//! Keeps an exact copy of `sessions` in an SQLite database. A later start goes on where the copy ends.
//!
//! ```sh
//! cargo run --release --locked --example sqlite_copy -- sessions.db http://127.0.0.1:7474
//! sqlite3 sessions.db 'SELECT user, count(*), sum(events) FROM sessions GROUP BY user'
//! ```
//! Rows and token change in one transaction. So after any failure of this program or the machine, the copy equals what the
//! server had published at one moment, and the token names that moment. Each change counts exactly once.

use headwater_client::{Batch, ClientError, Subscription};
use rusqlite::{Connection, OptionalExtension, params};
use serde::Deserialize;
use std::error::Error;
use std::path::Path;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [path, url] = arguments.as_slice() else {
        return Err("usage: sqlite_copy DATABASE URL".into());
    };
    let mut copy = Copy::open(path)?;
    loop {
        match copy.follow(url, false) {
            Ok(()) => return Ok(()),
            Err(error) => copy.begin_again(error)?,
        }
    }
}

/// The database.
pub struct Copy(Connection);

/// The columns that the database keeps of a session. `row` is the whole session.
#[derive(Deserialize)]
struct Session {
    session_id: String,
    user: String,
    start_us: i64,
    end_us: i64,
    events: i64,
}

impl Copy {
    pub fn open(path: impl AsRef<Path>) -> rusqlite::Result<Copy> {
        let db = Connection::open(path)?;
        // In this mode a loss of power may remove the last transactions, each of them whole. They are copied again.
        db.execute_batch(
            "PRAGMA journal_mode = WAL;
             PRAGMA synchronous = NORMAL;
             CREATE TABLE IF NOT EXISTS sessions (
                 session_id TEXT PRIMARY KEY, user TEXT NOT NULL, start_us INTEGER NOT NULL, end_us INTEGER NOT NULL,
                 events INTEGER NOT NULL, row TEXT NOT NULL
             ) WITHOUT ROWID;
             CREATE TABLE IF NOT EXISTS progress (one INTEGER PRIMARY KEY CHECK (one = 1), token TEXT NOT NULL);",
        )?;
        Ok(Copy(db))
    }

    /// Applies every change. Returns when it has caught up, if the caller wants only that.
    pub fn follow(&mut self, url: &str, until_caught_up: bool) -> Result<(), Box<dyn Error>> {
        let mut wanted = Subscription::builder(url, "sessions").until_caught_up(until_caught_up);
        if let Ok(bearer) = std::env::var("HEADWATER_TOKEN") {
            wanted = wanted.bearer(bearer);
        }
        if let Some(token) = self.token()? {
            wanted = wanted.resume(token);
        }
        let mut sessions = wanted.build()?;
        while let Some(batch) = sessions.next_batch()? {
            self.apply(batch)?;
        }
        Ok(())
    }

    /// Applies a whole batch, or nothing of it.
    pub fn apply(&mut self, mut batch: Batch) -> Result<(), Box<dyn Error>> {
        // The changes of a session in several ticks become one removal and one addition.
        batch.consolidate();
        let transaction = self.0.transaction()?;
        if batch.reset {
            transaction.execute("DELETE FROM sessions", [])?;
        }
        {
            let mut remove = transaction.prepare("DELETE FROM sessions WHERE session_id = ? AND row = ?")?;
            let mut add = transaction.prepare("INSERT INTO sessions VALUES (?, ?, ?, ?, ?, ?)")?;
            for update in &batch.updates {
                let Session { session_id, user, start_us, end_us, events } = update.row.read()?;
                let changed = match update.diff {
                    -1 => remove.execute(params![session_id, update.row.json()])?,
                    1 => add.execute(params![session_id, user, start_us, end_us, events, update.row.json()])?,
                    other => return Err(format!("{session_id} is there {other} times").into()),
                };
                if changed != 1 {
                    return Err(format!("{session_id} is to be removed and not there").into());
                }
            }
        }
        transaction.execute("INSERT OR REPLACE INTO progress VALUES (1, ?)", [&batch.token])?;
        transaction.commit()?;
        Ok(())
    }

    /// Prepares a new snapshot if that overcomes the error, and returns other errors. The rows stay until the snapshot is
    /// there.
    pub fn begin_again(&mut self, error: Box<dyn Error>) -> Result<(), Box<dyn Error>> {
        match error.downcast_ref::<ClientError>() {
            Some(ClientError::Expired { .. } | ClientError::ProgramChanged { .. }) if self.token()?.is_some() => {
                eprintln!("the copy cannot be continued and is made again: {error}");
                self.0.execute("DELETE FROM progress", [])?;
                Ok(())
            }
            _ => Err(error),
        }
    }

    fn token(&self) -> rusqlite::Result<Option<String>> {
        self.0.query_row("SELECT token FROM progress", [], |row| row.get(0)).optional()
    }

    /// Returns every row as the server wrote it.
    pub fn rows(&self) -> rusqlite::Result<Vec<String>> {
        let mut rows = self.0.prepare("SELECT row FROM sessions ORDER BY row")?;
        rows.query_map([], |row| row.get(0))?.collect()
    }
}
