//! What a durable post and a synced output per tick cost by themselves: an HTTP server that does nothing but append what
//! comes to one file and sync it, and appends something to another file for each tick and syncs that. No events are read.
//!
//! ```sh
//! cargo run --release -p headwater-benches --bin floor -- --data-dir /tmp/floor &
//! cargo run --release -p headwater-benches --bin load -- --rate 1000 --batch 10 --seconds 5 --pid $(pgrep -n -x floor)
//! ```

use clap::Parser;
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use std::cell::RefCell;
use std::fs::{File, OpenOptions, create_dir_all};
use std::io::{Result, Write};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, Thread, park};
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio::task::LocalSet;

#[derive(Clone, Debug, Parser)]
struct Floor {
    #[arg(long, default_value = "127.0.0.1:7474")]
    address: String,
    /// Folder for the two files
    #[arg(long)]
    data_dir: PathBuf,
    /// Milliseconds between ticks
    #[arg(long, default_value_t = 10)]
    tick: u64,
    /// Bytes that a tick appends; 0: no ticks
    #[arg(long, default_value_t = 1500)]
    output: usize,
    /// Do not sync
    #[arg(long)]
    volatile: bool,
    /// Events that a request is said to have
    #[arg(long, default_value_t = 10)]
    batch: u64,
}

/// A file that grows.
struct Log {
    file: File,
    volatile: bool,
}

impl Log {
    fn new(folder: &Path, name: &str, volatile: bool) -> Result<Log> {
        let file = OpenOptions::new().create(true).write(true).truncate(true).open(folder.join(name))?;
        file.sync_all()?;
        Ok(Log { file, volatile })
    }

    fn append(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.write_all(bytes)?;
        if self.volatile { Ok(()) } else { self.file.sync_data() }
    }
}

#[derive(Default)]
struct Counts {
    requests: AtomicU64,
    ticks: AtomicU64,
    news: AtomicBool,
}

struct Server {
    log: RefCell<Log>,
    counts: Arc<Counts>,
    ticker: Option<Thread>,
    batch: u64,
}

fn main() -> Result<()> {
    let floor = Floor::parse();
    create_dir_all(&floor.data_dir)?;
    let counts = Arc::new(Counts::default());
    let ticker = (floor.output > 0).then(|| spawn_ticker(&floor, Arc::clone(&counts))).transpose()?;
    let log = RefCell::new(Log::new(&floor.data_dir, "queue", floor.volatile)?);
    let server = Rc::new(Server { log, counts, ticker, batch: floor.batch });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    LocalSet::new().block_on(&runtime, async {
        let listener = TcpListener::bind(&floor.address).await?;
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            let server = Rc::clone(&server);
            tokio::task::spawn_local(async move {
                let service = service_fn(move |request| answer(Rc::clone(&server), request));
                let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
            });
        }
    })
}

/// A thread that appends the outputs of a tick when something has come since the one before.
fn spawn_ticker(floor: &Floor, counts: Arc<Counts>) -> Result<Thread> {
    let mut log = Log::new(&floor.data_dir, "outputs", floor.volatile)?;
    let (tick, output) = (Duration::from_millis(floor.tick), vec![b'x'; floor.output]);
    let run = move || {
        loop {
            let began = Instant::now();
            while !counts.news.swap(false, Ordering::AcqRel) {
                park();
            }
            log.append(&output).expect("the disk takes the outputs");
            counts.ticks.fetch_add(1, Ordering::Relaxed);
            thread::sleep(tick.saturating_sub(began.elapsed()));
        }
    };
    Ok(thread::Builder::new().name("ticker".into()).spawn(run)?.thread().clone())
}

async fn answer(
    server: Rc<Server>,
    request: Request<Incoming>,
) -> std::result::Result<Response<Full<Bytes>>, hyper::Error> {
    if request.uri().path() == "/metrics" {
        let [requests, ticks] =
            [&server.counts.requests, &server.counts.ticks].map(|count| count.load(Ordering::Relaxed));
        let text = format!(
            "headwater_events_total {}\nheadwater_ticks_total {ticks}\nheadwater_backlog_bytes 0\n\
             headwater_resident_memory_bytes 0\n",
            requests * server.batch,
        );
        return Ok(Response::new(Full::new(text.into())));
    }
    let body = request.into_body().collect().await?.to_bytes();
    server.log.borrow_mut().append(&body).expect("the disk takes the events");
    server.counts.requests.fetch_add(1, Ordering::Relaxed);
    if let Some(ticker) = &server.ticker {
        // Wakes it only if it waits for something to come.
        server.counts.news.store(true, Ordering::Release);
        ticker.unpark();
    }
    let mut response = Response::new(Full::new(Bytes::from_static(b"{\"accepted\":10}")));
    *response.status_mut() = StatusCode::ACCEPTED;
    Ok(response)
}
