//! Other readers of Delta see the same rows: Polars, delta-rs, and DuckDB, as far as they are installed for the Python that
//! `HEADWATER_PYTHON` names, else `python3`. `.ci/run` installs them.

use super::*;
use std::env;
use std::process::Command;

/// Prints `READER ROWS CLASSES`, or `SKIPPED READER WHY`.
const SCRIPT: &str = r#"
import glob, sys
table = sys.argv[1]
def attempt(name, read):
    try:
        rows, classes = read()
        print(name, rows, classes)
    except ImportError as why:
        print("SKIPPED", name, why)
def polars():
    import polars, deltalake
    rows = polars.scan_delta(table).collect()
    return len(rows), rows["class"].n_unique()
def delta():
    import deltalake
    table_ = deltalake.DeltaTable(table)
    adds = table_.get_add_actions(flatten=True)
    names = list(adds.schema.names) if hasattr(adds.schema, "names") else [field.name for field in adds.schema]
    column = lambda name: [v.as_py() if hasattr(v, "as_py") else v for v in adds.column(names.index(name))]
    return sum(column("num_records")), len(set(column("partition.class")))
def duckdb():
    import duckdb, duckdb_extension_delta, os
    home = os.path.dirname(duckdb_extension_delta.__file__)
    found = glob.glob(f"{home}/extensions/v{duckdb.__version__}/delta.duckdb_extension")
    if not found:
        raise ImportError("its Delta extension is of another version")
    duckdb.execute(f"LOAD '{found[0]}'")
    return duckdb.sql(f"select count(*), count(distinct class) from delta_scan('{table}')").fetchone()
def duckdb_glob():
    import duckdb
    files = f"{table}/*/*/*.parquet"
    return duckdb.sql(f"select count(*), count(distinct class) from read_parquet('{files}', hive_partitioning = true)").fetchone()
for name, read in [("polars", polars), ("delta-rs", delta), ("duckdb", duckdb), ("duckdb-glob", duckdb_glob)]:
    attempt(name, read)
"#;

fn python() -> PathBuf {
    env::var_os("HEADWATER_PYTHON").map_or_else(|| "python3".into(), Into::into)
}

#[test]
fn other_readers_see_the_same_rows() {
    let folder = folder(LANDING);
    let process = Process::start(&folder, "data", 1, Restart::No);
    let mut client = Client::new(process.ready());
    // Enough commits for a checkpoint, and classes that are no names.
    let kinds = ["view", "cart/add", "é x", "100%", "a=b", ".."];
    let mut sent = 0;
    for round in 0..130 {
        let line = |kind: &&str| {
            format!("{{\"user\":\"u{round}\",\"time\":{PAST_MS},\"kind\":\"{kind}\",\"id\":\"{round}{kind}\"}}\n")
        };
        assert_eq!(client.post(&kinds.iter().map(line).collect::<String>()), Outcome::Acknowledged);
        sent += kinds.len();
        is_landed(&mut client);
    }
    // A pattern sees what was joined until that is removed.
    let table = folder.path("data/landing/events");
    wait_until("what was joined is removed", || table::on_disk(&table) == table::files(&table));
    process.drain();
    let files = table::files(&table).len();
    assert!(files < 130 * kinds.len() / 4, "{files} files");
    assert!(table.join("_delta_log/00000000000000000100.checkpoint.parquet").exists());
    assert_eq!(rows(&table).len(), sent);
    let output = Command::new(python()).args(["-c", SCRIPT]).arg(&table).output();
    let Ok(output) = output else {
        eprintln!("SKIPPED: other readers of landed tables (no {})", python().display());
        return;
    };
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    eprintln!("{text}");
    for line in text.lines().filter(|line| !line.starts_with("SKIPPED")) {
        let seen: Vec<&str> = line.split(' ').skip(1).collect();
        assert_eq!(seen, [sent.to_string(), kinds.len().to_string()], "{line}");
    }
}
