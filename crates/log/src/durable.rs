//! Small files that survive a loss of power: replaced as a whole, in a folder that is synced afterwards.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

/// Makes `bytes` the content of the file, durably. After an error, or a crash in between, it is what it was before.
///
/// # Errors
/// If the folder cannot be written to.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut draft = tempfile::NamedTempFile::new_in(folder)?;
    draft.write_all(bytes)?;
    draft.as_file().sync_all()?;
    draft.persist(path)?;
    sync_folder(folder)
}

/// Makes durable what the folder lists.
///
/// # Errors
/// If it cannot be opened or synced.
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}
