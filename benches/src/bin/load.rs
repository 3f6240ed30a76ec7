//! Puts load on the collector of a running process, and prints the result: batches of made-up events at a steady rate,
//! whether or not the answers come fast. With `--pid` it also watches the processor time and memory of that process.
//!
//! ```sh
//! headwater run benches/live.toml --data-dir /tmp/load &
//! cargo run --release -p headwater-benches --bin load -- --rate 115000 --seconds 600 --pid $(pgrep -n -x headwater)
//! ```

use clap::Parser;
use serde_json::json;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

#[derive(Clone, Debug, Parser)]
struct Load {
    /// Address of the collector
    #[arg(long, default_value = "127.0.0.1:7474")]
    address: String,
    /// Events per second; 0: as many as are acknowledged. With `--connections 0` none are sent, and the process is watched
    #[arg(long, default_value_t = 115_000)]
    rate: u64,
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Events per request
    #[arg(long, default_value_t = 1000)]
    batch: u64,
    #[arg(long, default_value_t = 4)]
    connections: u64,
    #[arg(long, default_value_t = 200_000)]
    users: u64,
    /// Each user in turn, instead of few with most of the events: as many sessions as users
    #[arg(long)]
    even: bool,
    /// Process whose use of the machine is watched, thread by thread
    #[arg(long)]
    pid: Option<u32>,
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut number = self.0;
        number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        number ^ (number >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }

    /// Few users have most of the events: the rank of a user is distributed about as 1/rank.
    fn user(&mut self, users: u64) -> u64 {
        let exponent = self.below(1 << 20) as f64 / (1 << 20) as f64;
        ((users as f64).powf(exponent) as u64).min(users - 1)
    }
}

/// The results of all connections.
#[derive(Default)]
struct Outcome {
    acknowledged: AtomicU64,
    refused: AtomicU64,
    bytes: AtomicU64,
    /// Microseconds from sending to the answer.
    answers: Mutex<Vec<u32>>,
}

fn main() -> std::io::Result<()> {
    let load = Load::parse();
    let outcome = Arc::new(Outcome::default());
    let before = metrics(&load.address)?;
    let used = load.pid.map(cpu_seconds);
    let by_thread = load.pid.map(thread_seconds).unwrap_or_default();
    let started = Instant::now();
    let threads: Vec<_> = (0..load.connections)
        .map(|number| {
            let (load, outcome) = (load.clone(), Arc::clone(&outcome));
            std::thread::spawn(move || send(&load, number, started, &outcome))
        })
        .collect();
    let mut watched = Vec::new();
    let step = Duration::from_secs((load.seconds / 20).max(1));
    while started.elapsed() < Duration::from_secs(load.seconds) {
        std::thread::sleep(step.min(Duration::from_secs(load.seconds).saturating_sub(started.elapsed())));
        let now = metrics(&load.address)?;
        let line = json!({
            "s": started.elapsed().as_secs(),
            "acknowledged": outcome.acknowledged.load(Ordering::Relaxed),
            "taken": now["headwater_events_total"] - before["headwater_events_total"],
            "backlog_bytes": now["headwater_backlog_bytes"],
            "rss_mb": (now["headwater_resident_memory_bytes"] / 1e6).round(),
            "published_p99_ms": quantile(&now, &before, 0.99) * 1e3,
        });
        eprintln!("{line}");
        watched.push(line);
    }
    threads.into_iter().try_for_each(|thread| thread.join().expect("a connection does not panic"))?;
    let sent_for = started.elapsed().as_secs_f64();
    let acknowledged = outcome.acknowledged.load(Ordering::Relaxed);
    // Until everything is taken.
    let mut after = metrics(&load.address)?;
    while after["headwater_events_total"] - before["headwater_events_total"] < acknowledged as f64 {
        std::thread::sleep(Duration::from_millis(10));
        after = metrics(&load.address)?;
    }
    let lag = started.elapsed().as_secs_f64() - sent_for;
    let mut answers = outcome.answers.lock().expect("no connection panics").clone();
    answers.sort_unstable();
    let at = |share: f64| {
        answers
            .get(((answers.len() as f64 * share) as usize).min(answers.len().saturating_sub(1)))
            .map_or(0.0, |micros| f64::from(*micros) / 1e3)
    };
    let cpu = load.pid.map(|pid| cpu_seconds(pid) - used.unwrap_or(0.0));
    let ticks = after["headwater_ticks_total"] - before["headwater_ticks_total"];
    let threads: BTreeMap<String, f64> = load.pid.map(thread_seconds).unwrap_or_default();
    // Of threads that have ended since nothing is known; a process that runs keeps its own.
    let threads: BTreeMap<&String, f64> = threads
        .iter()
        .map(|(name, seconds)| (name, seconds - by_thread.get(name).copied().unwrap_or(0.0)))
        .filter(|(_, seconds)| *seconds > 0.0)
        .collect();
    let report = json!({
        "events": acknowledged,
        "ticks": ticks,
        "refused_requests": outcome.refused.load(Ordering::Relaxed),
        "events_per_s": (acknowledged as f64 / sent_for).round(),
        "bytes_per_event": (outcome.bytes.load(Ordering::Relaxed) as f64 / acknowledged.max(1) as f64).round(),
        "seconds": sent_for,
        "lag_at_end_s": lag,
        "answer_ms": { "p50": at(0.5), "p99": at(0.99), "max": at(1.0) },
        "published_ms": {
            "p50": quantile(&after, &before, 0.5) * 1e3,
            "p99": quantile(&after, &before, 0.99) * 1e3,
            "max_below": quantile(&after, &before, 1.0) * 1e3,
        },
        "cpu_s": cpu,
        "cpu_us_per_event": cpu.map(|cpu| cpu * 1e6 / acknowledged.max(1) as f64),
        "cpu_us_per_tick": cpu.filter(|_| ticks > 0.0).map(|cpu| cpu * 1e6 / ticks),
        "cpu_s_by_thread": threads,
        "watched": watched,
    });
    println!("{report:#}");
    Ok(())
}

/// Sends this connection's share until the time is over.
fn send(load: &Load, number: u64, started: Instant, outcome: &Outcome) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(&load.address)?;
    stream.set_nodelay(true)?;
    let mut answers = BufReader::new(stream.try_clone()?);
    let mut random = Random(number << 32 ^ 0x5eed);
    let (mut body, mut request) = (String::new(), Vec::new());
    let mut event = number << 48;
    let pause =
        (load.rate > 0).then(|| Duration::from_secs_f64((load.batch * load.connections) as f64 / load.rate as f64));
    let mut due = started + pause.unwrap_or_default() * number as u32 / load.connections as u32;
    while started.elapsed() < Duration::from_secs(load.seconds) {
        if let Some(pause) = pause {
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            due += pause;
        }
        body.clear();
        let now_ms =
            SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("it is after 1970").as_millis() as i64;
        for _ in 0..load.batch {
            event += 1;
            // One in twenty is up to an hour late.
            let late = if random.below(20) == 0 { random.below(3_600_000) } else { random.below(500) };
            let user = match load.even {
                true => (event % (1 << 48) * load.connections + number) % load.users,
                false => random.user(load.users),
            };
            let (kind, page, price) = (random.below(6), random.below(500), random.below(100_000));
            let kind = ["page_view", "page_view", "page_view", "add_to_cart", "search", "checkout"][kind as usize];
            let _ = writeln!(
                body,
                "{{\"event_id\":\"{event:016x}\",\"user_id\":\"user-{user:07}\",\"event_type\":\"{kind}\",\
                 \"time_utc\":{},\"event_details\":{{\"page\":\"/catalogue/item/{page}\",\"price\":{}.{:02},\
                 \"referrer\":\"https://shop.example/search?q=shoes\",\"agent\":\"Mozilla/5.0 (X11; Linux x86_64)\"}}}}",
                now_ms - late as i64,
                price / 100,
                price % 100,
            );
        }
        request.clear();
        write!(
            request,
            "POST /v1/events HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/x-ndjson\r\ncontent-length: {}\r\n\r\n",
            body.len()
        )?;
        request.extend_from_slice(body.as_bytes());
        let sent = Instant::now();
        stream.write_all(&request)?;
        let (status, _) = answer(&mut answers)?;
        let took = sent.elapsed().as_micros().min(u128::from(u32::MAX)) as u32;
        outcome.answers.lock().expect("no connection panics").push(took);
        if status == 202 {
            outcome.acknowledged.fetch_add(load.batch, Ordering::Relaxed);
            outcome.bytes.fetch_add(body.len() as u64, Ordering::Relaxed);
        } else {
            outcome.refused.fetch_add(1, Ordering::Relaxed);
            std::thread::sleep(Duration::from_millis(100));
        }
    }
    Ok(())
}

/// Status and body of an answer.
fn answer(stream: &mut impl BufRead) -> std::io::Result<(u16, String)> {
    let (mut line, mut status, mut length) = (String::new(), 0, 0);
    loop {
        line.clear();
        if stream.read_line(&mut line)? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        let text = line.trim_end();
        if let Some(rest) = text.strip_prefix("HTTP/1.1 ") {
            status = rest.get(..3).and_then(|code| code.parse().ok()).unwrap_or(0);
        } else if let Some((name, value)) = text.split_once(':') {
            if name.eq_ignore_ascii_case("content-length") {
                length = value.trim().parse().unwrap_or(0);
            }
        } else if text.is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    Ok((status, String::from_utf8_lossy(&body).into_owned()))
}

/// The metrics of the process, by name and labels.
fn metrics(address: &str) -> std::io::Result<BTreeMap<String, f64>> {
    let mut stream = TcpStream::connect(address)?;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")?;
    let (_, text) = answer(&mut BufReader::new(stream))?;
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    Ok(lines
        .filter_map(|line| line.rsplit_once(' '))
        .filter_map(|(name, value)| Some((name.to_owned(), value.parse().ok()?)))
        .collect())
}

/// Upper bound of a quantile of the time from arrival to publication, in seconds.
fn quantile(after: &BTreeMap<String, f64>, before: &BTreeMap<String, f64>, share: f64) -> f64 {
    let prefix = "headwater_latency_seconds_bucket{";
    let mut buckets: Vec<(f64, f64)> = after
        .iter()
        .filter(|(name, _)| name.starts_with(prefix) && name.contains("stage=\"published\""))
        .filter_map(|(name, count)| {
            let bound = name.split("le=\"").nth(1)?.split('"').next()?;
            let bound = if bound == "+Inf" { f64::INFINITY } else { bound.parse().ok()? };
            Some((bound, count - before.get(name).copied().unwrap_or(0.0)))
        })
        .collect();
    buckets.sort_by(|one, other| one.0.total_cmp(&other.0));
    let all = buckets.last().map_or(0.0, |(_, count)| *count);
    buckets.iter().find(|(_, count)| *count >= all * share && all > 0.0).map_or(0.0, |(bound, _)| *bound)
}

/// User and system time of a process so far.
fn cpu_seconds(pid: u32) -> f64 {
    stat_seconds(&format!("/proc/{pid}/stat"))
}

/// User and system time of the threads of a process so far, by their names.
fn thread_seconds(pid: u32) -> BTreeMap<String, f64> {
    let mut threads = BTreeMap::new();
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    for task in tasks.map(|task| task.path()) {
        let Ok(name) = std::fs::read_to_string(task.join("comm")) else { continue };
        *threads.entry(name.trim().to_owned()).or_insert(0.0) += stat_seconds(&task.join("stat").to_string_lossy());
    }
    threads
}

/// User and system time in a `stat` file of `/proc`; 0 if there is none.
fn stat_seconds(path: &str) -> f64 {
    let stat = std::fs::read_to_string(path).unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or("").split_whitespace().collect();
    let ticks = |index: usize| fields.get(index).and_then(|field| field.parse::<f64>().ok()).unwrap_or(0.0);
    (ticks(11) + ticks(12)) / 100.0
}
