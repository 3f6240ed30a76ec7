//! Writes the input of the benches: `generate EVENTS OUT.jsonl [--oracle SESSIONS.csv] [--seed N]`.

use clap::Parser;
use std::path::PathBuf;

#[derive(Parser)]
struct Arguments {
    events: usize,
    out: PathBuf,
    /// Where to write the sessions that are in it: user, start and end in milliseconds, events, purchases.
    #[arg(long)]
    oracle: Option<PathBuf>,
    #[arg(long, default_value_t = 42)]
    seed: u64,
}

fn main() -> std::io::Result<()> {
    let Arguments { events, out, oracle, seed } = harness::arguments();
    harness::events::generate(events, seed, &out, oracle.as_deref())
}
