//! Each file in a tar archive counts as a file of its own, wherever the archive was cut, and under whatever name.

use super::{event, session};
use crate::headwater::Folder;
use flate2::Compression;
use flate2::write::GzEncoder;
use std::io::Write;

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

/// Names are written as they are: [`tar::Builder`] itself refuses those that lead out of the archive.
fn tar(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, content) in files {
        let mut header = tar::Header::new_gnu();
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        header.set_cksum();
        builder.append(&header, *content).unwrap();
    }
    builder.into_inner().unwrap()
}

fn lines(user: &str) -> Vec<u8> {
    (0..20).map(|at| event(user, at, "view") + "\n").collect::<String>().into_bytes()
}

#[test]
fn the_files_of_an_archive_are_read_and_named_in_dead_letters() {
    let (ann, bob) = (lines("ann"), gzip(&lines("bob")));
    let cyd = [&lines("cyd")[..], b"oops\n"].concat();
    let csv = b"user_id,timestamp,event_type\ndot,1577836800,view\n";
    let archive = tar(&[
        ("./ann.jsonl", &ann),
        ("logs/old/bob.jsonl.gz", &bob),
        ("../../cyd.jsonl", &cyd),
        ("logs/._ann.jsonl", b"\0\x05\x16\x07"),
        ("/dot.csv", csv),
        ("empty.jsonl", b""),
    ]);
    for (name, content) in [
        ("logs.tar", archive.clone()),
        ("logs.tar.gz", gzip(&archive)),
        ("logs.tgz", gzip(&archive)),
        ("logs.tar.zst", zstd::encode_all(&archive[..], 1).unwrap()),
    ] {
        let folder = Folder::new();
        folder.write("headwater.toml", "");
        folder.write(name, &content);
        for workers in ["1", "3"] {
            let replay = folder.replay("headwater.toml", [name, "--workers", workers]);
            let of = |user| session(user, 0, 19, 20);
            assert_eq!(replay.rows()[..3], [of("ann"), of("bob"), of("cyd")], "{name}");
            assert_eq!(replay.rows()[3].0, "dot");
            assert_eq!((replay.number("files"), replay.number("events")), (5, 61), "{name}");
            assert_eq!(replay.number("bytes"), content.len() as u64, "{name}");
            let letters = replay.dead_letters();
            assert_eq!(letters.len(), 1, "{name}: {letters:?}");
            let path = letters[0]["path"].as_str().unwrap();
            assert!(path.ends_with(&format!("{name}/../../cyd.jsonl")), "{path}");
        }
        assert!(!folder.path("../cyd.jsonl").exists() && !folder.path("logs").exists());
    }
}

#[test]
fn the_events_of_an_archive_are_written_and_an_archive_may_come_first() {
    let folder = Folder::new();
    folder.write("logs.tar.gz", gzip(&tar(&[("a.jsonl", &lines("ann")), ("b.jsonl", &lines("bob"))])));
    let run = folder.headwater(["replay", "logs.tar.gz", "--events", "--format", "csv", "--out", "out"]);
    assert_eq!(run.code(), 0, "{}", run.stderr());
    assert!(run.stdout().contains("paths = [\"") && run.stdout().contains("logs.tar.gz\"]"), "{}", run.stdout());
    assert_eq!(folder.read("out/session_events.csv").lines().count(), 41);
}

/// What lies before the cut counts, and a dead letter says that something is missing.
#[test]
fn an_archive_that_is_cut_is_told() {
    let archive = tar(&[("a.jsonl", &lines("ann")), ("b.jsonl", &lines("bob"))]);
    let size = lines("ann").len();
    let end = 2 * (512 + size.div_ceil(512) * 512);
    let second = 512 + size.div_ceil(512) * 512;
    // Within the first file, behind it, in the header of the second, in that file, behind it.
    for cut in [600, 512 + size, second, second + 100, second + 512, second + 700, end] {
        for name in ["logs.tar", "logs.tar.gz"] {
            let folder = Folder::new();
            folder.write("headwater.toml", "");
            let whole = if name == "logs.tar" { archive[..cut].to_vec() } else { gzip(&archive[..cut]) };
            folder.write(name, whole);
            let replay = folder.replay("headwater.toml", [name]);
            let events = (cut.saturating_sub(512).min(size) + cut.saturating_sub(second + 512).min(size)) / (size / 20);
            assert_eq!(replay.number("events"), events as u64, "{name} to {cut}");
            let reasons = replay.numbers("dead_letter_reasons");
            assert_eq!(reasons["damaged_input"], 1, "{name} to {cut}: {reasons:?}");
        }
    }
    // Compression that is cut.
    let folder = Folder::new();
    folder.write("headwater.toml", "");
    let compressed = gzip(&archive);
    folder.write("logs.tar.gz", &compressed[..compressed.len() - 20]);
    let replay = folder.replay("headwater.toml", ["logs.tar.gz"]);
    assert!(replay.numbers("dead_letter_reasons").contains_key("damaged_input"), "{}", replay.summary);
}

#[test]
fn an_archive_without_a_file_is_named_as_what_it_is() {
    let folder = Folder::new();
    folder.write("headwater.toml", "");
    folder.write("empty.tar", tar(&[("._x", b"x")]));
    let run = folder.headwater(["replay", "headwater.toml", "empty.tar", "--out", "out"]);
    assert_eq!(run.code(), 1, "{}", run.stderr());
    assert!(run.stderr().contains("it is a tar archive"), "{}", run.stderr());
}
