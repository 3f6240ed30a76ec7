//! Writes the events of Nexmark: `generate-auctions EVENTS FOLDER [--files N]`.

use clap::Parser;
use std::path::PathBuf;

#[derive(Parser)]
struct Arguments {
    events: usize,
    folder: PathBuf,
    /// The events are cut into this many files, one after the other in time.
    #[arg(long, default_value_t = 2)]
    files: usize,
}

fn main() -> std::io::Result<()> {
    let Arguments { events, folder, files } = harness::arguments();
    std::fs::create_dir_all(&folder)?;
    harness::auctions::generate(events, files, &folder).map(|_| ())
}
