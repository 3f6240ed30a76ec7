//! A client over HTTP/1.1, by hand. It has to know for every request whether it was answered, cannot have arrived, or may
//! have arrived.

use crate::patience::{PATIENCE, wait_until};
use serde_json::Value;
use std::fmt::{self, Display, Formatter};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// The knowledge of a client about a batch that it has sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Acknowledged,
    /// It has not been taken, and never will be.
    Refused,
    Unknown,
}

/// Why there is no answer.
#[derive(Debug)]
pub struct Failure {
    pub error: io::Error,
    /// From when the request was begun.
    pub waited: Duration,
    /// The connection had been used before.
    pub kept: bool,
    /// Something of an answer had come.
    pub begun: bool,
}

impl Display for Failure {
    fn fmt(&self, to: &mut Formatter<'_>) -> fmt::Result {
        let Failure { error, waited, kept, begun } = self;
        write!(to, "{error} after {waited:?}; kept alive: {kept}; an answer had begun: {begun}")
    }
}

impl Failure {
    /// Returns whether the server closed a connection before it answered, which it may between two requests.
    pub fn closed(&self) -> bool {
        use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
        let closed = [BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof].contains(&self.error.kind());
        closed && !self.begun
    }
}

pub struct Client {
    pub address: SocketAddr,
    /// Why the last request has no answer.
    pub failure: Option<Failure>,
    connection: Option<BufReader<TcpStream>>,
    kept: bool,
}

impl Client {
    pub fn new(address: SocketAddr) -> Client {
        Client { address, failure: None, connection: None, kept: false }
    }

    /// Posts events; they have to be fit to be taken.
    pub fn post(&mut self, events: &str) -> Outcome {
        self.post_as("application/x-ndjson", events).0
    }

    /// Outcome and answer; that is null if there is none.
    pub fn post_as(&mut self, media_type: &str, events: &str) -> (Outcome, Value) {
        if self.connect().is_err() {
            return (Outcome::Refused, Value::Null);
        }
        let length = events.len();
        let head = format!(
            "POST /v1/events HTTP/1.1\r\nhost: localhost\r\ncontent-type: {media_type}\r\ncontent-length: {length}\r\n\r\n"
        );
        let Ok((status, body)) = self.exchange(&(head + events)) else { return (Outcome::Unknown, Value::Null) };
        let outcome = match (status, body["error"]["code"].as_str()) {
            (202, _) => Outcome::Acknowledged,
            // Part of what one sync would have made durable may be.
            (503, Some("full")) => Outcome::Unknown,
            (503, _) => Outcome::Refused,
            _ => panic!("{status} {body}: {events}"),
        };
        (outcome, body)
    }

    /// The status of an answer, if there is one.
    pub fn get(&mut self, path: &str) -> Option<u16> {
        self.get_json(path).map(|(status, _)| status)
    }

    pub fn get_json(&mut self, path: &str) -> Option<(u16, Value)> {
        self.connect().ok()?;
        self.exchange(&format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n")).ok()
    }

    /// Waits until nothing that was acknowledged waits to be bound, and what was bound has been published.
    pub fn published(&mut self) {
        let mut wait_for = |awaited: &str, done: fn(&Value) -> bool| {
            wait_until(awaited, || done(&self.get_json("/v1/status").unwrap().1));
        };
        wait_for("what was acknowledged is bound", |report| report["backlog_bytes"] == 0);
        wait_for("what is bound is published", |report| report["published"] == report["bound"]);
    }

    fn connect(&mut self) -> io::Result<()> {
        if self.connection.is_none() {
            let stream = TcpStream::connect_timeout(&self.address, PATIENCE)?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.set_write_timeout(Some(PATIENCE))?;
            self.connection = Some(BufReader::new(stream));
            self.kept = false;
        }
        Ok(())
    }

    fn exchange(&mut self, request: &str) -> io::Result<(u16, Value)> {
        let (began, mut begun) = (Instant::now(), false);
        let answer = self.try_exchange(request, &mut begun);
        if let Err(error) = &answer {
            // Its kind and its text; an error cannot be copied.
            let error = io::Error::new(error.kind(), error.to_string());
            let failure = Failure { error, waited: began.elapsed(), kept: self.kept, begun };
            // Shown when the test fails.
            eprintln!("{}: no answer: {failure}", self.address);
            self.failure = Some(failure);
        }
        answer
    }

    fn try_exchange(&mut self, request: &str, begun: &mut bool) -> io::Result<(u16, Value)> {
        let mut connection = self.connection.take().unwrap();
        connection.get_mut().write_all(request.as_bytes())?;
        *begun = !connection.fill_buf()?.is_empty();
        let mut line = || -> io::Result<String> {
            let mut line = String::new();
            match connection.read_line(&mut line)? {
                0 => Err(io::ErrorKind::UnexpectedEof.into()),
                _ => Ok(line.trim_end().to_ascii_lowercase()),
            }
        };
        let status = line()?.split(' ').nth(1).unwrap().parse().unwrap();
        let (mut length, mut close) = (0, false);
        loop {
            let header = line()?;
            match header.split_once(':').map(|(name, value)| (name, value.trim())) {
                Some(("content-length", value)) => length = value.parse().unwrap(),
                Some(("connection", "close")) => close = true,
                Some(_) => {}
                None => break,
            }
        }
        let mut body = vec![0; length];
        connection.read_exact(&mut body)?;
        if !close {
            self.connection = Some(connection);
            self.kept = true;
        }
        Ok((status, serde_json::from_slice(&body).unwrap_or_default()))
    }
}
