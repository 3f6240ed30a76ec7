//! One Delta table of the landing, with its one writer.
//!
//! ```text
//! files of data, synced ─▶ names of files, synced ─▶ commit N: synced, then named if there is no N yet, synced
//! ```
//! The commit has a `txn` whose version is the last tick that is in the table. So the table itself says how far it has
//! come, and no tick is in it twice.

use super::Error;
use super::action::{Action, Add, CommitInfo, ENGINE, Format, Landed, MetaData, Protocol, Remove, Txn};
use super::folders::Folders;
use super::schema::{self, Column, DAY, Name};
use super::snapshot::{Snapshot, checkpoint_name, commit_name};
use super::store::Store;
use headwater_log::segment::LogId;
use std::collections::BTreeMap;

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
    /// What its log says.
    snapshot: Snapshot,
    pub folders: Folders,
    /// Files that commits have removed until then are no longer on disk. In milliseconds since 1970.
    vacuumed_ms: i64,
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
        let mut table = Table::of(store, spec, snapshot)?;
        table.extend()?;
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

    fn of(store: Store, spec: Spec, mut snapshot: Snapshot) -> Result<Table, Error> {
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
        let used = snapshot.adds.keys().filter_map(|path| Some(disk(path.split_once('/')?.0)));
        let folders = Folders::new(spec.name, used, spec.folders);
        let upto = snapshot.txns.get(&app).and_then(|version| u64::try_from(*version).ok());
        snapshot.landed = snapshot.landed.filter(|landed| upto == Some(landed.to));
        Ok(Table { spec, store, snapshot, folders, vacuumed_ms: i64::MIN })
    }

    /// Adds columns that are new.
    fn extend(&mut self) -> Result<(), Error> {
        let Some(meta_data) = &self.snapshot.meta_data else { return Ok(()) };
        let merged = schema::merged(self.spec.name, Some(&meta_data.schema_string), &self.spec.columns)
            .map_err(|why| Error::Refused(format!("the table {}: {why}", self.store.root().display())))?;
        if merged == meta_data.schema_string {
            return Ok(());
        }
        let meta_data = MetaData { schema_string: merged, ..meta_data.clone() };
        self.put(vec![info("ADD COLUMNS", 0, self.snapshot.landed.clone()).into(), meta_data.into()])
    }

    /// Removes files that were written for a commit that did not happen.
    fn remove_orphans(&mut self) -> Result<(), Error> {
        let Snapshot { adds, removes, .. } = &self.snapshot;
        let mut orphans = Vec::new();
        self.store.files(|path| {
            let named = url(path);
            if ticks(path).is_some() && !adds.contains_key(&named) && !removes.contains_key(&named) {
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
        self.snapshot.txns.get(&app_id(&self.spec)).and_then(|version| u64::try_from(*version).ok())
    }

    /// Returns what its last commit says about the landing.
    pub fn landed(&self) -> Option<&Landed> {
        self.snapshot.landed.as_ref()
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
                path: url(&path),
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
        let mut actions: Vec<Action> = vec![info("WRITE", now_ms, Some(landed)).into(), txn.into()];
        actions.extend(adds.into_iter().map(Action::from));
        self.put(actions)?;
        self.check_point(now_ms);
        Ok(Written { files: added, bytes })
    }

    /// Puts one file in the place of others of one folder, which has their rows. Their bytes stay on disk for readers of
    /// earlier versions, until [`Table::vacuum`].
    ///
    /// # Errors
    /// If that fails: then the table has either, and has to be opened again.
    pub fn replace(&mut self, paths: &[String], bytes: &[u8], stats: Option<String>, now_ms: i64) -> Result<(), Error> {
        let joined: Vec<&Add> = paths.iter().filter_map(|path| self.adds().get(path)).collect();
        let Some((folder, _)) = paths.first().and_then(|path| path.rsplit_once('/')) else { return Ok(()) };
        let ends = || joined.iter().filter_map(|add| ticks(&add.path));
        let ends = (ends().map(|ends| ends.0).min(), ends().map(|ends| ends.1).max());
        let (Some(from), Some(to)) = ends else { return Ok(()) };
        // The version makes the name a new one: files of these ticks may have been joined before.
        let path = format!("{folder}/part-{from:020}-{to:020}-{:020}.parquet", self.snapshot.version + 1);
        let (folder, on_disk) = (disk(folder), disk(&path));
        let add = Add {
            path,
            partition_values: joined[0].partition_values.clone(),
            size: bytes.len() as i64,
            // Of the newest one: it says when the partition last got a row.
            modification_time: joined.iter().map(|add| add.modification_time).max().unwrap_or(now_ms),
            data_change: false,
            stats,
        };
        self.store.data(&on_disk, bytes)?;
        self.store.name(&folder)?;
        let mut actions = vec![info("OPTIMIZE", now_ms, self.snapshot.landed.clone()).into(), add.into()];
        actions.extend(paths.iter().map(|path| remove(path, now_ms, false)));
        self.put(actions)?;
        self.check_point(now_ms);
        Ok(())
    }

    /// Puts a file with fewer rows in the place of one, or nothing. The bytes of the former stay on disk until
    /// [`Table::vacuum`]. `file`: its bytes, and how many rows it has. Returns its path.
    ///
    /// # Errors
    /// If that fails: then the table has either, and has to be opened again.
    pub fn rewrite(&mut self, path: &str, file: Option<(&[u8], u64)>, now_ms: i64) -> Result<Option<String>, Error> {
        let Some(former) = self.adds().get(path).cloned() else { return Ok(None) };
        let mut actions = vec![info("DELETE", now_ms, self.snapshot.landed.clone()).into()];
        let mut new = None;
        if let (Some((bytes, rows)), Some((folder, _))) = (file, path.rsplit_once('/')) {
            let (from, to) = ticks(path).unwrap_or_default();
            let path = format!("{folder}/part-{from:020}-{to:020}-{:020}.parquet", self.snapshot.version + 1);
            self.store.data(&disk(&path), bytes)?;
            self.store.name(&disk(folder))?;
            // The ends of columns may have been those of the rows that are gone.
            let stats = Some(serde_json::json!({ "numRecords": rows }).to_string());
            let size = bytes.len() as i64;
            actions.push(Add { path: path.clone(), size, data_change: true, stats, ..former }.into());
            new = Some(path);
        }
        actions.push(remove(path, now_ms, true));
        self.put(actions)?;
        self.check_point(now_ms);
        Ok(new)
    }

    /// Removes the commits before the last one from the log, behind a checkpoint of it. No version before can be read then.
    ///
    /// # Errors
    /// If that fails.
    pub fn shorten(&mut self) -> Result<(), Error> {
        self.checkpoint()?;
        let version = self.snapshot.version;
        let (commit, checkpoint) = (commit_name(version), checkpoint_name(version));
        let is_former = |name: &&String| {
            let is_commit = name.ends_with(".json") && name.len() == commit.len() && **name < commit;
            is_commit || name.ends_with(".checkpoint.parquet") && **name < checkpoint
        };
        for name in self.store.names()?.unwrap_or_default().iter().filter(is_former) {
            self.store.remove_of_log(name)?;
        }
        Ok(())
    }

    /// Removes the rows of all days before `day`, written as in a folder. Their bytes stay on disk until
    /// [`Table::vacuum`]. Returns how many files that were.
    ///
    /// # Errors
    /// If that fails.
    pub fn expire(&mut self, day: &str, now_ms: i64) -> Result<u64, Error> {
        let is_old = |add: &&Add| add.partition_values.get(DAY).and_then(Option::as_deref).is_some_and(|of| of < day);
        let mut actions = vec![info("DELETE", now_ms, self.snapshot.landed.clone()).into()];
        actions.extend(self.adds().values().filter(is_old).map(|add| remove(&add.path, now_ms, true)));
        let files = actions.len() as u64 - 1;
        if files > 0 {
            self.put(actions)?;
            self.check_point(now_ms);
        }
        Ok(files)
    }

    /// Removes from disk what commits have removed until `before_ms`, in milliseconds since 1970. Returns how many files
    /// that were.
    ///
    /// # Errors
    /// If a file stays.
    pub fn vacuum(&mut self, before_ms: i64) -> Result<u64, Error> {
        let due = |gone: &&Remove| {
            let at = gone.deletion_timestamp.unwrap_or(0);
            at > self.vacuumed_ms && at <= before_ms
        };
        let mut files = 0;
        for gone in self.snapshot.removes.values().filter(due) {
            self.store.remove(&disk(&gone.path))?;
            files += 1;
        }
        self.vacuumed_ms = self.vacuumed_ms.max(before_ms);
        Ok(files)
    }

    /// Returns the files, by path.
    pub fn adds(&self) -> &BTreeMap<String, Add> {
        &self.snapshot.adds
    }

    /// Returns the bytes of files, in their order.
    ///
    /// # Errors
    /// If one of them cannot be read.
    pub fn read(&self, paths: &[String]) -> Result<Vec<Vec<u8>>, Error> {
        paths.iter().map(|path| Ok(self.store.data_of(&disk(path))?)).collect()
    }

    /// Writes a checkpoint if one is due. Without it the next one makes up for it.
    fn check_point(&mut self, now_ms: i64) {
        if self.snapshot.version % self.spec.checkpoint_every != 0 {
            return;
        }
        self.snapshot.forget(now_ms);
        if let Err(error) = self.checkpoint() {
            tracing::warn!(table = self.spec.name.text(), %error, "a landed table has no checkpoint of this version");
        }
    }

    fn checkpoint(&self) -> Result<(), Error> {
        let (bytes, size) = self.snapshot.checkpoint()?;
        let version = self.snapshot.version;
        self.store.replace(&checkpoint_name(version), &bytes)?;
        let last = serde_json::json!({ "version": version, "size": size }).to_string();
        self.store.replace("_last_checkpoint", last.as_bytes())?;
        Ok(())
    }

    fn put(&mut self, actions: Vec<Action>) -> Result<(), Error> {
        // Without the version before, no reader could read this one.
        let before = commit_name(self.snapshot.version);
        if !self.store.has(&before)? {
            let path = self.store.log().join(before);
            return Err(Error::Refused(format!(
                "{} is gone: put the log of the table back as a whole",
                path.display()
            )));
        }
        let version = self.snapshot.version + 1;
        if !self.store.put_new(&commit_name(version), &Action::write(&actions))? {
            let root = self.store.root().display();
            return Err(Error::Refused(format!("another writer has made version {version} of the table {root}")));
        }
        self.snapshot.version = version;
        actions.into_iter().for_each(|action| self.snapshot.apply(action));
        Ok(())
    }
}

/// Returns the first and the last tick of a file of data, from its name. `None`: the landing gives no such name.
pub fn ticks(path: &str) -> Option<(u64, u64)> {
    let name = path.rsplit('/').next()?.strip_prefix("part-")?.strip_suffix(".parquet")?;
    let mut numbers = name.split('-').map(|digits| (digits.len() == 20).then(|| digits.parse::<u64>().ok())?);
    let (from, to) = (numbers.next()??, numbers.next()??);
    // Of joined files the version follows.
    let version = numbers.next();
    (version.is_none_or(|version| version.is_some()) && numbers.next().is_none()).then_some((from, to))
}

/// Returns a path as the log has it: as an URL.
fn url(path: &str) -> String {
    path.replace('%', "%25")
}

/// Returns a path of the log as it is on disk.
pub fn disk(path: &str) -> String {
    path.replace("%25", "%")
}

fn remove(path: &str, now_ms: i64, data_change: bool) -> Action {
    Remove { path: path.to_owned(), deletion_timestamp: Some(now_ms), data_change }.into()
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
