//! The promise: an acknowledged event of `headwater run` counts exactly once, whatever happens to its processes. A
//! published tick stays as it is. The sessions of events that came one by one are those of a replay of all of them.
//!
//! Everything here runs the real binary with its real log on a real disk. Losses of power are tested in `crash`, on a
//! file system that forgets.

mod act;
mod actions;
mod backfill;
mod cadence;
mod client;
mod counts;
mod events;
mod exports;
mod folders;
mod forget;
mod full;
mod gates;
mod hosts;
mod identities;
mod journals;
mod kafka;
mod kafka_sink;
mod kill;
mod landing;
mod large;
mod learned;
mod logs;
mod order;
mod policies;
mod process;
mod processes;
mod published;
mod reading;
mod receiver;
mod rules;
mod sequences;
mod states;
mod stop;
mod subscriber;
mod tables;
mod texts;
mod ties;
mod undo;

use crate::headwater::Folder;

/// The settings of events, for posted ones and for those in a file.
const MEANING: &str = r#"
[events]
user = ["user"]
time = ["time"]
type = ["kind"]
id = ["id"]
dedupe = "7d"

[fields]
price = ["price"]
page = ["page"]

[sessions]
gap = "2s"
sum = { revenue = "price" }
carry = ["page"]

[[class]]
name = "purchase"
when = { price = { min = 1 } }
"#;

/// Often enough that every few rounds of anything have snapshots, and files of the log that are removed behind them.
const OFTEN: &str = "snapshot = \"300ms\"\nsegment = \"64KiB\"\n";

/// A folder with `run.toml`, which takes what is posted and has more keys in `[cluster]`, and `replay.toml`, which reads
/// files.
fn folder(cluster: &str) -> Folder {
    let folder = Folder::new();
    folder.write("run.toml", run_toml(cluster, MEANING));
    folder.write("replay.toml", format!("[[source]]\nname = \"collector\"\npaths = \"events.jsonl\"\n{MEANING}"));
    folder
}

fn run_toml(cluster: &str, meaning: &str) -> String {
    format!("[cluster]\n{cluster}\n[[source]]\nname = \"collector\"\nkind = \"http\"\n{meaning}")
}
