//! The files of one table, on the file system that tests can crash.

use headwater_log::vfs::{Role, SyncSite, SyncStep, Vfs, VfsError, read_all};
use std::collections::HashSet;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const LOG: &str = "_delta_log";
/// A file of the log that has no name yet.
const DRAFT: &str = ".draft";

/// The folder of a table.
#[derive(Debug)]
pub struct Store {
    vfs: Arc<dyn Vfs>,
    root: PathBuf,
    /// Folders that are there, durably.
    made: HashSet<PathBuf>,
}

/// Returns what a sync of the landing is for.
const fn site(step: SyncStep) -> SyncSite {
    SyncSite { role: Role::Landing, step }
}

/// Returns whether an operation failed because of a file that is there, or is not.
fn is(error: &VfsError, kind: ErrorKind) -> bool {
    error.source.kind() == kind
}

impl Store {
    pub fn new(vfs: Arc<dyn Vfs>, root: PathBuf) -> Store {
        Store { vfs, root, made: HashSet::new() }
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    pub fn log(&self) -> PathBuf {
        self.root.join(LOG)
    }

    /// Makes the folders of a table, durably. The folder that the table lies in has to exist.
    ///
    /// # Errors
    /// If they cannot be made.
    pub fn create(&mut self) -> Result<(), VfsError> {
        self.folder(self.root.clone())?;
        self.folder(self.log())
    }

    fn folder(&mut self, path: PathBuf) -> Result<(), VfsError> {
        if self.made.contains(&path) {
            return Ok(());
        }
        self.vfs.create_dir(&path)?;
        // Also of a folder that is there: a start that was killed may have made it.
        path.parent().map_or(Ok(()), |parent| self.vfs.sync_dir(parent, site(SyncStep::Folders)))?;
        self.made.insert(path);
        Ok(())
    }

    /// Returns the names in the log; `None` if there is no log.
    ///
    /// # Errors
    /// If the folder cannot be read.
    pub fn names(&self) -> Result<Option<Vec<String>>, VfsError> {
        match self.vfs.list(&self.log()) {
            Err(error) if is(&error, ErrorKind::NotFound) => Ok(None),
            names => names.map(Some),
        }
    }

    /// Makes durable what is in the log, before anything that was read from it is acted upon.
    ///
    /// # Errors
    /// If that fails.
    pub fn settle(&self) -> Result<(), VfsError> {
        self.vfs.sync_dir(&self.log(), site(SyncStep::ReopenEntries))
    }

    /// Returns the bytes of a file of the log.
    ///
    /// # Errors
    /// If it is not there, or cannot be read.
    pub fn read(&self, name: &str) -> Result<Vec<u8>, VfsError> {
        read_all(&*self.vfs.open(&self.log().join(name))?)
    }

    /// Returns the bytes of a file of data. `path` is relative to the table.
    ///
    /// # Errors
    /// If it is not there, or cannot be read.
    pub fn data_of(&self, path: &str) -> Result<Vec<u8>, VfsError> {
        read_all(&*self.vfs.open(&self.root.join(path))?)
    }

    /// Returns whether the log has a file of this name.
    ///
    /// # Errors
    /// If the file is there and cannot be opened.
    pub fn has(&self, name: &str) -> Result<bool, VfsError> {
        match self.vfs.open(&self.log().join(name)) {
            Err(error) if is(&error, ErrorKind::NotFound) => Ok(false),
            opened => opened.map(|_| true),
        }
    }

    /// Puts a file into the log, durably, if there is none of that name: of several that try, one succeeds. Returns false
    /// if there is one.
    ///
    /// # Errors
    /// If that fails. Then the file may be there or not.
    pub fn put_new(&self, name: &str, bytes: &[u8]) -> Result<bool, VfsError> {
        let (draft, path) = (self.draft(bytes)?, self.log().join(name));
        let named = match self.vfs.link(&draft, &path) {
            Err(error) if is(&error, ErrorKind::AlreadyExists) => Ok(false),
            linked => linked.map(|()| true),
        };
        self.vfs.remove(&draft)?;
        if named? {
            self.vfs.sync_dir(&self.log(), site(SyncStep::Generation))?;
            return Ok(true);
        }
        Ok(false)
    }

    /// Puts a file into the log in place of that of this name.
    ///
    /// # Errors
    /// If that fails: then the one before is there, or this one.
    pub fn replace(&self, name: &str, bytes: &[u8]) -> Result<(), VfsError> {
        let draft = self.draft(bytes)?;
        self.vfs.rename(&draft, &self.log().join(name))?;
        self.vfs.sync_dir(&self.log(), site(SyncStep::Generation))
    }

    fn draft(&self, bytes: &[u8]) -> Result<PathBuf, VfsError> {
        let draft = self.log().join(DRAFT);
        self.write(&draft, bytes, SyncStep::Manifest)?;
        Ok(draft)
    }

    /// Writes a file of data, durably but for its name: see [`Store::name`]. `path` is relative to the table: two folders
    /// and a name.
    ///
    /// # Errors
    /// If that fails. A part of the file may be there.
    pub fn data(&mut self, path: &str, bytes: &[u8]) -> Result<(), VfsError> {
        let path = self.root.join(path);
        for folder in [path.parent().and_then(Path::parent), path.parent()].into_iter().flatten() {
            self.folder(folder.to_owned())?;
        }
        self.write(&path, bytes, SyncStep::Run)
    }

    /// Makes the names of files durable, before a commit has them.
    ///
    /// # Errors
    /// If that fails.
    pub fn name(&self, folder: &str) -> Result<(), VfsError> {
        self.vfs.sync_dir(&self.root.join(folder), site(SyncStep::RunEntries))
    }

    fn write(&self, path: &Path, bytes: &[u8], step: SyncStep) -> Result<(), VfsError> {
        let mut file = match self.vfs.create(path) {
            Err(error) if is(&error, ErrorKind::AlreadyExists) => {
                self.vfs.remove(path)?;
                self.vfs.create(path)?
            }
            created => created?,
        };
        let written = file.append(bytes).and_then(|()| file.sync(site(step)));
        if written.is_err() {
            // It may take the space that others need.
            let _gone = self.vfs.remove(path);
        }
        written
    }

    /// Removes a file of data that is in no commit; fine if there is none.
    ///
    /// # Errors
    /// If it stays.
    pub fn remove(&self, path: &str) -> Result<(), VfsError> {
        match self.vfs.remove(&self.root.join(path)) {
            Err(error) if is(&error, ErrorKind::NotFound) => Ok(()),
            removed => removed,
        }
    }

    /// Removes a file of the log that no reader needs; fine if there is none.
    ///
    /// # Errors
    /// If it stays.
    pub fn remove_of_log(&self, name: &str) -> Result<(), VfsError> {
        match self.vfs.remove(&self.log().join(name)) {
            Err(error) if is(&error, ErrorKind::NotFound) => Ok(()),
            removed => removed,
        }
    }

    /// Calls `each` with the path of every file of data, relative to the table.
    ///
    /// # Errors
    /// If a folder cannot be read.
    pub fn files(&self, mut each: impl FnMut(&str)) -> Result<(), VfsError> {
        for outer in self.folders("")? {
            for within in self.folders(&outer)? {
                let names = self.vfs.list(&self.root.join(&within))?;
                names.iter().for_each(|name| each(&format!("{within}/{name}")));
            }
        }
        Ok(())
    }

    /// Returns the folders of partitions in `within`.
    fn folders(&self, within: &str) -> Result<Vec<String>, VfsError> {
        let folder = if within.is_empty() { self.root.clone() } else { self.root.join(within) };
        let names = match self.vfs.list(&folder) {
            Err(error) if is(&error, ErrorKind::NotADirectory) => Vec::new(),
            names => names?,
        };
        let join = |name: String| if within.is_empty() { name } else { format!("{within}/{name}") };
        Ok(names.into_iter().filter(|name| name.contains('=')).map(join).collect())
    }
}
