//! The binary as a user meets it: a folder of one's own, arguments in, exit code, screen and files out.

use serde_json::Value;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU16, Ordering};

/// A temporary folder that a test owns, with the outputs in `out/`.
pub struct Folder(tempfile::TempDir);

/// A session in the words of the truth files: user, start and end in milliseconds (floored), events.
pub type Row = (String, i64, i64, u64);

impl Folder {
    pub fn new() -> Folder {
        Folder(tempfile::tempdir().unwrap())
    }

    pub fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.0.path().join(name)
    }

    /// Writes a file, with the folders above it.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path
    }

    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    /// Runs `headwater ARGUMENTS` in this folder.
    pub fn headwater<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Run {
        let mut command = Command::new(env!("CARGO_BIN_EXE_headwater"));
        Run(command.args(arguments).current_dir(self.0.path()).env_remove("NO_COLOR").output().unwrap())
    }

    /// Runs `headwater ARGUMENTS` in this folder, where the system is in a time zone.
    pub fn headwater_in<A: AsRef<OsStr>>(&self, zone: &str, arguments: impl IntoIterator<Item = A>) -> Run {
        let mut command = Command::new(env!("CARGO_BIN_EXE_headwater"));
        Run(command.args(arguments).current_dir(self.0.path()).env("TZ", zone).output().unwrap())
    }

    /// Runs `headwater replay CONFIG --out out --format csv --json MORE`, which has to succeed.
    pub fn replay<A: AsRef<OsStr>>(&self, config: impl AsRef<OsStr>, more: impl IntoIterator<Item = A>) -> Replay {
        let fixed = [OsStr::new("replay"), config.as_ref()].map(OsStr::to_os_string).into_iter();
        let output = ["--out", "out", "--format", "csv", "--json"].map(Into::into);
        let run = self.headwater(fixed.chain(more.into_iter().map(|a| a.as_ref().to_os_string())).chain(output));
        assert_eq!(run.code(), 0, "{}", run.stderr());
        Replay {
            summary: serde_json::from_str(&run.stdout()).unwrap(),
            sessions: csv(&fs::read(self.path("out/sessions.csv")).unwrap()),
            counts: self.read("out/counts.csv"),
            dead_letters: self.read("out/dead_letters.jsonl"),
        }
    }
}

pub struct Run(Output);

impl Run {
    pub fn code(&self) -> i32 {
        self.0.status.code().unwrap()
    }

    pub fn stdout(&self) -> String {
        String::from_utf8(self.0.stdout.clone()).unwrap()
    }

    pub fn stderr(&self) -> String {
        String::from_utf8(self.0.stderr.clone()).unwrap()
    }

    /// Returns standard error without the line ends and frames of a terminal.
    pub fn said(&self) -> String {
        self.stderr().replace(['│', '╰', '─', '▶'], " ").split_whitespace().collect::<Vec<_>>().join(" ")
    }
}

/// The outputs of a successful replay.
pub struct Replay {
    pub summary: Value,
    /// One map from column to value per session.
    pub sessions: Vec<BTreeMap<String, String>>,
    pub counts: String,
    pub dead_letters: String,
}

impl Replay {
    /// A number of the summary.
    pub fn number(&self, name: &str) -> u64 {
        self.summary[name].as_u64().unwrap_or_else(|| panic!("{name} in {}", self.summary))
    }

    /// A map from names to numbers in the summary.
    pub fn numbers(&self, name: &str) -> BTreeMap<String, u64> {
        serde_json::from_value(self.summary[name].clone()).unwrap()
    }

    /// Sorted.
    pub fn rows(&self) -> Vec<Row> {
        let number = |session: &BTreeMap<String, String>, column: &str| -> i64 { session[column].parse().unwrap() };
        let row = |session| {
            let [start, end] = ["start_us", "end_us"].map(|column| number(session, column).div_euclid(1000));
            (session["user"].clone(), start, end, number(session, "events") as u64)
        };
        let mut rows: Vec<Row> = self.sessions.iter().map(row).collect();
        rows.sort();
        rows
    }

    /// Each line of `dead_letters.jsonl`.
    pub fn dead_letters(&self) -> Vec<Value> {
        self.dead_letters.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

/// The rows of a CSV with a header, each as a map from column to value.
pub fn csv(content: &[u8]) -> Vec<BTreeMap<String, String>> {
    let mut rows = csv_rows(content).into_iter();
    let header = rows.next().unwrap_or_default();
    let mut maps = Vec::new();
    for row in rows {
        assert_eq!(row.len(), header.len(), "{row:?}");
        maps.push(header.iter().cloned().zip(row).collect());
    }
    maps
}

fn csv_rows(content: &[u8]) -> Vec<Vec<String>> {
    let mut reader = csv_core::Reader::new();
    let (mut rows, mut row, mut cell) = (Vec::new(), Vec::new(), Vec::new());
    let (mut rest, mut buffer) = (content, [0; 4096]);
    loop {
        let (result, read, written) = reader.read_field(rest, &mut buffer);
        rest = &rest[read..];
        cell.extend_from_slice(&buffer[..written]);
        match result {
            csv_core::ReadFieldResult::Field { record_end } => {
                row.push(String::from_utf8(std::mem::take(&mut cell)).unwrap());
                if record_end {
                    rows.push(std::mem::take(&mut row));
                }
            }
            csv_core::ReadFieldResult::End => return rows,
            csv_core::ReadFieldResult::InputEmpty | csv_core::ReadFieldResult::OutputFull => {}
        }
    }
}

/// Returns an address of this machine that no other server of any test has: a client may still connect to the port of a
/// server that has ended.
pub fn own_address() -> IpAddr {
    static GIVEN: AtomicU16 = AtomicU16::new(0);
    let [high, low] = GIVEN.fetch_add(1, Ordering::Relaxed).to_be_bytes();
    Ipv4Addr::new(127, 1 + (std::process::id() % 250) as u8, high, low).into()
}
