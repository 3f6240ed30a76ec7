//! One Delta table of the landing, with its one writer.
//!
//! ```text
//! files of data, synced ─▶ names of files, synced ─▶ commit N: synced, then named if there is no N yet, synced
//! ```
//! The commit has a `txn` whose version is the last tick that is in the table. So the table itself says how far it has
//! come, and no tick is in it twice.

use super::Error;
use super::action::{Action, Add, CommitInfo, Format, Landed, MetaData, Protocol, Txn};
use super::folders::Folders;
use super::schema::{self, Column, DAY, Name};
use super::snapshot::{Snapshot, checkpoint_name, commit_name};
use super::store::Store;
use headwater_log::segment::LogId;
use std::collections::BTreeMap;

/// Commits of the landing say that they are its own.
pub const ENGINE: &str = "headwater ";
/// Names the data folder in the metadata of a table.
const OWNER: &str = "headwater.log";
/// See [`Spec::checkpoint_every`].
pub const CHECKPOINT_EVERY: i64 = 100;

/// What a table is opened with.
#[derive(Clone, Debug)]
pub struct Spec {
    pub name: Name,
    pub columns: Vec<Column>,
    /// The log of the data folder that lands here.
    pub log: LogId,
    /// The table was made before.
    pub known: bool,
    /// Outer folders, at most.
    pub folders: usize,
    /// Commits between two checkpoints: what a reader reads one by one.
    pub checkpoint_every: i64,
}

#[derive(Debug)]
pub struct Table {
    spec: Spec,
    store: Store,
    version: i64,
    /// The last tick that is in it.
    upto: Option<u64>,
    landed: Option<Landed>,
    pub folders: Folders,
    /// Of all files.
    pub files: u64,
    pub bytes: u64,
}

/// A file that a commit adds.
#[derive(Clone, Debug)]
pub struct File {
    /// Outer folder and day, as a path.
    pub folder: String,
    /// What these stand for.
    pub value: String,
    pub day: String,
    pub bytes: Vec<u8>,
    pub statistics: String,
}

/// What a commit has added.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    pub files: u64,
    pub bytes: u64,
}

impl Table {
    /// Opens a table, or makes it. Removes files that no commit has.
    ///
    /// # Errors
    /// If it cannot be read or written, or is not the landing's own.
    pub fn open(mut store: Store, spec: Spec) -> Result<Table, Error> {
        let names = store.names()?;
        let snapshot = match &names {
            Some(names) => {
                store.settle()?;
                Snapshot::read(&store, names)?
            }
            None => None,
        };
        let snapshot = match snapshot {
            Some(snapshot) => snapshot,
            None => Table::create(&mut store, &spec)?,
        };
        store.create()?;
        let mut table = Table::of(store, spec, &snapshot)?;
        table.extend(&snapshot)?;
        table.remove_orphans()?;
        Ok(table)
    }

    fn create(store: &mut Store, spec: &Spec) -> Result<Snapshot, Error> {
        let root = store.root().display().to_string();
        if spec.known {
            return Err(Error::Refused(format!(
                "the log of the table {root} is gone: put it back, or move the whole table away to begin it again with \
                 what the queue still has"
            )));
        }
        store.create()?;
        let mut files = 0;
        store.files(|_| files += 1)?;
        if files > 0 {
            return Err(Error::Refused(format!("{root} has {files} files of data and no log: name an empty folder")));
        }
        let meta_data = MetaData {
            id: uuid(spec),
            format: Format { provider: "parquet".into(), options: BTreeMap::new() },
            schema_string: schema::merged(spec.name, None, &spec.columns).map_err(Error::Refused)?,
            partition_columns: vec![spec.name.folder().into(), DAY.into()],
            configuration: BTreeMap::from([(OWNER.to_owned(), text(spec.log))]),
            created_time: None,
        };
        let info = info("CREATE TABLE", 0, None);
        let actions = [info.into(), Action::protocol(), meta_data.into()];
        store.put_new(&commit_name(0), &Action::write(&actions))?;
        let names = store.names()?.unwrap_or_default();
        Snapshot::read(store, &names)?.ok_or_else(|| Error::Refused(format!("{root} was removed while it was made")))
    }

    fn of(store: Store, spec: Spec, snapshot: &Snapshot) -> Result<Table, Error> {
        let root = store.root().display();
        let refused = |what: String| Err(Error::Refused(format!("the table {root}: {what}")));
        if let Some(what) = &snapshot.foreign {
            return refused(format!(
                "{what}, and a landing adds only to what is its own: restore the version before, or name another path"
            ));
        }
        match &snapshot.protocol {
            Some(Protocol { min_reader_version: ..=1, min_writer_version: ..=2 }) => {}
            other => return refused(format!("its protocol is {other:?}, the landing knows reader 1 and writer 2")),
        }
        let owner = snapshot.meta_data.as_ref().and_then(|meta_data| meta_data.configuration.get(OWNER));
        let app = app_id(&spec);
        if owner != Some(&text(spec.log)) {
            return refused("it is of another data folder, or of another program: name another path".into());
        }
        let other = snapshot.txns.keys().find(|other| other.starts_with("hw.") && **other != app);
        if let Some(other) = other {
            return refused(format!("`{other}` lands in it too: give each data folder a path of its own"));
        }
        let upto = snapshot.txns.get(&app).and_then(|version| u64::try_from(*version).ok());
        let used = snapshot.adds.keys().filter_map(|path| Some(path.split_once('/')?.0.replace("%25", "%")));
        let folders = Folders::new(spec.name, used, spec.folders);
        Ok(Table {
            version: snapshot.version,
            upto,
            landed: snapshot.landed.clone().filter(|landed| upto == Some(landed.to)),
            folders,
            files: snapshot.adds.len() as u64,
            bytes: snapshot.adds.values().map(|add| add.size.unsigned_abs()).sum(),
            spec,
            store,
        })
    }

    /// Adds columns that are new.
    fn extend(&mut self, snapshot: &Snapshot) -> Result<(), Error> {
        let Some(meta_data) = &snapshot.meta_data else { return Ok(()) };
        let merged = schema::merged(self.spec.name, Some(&meta_data.schema_string), &self.spec.columns)
            .map_err(|why| Error::Refused(format!("the table {}: {why}", self.store.root().display())))?;
        if merged == meta_data.schema_string {
            return Ok(());
        }
        let meta_data = MetaData { schema_string: merged, ..meta_data.clone() };
        self.put(&[info("ADD COLUMNS", 0, self.landed.clone()).into(), meta_data.into()])
    }

    /// Removes files that were written for a commit that did not happen: those of ticks behind the last one.
    fn remove_orphans(&mut self) -> Result<(), Error> {
        let mut orphans = Vec::new();
        let upto = self.upto;
        self.store.files(|path| {
            if last_tick(path).is_some_and(|last| upto.is_none_or(|upto| last > upto)) {
                orphans.push(path.to_owned());
            }
        })?;
        for path in &orphans {
            self.store.remove(path)?;
        }
        if !orphans.is_empty() {
            tracing::info!(table = self.spec.name.text(), files = orphans.len(), "removed files of unfinished commits");
        }
        Ok(())
    }

    /// Returns the last tick that is in the table.
    pub fn upto(&self) -> Option<u64> {
        self.upto
    }

    /// Returns what its last commit says about the landing.
    pub fn landed(&self) -> Option<&Landed> {
        self.landed.as_ref()
    }

    /// Adds files, which hold the rows of the ticks that `landed` names.
    ///
    /// # Errors
    /// If that fails: then the table may have them or not, and has to be opened again.
    pub fn commit(
        &mut self,
        landed: Landed,
        now_ms: i64,
        files: impl Iterator<Item = Result<File, Error>>,
    ) -> Result<Written, Error> {
        let mut adds = Vec::new();
        let mut bytes = 0;
        for file in files {
            let File { folder, value, day, bytes: content, statistics } = file?;
            let path = format!("{folder}/part-{:020}-{:020}.parquet", landed.from, landed.to);
            self.store.data(&path, &content)?;
            self.store.name(&folder)?;
            bytes += content.len() as u64;
            adds.push(Add {
                // A path is an URL.
                path: path.replace('%', "%25"),
                partition_values: BTreeMap::from([
                    (self.spec.name.folder().to_owned(), Some(value)),
                    (DAY.to_owned(), Some(day)),
                ]),
                size: content.len() as i64,
                modification_time: now_ms,
                data_change: true,
                stats: Some(statistics),
            });
        }
        let txn = Txn { app_id: app_id(&self.spec), version: landed.to as i64 };
        let added = adds.len() as u64;
        let mut actions: Vec<Action> = vec![info("WRITE", now_ms, Some(landed.clone())).into(), txn.into()];
        actions.extend(adds.into_iter().map(Action::from));
        self.put(&actions)?;
        (self.upto, self.files, self.bytes) = (Some(landed.to), self.files + added, self.bytes + bytes);
        self.landed = Some(landed);
        if self.version % self.spec.checkpoint_every == 0
            && let Err(error) = self.checkpoint(now_ms)
        {
            // The next one makes up for it.
            tracing::warn!(table = self.spec.name.text(), %error, "a landed table has no checkpoint of this version");
        }
        Ok(Written { files: added, bytes })
    }

    fn put(&mut self, actions: &[Action]) -> Result<(), Error> {
        // Without the version before, no reader could read this one.
        let before = commit_name(self.version);
        if !self.store.has(&before)? {
            let path = self.store.log().join(before);
            return Err(Error::Refused(format!(
                "{} is gone: put the log of the table back as a whole",
                path.display()
            )));
        }
        let version = self.version + 1;
        if !self.store.put_new(&commit_name(version), &Action::write(actions))? {
            let root = self.store.root().display();
            return Err(Error::Refused(format!("another writer has made version {version} of the table {root}")));
        }
        self.version = version;
        Ok(())
    }

    fn checkpoint(&mut self, now_ms: i64) -> Result<(), Error> {
        let names = self.store.names()?.unwrap_or_default();
        let Some(snapshot) = Snapshot::read(&self.store, &names)? else { return Ok(()) };
        let (bytes, size) = snapshot.checkpoint(now_ms)?;
        self.store.replace(&checkpoint_name(snapshot.version), &bytes)?;
        let last = serde_json::json!({ "version": snapshot.version, "size": size }).to_string();
        self.store.replace("_last_checkpoint", last.as_bytes())?;
        Ok(())
    }
}

/// Returns the last tick of a file of data, from its name. `None`: the landing gives no such name.
fn last_tick(path: &str) -> Option<u64> {
    let name = path.rsplit('/').next()?.strip_prefix("part-")?.strip_suffix(".parquet")?;
    let (from, to) = name.split_once('-')?;
    let number = |digits: &str| (digits.len() == 20).then(|| digits.parse::<u64>().ok())?;
    number(from).and(number(to))
}

fn info(operation: &str, timestamp: i64, headwater: Option<Landed>) -> CommitInfo {
    CommitInfo {
        timestamp,
        operation: operation.into(),
        operation_parameters: BTreeMap::new(),
        engine_info: format!("{ENGINE}{}", env!("CARGO_PKG_VERSION")),
        headwater,
    }
}

fn text(log: LogId) -> String {
    format!("{:032x}", u128::from_be_bytes(log.0))
}

fn app_id(spec: &Spec) -> String {
    format!("hw.{}.{}", text(spec.log), spec.name.text())
}

/// Returns the id of the table, which follows from its writer.
fn uuid(spec: &Spec) -> String {
    let hash = blake3::hash(app_id(spec).as_bytes());
    let hex = &hash.to_hex()[..32];
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}
