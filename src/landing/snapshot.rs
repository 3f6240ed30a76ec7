//! The state of a Delta table at its last version: read from the newest checkpoint and the commits behind it.

use super::Error;
use super::action::{Action, Add, ENGINE, Landed, MetaData, Protocol, Remove};
use super::checkpoint;
use super::store::Store;
use std::collections::BTreeMap;

/// A file that a commit has removed stays in checkpoints for so long, as readers of older versions may need it.
const TOMBSTONE_MS: i64 = 7 * 24 * 3600 * 1000;
/// Commits that are looked through, from the newest back, for the last one of the landing.
const LOOKED_THROUGH: i64 = 1000;

#[derive(Debug, Default)]
pub struct Snapshot {
    pub version: i64,
    pub protocol: Option<Protocol>,
    pub meta_data: Option<MetaData>,
    pub txns: BTreeMap<String, i64>,
    /// By path.
    pub adds: BTreeMap<String, Add>,
    pub removes: BTreeMap<String, Remove>,
    /// How far the landing had come, if one of the last commits says it.
    pub landed: Option<Landed>,
    /// What writers other than the landing have done that it cannot go on from.
    pub foreign: Option<String>,
}

/// Returns the name of a commit.
pub fn commit_name(version: i64) -> String {
    format!("{version:020}.json")
}

/// Returns the name of a checkpoint.
pub fn checkpoint_name(version: i64) -> String {
    format!("{version:020}.checkpoint.parquet")
}

fn version_of(name: &str, end: &str) -> Option<i64> {
    let digits = name.strip_suffix(end)?;
    (digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit())).then(|| digits.parse().ok())?
}

impl Snapshot {
    /// Reads the log whose files are `names`. `None` if there is no version.
    ///
    /// # Errors
    /// If the log cannot be read, or is not whole.
    pub fn read(store: &Store, names: &[String]) -> Result<Option<Snapshot>, Error> {
        let commits: Vec<i64> = names.iter().filter_map(|name| version_of(name, ".json")).collect();
        let checkpoints: Vec<i64> = names.iter().filter_map(|name| version_of(name, ".checkpoint.parquet")).collect();
        let Some(last) = commits.iter().chain(&checkpoints).max().copied() else { return Ok(None) };
        let damaged = |name: &str, why: String| {
            Error::Refused(format!(
                "{} of the table {}: {why}",
                store.log().join(name).display(),
                store.root().display()
            ))
        };
        let mut snapshot = Snapshot::default();
        let mut next = 0;
        if let Some(newest) = checkpoints.iter().max() {
            let name = checkpoint_name(*newest);
            let actions = checkpoint::read(store.read(&name)?);
            // As long as all commits are there, a checkpoint only saves time.
            match actions {
                Ok(actions) => {
                    actions.into_iter().for_each(|action| snapshot.apply(action));
                    next = newest + 1;
                }
                Err(why) if commits.first() != Some(&0) => return Err(damaged(&name, why)),
                Err(why) => tracing::warn!(file = name, why, "a checkpoint of a landed table cannot be read"),
            }
        }
        for version in next..=last {
            let name = commit_name(version);
            if commits.binary_search(&version).is_err() {
                return Err(damaged(&name, "it is missing: put the folder of the log back as a whole".into()));
            }
            let actions = Action::parse(&store.read(&name)?).map_err(|why| damaged(&name, why))?;
            if let Some(what) = foreign(&actions) {
                snapshot.foreign = Some(format!("version {version} was written by {what}"));
            }
            for action in actions {
                snapshot.apply(action);
            }
        }
        snapshot.version = last;
        let mut version = next.min(last + 1) - 1;
        let end = (version - LOOKED_THROUGH).max(-1);
        while snapshot.landed.is_none() && version > end && commits.binary_search(&version).is_ok() {
            let actions = Action::parse(&store.read(&commit_name(version))?).unwrap_or_default();
            snapshot.landed = actions.into_iter().find_map(|action| action.commit_info?.headwater);
            version -= 1;
        }
        Ok(Some(snapshot))
    }

    /// Takes in an action of the next commit.
    pub fn apply(&mut self, action: Action) {
        let Action { commit_info, protocol, meta_data, txn, add, remove } = action;
        if let Some(landed) = commit_info.and_then(|info| info.headwater) {
            self.landed = Some(landed);
        }
        self.protocol = protocol.or(self.protocol.take());
        self.meta_data = meta_data.or(self.meta_data.take());
        if let Some(txn) = txn {
            self.txns.insert(txn.app_id, txn.version);
        }
        if let Some(add) = add {
            self.removes.remove(&add.path);
            self.adds.insert(add.path.clone(), add);
        }
        if let Some(remove) = remove {
            self.adds.remove(&remove.path);
            self.removes.insert(remove.path.clone(), remove);
        }
    }

    /// Forgets the files that were removed long ago. `now_ms`: milliseconds since 1970.
    pub fn forget(&mut self, now_ms: i64) {
        self.removes.retain(|_, gone| gone.deletion_timestamp.is_none_or(|at| now_ms - at < TOMBSTONE_MS));
    }

    /// Returns the bytes of its checkpoint, and the number of actions in it.
    ///
    /// # Errors
    /// If it cannot be encoded.
    pub fn checkpoint(&self) -> Result<(Vec<u8>, usize), Error> {
        let mut actions: Vec<Action> = Vec::new();
        actions.extend(self.protocol.clone().map(|protocol| Action { protocol: Some(protocol), ..Action::default() }));
        actions.extend(self.meta_data.clone().map(Action::from));
        actions.extend(
            self.txns
                .iter()
                .map(|(app_id, version)| super::action::Txn { app_id: app_id.clone(), version: *version }.into()),
        );
        // In a checkpoint nothing is a change.
        let add = |add: &Add| Add { data_change: false, ..add.clone() }.into();
        actions.extend(self.adds.values().map(add));
        let remove = |remove: &Remove| Remove { data_change: false, ..remove.clone() }.into();
        actions.extend(self.removes.values().map(remove));
        let bytes = checkpoint::write(&actions).map_err(Error::encode)?;
        Ok((bytes, actions.len()))
    }
}

/// Returns the writer of a commit that changes what the table says, if it is not a landing. Others may rewrite files
/// without changing rows.
fn foreign(actions: &[Action]) -> Option<String> {
    let info = actions.iter().find_map(|action| action.commit_info.as_ref());
    if info.is_some_and(|info| info.engine_info.starts_with(ENGINE)) {
        return None;
    }
    let changes = actions.iter().any(|action| {
        action.protocol.is_some()
            || action.meta_data.is_some()
            || action.txn.is_some()
            || action.add.as_ref().is_some_and(|add| add.data_change)
            || action.remove.as_ref().is_some_and(|remove| remove.data_change)
    });
    changes.then(|| match info {
        Some(info) if !info.engine_info.is_empty() => format!("`{}`", crate::text::printable(&info.engine_info)),
        _ => "another writer".into(),
    })
}
