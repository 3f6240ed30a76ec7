//! The files of one host, read from another one, beside the same files read at once.

use super::*;
use crate::cluster::greet::tests::sealed;
use headwater_log::vfs::{RealFs, Role, SyncStep};

/// A folder with a log, as another host sees it.
fn remote(log: &Path) -> Remote {
    let (asks, answers) = sealed();
    let log = log.to_path_buf();
    std::thread::spawn(move || serve(answers.clone(), answers, &log));
    Remote::new(asks)
}

fn log() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for dir in ["log/wal/00", "log/state", "log/out"] {
        fs::create_dir_all(folder.path().join(dir)).unwrap();
    }
    let large: Vec<u8> = (0..2 * BYTES as u32 + 99).map(|number| ((number * 7) >> 3) as u8).collect();
    fs::write(folder.path().join("log/wal/00/0.seg"), &large).unwrap();
    fs::write(folder.path().join("log/wal/00/1.seg"), b"").unwrap();
    for secret in ["EPOCH", "log/LOG", "log/out/0.seg"] {
        fs::write(folder.path().join(secret), b"secret").unwrap();
    }
    folder
}

#[test]
fn what_is_read_from_another_host_is_what_is_there() {
    let folder = log();
    let root = folder.path().join("log");
    let remote = remote(&root);
    for dir in ["wal", "wal/00", "state"] {
        assert_eq!(remote.list(Path::new(dir)).unwrap(), RealFs.list(&root.join(dir)).unwrap());
    }
    let (theirs, ours) =
        (remote.open(Path::new("wal/00/0.seg")).unwrap(), RealFs.open(&root.join("wal/00/0.seg")).unwrap());
    assert_eq!(theirs.size().unwrap(), ours.size().unwrap());
    let size = theirs.size().unwrap();
    for (at, length) in [(0, 0), (0, 1), (5, 1000), (size - 1, 1), (3, BYTES), (0, size as usize), (size, 0)] {
        let (mut read, mut expected) = (vec![1; length], vec![2; length]);
        theirs.read_at(at, &mut read).unwrap();
        ours.read_at(at, &mut expected).unwrap();
        assert!(read == expected, "{length} bytes at {at}");
    }
    // The same errors, as far as readers tell them apart.
    let error = theirs.read_at(size - 3, &mut [0; 4]).unwrap_err();
    assert_eq!(error.source.kind(), ErrorKind::UnexpectedEof);
    assert_eq!(remote.open(Path::new("wal/00/7.seg")).unwrap_err().source.kind(), ErrorKind::NotFound);
    assert_eq!(remote.list(Path::new("wal/07")).unwrap_err().source.kind(), ErrorKind::NotFound);
    // It goes on after an error, and sees what has grown when it opens the file again.
    fs::write(root.join("wal/00/1.seg"), b"more").unwrap();
    let mut read = [0; 4];
    let grown = remote.open(Path::new("wal/00/1.seg")).unwrap();
    grown.read_at(0, &mut read).unwrap();
    assert_eq!((grown.size().unwrap(), read), (4, *b"more"));
}

#[test]
fn nothing_else_can_be_read_and_nothing_be_changed() {
    let folder = log();
    let root = folder.path().join("log");
    let remote = remote(&root);
    let absolute = root.join("wal/00/0.seg");
    let outside =
        ["", "LOG", "out/0.seg", "../EPOCH", "wal/../LOG", "wal/../../EPOCH", "/etc/passwd", "./wal/00/0.seg"];
    for path in outside.iter().map(Path::new).chain([absolute.as_path()]) {
        assert!(remote.open(path).is_err() && remote.list(path).is_err(), "{}", path.display());
    }
    let path = Path::new("wal/00/0.seg");
    let mut file = remote.open(path).unwrap();
    let site = headwater_log::vfs::SyncSite { role: Role::Queue, step: SyncStep::Group };
    let refused = [
        file.append(b"x"),
        file.write_at(0, b"x"),
        file.truncate(0),
        file.sync(site),
        remote.remove(path),
        remote.rename(path, Path::new("wal/00/9.seg")),
        remote.link(path, Path::new("wal/00/9.seg")),
        remote.create_dir(Path::new("wal/99")),
        remote.sync_dir(Path::new("wal"), site),
        remote.create(Path::new("wal/00/9.seg")).map(drop),
        remote.lock(Path::new("wal/LOCK")).map(drop),
    ];
    for error in refused {
        assert_eq!(error.unwrap_err().source.kind(), ErrorKind::ReadOnlyFilesystem);
    }
    assert_eq!(fs::read_dir(root.join("wal")).unwrap().count(), 1);
}
