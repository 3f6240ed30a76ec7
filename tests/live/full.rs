//! A disk without space: nothing is acknowledged, nothing is lost, and it goes on by itself when there is space again.

use super::client::{Client, Outcome};
use super::events::{Event, PAST_MS, lines, sessions};
use super::folder;
use super::process::{Process, Restart};
use super::published::{Published, same};
use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

/// A file system of its own, in memory.
struct Disk(PathBuf);

impl Disk {
    /// `None` if this user may not mount any.
    fn mount(at: PathBuf, size: &str) -> Option<Disk> {
        fs::create_dir_all(&at).unwrap();
        let mut mount = Command::new("mount");
        let mounted = mount.args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"]).arg(&at).output();
        mounted.is_ok_and(|mounted| mounted.status.success()).then_some(Disk(at))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg("-l").arg(&self.0).status();
        assert!(unmounted.is_ok_and(|unmounted| unmounted.success()));
    }
}

#[test]
fn a_full_disk_refuses_events_and_goes_on_when_there_is_space() {
    let folder = folder("");
    let Some(disk) = Disk::mount(folder.path("disk"), "24m") else {
        eprintln!("skipped: this user may not mount a file system");
        return;
    };
    let ballast = disk.0.join("ballast");
    fs::write(&ballast, vec![1; 12 << 20]).unwrap();
    let process = Process::start(&folder, "disk/data", 2, Restart::No);
    let mut client = Client::new(process.ready());
    let batch = |number: i64| -> Vec<Event> {
        let event =
            |at| Event { user: format!("batch {number}"), time: PAST_MS + at, id: None, price: None, page: None };
        (0..2000).map(event).collect()
    };
    let (mut acknowledged, mut unknown) = (Vec::new(), Vec::new());
    let mut refused = 0;
    for number in 0.. {
        assert!(number < 1000, "never full");
        let batch = batch(number);
        let (outcome, answer) = client.post_as("application/x-ndjson", &lines(&batch));
        match outcome {
            Outcome::Acknowledged => acknowledged.extend(batch),
            _ => {
                assert_eq!(answer["error"]["code"], "full", "{answer}");
                unknown.extend(batch);
                refused += 1;
            }
        }
        if refused == 20 {
            break;
        }
    }
    assert_eq!(client.get("/healthz"), Some(200));
    fs::remove_file(ballast).unwrap();
    let mut last = batch(1000);
    last.truncate(10);
    while client.post(&lines(&last)) != Outcome::Acknowledged {
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    client.published();
    acknowledged.extend(last);
    process.drain();
    let published = Published::read(&disk.0.join("data"));
    let ours = published.sessions();
    let users: BTreeSet<&str> = ours.iter().map(|row| row.0.as_str()).collect();
    let all = acknowledged.iter().chain(unknown.iter().filter(|event| users.contains(event.user.as_str())));
    same("sessions", &ours, &sessions(all));
}
