//! Follows the sessions of a running process with many subscribers, and prints the latency of changes. Beside it `load`
//! keeps the process busy.
//!
//! Each filtered subscriber wants 0.1 % of the users that `load` makes up, and a user of its own. It posts events of
//! those users from time to time. The measured latency is from posting an event to having its session, with its time as
//! the end.
//!
//! ```sh
//! headwater run benches/live.toml --data-dir /tmp/load &
//! cargo run --release -p headwater-benches --bin load -- --rate 50000 --seconds 80 &
//! cargo run --release -p headwater-benches --bin subscribers -- --filtered 1000 --unfiltered 10 --seconds 60
//! ```

use clap::Parser;
use serde_json::json;
use std::fmt::Write as _;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

#[derive(Clone, Debug, Parser)]
struct Subscribers {
    /// Address of the process
    #[arg(long, default_value = "127.0.0.1:7474")]
    address: String,
    #[arg(long, default_value_t = 1000)]
    filtered: u64,
    #[arg(long, default_value_t = 10)]
    unfiltered: u64,
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Users that `load` makes up
    #[arg(long, default_value_t = 200_000)]
    users: u64,
    /// Batches of events of the subscribers' own users, per second
    #[arg(long, default_value_t = 50)]
    batches: u64,
    /// Such events in a batch
    #[arg(long, default_value_t = 20)]
    own: u64,
}

/// The changes that the subscribers of one kind have got.
#[derive(Default)]
struct Got {
    bytes: AtomicU64,
    /// Microseconds from posting an event to having its session.
    took: Mutex<Vec<u32>>,
}

fn now_us() -> i64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("it is after 1970").as_micros() as i64
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> io::Result<()> {
    let plan = Subscribers::parse();
    let before = resident(&plan.address).await?;
    let (filtered, unfiltered) = (Arc::new(Got::default()), Arc::new(Got::default()));
    let measuring = Arc::new(AtomicBool::new(false));
    for number in 0..plan.filtered {
        let share = (plan.users / 1000).max(1);
        let mut filter = format!("user in (\"own-{number:05}\"");
        for user in (number * share)..((number + 1) * share) {
            let _ = write!(filter, ",\"user-{:07}\"", user % plan.users);
        }
        filter.push(')');
        let filter = filter.replace('"', "%22").replace(' ', "%20");
        follow(&plan, &format!("snapshot=false&filter={filter}"), Arc::clone(&filtered), Arc::clone(&measuring))
            .await?;
    }
    for _ in 0..plan.unfiltered {
        follow(&plan, "snapshot=false", Arc::clone(&unfiltered), Arc::clone(&measuring)).await?;
    }
    let subscribed = resident(&plan.address).await?;
    measuring.store(true, Ordering::Relaxed);
    let started = Instant::now();
    let mut stream = TcpStream::connect(&plan.address).await?;
    stream.set_nodelay(true)?;
    let every = Duration::from_secs_f64(1.0 / plan.batches as f64);
    let mut tick = tokio::time::interval(every);
    let mut next = 0;
    let mut most = subscribed;
    let all = plan.filtered.max(1);
    while started.elapsed() < Duration::from_secs(plan.seconds) {
        tick.tick().await;
        let mut body = String::new();
        let now = now_us();
        for _ in 0..plan.own {
            next = (next + 7) % all;
            let _ = writeln!(body, "{{\"user_id\":\"own-{next:05}\",\"event_type\":\"page_view\",\"time_utc\":{now}}}");
        }
        let head = format!(
            "POST /v1/events HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/x-ndjson\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all((head + &body).as_bytes()).await?;
        let mut answer = [0; 1024];
        let size = stream.read(&mut answer).await?;
        if !answer[..size].starts_with(b"HTTP/1.1 202") {
            eprintln!("{}", String::from_utf8_lossy(&answer[..size]));
        }
        if next % 5 == 0 {
            most = most.max(resident(&plan.address).await?);
        }
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    let report = |got: &Got| {
        let mut took = got.took.lock().expect("nothing panics").clone();
        took.sort_unstable();
        let at = |share: f64| {
            let index = ((took.len() as f64 * share) as usize).min(took.len().saturating_sub(1));
            took.get(index).map_or(0.0, |micros| f64::from(*micros) / 1e3)
        };
        json!({
            "changes": took.len(),
            "ms": { "p50": at(0.5), "p99": at(0.99), "max": at(1.0) },
            "mb_per_s": got.bytes.load(Ordering::Relaxed) as f64 / 1e6 / started.elapsed().as_secs_f64(),
        })
    };
    let of_each = (subscribed - before) / (plan.filtered + plan.unfiltered).max(1) as f64;
    let report = json!({
        "filtered": report(&filtered),
        "unfiltered": report(&unfiltered),
        "memory_mb": { "before": before / 1e6, "subscribed": subscribed / 1e6, "most": most / 1e6 },
        "memory_kb_per_subscriber_when_idle": of_each / 1e3,
    });
    println!("{report:#}");
    Ok(())
}

/// Subscribes, and reads in the background until the process ends.
async fn follow(plan: &Subscribers, query: &str, got: Arc<Got>, measuring: Arc<AtomicBool>) -> io::Result<()> {
    let mut stream = TcpStream::connect(&plan.address).await?;
    let request = format!("GET /v1/collections/sessions/changes?{query} HTTP/1.0\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut buffer = vec![0; 64 << 10];
    let size = stream.read(&mut buffer).await?;
    if !buffer[..size].starts_with(b"HTTP/1.0 200") {
        let text = String::from_utf8_lossy(&buffer[..size]).into_owned();
        return Err(io::Error::other(text));
    }
    buffer.truncate(if query.contains("filter") { 4 << 10 } else { 64 << 10 });
    buffer.shrink_to_fit();
    tokio::spawn(async move {
        let began = now_us();
        let mut latest = std::collections::HashMap::new();
        let mut rest = Vec::new();
        let marker = memchr::memmem::Finder::new(b"\"user\":\"own-").into_owned();
        while let Ok(size) = stream.read(&mut buffer).await {
            if size == 0 {
                return;
            }
            got.bytes.fetch_add(size as u64, Ordering::Relaxed);
            rest.extend_from_slice(&buffer[..size]);
            let now = now_us();
            let mut used = 0;
            while let Some(at) = marker.find(&rest[used..]) {
                let start = used + at + marker.needle().len();
                let Some(row) = rest.get(start..start + 120) else {
                    used += at;
                    break;
                };
                used = start;
                let row = String::from_utf8_lossy(row);
                let end = row.split("\"end_us\":").nth(1).and_then(|end| end.split(',').next()?.parse::<i64>().ok());
                let (Some(end), Some(own)) = (end, row.get(..5)) else { continue };
                let last = latest.entry(own.to_owned()).or_insert(0);
                if end > *last {
                    *last = end;
                    // What an earlier run has left goes first.
                    if end >= began && measuring.load(Ordering::Relaxed) {
                        got.took.lock().expect("nothing panics").push((now - end).max(0) as u32);
                    }
                }
            }
            let keep = (rest.len() - used).min(200);
            let cut = rest.len() - keep;
            rest.drain(..cut);
        }
    });
    Ok(())
}

/// Bytes that the process takes.
async fn resident(address: &str) -> io::Result<f64> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").await?;
    let mut text = String::new();
    stream.read_to_string(&mut text).await?;
    let line = text.lines().find_map(|line| line.strip_prefix("headwater_resident_memory_bytes "));
    Ok(line.and_then(|number| number.parse().ok()).unwrap_or(0.0))
}
