//! A run's outputs appear all at once or not at all.
//!
//! Everything is written into a folder inside the output folder, `.headwater-staging-<process>-<random>`:
//!
//! ```text
//! lock       locked for as long as its process lives
//! scratch/   parts and spools
//! tables/    finished files; renamed to `ready/` when all are complete and on disk: the commit
//! ready/     files on their way into place
//! ```
//!
//! A run that ends before the commit changes nothing. If a run is cut off between the commit and the last rename, the
//! next run that opens the same output folder completes it. That run also removes the files of ended processes. The
//! kernel releases the lock of an ended process. On a file system without locks, no process counts as ended.

use super::{COUNT, Error, OutputFormat, STATE, TABLES};
use headwater_log::durable::sync_folder;
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

const PREFIX: &str = ".headwater-staging-";

/// Among the finished files: the names of those in the output folder that they make obsolete, one on each line. They are
/// chosen before the commit, as later some of the finished files may have been moved already.
const OBSOLETE: &str = ".obsolete";

/// The outputs of one run while they are being made. Dropping it without [`Staging::commit`] removes them.
pub struct Staging {
    out: PathBuf,
    scratch: PathBuf,
    tables: PathBuf,
    // Removed before the lock is released.
    folder: TempDir,
    _lock: File,
}

impl Staging {
    /// Creates `out` where it is missing.
    pub fn open(out: &Path) -> Result<Staging, Error> {
        fs::create_dir_all(out).map_err(|source| Error::new("create the output folder", out, source))?;
        let alone = lock_folder(out);
        if alone.is_some() {
            recover(out)?;
        }
        Staging::create_in(out).map_err(|source| Error::new("write into the output folder", out, source))
    }

    fn create_in(out: &Path) -> io::Result<Staging> {
        let folder = tempfile::Builder::new().prefix(&format!("{PREFIX}{}-", std::process::id())).tempdir_in(out)?;
        let lock = File::create_new(folder.path().join("lock"))?;
        match lock.try_lock() {
            Err(TryLockError::Error(error)) if error.kind() != io::ErrorKind::Unsupported => return Err(error),
            // The file is new and in a folder of ours, so no other process holds it.
            _ => {}
        }
        let (scratch, tables) = (folder.path().join("scratch"), folder.path().join("tables"));
        fs::create_dir(&scratch)?;
        fs::create_dir(&tables)?;
        Ok(Staging { out: out.to_owned(), scratch, tables, folder, _lock: lock })
    }

    /// Returns the folder for parts and spools. It is removed after the run.
    pub fn scratch(&self) -> &Path {
        &self.scratch
    }

    /// Creates a file that will be `name` in the output folder.
    pub fn create(&self, name: &str) -> Result<File, Error> {
        let path = self.tables.join(name);
        File::create_new(&path).map_err(|source| Error::new("create", &path, source))
    }

    /// Returns the path of `name` after the commit.
    pub fn target(&self, name: &str) -> PathBuf {
        self.out.join(name)
    }

    /// Moves every created file into place, over those of an earlier run, and removes the other tables of an earlier
    /// run. Gives the paths in alphabetical order.
    pub fn commit(self) -> Result<Vec<PathBuf>, Error> {
        let _alone = lock_folder(&self.out);
        let obsolete = obsolete(&file_names(&self.tables)?);
        let path = self.tables.join(OBSOLETE);
        fs::write(&path, obsolete.join("\n")).map_err(|source| Error::new("write", &path, source))?;
        let targets = self.sync_tables()?;
        let ready = self.folder.path().join("ready");
        fs::rename(&self.tables, &ready)
            .and_then(|()| sync_folder(self.folder.path()))
            .map_err(|source| Error::new("complete the files in", &self.tables, source))?;
        if let Err(error) = move_into_place(&ready, &self.out) {
            // Committed: the files stay for the next run to move.
            let _ = self.folder.keep();
            return Err(error);
        }
        Ok(targets)
    }

    /// Everything that can fail is tried here, while nothing has changed yet.
    fn sync_tables(&self) -> Result<Vec<PathBuf>, Error> {
        let mut targets = Vec::new();
        for name in file_names(&self.tables)? {
            let (path, target) = (self.tables.join(&name), self.out.join(&name));
            File::open(&path)
                .and_then(|file| file.sync_all())
                .map_err(|source| Error::new("write to disk", &path, source))?;
            if target.is_dir() {
                return Err(Error::new("replace", &target, io::ErrorKind::IsADirectory.into()));
            }
            if name != OBSOLETE {
                targets.push(target);
            }
        }
        sync_folder(&self.tables).map_err(|source| Error::new("write to disk", &self.tables, source))?;
        Ok(targets)
    }
}

/// Returns the files of an earlier run that would contradict these: the same table in another format, and the events of
/// other sessions.
fn obsolete(names: &[std::ffi::OsString]) -> Vec<String> {
    let written = |file: &String| names.iter().any(|name| name == file.as_str());
    let files = |table: &str| OutputFormat::ALL.map(|format| format.file(table));
    let sessions = files("sessions").iter().any(written);
    let of_states =
        names.iter().filter_map(|name| name.to_str()).filter(|name| name.starts_with(STATE) || name.starts_with(COUNT));
    let of_states: Vec<&str> = of_states.filter_map(|name| Some(name.rsplit_once('.')?.0)).collect();
    let tables = TABLES
        .iter()
        .chain(&of_states)
        .filter(|table| sessions && **table == "session_events" || files(table).iter().any(written));
    tables.flat_map(|table| files(table)).filter(|file| !written(file)).collect()
}

/// Completes the commits of dead processes, and removes what they left.
fn recover(out: &Path) -> Result<(), Error> {
    for name in file_names(out)? {
        let folder = out.join(&name);
        let ours = name.to_str().is_some_and(|name| name.starts_with(PREFIX));
        if !ours || !fs::symlink_metadata(&folder).is_ok_and(|metadata| metadata.is_dir()) {
            continue;
        }
        // No lock file: its process died at the start, since the creator of one holds the lock of the output folder.
        let lock = match File::open(folder.join("lock")) {
            Ok(lock) if lock.try_lock().is_ok() => Some(lock),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            _ => continue,
        };
        let ready = folder.join("ready");
        if ready.is_dir() {
            move_into_place(&ready, out)?;
        }
        fs::remove_dir_all(&folder)
            .map_err(|source| Error::new("remove the remains of a dead process in", &folder, source))?;
        drop(lock);
    }
    Ok(())
}

/// Safe to repeat after it was cut off anywhere.
fn move_into_place(ready: &Path, out: &Path) -> Result<(), Error> {
    let names = file_names(ready)?;
    let obsolete = match fs::read_to_string(ready.join(OBSOLETE)) {
        Ok(names) => names,
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        Err(source) => return Err(Error::new(UNFINISHED, &ready.join(OBSOLETE), source)),
    };
    for name in obsolete.lines() {
        let path = out.join(name);
        if fs::symlink_metadata(&path).is_ok_and(|metadata| !metadata.is_dir()) {
            fs::remove_file(&path).map_err(|source| Error::new(UNFINISHED, &path, source))?;
        }
    }
    for name in names.into_iter().filter(|name| name != OBSOLETE) {
        let target = out.join(&name);
        fs::rename(ready.join(&name), &target).map_err(|source| Error::new(UNFINISHED, &target, source))?;
    }
    sync_folder(out).map_err(|source| Error::new(UNFINISHED, out, source))
}

/// The text of an error after the commit.
const UNFINISHED: &str = "finish replacing the outputs (the next run into this folder will): stopped at";

/// Names in `folder`, sorted.
fn file_names(folder: &Path) -> Result<Vec<std::ffi::OsString>, Error> {
    let names = fs::read_dir(folder)
        .and_then(|entries| entries.map(|entry| Ok(entry?.file_name())).collect::<io::Result<Vec<_>>>());
    let mut names = names.map_err(|source| Error::new("list", folder, source))?;
    names.sort_unstable();
    Ok(names)
}

/// Waits for other runs that are starting or committing. `None` where the file system has no locks.
fn lock_folder(folder: &Path) -> Option<File> {
    let file = File::open(folder).ok()?;
    file.lock().ok()?;
    Some(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn names(folder: &Path) -> Vec<String> {
        file_names(folder).unwrap().into_iter().map(|name| name.into_string().unwrap()).collect()
    }

    fn run(out: &Path, files: &[(&str, &str)]) -> Staging {
        let staging = Staging::open(out).unwrap();
        for (name, content) in files {
            staging.create(name).unwrap().write_all(content.as_bytes()).unwrap();
        }
        staging
    }

    fn read(out: &Path, name: &str) -> String {
        fs::read_to_string(out.join(name)).unwrap()
    }

    /// Leaves the folder without its lock, like a killed process.
    fn kill(staging: Staging) -> PathBuf {
        staging.folder.keep()
    }

    #[test]
    fn a_commit_replaces_and_leaves_no_other_format() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("new/folder");
        run(&out, &[("sessions.csv", "old"), ("counts.csv", "old")]).commit().unwrap();
        fs::write(out.join("sessions.txt"), "the user's own").unwrap();
        let written = run(&out, &[("sessions.parquet", "new"), ("counts.csv", "new")]).commit().unwrap();
        assert_eq!(written, [out.join("counts.csv"), out.join("sessions.parquet")]);
        assert_eq!(names(&out), ["counts.csv", "sessions.parquet", "sessions.txt"]);
        assert_eq!([read(&out, "counts.csv"), read(&out, "sessions.parquet")], ["new", "new"]);
        run(&out, &[("sessions.csv", "newer"), ("counts.jsonl", "newer"), ("session_events.csv", "newer")])
            .commit()
            .unwrap();
        assert_eq!(names(&out), ["counts.jsonl", "session_events.csv", "sessions.csv", "sessions.txt"]);
        run(&out, &[("sessions.csv", "newest")]).commit().unwrap();
        assert_eq!(names(&out), ["counts.jsonl", "sessions.csv", "sessions.txt"]);
    }

    #[test]
    fn a_run_that_fails_changes_nothing() {
        let out = tempfile::tempdir().unwrap();
        run(out.path(), &[("sessions.csv", "old")]).commit().unwrap();
        let staging = run(out.path(), &[("sessions.parquet", "new"), ("sessions.csv", "new")]);
        fs::write(staging.scratch().join("part"), "half").unwrap();
        assert_eq!(names(out.path()).len(), 2);
        drop(staging);
        assert_eq!(names(out.path()), ["sessions.csv"]);
        assert_eq!(read(out.path(), "sessions.csv"), "old");
    }

    #[test]
    fn a_folder_in_the_way_stops_the_commit_before_anything_moved() {
        let out = tempfile::tempdir().unwrap();
        fs::create_dir(out.path().join("sessions.csv")).unwrap();
        fs::write(out.path().join("counts.csv"), "old").unwrap();
        let error = run(out.path(), &[("counts.csv", "new"), ("sessions.csv", "new")]).commit().unwrap_err();
        assert_eq!(error.to_string(), format!("cannot replace {}", out.path().join("sessions.csv").display()));
        assert_eq!(names(out.path()), ["counts.csv", "sessions.csv"]);
        assert_eq!(read(out.path(), "counts.csv"), "old");
    }

    #[test]
    fn the_living_are_left_alone_and_the_dead_are_removed() {
        let out = tempfile::tempdir().unwrap();
        let dead = kill(run(out.path(), &[("sessions.csv", "half")]));
        let unborn = out.path().join(format!("{PREFIX}1-x"));
        fs::create_dir(&unborn).unwrap();
        // Named alike, but no folder.
        let note = out.path().join(format!("{PREFIX}note"));
        fs::write(&note, "the user's own").unwrap();
        let living = run(out.path(), &[("counts.csv", "living")]);
        assert!(!dead.exists() && !unborn.exists() && note.exists());
        drop(run(out.path(), &[]));
        living.commit().unwrap();
        assert_eq!(read(out.path(), "counts.csv"), "living");
        assert!(!out.path().join("sessions.csv").exists());
    }

    /// The process dies after its commit, with one of two files moved: both belong to the outputs.
    #[test]
    fn the_next_run_completes_a_commit_that_was_cut_off() {
        let out = tempfile::tempdir().unwrap();
        run(out.path(), &[("sessions.csv", "old"), ("counts.csv", "old")]).commit().unwrap();
        let dead = kill(run(out.path(), &[("sessions.jsonl", "new"), ("counts.csv", "new")]));
        fs::write(dead.join("tables").join(OBSOLETE), "sessions.csv\ncounts.parquet").unwrap();
        fs::rename(dead.join("tables"), dead.join("ready")).unwrap();
        fs::rename(dead.join("ready/counts.csv"), out.path().join("counts.csv")).unwrap();
        drop(run(out.path(), &[]));
        assert_eq!(names(out.path()), ["counts.csv", "sessions.jsonl"]);
        assert_eq!([read(out.path(), "counts.csv"), read(out.path(), "sessions.jsonl")], ["new", "new"]);
    }

    #[test]
    fn an_output_folder_that_cannot_be_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("file/out");
        fs::write(folder.path().join("file"), "").unwrap();
        let error = Staging::open(&out).err().unwrap();
        assert_eq!(error.to_string(), format!("cannot create the output folder {}", out.display()));
    }
}
