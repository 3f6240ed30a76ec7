//! The job of `peers/` as one would write it by hand for this one log, on one thread: parse with sonic-rs, collect the
//! times of each user in a hash map, sort them, scan. `baseline [--whole] EVENTS.jsonl SESSIONS.parquet`
//!
//! It knows this log only: a record of another form ends it, and it keeps no counts but purchases.
#![allow(clippy::unwrap_used, reason = "a baseline that fails has to stop")]

use clap::Parser;
use harness::plain::{self, Event};
use memchr::{memchr_iter, memrchr};
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::data_type::{ByteArray, ByteArrayType, Int64Type};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use std::collections::HashMap;
use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;

/// Microseconds.
const GAP: i64 = 1_800_000_000;
const PURCHASE: &str = "one-click purchase";

/// By user: microseconds, purchase.
type Users = HashMap<String, Vec<(i64, bool)>, foldhash::fast::FixedState>;

#[derive(Parser)]
struct Arguments {
    events: PathBuf,
    sessions: PathBuf,
    /// Reads all of the file before anything else, as a first version would.
    #[arg(long)]
    whole: bool,
}

fn main() {
    let Arguments { events, sessions, whole } = harness::arguments();
    let mut users = Users::default();
    match whole {
        true => lines(&std::fs::read(events).unwrap(), &mut users),
        false => {
            let rest = plain::read(&events, |bytes| {
                let whole = memrchr(b'\n', bytes).map_or(0, |end| end + 1);
                lines(&bytes[..whole], &mut users);
                whole
            });
            lines(&rest, &mut users);
        }
    }
    let mut names: Vec<String> = users.keys().cloned().collect();
    names.sort_unstable();
    let mut rows = Rows::default();
    for name in names {
        sessionize(name.as_str(), users.get_mut(&name).unwrap(), &mut rows);
    }
    write(&rows, File::create(sessions).unwrap());
}

fn lines(bytes: &[u8], users: &mut Users) {
    let mut start = 0;
    for end in memchr_iter(b'\n', bytes).chain([bytes.len()]) {
        if start < end {
            add(&bytes[start..end], users);
        }
        start = end + 1;
    }
}

fn add(line: &[u8], users: &mut Users) {
    let event: Event = sonic_rs::from_slice(line).unwrap();
    let (seconds, fraction) = event.time_utc.split_once('.').unwrap();
    let time = seconds.parse::<i64>().unwrap() * 1_000_000 + fraction[..6].parse::<i64>().unwrap();
    let visit = (time, event.button() == Some(PURCHASE));
    match users.get_mut(event.user_id) {
        Some(visits) => visits.push(visit),
        None => {
            users.insert(event.user_id.to_owned(), vec![visit]);
        }
    }
}

#[derive(Default)]
struct Rows {
    users: Vec<ByteArray>,
    starts: Vec<i64>,
    ends: Vec<i64>,
    events: Vec<i64>,
    purchases: Vec<i64>,
}

fn sessionize(user: &str, visits: &mut [(i64, bool)], rows: &mut Rows) {
    visits.sort_unstable();
    let user = ByteArray::from(user);
    for session in visits.chunk_by(|one, other| other.0 - one.0 <= GAP) {
        rows.users.push(user.clone());
        rows.starts.push(session[0].0);
        rows.ends.push(session[session.len() - 1].0);
        rows.events.push(session.len() as i64);
        rows.purchases.push(session.iter().filter(|(_, purchase)| *purchase).count() as i64);
    }
}

fn write(rows: &Rows, file: File) {
    let schema = "message sessions { required binary user (UTF8); required int64 start_us; required int64 end_us;
        required int64 events; required int64 purchases; }";
    let properties = ["start_us", "end_us", "events", "purchases"].into_iter().fold(
        WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::try_new(1).unwrap()))
            .set_dictionary_enabled(false),
        |properties, column| properties.set_column_encoding(column.into(), Encoding::DELTA_BINARY_PACKED),
    );
    let schema = Arc::new(parse_message_type(schema).unwrap());
    let mut writer = SerializedFileWriter::new(file, schema, Arc::new(properties.build())).unwrap();
    for start in (0..rows.users.len()).step_by(1 << 17) {
        let range = start..(start + (1 << 17)).min(rows.users.len());
        let mut group = writer.next_row_group().unwrap();
        let mut column = group.next_column().unwrap().unwrap();
        column.typed::<ByteArrayType>().write_batch(&rows.users[range.clone()], None, None).unwrap();
        column.close().unwrap();
        for integers in [&rows.starts, &rows.ends, &rows.events, &rows.purchases] {
            let mut column = group.next_column().unwrap().unwrap();
            column.typed::<Int64Type>().write_batch(&integers[range.clone()], None, None).unwrap();
            column.close().unwrap();
        }
        group.close().unwrap();
    }
    writer.close().unwrap();
}
