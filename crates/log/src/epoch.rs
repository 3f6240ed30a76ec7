//! The epoch of a data folder: a counter that every start increments. The log refuses writes under a lower epoch
//! (fencing).

use crate::durable;
use crate::segment::LogId;
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

/// In the data folder.
pub const FILE: &str = "EPOCH";

/// The content of the file [`FILE`].
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Epoch {
    /// The epoch of the last start.
    pub number: u64,
    /// Of the log in this folder.
    pub log: LogId,
    /// The folder has held a log, also where there is no [`crate::histories::FILE`]: releases up to 0.1.0 wrote none.
    #[serde(default = "before_histories")]
    pub logged: bool,
}

fn before_histories() -> bool {
    true
}

/// Takes the next epoch of the folder, durably. The caller has the lock of the log.
///
/// # Errors
/// If the file cannot be read or replaced; where there is no space, the epoch is the one before.
pub fn next(folder: &Path) -> io::Result<Epoch> {
    let next = match last(folder)? {
        Some(last) => Epoch { number: last.number + 1, ..last },
        None => Epoch { number: 1, log: LogId(random()?), logged: false },
    };
    durable::replace(&folder.join(FILE), &serde_json::to_vec(&next)?)?;
    Ok(next)
}

/// Returns the epoch that was taken last; `None` if there was none.
pub fn last(folder: &Path) -> io::Result<Option<Epoch>> {
    match fs::read(folder.join(FILE)) {
        Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Returns random bytes of the operating system.
pub(crate) fn random<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes)
}
