//! Bodies: read within a time and a size, decompressed within the same size, all of them together within a budget.

use super::problem::Problem;
use axum::body::{Body, Bytes, HttpBody};
use axum::http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, EXPECT, HeaderValue};
use axum::http::{HeaderMap, StatusCode};
use flate2::bufread::MultiGzDecoder;
use std::future::poll_fn;
use std::io::Read;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::time::timeout;

/// What is decompressed at a time: how far the result can be above the limit before that is noticed.
const STEP: u64 = 64 << 10;
/// Window that any zstd decoder of HTTP has to have (RFC 9659): no larger one is allocated for a small body.
const ZSTD_WINDOW_LOG: u32 = 23;
/// What is read of a body that is refused already, so that the client hears why, and for how long.
const LINGER_BYTES: usize = 4 << 20;
const LINGER: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    Plain,
    Gzip,
    Zstd,
}

impl Encoding {
    /// # Errors
    /// 415.
    pub(super) fn of(headers: &HeaderMap) -> Result<Encoding, Problem> {
        let mut encoding = Encoding::Plain;
        for value in headers.get_all(CONTENT_ENCODING) {
            for name in value.as_bytes().split(|byte| *byte == b',') {
                let name = name.trim_ascii().to_ascii_lowercase();
                encoding = match (name.as_slice(), encoding) {
                    (b"" | b"identity", encoding) => encoding,
                    (b"gzip" | b"x-gzip", Encoding::Plain) => Encoding::Gzip,
                    (b"zstd", Encoding::Plain) => Encoding::Zstd,
                    _ => {
                        let message = "a body can be plain, or compressed once by gzip or zstd";
                        let problem = Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "encoding", message);
                        return Err(problem.header(ACCEPT_ENCODING, HeaderValue::from_static("gzip, zstd")));
                    }
                };
            }
        }
        Ok(encoding)
    }
}

/// Bytes that bodies may take together.
#[derive(Clone, Debug)]
pub(super) struct Budget(Arc<AtomicUsize>);

/// What one body takes of it, until it is dropped.
#[derive(Debug)]
struct Share {
    budget: Budget,
    bytes: usize,
}

impl Budget {
    pub(super) fn new(bytes: usize) -> Budget {
        Budget(Arc::new(AtomicUsize::new(bytes)))
    }
}

impl Share {
    /// # Errors
    /// 503.
    fn grow(&mut self, bytes: usize) -> Result<(), Problem> {
        let left = &self.budget.0;
        let taken = left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(bytes));
        taken.map_err(|_| Problem::later("busy", "too many events are being received"))?;
        self.bytes += bytes;
        Ok(())
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.budget.0.fetch_add(self.bytes, Ordering::Relaxed);
    }
}

/// The bytes of a body, and their share of the budget.
#[derive(Debug)]
pub(super) struct Held {
    pub bytes: Vec<u8>,
    share: Share,
}

impl Held {
    fn none(budget: &Budget) -> Held {
        Held { bytes: Vec::new(), share: Share { budget: budget.clone(), bytes: 0 } }
    }

    fn push(&mut self, bytes: &[u8], limit: usize) -> Result<(), Problem> {
        if self.bytes.len() + bytes.len() > limit {
            return Err(too_large(limit));
        }
        self.share.grow(bytes.len())?;
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }
}

/// Reads a body of at most `limit` bytes, as it was sent.
///
/// # Errors
/// 408, 413, 503; 400 if the connection breaks.
pub(super) async fn read(body: &mut Body, limit: usize, patience: Duration, budget: &Budget) -> Result<Held, Problem> {
    if body.size_hint().lower() > limit as u64 {
        return Err(too_large(limit));
    }
    let mut held = Held::none(budget);
    let reading = async {
        while let Some(data) = next(body).await {
            let data = data.map_err(|_| Problem::new(StatusCode::BAD_REQUEST, "incomplete", "the body breaks off"))?;
            held.push(&data, limit)?;
        }
        Ok(())
    };
    let slow =
        |_| Problem::new(StatusCode::REQUEST_TIMEOUT, "timeout", format!("the body took longer than {patience:?}"));
    timeout(patience, reading).await.map_err(slow)??;
    Ok(held)
}

/// The body as it was before it was compressed: at most `limit` bytes, whatever it claims. Takes memory for little more
/// than that, and computes.
///
/// # Errors
/// 400, 413, 503.
pub(super) fn decompress(sent: Held, encoding: Encoding, limit: usize, budget: &Budget) -> Result<Held, Problem> {
    let damaged =
        |error| Problem::new(StatusCode::BAD_REQUEST, "encoding", format!("cannot decompress the body: {error}"));
    let mut reader: Box<dyn Read + '_> = match encoding {
        Encoding::Plain => return Ok(sent),
        Encoding::Gzip => Box::new(MultiGzDecoder::new(sent.bytes.as_slice())),
        Encoding::Zstd => {
            let mut decoder = zstd::Decoder::with_buffer(sent.bytes.as_slice()).map_err(damaged)?;
            // A frame that says how long it is may have a window of that length.
            let window = limit.next_power_of_two().ilog2().max(ZSTD_WINDOW_LOG);
            decoder.window_log_max(window).map_err(damaged)?;
            Box::new(decoder)
        }
    };
    let mut held = Held::none(budget);
    loop {
        let before = held.bytes.len();
        let read = reader.by_ref().take(STEP).read_to_end(&mut held.bytes).map_err(damaged)?;
        if read == 0 {
            return Ok(held);
        }
        if before + read > limit {
            return Err(too_large(limit));
        }
        held.share.grow(read)?;
    }
}

/// Reads on for a moment, although the answer is known: a connection that is closed while the client still sends loses
/// the answer. Not if the client waits to be told to send.
pub(super) async fn linger(headers: &HeaderMap, body: &mut Body) {
    if headers.contains_key(EXPECT) {
        return;
    }
    let draining = async {
        let mut left = LINGER_BYTES;
        while let Some(Ok(data)) = next(body).await {
            let Some(less) = left.checked_sub(data.len()) else { break };
            left = less;
        }
    };
    let _ = timeout(LINGER, draining).await;
}

/// The next piece of a body, as it arrives.
async fn next(body: &mut Body) -> Option<Result<Bytes, axum::Error>> {
    loop {
        match poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await? {
            Ok(frame) => {
                if let Ok(data) = frame.into_data() {
                    return Some(Ok(data));
                }
            }
            Err(error) => return Some(Err(error)),
        }
    }
}

fn too_large(limit: usize) -> Problem {
    let message = format!("the body has more than {limit} bytes, the `max_body` of [http]");
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", message)
}
