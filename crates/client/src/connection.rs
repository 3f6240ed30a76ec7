//! One request and its answer, line by line.

use super::error::ClientError;
use super::frame::excerpt;
use crate::Tick;
use serde::Deserialize;
use std::io::{self, BufRead, BufReader, Read};
use std::time::Duration;
use ureq::http::{Response, StatusCode};
use ureq::typestate::WithBody;
use ureq::{Agent, Body, BodyReader, RequestBuilder};

const CONNECT: Duration = Duration::from_secs(10);
/// Longer queries are posted: servers and proxies refuse long paths.
const PATH_BYTES: usize = 4 << 10;
/// A line above this ends the subscription: servers send large snapshots and ticks in several frames.
const LINE_BYTES: u64 = 256 << 20;
/// The number of bytes that are read of an error answer.
const ERROR_BYTES: u64 = 64 << 10;
/// A server that asks for more patience is asked again after this.
const RETRY_AFTER: Duration = Duration::from_secs(300);

/// The address of a server, and the token for it.
#[derive(Clone, Debug)]
pub(crate) struct Endpoint {
    url: String,
    bearer: Option<String>,
    agent: Agent,
}

/// Why there is no answer to use.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The same request may succeed later.
    Later {
        url: String,
        reason: String,
        after: Duration,
        /// A server answered.
        reached: bool,
        /// The request may have got to the server.
        sent: bool,
        /// And answered: status and code.
        answered: Option<(u16, String)>,
    },
    Never(ClientError),
}

impl Endpoint {
    /// Makes an endpoint. A server that sends nothing for `silence` counts as gone.
    ///
    /// # Errors
    /// [`ClientError::Usage`].
    pub(crate) fn new(url: &str, bearer: Option<&str>, silence: Duration) -> Result<Endpoint, ClientError> {
        let usage = |message: String| Err(ClientError::Usage { message });
        if url.starts_with("https://") {
            return usage(format!("{url}: headwater speaks no TLS; reach the server through a tunnel, at http://"));
        }
        if !url.starts_with("http://") {
            return usage(format!("{url}: write http://HOST:PORT"));
        }
        if bearer.is_some_and(|token| token.bytes().any(|byte| !byte.is_ascii_graphic())) {
            return usage("the token has characters that no token has".to_owned());
        }
        // Neither redirects nor proxies of the environment: a token goes where it was meant to go.
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .proxy(None)
            .timeout_connect(Some(CONNECT))
            .timeout_resolve(Some(CONNECT))
            .timeout_per_read(Some(silence))
            .timeout_per_write(Some(silence))
            .max_idle_connections(0)
            .user_agent(concat!("headwater/", env!("CARGO_PKG_VERSION")))
            .build()
            .into();
        Ok(Endpoint { url: url.trim_end_matches('/').to_owned(), bearer: bearer.map(str::to_owned), agent })
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Returns all bytes of a successful answer, up to a limit.
    pub(crate) fn get_all(
        &self,
        path: &str,
        parameters: &[(&str, String)],
        bytes: u64,
    ) -> Result<Vec<u8>, ClientError> {
        let mut body = self.get(path, parameters, "application/json")?;
        let bytes = body.with_config().limit(bytes).read_to_vec();
        bytes.map_err(|error| ClientError::Unreachable { url: self.url.clone(), reason: reason(&error) })
    }

    /// Posts a body. Returns the answer of the server, or the reason if the answer ended early.
    pub(crate) fn post(
        &self,
        path: &str,
        parameters: &[(&str, String)],
        body: &[u8],
        bytes: u64,
    ) -> Result<Result<Vec<u8>, String>, Failure> {
        let request = self.agent.post(format!("{}{path}", self.url)).header("content-type", "application/json");
        self.send(request, parameters, body, bytes)
    }

    /// Puts a body of TOML. Returns the answer of the server, or the reason if the answer ended early.
    pub(crate) fn put(
        &self,
        path: &str,
        parameters: &[(&str, String)],
        body: &[u8],
        bytes: u64,
    ) -> Result<Result<Vec<u8>, String>, Failure> {
        let request = self.agent.put(format!("{}{path}", self.url)).header("content-type", "application/toml");
        self.send(request, parameters, body, bytes)
    }

    /// Deletes something. Returns the answer of the server, or the reason if the answer ended early.
    pub(crate) fn delete(
        &self,
        path: &str,
        parameters: &[(&str, String)],
        bytes: u64,
    ) -> Result<Result<Vec<u8>, String>, Failure> {
        let request = self.agent.delete(format!("{}{path}", self.url));
        let bearer = self.bearer.iter().map(|token| format!("Bearer {token}"));
        let request = bearer.fold(request, |request, bearer| request.header("authorization", bearer));
        let request = request.query_pairs(parameters.iter().map(|(name, value)| (*name, value.as_str())));
        let mut answer = self.answered(request.call(), &[StatusCode::OK])?;
        Ok(answer.with_config().limit(bytes).read_to_vec().map_err(|error| reason(&error)))
    }

    fn send(
        &self,
        request: RequestBuilder<WithBody>,
        parameters: &[(&str, String)],
        body: &[u8],
        bytes: u64,
    ) -> Result<Result<Vec<u8>, String>, Failure> {
        let bearer = self.bearer.iter().map(|token| format!("Bearer {token}"));
        let request = bearer.fold(request, |request, bearer| request.header("authorization", bearer));
        let request = request.query_pairs(parameters.iter().map(|(name, value)| (*name, value.as_str())));
        let mut answer = self.answered(request.send(body), &[StatusCode::ACCEPTED, StatusCode::OK])?;
        Ok(answer.with_config().limit(bytes).read_to_vec().map_err(|error| reason(&error)))
    }

    /// Returns the body of a successful answer.
    pub(crate) fn get(&self, path: &str, parameters: &[(&str, String)], accept: &str) -> Result<Body, Failure> {
        let url = format!("{}{path}", self.url);
        let bearer = self.bearer.iter().map(|token| format!("Bearer {token}"));
        let bytes: usize = parameters.iter().map(|(name, value)| name.len() + value.len()).sum();
        let answer = if bytes > PATH_BYTES {
            let request = self.agent.post(url).header("accept", accept).header("content-type", "application/json");
            bearer.fold(request, |request, bearer| request.header("authorization", bearer)).send(&json(parameters))
        } else {
            let request = self.agent.get(url).header("accept", accept);
            let request = bearer.fold(request, |request, bearer| request.header("authorization", bearer));
            request.query_pairs(parameters.iter().map(|(name, value)| (*name, value.as_str()))).call()
        };
        self.answered(answer, &[StatusCode::OK])
    }

    fn answered(&self, answer: Result<Response<Body>, ureq::Error>, success: &[StatusCode]) -> Result<Body, Failure> {
        let answer = answer.map_err(|error| unanswered(&self.url, error))?;
        match answer.status() {
            status if success.contains(&status) => Ok(answer.into_body()),
            status => {
                let after = answer.headers().get("retry-after").and_then(|after| after.to_str().ok()?.parse().ok());
                let after = after.map_or(Duration::ZERO, Duration::from_secs).min(RETRY_AFTER);
                Err(refused(&self.url, status, after, answer.into_body()))
            }
        }
    }
}

impl From<Failure> for ClientError {
    /// Turns a failure into an error, for callers that do not try again.
    fn from(failure: Failure) -> ClientError {
        match failure {
            Failure::Later { answered: Some((status, code)), reason, .. } => {
                ClientError::Refused { status: Some(status), code, message: reason }
            }
            Failure::Later { reason, url, .. } => ClientError::Unreachable { url, reason },
            Failure::Never(error) => error,
        }
    }
}

/// Parameters as an object. Of those that come several times, as keys do, a list.
fn json(parameters: &[(&str, String)]) -> String {
    let mut object = serde_json::Map::new();
    for (name, value) in parameters {
        let value = serde_json::Value::from(value.as_str());
        match object.get_mut(*name) {
            None => {
                object.insert((*name).to_owned(), value);
            }
            Some(serde_json::Value::Array(values)) => values.push(value),
            Some(first) => *first = vec![first.take(), value].into(),
        }
    }
    serde_json::Value::Object(object).to_string()
}

/// Returns the path of a collection, or of what belongs to it.
pub(crate) fn path(collection: &str, of: &str) -> String {
    let mut path = "/v1/collections/".to_owned();
    for byte in collection.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => path.push(char::from(byte)),
            _ => path += &format!("%{byte:02X}"),
        }
    }
    path + of
}

fn unanswered(url: &str, error: ureq::Error) -> Failure {
    use ureq::{Error, Timeout};
    let sent = !matches!(
        &error,
        Error::HostNotFound | Error::ConnectionFailed | Error::Timeout(Timeout::Connect | Timeout::Resolve)
    ) && !matches!(&error, Error::Io(error) if error.kind() == io::ErrorKind::ConnectionRefused);
    let reached = match &error {
        Error::BadUri(_) | Error::Http(_) | Error::TlsRequired | Error::LargeResponseHeader(..) => {
            return Failure::Never(ClientError::Usage { message: format!("{url}: {error}") });
        }
        Error::Protocol(_) => {
            return Failure::Never(ClientError::protocol(format!("{url} is no HTTP server: {error}")));
        }
        Error::HostNotFound | Error::ConnectionFailed | Error::Timeout(Timeout::Connect | Timeout::Resolve) => false,
        Error::Io(error) => matches!(
            error.kind(),
            io::ErrorKind::UnexpectedEof
                | io::ErrorKind::ConnectionReset
                | io::ErrorKind::ConnectionAborted
                | io::ErrorKind::BrokenPipe
        ),
        _ => true,
    };
    Failure::Later { url: url.to_owned(), reason: reason(&error), after: Duration::ZERO, reached, sent, answered: None }
}

/// Returns the text of an error, without words that only repeat that it is an error.
fn reason(error: &ureq::Error) -> String {
    match error {
        ureq::Error::Io(error) => error.to_string(),
        ureq::Error::Timeout(ureq::Timeout::PerRead) => "nothing has come for too long".to_owned(),
        error => error.to_string(),
    }
}

fn refused(url: &str, status: StatusCode, after: Duration, body: Body) -> Failure {
    #[derive(Deserialize, Default)]
    struct Answer {
        error: Said,
    }
    #[derive(Deserialize, Default)]
    #[serde(default)]
    struct Said {
        code: String,
        message: String,
        oldest: Option<Tick>,
    }
    let mut bytes = Vec::new();
    // What has come before a failure may say enough.
    let _ = body.into_reader().take(ERROR_BYTES).read_to_end(&mut bytes);
    let text = String::from_utf8_lossy(&bytes);
    let Said { code, message, oldest } = serde_json::from_str::<Answer>(&text).unwrap_or_default().error;
    let message = match message.is_empty() {
        true if text.trim().is_empty() => "the server refuses".to_owned(),
        true => format!("the server refuses: {}", excerpt(text.trim())),
        false => crate::text::printable(&message),
    };
    let status = status.as_u16();
    match (status, code.as_str()) {
        (408 | 429 | 502..=504, _) => {
            let answered = Some((status, code));
            Failure::Later { url: url.to_owned(), reason: message, after, reached: true, sent: true, answered }
        }
        (410, _) => Failure::Never(ClientError::Expired { oldest, message }),
        (409, "other_history") => Failure::Never(ClientError::OtherHistory { message }),
        (409, "program_changed") => Failure::Never(ClientError::ProgramChanged { message }),
        _ => Failure::Never(ClientError::Refused { status: Some(status), code, message }),
    }
}

/// The lines of a body that goes on.
pub(crate) struct Lines {
    reader: BufReader<BodyReader<'static>>,
    line: String,
}

/// What came.
#[derive(Debug)]
pub(crate) enum Came {
    /// See [`Lines::line`].
    Line,
    /// The body is complete, and ends with a line.
    End,
    /// The connection is lost, maybe within a line.
    Lost(String),
}

impl Lines {
    pub(crate) fn new(body: Body) -> Lines {
        Lines { reader: BufReader::with_capacity(64 << 10, body.into_reader()), line: String::new() }
    }

    /// Waits for the next line; blank ones are left out.
    ///
    /// # Errors
    /// [`ClientError::Protocol`] if it is too long or not UTF-8.
    pub(crate) fn read(&mut self) -> Result<Came, ClientError> {
        loop {
            let mut line = std::mem::take(&mut self.line).into_bytes();
            line.clear();
            match (&mut self.reader).take(LINE_BYTES).read_until(b'\n', &mut line) {
                Ok(0) => return Ok(Came::End),
                Ok(_) if line.ends_with(b"\n") => {}
                Ok(read) if read as u64 == LINE_BYTES => {
                    return Err(ClientError::protocol(format!("the server sent a line above {LINE_BYTES} bytes")));
                }
                Ok(_) => return Ok(Came::Lost("the connection ended within a frame".to_owned())),
                Err(error) => return Ok(Came::Lost(lost(error))),
            }
            self.line =
                String::from_utf8(line).map_err(|_| ClientError::protocol("the server sent what is not UTF-8"))?;
            if !self.line().trim().is_empty() {
                return Ok(Came::Line);
            }
        }
    }

    /// Returns the line that came last, without its line feed.
    pub(crate) fn line(&self) -> &str {
        self.line.strip_suffix('\n').unwrap_or(&self.line)
    }
}

fn lost(error: io::Error) -> String {
    match error.downcast::<ureq::Error>() {
        Ok(error) => reason(&error),
        Err(error) => error.to_string(),
    }
}
