//! Tests of a table on a file system that forgets, and of writers that are not the landing.

mod crash;
mod strangers;
mod tidy;

use super::Error;
use super::action::Landed;
use super::schema::{self, Name};
use super::snapshot::Snapshot;
use super::store::Store;
use super::table::{File, Spec, Table, ticks};
use headwater_log::histories::StartId;
use headwater_log::segment::LogId;
use headwater_log::vfs::model::ModelFs;
use headwater_log::vfs::{Role, SyncSite, SyncStep, Vfs};
use std::path::PathBuf;
use std::sync::Arc;

const ROOT: &str = "land/events";

/// A folder for tables, made durably.
fn folder(seed: u64) -> ModelFs {
    let fs = ModelFs::new(seed);
    fs.create_dir("land".as_ref()).unwrap();
    fs.sync_dir("".as_ref(), SyncSite { role: Role::Root, step: SyncStep::Folders }).unwrap();
    fs
}

fn store(fs: &ModelFs) -> Store {
    Store::new(Arc::new(fs.clone()), PathBuf::from(ROOT))
}

fn spec(known: bool) -> Spec {
    let columns = schema::columns(Name::Events, &["price".to_owned()]);
    Spec { name: Name::Events, columns, log: LogId([7; 16]), known, folders: 3, checkpoint_every: 4 }
}

fn open(fs: &ModelFs, known: bool) -> Result<Table, Error> {
    Table::open(store(fs), spec(known))
}

/// The bytes of the file of these ticks; no two are equal.
fn content(class: &str, from: u64, to: u64) -> Vec<u8> {
    format!("{class} {from} {to} {}", "x".repeat(1500)).into_bytes()
}

/// Commits ticks up to `to`, as two files.
fn commit(table: &mut Table, to: u64) -> Result<(), Error> {
    let from = table.upto().map_or(0, |upto| upto + 1);
    let landed = Landed { start: StartId([1; 8]), from, to, queue: vec![to * 10] };
    let files = ["a/b", "c"].map(|class| {
        let (folder, value) = table.folders.of(class);
        let (folder, day) = (format!("{folder}/dt=2026-11-30"), "2026-11-30".to_owned());
        Ok(File { folder, value: value.into(), day, bytes: content(class, from, to), statistics: "{}".into() })
    });
    table.commit(landed, to as i64, files.into_iter()).map(drop)
}

/// Joins all files of a folder, in order.
fn join(table: &mut Table, folder: &str, now_ms: i64) -> Result<(), Error> {
    let paths: Vec<String> = table.adds().keys().filter(|path| path.starts_with(folder)).cloned().collect();
    let bytes = table.read(&paths)?.concat();
    if paths.len() > 1 { table.replace(&paths, &bytes, None, now_ms) } else { Ok(()) }
}

fn snapshot(fs: &ModelFs) -> Result<Snapshot, String> {
    let store = store(fs);
    let names = store.names().map_err(|error| error.to_string())?.ok_or("there is no log")?;
    Snapshot::read(&store, &names).map_err(|error| error.to_string())?.ok_or_else(|| "there is no version".into())
}

/// Checks that a table has each tick up to its last one exactly once, with the bytes that were written, and that nothing
/// else is on disk but what was joined.
fn check(fs: &ModelFs, upto: Option<u64>) -> Result<(), String> {
    let (snapshot, files) = (snapshot(fs)?, fs.files());
    for (class, folder) in [("a/b", "class=a%252Fb"), ("c", "class=c")] {
        let mut next = 0;
        for (path, _) in snapshot.adds.range(format!("{folder}/")..).take_while(|(path, _)| path.starts_with(folder)) {
            let (from, to) = ticks(path).ok_or_else(|| format!("{path} is no name of a file of data"))?;
            if from != next {
                return Err(format!("ticks of {class} go on with {from}, not {next}"));
            }
            next = to + 1;
            let bytes = files.get(&PathBuf::from(ROOT).join(path.replace("%25", "%")));
            if bytes != Some(&(from..=to).map(|tick| content(class, tick, tick)).collect::<Vec<_>>().concat()) {
                return Err(format!("{path} does not have what was written"));
            }
        }
        if next != upto.map_or(0, |upto| upto + 1) {
            return Err(format!("ticks of {class} end before {next}, and the table is at {upto:?}"));
        }
    }
    let data = files.keys().filter(|path| path.extension().is_some_and(|end| end == "parquet"));
    let data = data.filter(|path| !path.starts_with(PathBuf::from(ROOT).join("_delta_log")));
    let known = |path: &PathBuf| {
        let path = path.strip_prefix(ROOT).unwrap().to_str().unwrap().replace('%', "%25");
        snapshot.adds.contains_key(&path) || snapshot.removes.contains_key(&path)
    };
    let strange: Vec<_> = data.filter(|path| !known(path)).collect();
    if !strange.is_empty() {
        return Err(format!("the log does not know {strange:?}"));
    }
    Ok(())
}
