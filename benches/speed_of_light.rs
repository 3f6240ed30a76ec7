//! How fast a log can be read and parsed at all, on one thread: reading, splitting, checking UTF-8, and each parser on
//! top of that. Below the parsers of others stands ours, which visits every key as it makes the shape of the event.
#![allow(clippy::unwrap_used, reason = "a bench that fails has to stop")]

use clap::Parser;
use harness::clock::repeat;
use harness::job::Log;
use harness::table::{Table, number, thousands};
use headwater::decode::interpret::{Interpreter, Range};
use headwater::decode::json::JsonReader;
use headwater::decode::reading::Reading;
use headwater::plan::Format;
use serde::Deserialize;
use std::path::PathBuf;
use std::sync::Arc;

#[derive(Parser)]
struct Arguments {
    /// Events of `generate`; by default a file is generated.
    #[arg(long)]
    input: Option<PathBuf>,
    #[arg(long, default_value_t = 500_000)]
    events: usize,
    #[arg(long, default_value_t = 5)]
    runs: usize,
}

/// What the job asks of an event.
#[derive(Deserialize)]
struct Event<'a> {
    time_utc: &'a str,
    user_id: &'a str,
    event_type: &'a str,
    button_type: Option<&'a str>,
    #[serde(borrow)]
    event_details: Option<EventDetails<'a>>,
}

#[derive(Deserialize)]
struct EventDetails<'a> {
    button_type: Option<&'a str>,
}

impl Event<'_> {
    /// Of what was asked for.
    fn bytes(&self) -> usize {
        let nested = self.event_details.as_ref().and_then(|details| details.button_type);
        let button = self.button_type.or(nested).map_or(0, str::len);
        self.time_utc.len() + self.user_id.len() + self.event_type.len() + button
    }
}

fn main() {
    let Arguments { input, events, runs } = harness::arguments();
    let log = Log::new(input.as_deref(), events);
    let mut bytes = 0;
    log.chunks(|chunk| bytes += chunk.bytes.len());
    let events = records(&log, |_| 1);
    let title = format!("One thread, {} events of {} bytes:", thousands(events), bytes / events);
    let table = Table::new(&title, &["", "µs CPU/event", "GB/s", "above splitting"]);
    let mut split = 0.0;
    let mut row = |name: &str, took: harness::clock::Took| {
        let cpu = took.cpu_us(events);
        if name == SPLIT {
            split = cpu;
        }
        let above = if split == 0.0 || name == SPLIT { "".into() } else { number(cpu - split) };
        table.row(&[name.into(), number(cpu), number(bytes as f64 / took.cpu / 1e9), above]);
    };

    row("read into a reused buffer", repeat(runs, || read(&log)).0);
    row("read in chunks of whole lines", repeat(runs, || log.chunks(|_| {})).0);
    row(SPLIT, repeat(runs, || records(&log, <[u8]>::len)).0);
    let utf8 = |record: &[u8]| simdutf8::basic::from_utf8(record).unwrap().len();
    row("… and check UTF-8 (simdutf8)", repeat(runs, || records(&log, utf8)).0);
    let plan = log.plan(1);
    let interpreter = Interpreter::new(Arc::clone(&plan), 0, Format::Json, Range::default());
    let mut reader = JsonReader::new(Arc::clone(interpreter.paths()), None, plan.sources[0].events.limits);
    let mut reading = Reading::default();
    let mut ours = |record: &[u8]| {
        let mut values = 0;
        reader.read(record, &mut reading, |_, read| values += read.unwrap().len());
        values
    };
    row("… and headwater's reader: values, shape", repeat(runs, || records(&log, &mut ours)).0);
    let sonic = |record: &[u8]| sonic_rs::from_slice::<Event>(record).unwrap().bytes();
    row("… and sonic-rs, typed", repeat(runs, || records(&log, sonic)).0);
    let typed = |record: &[u8]| serde_json::from_slice::<Event>(record).unwrap().bytes();
    row("… and serde_json, typed", repeat(runs, || records(&log, typed)).0);
    let value = |record: &[u8]| usize::from(serde_json::from_slice::<serde_json::Value>(record).unwrap().is_object());
    row("… and serde_json, `Value`", repeat(runs, || records(&log, value)).0);
}

const SPLIT: &str = "… and split into records (memchr)";

/// Nothing but the system's reading.
fn read(log: &Log) -> usize {
    use std::io::Read;
    let mut file = std::fs::File::open(&log.path).unwrap();
    let mut buffer = vec![0; 1 << 20];
    let mut total = 0;
    loop {
        match file.read(&mut buffer).unwrap() {
            0 => return total,
            length => total += std::hint::black_box(&buffer[..length]).len(),
        }
    }
}

/// Sums what `each` returns for every record.
fn records(log: &Log, mut each: impl FnMut(&[u8]) -> usize) -> usize {
    let mut total = 0;
    log.chunks(|chunk| {
        for (_, record) in chunk.framing.records(&chunk.bytes) {
            total += each(record);
        }
    });
    total
}
