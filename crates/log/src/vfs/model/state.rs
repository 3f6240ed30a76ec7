//! The state of the model, and the part of it that survives a crash.

use super::{Crash, Fault, SECTOR};
use crate::vfs::SyncSite;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::{Path, PathBuf};

#[derive(Clone, Debug)]
pub(super) struct State {
    pub inodes: Vec<Inode>,
    /// By path, as text: comparing [`Path`]s is slow.
    pub names: BTreeMap<String, Name>,
    pub locks: BTreeSet<PathBuf>,
    /// Counts crashes.
    pub process: u64,
    pub operations: u64,
    pub crash_at: Option<u64>,
    pub crashed: bool,
    pub fault: Option<(Range<u64>, Fault)>,
    pub skipped: Option<SyncSite>,
    pub sites: BTreeSet<SyncSite>,
    pub rng: Rng,
}

/// A name in a folder: what it stands for, by index.
#[derive(Clone, Debug, Default)]
pub(super) struct Name {
    durable: Option<usize>,
    /// The files that the name has stood for since the folder was synced.
    pending: Vec<Option<usize>>,
}

impl Name {
    pub fn current(&self) -> Option<usize> {
        self.pending.last().copied().unwrap_or(self.durable)
    }
}

#[derive(Clone, Debug, Default)]
pub(super) struct Inode {
    pub folder: bool,
    pub visible: Vec<u8>,
    pub durable: Vec<u8>,
    /// Since the file was synced.
    pub pending: Vec<Change>,
}

#[derive(Clone, Debug)]
pub(super) enum Change {
    Write { at: usize, bytes: Box<[u8]> },
    Truncate(usize),
}

impl Inode {
    pub fn change(&mut self, change: Change) {
        apply(&mut self.visible, &change);
        self.pending.push(change);
    }

    pub fn sync(&mut self) {
        for change in self.pending.drain(..) {
            apply(&mut self.durable, &change);
        }
    }

    /// Loses power.
    fn lose(&mut self, crash: Crash, rng: &mut Rng) {
        for change in std::mem::take(&mut self.pending) {
            match crash {
                Crash::Kill | Crash::PowerKept => apply(&mut self.durable, &change),
                Crash::PowerClean => {}
                Crash::PowerTorn => tear(&mut self.durable, &change, rng),
            }
        }
        self.visible.clone_from(&self.durable);
    }
}

fn apply(bytes: &mut Vec<u8>, change: &Change) {
    match change {
        Change::Truncate(size) => bytes.truncate(*size),
        Change::Write { at, bytes: new } => {
            let end = at + new.len();
            if bytes.len() < end {
                // What was never written reads as zeros.
                bytes.resize(end, 0);
            }
            bytes[*at..end].copy_from_slice(new);
        }
    }
}

/// Applies what survives of a change: nothing, all, a prefix, or some of its sectors.
fn tear(bytes: &mut Vec<u8>, change: &Change, rng: &mut Rng) {
    let Change::Write { at, bytes: new } = change else {
        if rng.below(2) == 0 {
            apply(bytes, change);
        }
        return;
    };
    let write = |bytes: &mut Vec<u8>, range: Range<usize>| {
        apply(bytes, &Change::Write { at: at + range.start, bytes: new[range].into() });
    };
    match rng.below(5) {
        0 => {}
        1 => apply(bytes, change),
        2 => write(bytes, 0..rng.below(new.len() as u64 + 1) as usize),
        _ => {
            let mut start = 0;
            while start < new.len() {
                let end = new.len().min((at + start) / SECTOR * SECTOR + SECTOR - at);
                if rng.below(2) == 0 {
                    write(bytes, start..end);
                }
                start = end;
            }
        }
    }
}

impl State {
    pub fn new(seed: u64) -> State {
        State {
            inodes: Vec::new(),
            names: BTreeMap::new(),
            locks: BTreeSet::new(),
            process: 0,
            operations: 0,
            crash_at: None,
            crashed: false,
            fault: None,
            skipped: None,
            sites: BTreeSet::new(),
            rng: Rng::new(seed),
        }
    }

    pub fn find(&self, path: &Path) -> Option<usize> {
        self.names.get(path.to_str()?)?.current()
    }

    /// Names in a folder, sorted.
    pub fn children(&self, dir: &Path) -> Vec<String> {
        let prefix = format!("{}/", dir.display());
        let below = self.names.range(prefix.clone()..).take_while(|(path, _)| path.starts_with(&prefix));
        let present = below.filter(|(_, name)| name.current().is_some());
        present.map(|(path, _)| path[prefix.len()..].to_owned()).filter(|name| !name.contains('/')).collect()
    }

    pub fn link(&mut self, path: &Path, inode: Inode) {
        self.inodes.push(inode);
        self.point(path, Some(self.inodes.len() - 1));
        // A folder at the top: its own name is not the log's to sync.
        if path.parent().is_some_and(|parent| parent.as_os_str().is_empty()) {
            self.sync_names(Path::new(""));
        }
    }

    pub fn point(&mut self, path: &Path, inode: Option<usize>) {
        self.names.entry(path.display().to_string()).or_default().pending.push(inode);
    }

    pub fn sync_names(&mut self, dir: &Path) {
        let top = dir.as_os_str().is_empty();
        let prefix = if top { String::new() } else { format!("{}/", dir.display()) };
        for (path, name) in self.names.range_mut(prefix.clone()..).take_while(|(path, _)| path.starts_with(&prefix)) {
            if !path[prefix.len()..].contains('/') {
                name.durable = name.current();
                name.pending.clear();
            }
        }
    }

    pub fn crash(&mut self, crash: Crash) {
        self.process += 1;
        self.locks.clear();
        (self.crash_at, self.crashed, self.fault) = (None, false, None);
        if crash == Crash::Kill {
            return;
        }
        for name in self.names.values_mut() {
            let states = name.pending.len() as u64;
            name.durable = match crash {
                Crash::PowerTorn if states > 0 => {
                    let survives = self.rng.below(states + 1) as usize;
                    if survives == 0 { name.durable } else { name.pending[survives - 1] }
                }
                Crash::PowerClean | Crash::PowerTorn => name.durable,
                Crash::Kill | Crash::PowerKept => name.current(),
            };
            name.pending.clear();
        }
        for inode in &mut self.inodes {
            inode.lose(crash, &mut self.rng);
        }
        self.forget_unreachable();
    }

    /// Removes the files of folders that are lost.
    fn forget_unreachable(&mut self) {
        // Sorted, so that folders come before what is in them.
        let mut kept: BTreeMap<String, Name> = BTreeMap::new();
        let mut inodes = Vec::new();
        let mut moved = BTreeMap::new();
        for (path, name) in std::mem::take(&mut self.names) {
            let Some(inode) = name.durable else { continue };
            if path.rsplit_once('/').is_none_or(|(parent, _)| kept.contains_key(parent)) {
                // Half a rename may have left two names.
                let inode = *moved.entry(inode).or_insert_with(|| {
                    inodes.push(std::mem::take(&mut self.inodes[inode]));
                    inodes.len() - 1
                });
                kept.insert(path, Name { durable: Some(inode), pending: Vec::new() });
            }
        }
        (self.names, self.inodes) = (kept, inodes);
    }
}

/// SplitMix64: the same schedules on every machine.
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    /// Makes a generator. Equal seeds give equal numbers.
    pub fn new(seed: u64) -> Rng {
        Rng(seed)
    }

    /// Returns the next number.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Returns a number uniform below `bound`, which is not 0; biased by less than `bound` in 2^64.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.next_u64() % bound
    }
}
