//! Bodies: read within a time and a size, decompressed within the same size, all of them together within a [`Budget`].

use super::budget::{Budget, Share};
use super::problem::Problem;
use axum::body::{Body, Bytes, HttpBody};
use axum::http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, EXPECT, HeaderValue};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use flate2::bufread::MultiGzDecoder;
use std::future::poll_fn;
use std::io::Read;
use std::pin::Pin;
use std::time::Duration;
use tokio::time::timeout;

/// The number of bytes that are decompressed at a time. The result can exceed the limit by this much before that is
/// noticed.
const STEP: u64 = 64 << 10;
/// Window that any zstd decoder of HTTP has to have (RFC 9659): no larger one is allocated for a small body.
const ZSTD_WINDOW_LOG: u32 = 23;
/// The bytes that are read of a refused body, so that the client gets the reason, and the time for that.
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

/// The bytes of a body, and their share of the budget.
#[derive(Debug)]
pub(super) struct BodyBytes {
    pub bytes: Vec<u8>,
    share: Share,
}

impl BodyBytes {
    fn none(budget: &Budget) -> BodyBytes {
        BodyBytes { bytes: Vec::new(), share: budget.share() }
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
pub(super) async fn read(
    body: &mut Body,
    limit: usize,
    patience: Duration,
    budget: &Budget,
) -> Result<BodyBytes, Problem> {
    if body.size_hint().lower() > limit as u64 {
        return Err(too_large(limit));
    }
    let mut held = BodyBytes::none(budget);
    let given_up = held.share.reads();
    let reading = async {
        loop {
            let data = tokio::select! {
                biased;
                () = given_up.notified() => return Err(super::budget::given_up()),
                data = next(body) => data,
            };
            let Some(data) = data else { return Ok(()) };
            let data = data.map_err(|_| Problem::new(StatusCode::BAD_REQUEST, "incomplete", "the body breaks off"))?;
            held.push(&data, limit)?;
        }
    };
    let slow =
        |_| Problem::new(StatusCode::REQUEST_TIMEOUT, "timeout", format!("the body took longer than {patience:?}"));
    timeout(patience, reading).await.map_err(slow)??;
    held.share.has_been_read()?;
    Ok(held)
}

/// Returns the body as it was before it was compressed: at most `limit` bytes, whatever it claims. Takes memory for
/// little more than that, and computes.
///
/// # Errors
/// 400, 413, 503.
pub(super) fn decompress(
    sent: BodyBytes,
    encoding: Encoding,
    limit: usize,
    budget: &Budget,
) -> Result<BodyBytes, Problem> {
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
    let mut held = BodyBytes::none(budget);
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

/// Answers a request with a problem, whose body may not have been read to its end.
pub(super) async fn refuse(headers: &HeaderMap, body: &mut Body, problem: Problem) -> Response {
    linger(headers, body).await;
    problem.into_response()
}

/// Reads on for a moment, although the answer is known: a connection that is closed while the client still sends loses
/// the answer. Not if the client waits for a signal to send.
async fn linger(headers: &HeaderMap, body: &mut Body) {
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

/// Returns the next piece of a body, as it arrives.
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

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::mpsc;
    use tokio::task::{JoinHandle, yield_now};

    const MINUTES: Duration = Duration::from_secs(300);

    /// Begins to read a body, of which `sent` has come and no more will before the sender says so. Returns when it has.
    async fn begin(sent: usize, budget: &Budget) -> (mpsc::Sender<usize>, JoinHandle<Result<BodyBytes, Problem>>) {
        let (sender, pieces) = mpsc::channel::<usize>(1);
        let (taken, has_taken) = tokio::sync::oneshot::channel();
        let pieces =
            futures_util::stream::unfold((pieces, Some(taken), 0), |(mut pieces, mut taken, polled)| async move {
                // Asked for the second piece, it has taken the first.
                if let Some(taken) = taken.take_if(|_| polled == 1) {
                    let _ = taken.send(());
                }
                let bytes = pieces.recv().await?;
                Some((Ok::<_, std::convert::Infallible>(Bytes::from(vec![b' '; bytes])), (pieces, taken, polled + 1)))
            });
        sender.send(sent).await.unwrap();
        let budget = budget.clone();
        let reading = tokio::spawn(async move {
            let mut body = Body::from_stream(pieces);
            read(&mut body, 1000, MINUTES, &budget).await
        });
        has_taken.await.unwrap();
        (sender, reading)
    }

    /// 133 MB of bodies that never ended took the whole budget until their time-out. During that time, 28 % of the
    /// posts of a good client got `busy`.
    #[tokio::test]
    async fn bodies_that_are_held_open_make_room_for_one_that_comes() {
        let budget = Budget::new(1000, Duration::ZERO);
        let (_a, first) = begin(600, &budget).await;
        let (_b, second) = begin(400, &budget).await;
        for _ in 0..100 {
            let (sender, good) = begin(500, &budget).await;
            drop(sender);
            assert_eq!(good.await.unwrap().unwrap().bytes.len(), 500);
        }
        let ended = [first.is_finished(), second.is_finished()];
        assert!(ended != [false, false], "one of the two had to go");
        drop((_a, _b));
        for held in [first, second] {
            if let Err(problem) = held.await.unwrap() {
                assert_eq!((problem.status, problem.code), (StatusCode::SERVICE_UNAVAILABLE, "busy"));
            }
        }
        assert_eq!(budget.left(), 1000);
    }

    #[tokio::test]
    async fn bodies_that_come_fast_or_are_complete_keep_their_room() {
        let budget = Budget::new(1000, MINUTES);
        let (fast, first) = begin(900, &budget).await;
        let (_sender, refused) = begin_refused(200, &budget).await;
        assert_eq!(refused.code, "busy");
        drop(fast);
        let complete = first.await.unwrap().unwrap();

        let budget = Budget::new(1000, Duration::ZERO);
        let (sender, body) = begin(900, &budget).await;
        drop(sender);
        let held = body.await.unwrap().unwrap();
        assert_eq!(begin_refused(200, &budget).await.1.code, "busy");
        drop((held, complete));
        assert_eq!(budget.left(), 1000);
    }

    async fn begin_refused(sent: usize, budget: &Budget) -> (mpsc::Sender<usize>, Problem) {
        let (sender, pieces) = mpsc::channel::<usize>(1);
        sender.send(sent).await.unwrap();
        let pieces = futures_util::stream::unfold(pieces, |mut pieces| async move {
            let bytes = pieces.recv().await?;
            Some((Ok::<_, std::convert::Infallible>(Bytes::from(vec![b' '; bytes])), pieces))
        });
        yield_now().await;
        let problem = read(&mut Body::from_stream(pieces), 1000, MINUTES, budget).await.unwrap_err();
        (sender, problem)
    }
}
