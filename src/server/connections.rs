//! From a socket to requests: accepts connections, bounds their number and the time of each, and lets requests in
//! flight finish at the end.

use super::seats::{Seat, Seats, Taken};
use super::threads::Place;
use super::{Bounds, problem};
use axum::Router;
use axum::body::{Body, Bytes, HttpBody};
use axum::extract::Request;
use axum::response::Response;

use hyper::body::{Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::Service;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rustix::io::ioctl_fionread;
use rustix::process::{Resource, getrlimit, setrlimit};
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, Sleep, sleep, timeout};

/// Of each direction of a connection. A request whose head has not ended by then gets 431, at the latest at twice as
/// much: what is there is read at once.
const BUFFER_BYTES: usize = 64 << 10;
/// Lines of a head; beyond that, 431.
const HEADERS: usize = 64;
/// Files that the log and the sources may have open besides the connections.
const OTHER_FILES: u64 = 1024;
/// When the system has no more file descriptors, accepting begins again after this.
const PAUSE: Duration = Duration::from_millis(100);
/// The time for which a stopping server waits for the first request of a connection.
const FIRST: Duration = Duration::from_secs(1);

/// The client of a connection.
#[derive(Clone, Debug)]
pub(super) struct Peer {
    pub address: SocketAddr,
    link: Arc<Link>,
}

impl Peer {
    /// Sets the time for which the client may take nothing.
    pub(super) fn wait(&self, patience: Duration) {
        self.link.patience_ms.store(patience.as_millis() as u64, Ordering::Relaxed);
    }
}

/// The state that the task of a connection and its stream share.
#[derive(Debug)]
struct Link {
    /// How long the client may take nothing.
    patience_ms: AtomicU64,
    /// The server stops: from now on `unread` is kept.
    stopping: AtomicBool,
    /// The last look at the stream has found nothing to read, and yet the system has something.
    unread: AtomicBool,
    /// Nothing has been read yet.
    fresh: AtomicBool,
}

/// Accepts until `stopped`, then returns when the requests that have come are answered, or the grace is over.
/// Connections are given to the `places`, each to the one that has the fewest.
pub(super) async fn serve(
    listener: TcpListener,
    router: Router,
    bounds: Bounds,
    places: Vec<Place>,
    mut stopped: oneshot::Receiver<()>,
) {
    let seats = Seats::new(bounds.connections);
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(bounds.head)
        .max_buf_size(BUFFER_BYTES)
        .max_headers(HEADERS)
        .keep_alive(true);
    let (stop, stopping) = watch::channel(());
    // The stream blocks no thread, and is known to no runtime.
    let begin = |stream: std::net::TcpStream, peer, taken: Taken| {
        let Some(place) = Place::emptiest(&places) else { return };
        // Without it, an answer may wait for the client's acknowledgement of an earlier packet.
        let _ = stream.set_nodelay(true);
        let link = Arc::new(Link {
            patience_ms: AtomicU64::new(bounds.stall.as_millis() as u64),
            stopping: AtomicBool::new(false),
            unread: AtomicBool::new(false),
            fresh: AtomicBool::new(true),
        });
        let (http, stopping, counted) = (http.clone(), stopping.clone(), place.count());
        let router = TowerToHyperService::new(router.clone());
        place.runtime.spawn(async move {
            let _counted = counted;
            // The runtime has no more file descriptors, or ends.
            let Ok(stream) = TcpStream::from_std(stream) else { return };
            let seat = &taken.seat;
            let service =
                Served { peer: Peer { address: peer, link: Arc::clone(&link) }, seat: Arc::clone(seat), router };
            let (deadline, instead) = (None, None);
            let stream = Patient { stream, link: Arc::clone(&link), seat: Arc::clone(seat), deadline, instead };
            let connection = http.serve_connection(TokioIo::new(stream), service);
            tokio::select! {
                biased;
                ended = until_stopped(stopping, link, connection) => if let Err(error) = ended {
                    tracing::debug!(%peer, %error, "a connection ended");
                },
                () = taken.seat.leaves() => tracing::debug!(%peer, "an idle connection is closed for another one"),
            }
        });
    };
    let mut number = 0;
    loop {
        let next = async {
            let accepted = accept(&listener).await;
            (accepted, seats.take(number).await)
        };
        tokio::select! {
            ((stream, peer), taken) = next => if let Ok(stream) = stream.into_std() {
                begin(stream, peer, taken);
            },
            _ = &mut stopped => break,
        }
        number += 1;
    }
    // Clients whose connections wait to be accepted may have sent their requests. tokio may not know of them yet.
    if let Ok(listener) = listener.into_std() {
        while let Ok((stream, peer)) = listener.accept() {
            number += 1;
            let Ok(taken) = timeout(FIRST, seats.take(number)).await else { break };
            if stream.set_nonblocking(true).is_ok() {
                begin(stream, peer, taken);
            }
        }
    }
    drop(stopping);
    stop.send_replace(());
    if timeout(bounds.grace, stop.closed()).await.is_err() {
        tracing::warn!("requests were cut off: they took longer than {:?} to finish", bounds.grace);
    }
}

/// Runs a connection. When the server stops, hyper closes those between two requests at once; a request may have come that
/// it has not read. So it reads first what there is.
async fn until_stopped(
    mut stopping: watch::Receiver<()>,
    link: Arc<Link>,
    connection: http1::Connection<TokioIo<Patient>, Served>,
) -> hyper::Result<()> {
    let mut connection = pin!(connection);
    tokio::select! {
        biased;
        ended = connection.as_mut() => return ended,
        _ = stopping.changed() => {}
    }
    link.stopping.store(true, Ordering::Relaxed);
    let reads = poll_fn(|cx| match connection.as_mut().poll(cx) {
        Poll::Ready(ended) => Poll::Ready(Some(ended)),
        Poll::Pending if link.unread.load(Ordering::Relaxed) || link.fresh.load(Ordering::Relaxed) => Poll::Pending,
        Poll::Pending => Poll::Ready(None),
    });
    if let Ok(Some(ended)) = timeout(FIRST, reads).await {
        return ended;
    }
    connection.as_mut().graceful_shutdown();
    connection.await
}

async fn accept(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok(accepted) => return accepted,
            // The client has gone already.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                tracing::warn!(%error, "cannot accept connections");
                sleep(PAUSE).await;
            }
        }
    }
}

/// Lets the process have as many files open as there may be connections, as far as it is allowed to. Returns how many
/// connections there can be.
pub(super) fn raise_file_limit(connections: usize) -> usize {
    let wanted = connections as u64 + OTHER_FILES;
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current.is_some_and(|current| current < wanted) {
        limit.current = Some(limit.maximum.map_or(wanted, |maximum| maximum.min(wanted)));
        if setrlimit(Resource::Nofile, limit).is_err() || limit.current != Some(wanted) {
            tracing::warn!("fewer than {connections} connections are possible: raise `ulimit -n` to {wanted}");
        }
    }
    // Of few files, half are for connections.
    let possible = getrlimit(Resource::Nofile)
        .current
        .map_or(u64::MAX, |files| (files / 2).max(files.saturating_sub(OTHER_FILES)));
    usize::try_from(possible).unwrap_or(usize::MAX).clamp(1, connections)
}

/// Gives the requests of a connection their origin, and the seat its state: whether a request is in flight.
struct Served {
    peer: Peer,
    seat: Arc<Seat>,
    router: TowerToHyperService<Router>,
}

impl Service<Request<Incoming>> for Served {
    type Response = Response<Given>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Given>, Infallible>> + Send>>;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        request.extensions_mut().insert(self.peer.clone());
        self.seat.begin();
        let given = self.router.call(request);
        let under_way = UnderWay(Arc::clone(&self.seat));
        Box::pin(async move { Ok(given.await?.map(|body| Given { body, _under_way: under_way })) })
    }
}

/// Until it is dropped, the seat is busy.
struct UnderWay(Arc<Seat>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// The body of an answer, dropped when it has been given out.
struct Given {
    body: Body,
    _under_way: UnderWay,
}

impl HttpBody for Given {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A connection that fails when the client takes nothing for too long: reading has deadlines in hyper and in
/// [`super::body`], writing has none.
struct Patient {
    stream: TcpStream,
    link: Arc<Link>,
    seat: Arc<Seat>,
    /// Set while a write waits for the client.
    deadline: Option<Pin<Box<Sleep>>>,
    instead: Option<Instead>,
}

/// Replaces hyper's own empty answers to heads that it cannot read.
struct Instead {
    answer: Vec<u8>,
    written: usize,
    /// Bytes of hyper's answer.
    of: usize,
}

impl Patient {
    fn watch<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            if self.deadline.take().is_some() {
                self.seat.waits(false);
            }
            return written;
        }
        if self.deadline.is_none() {
            self.seat.waits(true);
        }
        let patience = Duration::from_millis(self.link.patience_ms.load(Ordering::Relaxed));
        let deadline =
            self.deadline.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(Instant::now() + patience)));
        ready!(deadline.as_mut().poll(cx));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client takes nothing")))
    }

    /// Writes `bytes`, or the problem that they stand for.
    fn write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.instead.is_none() {
            let problem = problem::of_parser(bytes);
            self.instead = problem.map(|answer| Instead { answer, written: 0, of: bytes.len() });
        }
        let Some(instead) = &mut self.instead else { return Pin::new(&mut self.stream).poll_write(cx, bytes) };
        while instead.written < instead.answer.len() {
            match ready!(Pin::new(&mut self.stream).poll_write(cx, &instead.answer[instead.written..]))? {
                0 => return Poll::Ready(Ok(0)),
                written => instead.written += written,
            }
        }
        let of = instead.of;
        self.instead = None;
        Poll::Ready(Ok(of))
    }
}

impl AsyncRead for Patient {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if read.is_ready() {
            self.link.fresh.store(false, Ordering::Relaxed);
        }
        if self.link.stopping.load(Ordering::Relaxed) {
            let unread = read.is_pending() && ioctl_fionread(&self.stream).is_ok_and(|bytes| bytes > 0);
            self.link.unread.store(unread, Ordering::Relaxed);
        }
        read
    }
}

impl AsyncWrite for Patient {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = self.write(cx, bytes);
        self.watch(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = match slices {
            [only] => self.write(cx, only),
            _ => Pin::new(&mut self.stream).poll_write_vectored(cx, slices),
        };
        self.watch(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        self.watch(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
