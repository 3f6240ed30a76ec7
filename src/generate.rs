//! `headwater generate`: a synthetic workload with its right answer. Everything follows from the arguments.
//!
//! ```text
//! workload ── schedule: who, what, when ─┬─ sort by user and time ── oracle ── sessions.csv, expected.json
//!                                        └─ + copies, sort by arrival ── text ── events.jsonl
//! ```
//!
//! The oracle knows the events before they are text, and shares no code with the engine. Memory is 24 bytes an event and
//! 20 a user.

pub mod oracle;
pub mod random;
mod schedule;
mod text;
pub mod workload;

use crate::error::Error;
use crate::tables::{OutputFormat, Staging};
use crate::text::progress::{ProgressMode, records};
use indicatif::{DecimalBytes, HumanCount};
use oracle::Expected;
use schedule::{Event, Users};
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;
use std::time::{Duration, Instant};
use workload::{Compression, Workload};

const CONFIG_FILE: &str = "headwater.toml";
const SESSIONS_FILE: &str = "sessions.csv";
const EXPECTED_FILE: &str = "expected.json";

/// The files and figures of a generated workload.
#[derive(Clone, Debug)]
pub struct Generated {
    pub expected: Expected,
    /// Lines of the events' file.
    pub records: u64,
    /// Of the events' file before compression.
    pub bytes: u64,
    pub elapsed: Duration,
    pub files: Vec<PathBuf>,
}

/// Writes the files of a workload, all of them or none.
///
/// # Errors
/// [`Error::Usage`] if the folder has such files already and the command does not allow to replace them; [`Error::Run`]
/// if a file cannot be written.
pub fn generate(workload: &Workload, progress: ProgressMode) -> Result<Generated, Error> {
    let started = Instant::now();
    let workload = workload.clone().settled();
    refuse_to_replace(&workload)?;
    let failed = |error| Error::run("write the workload")(error);
    let staging = Staging::open(&workload.out).map_err(failed)?;
    let create = |name| staging.create(name).map(|file| BufWriter::with_capacity(1 << 20, file)).map_err(failed);
    let written = |name: &str| Error::run(format!("write {}", workload.out.join(name).display()));

    let users = Users::new(&workload);
    let mut events = schedule::events(&workload, &users);
    events.sort_unstable_by_key(|event| (event.user, event.time, event.number));
    if workload.clean {
        schedule::avoid_the_border(workload.gap, &mut events);
    }
    let mut expected = Expected::default();
    let mut file = create(SESSIONS_FILE)?;
    oracle::sessions(&events, &users, workload.gap, &mut expected, &mut file)
        .and_then(|()| file.flush())
        .map_err(written(SESSIONS_FILE))?;

    schedule::add_copies(&workload, &mut events);
    oracle::copies(&events, workload.seed, &mut expected);
    events.sort_unstable_by_key(|event| (event.arrival(), event.sending, event.number));
    let name = workload.events_file();
    let file = create(name)?.into_inner().map_err(|error| written(name)(error.into_error()))?;
    let bytes = write_events(&workload, &events, &users, file, progress).map_err(written(name))?;

    let mut file = create(CONFIG_FILE)?;
    file.write_all(config(&workload).as_bytes()).and_then(|()| file.flush()).map_err(written(CONFIG_FILE))?;
    let mut file = create(EXPECTED_FILE)?;
    serde_json::to_writer_pretty(&mut file, &expected)
        .map_err(io::Error::from)
        .and_then(|()| file.write_all(b"\n"))
        .and_then(|()| file.flush())
        .map_err(written(EXPECTED_FILE))?;
    let files = staging.commit().map_err(failed)?;
    Ok(Generated { expected, records: events.len() as u64, bytes, elapsed: started.elapsed(), files })
}

/// Refuses to replace existing files: a repeated command must not remove a configuration that was edited by hand.
fn refuse_to_replace(workload: &Workload) -> Result<(), Error> {
    let names = [workload.events_file(), CONFIG_FILE, SESSIONS_FILE, EXPECTED_FILE];
    // Sessions of a replay in any format would go, as the oracle's are put in their place.
    let sessions = OutputFormat::ALL.map(|format| format.file("sessions"));
    let taken = names
        .map(str::to_owned)
        .into_iter()
        .chain(sessions)
        .map(|name| workload.out.join(name))
        .find(|path| path.exists());
    match taken {
        Some(path) if !workload.force => Err(Error::usage(
            format!("{} is there already", path.display()),
            "give another folder to --out, or --force to replace what is in this one",
        )),
        _ => Ok(()),
    }
}

/// Returns the bytes before compression.
fn write_events(
    workload: &Workload,
    events: &[Event],
    users: &Users,
    file: File,
    progress: ProgressMode,
) -> io::Result<u64> {
    match workload.compress {
        None => write_lines(workload, events, users, &file, progress),
        Some(Compression::Gzip) => {
            let mut encoder = flate2::write::GzEncoder::new(file, flate2::Compression::default());
            let bytes = write_lines(workload, events, users, &mut encoder, progress)?;
            encoder.finish().map(|_| bytes)
        }
        Some(Compression::Zstd) => {
            let mut encoder = zstd::Encoder::new(file, zstd::DEFAULT_COMPRESSION_LEVEL)?;
            let bytes = write_lines(workload, events, users, &mut encoder, progress)?;
            encoder.finish().map(|_| bytes)
        }
    }
}

fn write_lines(
    workload: &Workload,
    events: &[Event],
    users: &Users,
    mut out: impl Write,
    progress: ProgressMode,
) -> io::Result<u64> {
    /// Events between two writes.
    const BATCH: usize = 4096;
    let writer = text::Writer::new(workload, users);
    let bar = records(events.len() as u64, progress);
    let mut lines = Vec::new();
    let mut bytes = 0;
    for batch in events.chunks(BATCH) {
        lines.clear();
        batch.iter().for_each(|event| writer.record(event, &mut lines));
        out.write_all(&lines)?;
        bytes += lines.len() as u64;
        bar.inc(batch.len() as u64);
    }
    bar.finish_and_clear();
    Ok(bytes)
}

fn config(workload: &Workload) -> String {
    let dedupe = match workload.repeats() {
        true => "dedupe = \"7d\"                 # the same id again within this time is a duplicate",
        false => "dedupe = \"off\"                # no id comes twice",
    };
    format!(
        r#"# Reads the workload that `headwater generate` wrote beside this file. What has to come out is in {SESSIONS_FILE} and
# {EXPECTED_FILE}.

[[source]]
name = "app"
kind = "file"
paths = ["{events}"]
format = "json"

[events]
user = "user_id"
time = "time_utc"
type = "event_type"
id = "event_id"
{dedupe}
max_bytes = "{max_kib}KiB"           # larger than any event; some malformed records are beyond
max_keys = {max_keys}

[fields]                      # where the details lie: nested (or dotted, which is the same), or flat
button = ["event_details.button_type", "button_type"]
price = ["event_details.purchased_items[].unit_price", "item_unit_price"]

[sessions]
gap = "{gap}"

[[class]]
name = "purchase"
when = {{ button = "one-click purchase", price = {{ min = 0.01 }} }}
"#,
        events = workload.events_file(),
        max_kib = text::MAX_BYTES >> 10,
        max_keys = text::MAX_KEYS,
        gap = duration(workload.gap),
    )
}

/// Writes a duration as the configuration does: in the largest unit that leaves no fraction.
fn duration(micros: i64) -> String {
    const UNITS: [(&str, i64); 5] =
        [("d", 86_400_000_000), ("h", 3_600_000_000), ("m", 60_000_000), ("s", 1_000_000), ("ms", 1000)];
    let (unit, size) = UNITS.into_iter().find(|(_, size)| micros % size == 0).unwrap_or(("us", 1));
    format!("{}{unit}", micros / size)
}

impl Generated {
    /// Writes the text for a person, within 80 columns except for paths.
    pub fn render(&self) -> String {
        let expected = &self.expected;
        let sessionless: u64 = expected.sessionless.values().sum();
        let number = |number: u64| HumanCount(number).to_string();
        let rate = self.records as f64 / self.elapsed.as_secs_f64().max(1e-9);
        let rows = [
            ("records", self.records, DecimalBytes(self.bytes).to_string()),
            ("events", expected.events, "that count".to_owned()),
            ("  sessionless", sessionless, "without a user or a readable time".to_owned()),
            ("duplicates", expected.duplicates, "sent again, byte for byte".to_owned()),
            ("dead letters", expected.dead_letters, "malformed, or an id again with other content".to_owned()),
            ("users", expected.users, String::new()),
            ("sessions", expected.sessions, "to be found".to_owned()),
        ];
        let digits = rows.iter().map(|(_, count, _)| number(*count).len()).max().unwrap_or_default();
        let mut out = String::new();
        for (label, count, remark) in rows {
            let line = format!("{label:<13}  {:>digits$}  {remark}", number(count));
            // Writing into a string does not fail.
            let _ = writeln!(out, "{}", line.trim_end());
        }
        let _ = writeln!(out, "\n{:.2} s, {} records/s", self.elapsed.as_secs_f64(), number(rate as u64));
        for path in &self.files {
            let _ = writeln!(out, "{}", crate::text::printable(&path.to_string_lossy()));
        }
        out
    }
}
