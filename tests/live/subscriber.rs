//! A subscriber that is cut off at any byte, by itself or by the end of the process, and goes on from its last token.

use crate::patience::PATIENCE;
use headwater_log::vfs::model::Rng;
use serde_json::Value;
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hasher};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::Duration;

/// Follows one collection. Only what came before a progress frame counts.
pub struct Subscriber {
    pub collection: &'static str,
    /// Which rows, and how they are shown.
    pub query: &'static str,
    /// The query with which it begins while it has no token.
    begin: String,
    pub token: Option<String>,
    /// Each row as often as it is there.
    rows: BTreeMap<String, i64>,
    /// The upper of each progress, with the [`fingerprint`] of the rows.
    pub points: Vec<(u64, u64)>,
    /// Where the last snapshot ended, and every delta frame since.
    pub since: u64,
    pub deltas: Vec<String>,
    pub cuts: u64,
    pub snapshots: u64,
}

/// Of a row that is there `times` times. Those of all rows are added up.
fn fingerprint(row: &str, times: i64) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(row.as_bytes());
    hasher.finish().wrapping_mul(times as u64)
}

impl Subscriber {
    pub fn new(collection: &'static str, query: &'static str, begin: impl Into<String>) -> Subscriber {
        Subscriber {
            collection,
            query,
            begin: begin.into(),
            token: None,
            rows: BTreeMap::new(),
            points: Vec::new(),
            since: 0,
            deltas: Vec::new(),
            cuts: 0,
            snapshots: 0,
        }
    }

    /// Follows until it has everything.
    pub fn finish(&mut self, address: SocketAddr) {
        assert!(self.request(address, "&until=caught_up", None));
    }

    /// Follows until the connection ends, or after `bytes`. Returns whether there was an answer.
    pub fn follow(&mut self, address: SocketAddr, bytes: Option<u64>) -> bool {
        self.request(address, "", bytes)
    }

    fn request(&mut self, address: SocketAddr, until: &str, bytes: Option<u64>) -> bool {
        let Ok(mut stream) = TcpStream::connect(address) else { return false };
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let begin = self.token.as_ref().map_or(self.begin.clone(), |token| format!("token={token}"));
        let (name, query) = (self.collection, self.query);
        let request =
            format!("GET /v1/collections/{name}/changes?{query}&{begin}&heartbeat=0.2{until} HTTP/1.0\r\n\r\n");
        if stream.write_all(request.as_bytes()).is_err() {
            return false;
        }
        let mut lines = BufReader::new(stream.take(bytes.unwrap_or(u64::MAX)));
        let mut status = String::new();
        if lines.read_line(&mut status).is_err() || !status.ends_with('\n') {
            return false;
        }
        if status.contains(" 503 ") {
            return false;
        }
        assert!(status.contains(" 200 "), "{status}");
        let mut header = String::new();
        while header.trim() != "" || header.is_empty() {
            header.clear();
            if lines.read_line(&mut header).is_err() || !header.ends_with('\n') {
                return true;
            }
        }
        let (mut rows, mut deltas) = (self.rows.clone(), Vec::new());
        if self.token.is_none() {
            rows.clear();
        }
        loop {
            let mut line = String::new();
            if lines.read_line(&mut line).is_err() || !line.ends_with('\n') {
                self.cuts += 1;
                return true;
            }
            let frame: Value = serde_json::from_str(&line).unwrap();
            match frame["type"].as_str().unwrap() {
                "hello" => {}
                kind @ ("snapshot" | "delta") => {
                    for update in frame["updates"].as_array().unwrap() {
                        let times = rows.entry(update["row"].to_string()).or_insert(0);
                        *times += update["diff"].as_i64().unwrap();
                        if *times == 0 {
                            rows.remove(&update["row"].to_string());
                        }
                    }
                    if kind == "delta" {
                        deltas.push(line);
                    } else {
                        assert_eq!(self.token, None, "a snapshot without a request for one");
                    }
                }
                "progress" => {
                    let upper = frame["upper"].as_u64().unwrap();
                    if self.token.is_none() {
                        self.since = upper;
                        self.deltas.clear();
                        self.snapshots += 1;
                    }
                    self.token = Some(frame["token"].as_str().unwrap().to_owned());
                    self.deltas.append(&mut deltas);
                    self.rows = rows.clone();
                    let sum = |sum: u64, (row, times): (&String, &i64)| sum.wrapping_add(fingerprint(row, *times));
                    let last = self.points.last().map(|(upper, _)| *upper);
                    assert!(last.is_none_or(|last| last <= upper), "progress goes back: {last:?}, {upper}");
                    self.points.push((upper, self.rows.iter().fold(0, sum)));
                }
                _ => panic!("{line}"),
            }
        }
    }

    /// Follows in pieces of any length, until it is over and no server answers any more.
    pub fn follow_in_pieces(&mut self, address: SocketAddr, rng: &mut Rng, over: &AtomicBool) {
        loop {
            let bytes = [None, Some(rng.below(3000)), Some(rng.below(100_000))][rng.below(3) as usize];
            if !self.follow(address, bytes) {
                if over.load(Ordering::Acquire) {
                    return;
                }
                sleep(Duration::from_millis(1));
            }
        }
    }

    /// Checks every point against what was published.
    pub fn check(&self, truth: &Truth) {
        for (upper, sum) in &self.points {
            assert_eq!(*sum, truth.sums[*upper as usize], "{} {} before tick {upper}", self.collection, self.query);
        }
    }
}

/// The collection before each tick, as a reader should see it.
pub struct Truth {
    collection: &'static str,
    shown: fn(&Value) -> Option<Value>,
    /// By tick: the fingerprint of the rows before it.
    sums: Vec<u64>,
}

impl Truth {
    /// `shown`: what the reader sees of a row, if anything.
    pub fn new(collection: &'static str, shown: fn(&Value) -> Option<Value>) -> Truth {
        Truth { collection, shown, sums: vec![0] }
    }

    /// Takes the next tick: what changed, of all collections.
    pub fn tick<'c>(&mut self, changes: impl Iterator<Item = (&'c str, Value, i64)>) {
        let mut sum = self.sums[self.sums.len() - 1];
        for (_, row, diff) in changes.filter(|(name, ..)| *name == self.collection) {
            if let Some(row) = (self.shown)(&row) {
                sum = sum.wrapping_add(fingerprint(&row.to_string(), diff));
            }
        }
        self.sums.push(sum);
    }
}
