//! Reading the queue with its control partition, and the checkpoints, of the host that leads from another host. So the data
//! folder is a folder of one host, and need not be shared. Nothing can be changed this way, and nothing else can be read.
//!
//! ```text
//! asks: frame of an Ask ─▶ ◀─ frame of an Answer, with the bytes behind it
//! ```
//! Shared storage would need more: a host would have to see what another one has just written and synced. Network file
//! systems cache folders and lengths for seconds.

use super::link::{Incoming, encode};
use super::sealed::Sealed;
use headwater_log::vfs::{LockGuard, Outcome, SyncSite, Vfs, VfsError, VfsFile};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// Bytes of one answer, at most. More is asked for in parts.
const BYTES: usize = 4 << 20;
/// The folders of the log that workers read.
const FOLDERS: [&str; 3] = ["wal", "state", "control"];

/// Paths are below the folder of the log.
#[derive(Debug, Serialize, Deserialize)]
enum Ask {
    List(PathBuf),
    Size(PathBuf),
    Read { path: PathBuf, at: u64, bytes: usize },
}

#[derive(Debug, Serialize, Deserialize)]
enum Answer {
    Names(Vec<String>),
    Size(u64),
    /// As many as were asked for follow.
    Bytes,
    Failed {
        kind: Failure,
        why: String,
    },
}

/// The kinds of errors that readers tell apart.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
enum Failure {
    NotFound,
    UnexpectedEof,
    Other,
}

/// Answers another host until it is gone. `log` is the folder of the log.
///
/// # Errors
/// Those of the connection.
pub fn serve<S: Read + Write>(asking: S, mut answering: S, log: &Path) -> io::Result<()> {
    let mut incoming = Incoming::new(asking);
    let (mut frame, mut bytes) = (Vec::new(), Vec::new());
    while let Some(ask) = incoming.receive::<Ask>()? {
        bytes.clear();
        let answer = answer(&ask, log, &mut bytes).unwrap_or_else(|error| {
            bytes.clear();
            let kind = match error.kind() {
                ErrorKind::NotFound => Failure::NotFound,
                ErrorKind::UnexpectedEof => Failure::UnexpectedEof,
                _ => Failure::Other,
            };
            Answer::Failed { kind, why: error.to_string() }
        });
        frame.clear();
        encode(&mut frame, &answer)?;
        frame.extend_from_slice(&bytes);
        answering.write_all(&frame)?;
    }
    Ok(())
}

fn answer(ask: &Ask, log: &Path, read: &mut Vec<u8>) -> io::Result<Answer> {
    let within = |path: &Path| {
        let mut components = path.components();
        let known = components.next().is_some_and(|first| FOLDERS.iter().any(|folder| first.as_os_str() == *folder));
        match known && components.all(|component| matches!(component, Component::Normal(_))) {
            true => Ok(log.join(path)),
            false => Err(io::Error::new(ErrorKind::PermissionDenied, "other hosts do not read that")),
        }
    };
    match ask {
        Ask::List(dir) => {
            let mut names = Vec::new();
            for entry in fs::read_dir(within(dir)?)? {
                names.extend(entry?.file_name().into_string());
            }
            names.sort();
            Ok(Answer::Names(names))
        }
        Ask::Size(path) => Ok(Answer::Size(File::open(within(path)?)?.metadata()?.len())),
        Ask::Read { path, at, bytes } => {
            if *bytes > BYTES {
                return Err(io::Error::new(ErrorKind::InvalidInput, "that is too much at once"));
            }
            read.resize(*bytes, 0);
            File::open(within(path)?)?.read_exact_at(read, *at)?;
            Ok(Answer::Bytes)
        }
    }
}

/// The files of the host that leads, as another host sees them. Paths are below the folder of the log.
#[derive(Clone)]
pub struct Remote(Arc<Mutex<Conversation>>);

struct Conversation {
    incoming: Incoming<Sealed>,
    to: Sealed,
    frame: Vec<u8>,
}

impl Remote {
    pub fn new(connection: Sealed) -> Remote {
        let incoming = Incoming::new(connection.clone());
        Remote(Arc::new(Mutex::new(Conversation { incoming, to: connection, frame: Vec::new() })))
    }

    /// Asks, and waits for the answer. `buffer` takes its bytes.
    fn ask(&self, ask: &Ask, buffer: &mut [u8]) -> io::Result<Answer> {
        // A thread that panics ends the process, so nothing half done is seen.
        let mut talk = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Conversation { incoming, to, frame } = &mut *talk;
        frame.clear();
        encode(frame, ask)?;
        to.write_all(frame)?;
        match incoming.receive()?.ok_or(ErrorKind::UnexpectedEof)? {
            Answer::Bytes => {
                incoming.fill(buffer)?;
                Ok(Answer::Bytes)
            }
            Answer::Failed { kind, why } => Err(match kind {
                Failure::NotFound => io::Error::new(ErrorKind::NotFound, why),
                Failure::UnexpectedEof => io::Error::new(ErrorKind::UnexpectedEof, why),
                Failure::Other => io::Error::other(why),
            }),
            answer => Ok(answer),
        }
    }
}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Remote")
    }
}

fn other_answer() -> io::Error {
    io::Error::new(ErrorKind::InvalidData, "the host that leads has answered something else")
}

fn failed(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> VfsError {
    let path = path.to_path_buf();
    move |source| VfsError::new(doing, &path, Outcome::Failed, source)
}

/// Another host changes nothing.
fn refused<T>(doing: &'static str, path: &Path) -> Result<T, VfsError> {
    Err(failed(doing, path)(ErrorKind::ReadOnlyFilesystem.into()))
}

impl Vfs for Remote {
    fn create_dir(&self, path: &Path) -> Result<(), VfsError> {
        refused("create the folder", path)
    }

    fn create(&self, path: &Path) -> Result<Box<dyn VfsFile>, VfsError> {
        refused("create", path)
    }

    fn open(&self, path: &Path) -> Result<Box<dyn VfsFile>, VfsError> {
        match self.ask(&Ask::Size(path.to_path_buf()), &mut []).map_err(failed("open", path))? {
            Answer::Size(size) => Ok(Box::new(RemoteFile { files: self.clone(), path: path.to_path_buf(), size })),
            _ => Err(failed("open", path)(other_answer())),
        }
    }

    fn list(&self, dir: &Path) -> Result<Vec<String>, VfsError> {
        match self.ask(&Ask::List(dir.to_path_buf()), &mut []).map_err(failed("list", dir))? {
            Answer::Names(names) => Ok(names),
            _ => Err(failed("list", dir)(other_answer())),
        }
    }

    fn rename(&self, from: &Path, _to: &Path) -> Result<(), VfsError> {
        refused("rename", from)
    }

    fn link(&self, _from: &Path, to: &Path) -> Result<(), VfsError> {
        refused("name", to)
    }

    fn remove(&self, path: &Path) -> Result<(), VfsError> {
        refused("remove", path)
    }

    fn sync_dir(&self, dir: &Path, _site: SyncSite) -> Result<(), VfsError> {
        refused("sync the folder", dir)
    }

    fn lock(&self, path: &Path) -> Result<Option<LockGuard>, VfsError> {
        refused("lock", path)
    }
}

/// A file that grows at its end, if at all.
#[derive(Debug)]
struct RemoteFile {
    files: Remote,
    path: PathBuf,
    /// When it was opened.
    size: u64,
}

impl VfsFile for RemoteFile {
    fn append(&mut self, _bytes: &[u8]) -> Result<(), VfsError> {
        refused("append to", &self.path)
    }

    fn write_at(&mut self, _at: u64, _bytes: &[u8]) -> Result<(), VfsError> {
        refused("write to", &self.path)
    }

    fn read_at(&self, at: u64, buffer: &mut [u8]) -> Result<(), VfsError> {
        for (number, part) in buffer.chunks_mut(BYTES).enumerate() {
            let at = at + (number * BYTES) as u64;
            let ask = Ask::Read { path: self.path.clone(), at, bytes: part.len() };
            match self.files.ask(&ask, part).map_err(failed("read", &self.path))? {
                Answer::Bytes => {}
                _ => return Err(failed("read", &self.path)(other_answer())),
            }
        }
        Ok(())
    }

    /// The length when it was opened: who wants to know what has come since opens it again.
    fn size(&self) -> Result<u64, VfsError> {
        Ok(self.size)
    }

    fn truncate(&mut self, _size: u64) -> Result<(), VfsError> {
        refused("truncate", &self.path)
    }

    fn sync(&mut self, _site: SyncSite) -> Result<(), VfsError> {
        refused("sync", &self.path)
    }
}

#[cfg(test)]
mod tests;
