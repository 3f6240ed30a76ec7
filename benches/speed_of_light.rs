//! Measures the fastest reading and parsing of a log file on one thread: reading, splitting, checking UTF-8, and each
//! parser on top of that. Below the parsers of others stands ours, which visits every key as it makes the shape of the
//! event.
#![allow(clippy::unwrap_used, reason = "a bench that fails has to stop")]

use harness::clock::repeat;
use harness::job::{Arguments, Log};
use harness::plain::{self, Event};
use harness::table::{Table, number, thousands};
use headwater_decode::interpret::{Interpreter, Range};
use headwater_decode::json::JsonReader;
use headwater_decode::reading::Reading;
use headwater_decode::spec::Format;
use std::sync::Arc;

fn main() {
    let arguments: Arguments = harness::arguments();
    let (log, runs) = (Log::new(&arguments), arguments.runs);
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
    let interpreter = Interpreter::new(Arc::new(plan.spec()), 0, Format::Json, Range::default());
    let mut reader = JsonReader::new(Arc::clone(interpreter.paths()), None, plan.sources[0].events.limits);
    let mut reading = Reading::default();
    let mut ours = |record: &[u8]| {
        let mut values = 0;
        reader.read(record, &mut reading, |_, read| values += read.unwrap().len());
        values
    };
    row("… and headwater's reader: values, shape", repeat(runs, || records(&log, &mut ours)).0);
    let sonic = |record: &[u8]| asked(&sonic_rs::from_slice(record).unwrap());
    row("… and sonic-rs, typed", repeat(runs, || records(&log, sonic)).0);
    let typed = |record: &[u8]| asked(&serde_json::from_slice(record).unwrap());
    row("… and serde_json, typed", repeat(runs, || records(&log, typed)).0);
    let value = |record: &[u8]| usize::from(serde_json::from_slice::<serde_json::Value>(record).unwrap().is_object());
    row("… and serde_json, `Value`", repeat(runs, || records(&log, value)).0);
}

const SPLIT: &str = "… and split into records (memchr)";

/// Bytes of what the job asks for.
fn asked(event: &Event) -> usize {
    event.time_utc.len() + event.user_id.len() + event.button().map_or(0, str::len)
}

/// Nothing but the system's reading.
fn read(log: &Log) -> usize {
    let mut total = 0;
    plain::read(&log.path, |bytes| {
        total += std::hint::black_box(bytes).len();
        bytes.len()
    });
    total
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
