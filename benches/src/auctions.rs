//! The public benchmark Nexmark, query 11: how many bids a user made in each session of activity, with a gap of 10 s.
//! The crate `nexmark` generates the auctions.

use nexmark::EventGenerator;
use nexmark::config::NexmarkConfig;
pub use nexmark::event::Event;
use std::fs::File;
use std::io::{BufWriter, Result, Write};
use std::path::{Path, PathBuf};

/// Microseconds.
pub const GAP: i64 = 10_000_000;

/// 10,000 events per second of event time, in order: 1 new person and 3 auctions for each 46 bids.
pub fn events(count: usize) -> impl Iterator<Item = Event> {
    // By default it would be the time now.
    let config = NexmarkConfig { base_time: 1_767_225_600_000, ..NexmarkConfig::default() };
    EventGenerator::new(config).take(count)
}

/// Writes JSON Lines, `{"Bid": {…}}`, in as many files as there are to be readers.
pub fn generate(count: usize, files: usize, folder: &Path) -> Result<Vec<PathBuf>> {
    let mut events = events(count);
    let write = |file: usize| {
        let path = folder.join(format!("auctions-{file}.json"));
        let mut out = BufWriter::with_capacity(1 << 20, File::create(&path)?);
        let own = count * (file + 1) / files - count * file / files;
        for event in events.by_ref().take(own) {
            serde_json::to_writer(&mut out, &event)?;
            out.write_all(b"\n")?;
        }
        out.flush().map(|()| path)
    };
    (0..files).map(write).collect()
}
