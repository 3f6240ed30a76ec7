//! A disk without space: nothing is acknowledged and nothing is lost. It goes on by itself when there is space again,
//! also if its own log had taken the space.

use super::client::{Client, Outcome};
use super::events::{Event, PAST_MS, lines, sessions};
use super::folder;
use super::process::{Process, Restart};
use super::published::{Published, same};
use crate::patience::wait_until;
use std::env;
use std::fs;
use std::io::Write;
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Command;

/// A file system of its own, in memory.
pub struct Disk(pub PathBuf);

impl Disk {
    /// `None` if this user may not mount any, which fails where `HEADWATER_REQUIRE_MOUNT` is set.
    pub fn mount(at: PathBuf, size: &str) -> Option<Disk> {
        fs::create_dir_all(&at).unwrap();
        let mut mount = Command::new("mount");
        let mounted = mount.args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"]).arg(&at).output();
        let mounted = mounted.is_ok_and(|mounted| mounted.status.success());
        let required = env::var_os("HEADWATER_REQUIRE_MOUNT").is_some();
        assert!(mounted || !required, "HEADWATER_REQUIRE_MOUNT is set, and `mount` fails");
        mounted.then_some(Disk(at))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg("-l").arg(&self.0).status();
        assert!(unmounted.is_ok_and(|unmounted| unmounted.success()));
    }
}

pub fn batch(number: i64) -> Vec<Event> {
    let event = |at| Event { user: format!("batch {number}"), time: PAST_MS + at, id: None, price: None, page: None };
    (0..2000).map(event).collect()
}

#[test]
fn a_full_disk_refuses_events_and_goes_on_when_there_is_space() {
    let folder = folder("reserve = \"2MiB\"\n");
    let Some(disk) = Disk::mount(folder.path("disk"), "24m") else {
        eprintln!("skipped: this user may not mount a file system");
        return;
    };
    let ballast = disk.0.join("ballast");
    fs::write(&ballast, vec![1; 12 << 20]).unwrap();
    let process = Process::start(&folder, "disk/data", 2, Restart::No);
    let mut client = Client::new(process.ready());
    let mut acknowledged = Vec::new();
    let mut refused = 0;
    for number in 0.. {
        assert!(number < 1000, "never full");
        let batch = batch(number);
        let (outcome, answer) = client.post_as("application/x-ndjson", &lines(&batch));
        match outcome {
            Outcome::Acknowledged => acknowledged.extend(batch),
            _ => {
                assert_eq!(answer["error"]["code"], "full", "{answer}");
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
    wait_until("there is space again", || client.post(&lines(&last)) == Outcome::Acknowledged);
    client.published();
    acknowledged.extend(last);
    process.drain();
    let published = Published::read(&disk.0.join("data"));
    let ours = published.sessions();
    same("sessions", &ours, &sessions(&acknowledged));
}

/// 20 subscribers that never read took 45 MB of a disk of 52 MB, and events were refused.
#[test]
fn subscribers_that_never_read_take_no_sender_its_space() {
    const SESSIONS: i64 = 60_000;
    let folder = folder("reserve = \"2MiB\"\nsnapshot = \"10s\"\nsegment = \"1MiB\"\nretain = \"1MiB\"\n");
    let Some(disk) = Disk::mount(folder.path("disk"), "52m") else {
        eprintln!("skipped: this user may not mount a file system");
        return;
    };
    let free = || {
        let disk = rustix::fs::statvfs(&disk.0).unwrap();
        disk.f_bavail * disk.f_frsize
    };
    let process = Process::start(&folder, "disk/data", 2, Restart::No);
    let address = process.ready();
    let mut client = Client::new(address);
    let users = |from: i64| {
        let event = |at| Event { user: format!("user {at}"), time: PAST_MS + at, id: None, price: None, page: None };
        lines(&(from..from + 2000).map(event).collect::<Vec<_>>())
    };
    for from in (0..SESSIONS).step_by(2000) {
        assert_eq!(client.post(&users(from)), Outcome::Acknowledged);
    }
    client.published();
    let before = free();
    let unread: Vec<TcpStream> = (0..20)
        .map(|_| {
            let mut stream = TcpStream::connect(address).unwrap();
            stream.write_all(b"GET /v1/collections/sessions/changes HTTP/1.1\r\nhost: localhost\r\n\r\n").unwrap();
            stream
        })
        .collect();
    // The first of them have theirs when something can be read.
    wait_until("snapshots are given out", || {
        unread.iter().any(|stream| {
            stream.set_nonblocking(true).unwrap();
            stream.peek(&mut [0]).is_ok_and(|length| length > 0)
        })
    });
    // More than there would be space for if what is unread held it.
    let (mut least, mut bytes) = (free(), 0);
    for number in 0..100 {
        let body = users(SESSIONS + number % 4 * 2000);
        let (outcome, answer) = client.post_as("application/x-ndjson", &body);
        assert_eq!(outcome, Outcome::Acknowledged, "after {bytes} bytes, {} free: {answer}", free());
        bytes += body.len();
        least = least.min(free());
    }
    client.published();
    eprintln!("{before} bytes free before the subscribers, at least {least} with them, {bytes} posted meanwhile");
    drop(unread);
    process.drain();
}

/// A disk that is full of events before the first snapshot is due: the reserve is spent on two, behind which the log is not
/// needed any more.
#[test]
fn what_the_log_has_taken_it_gives_back() {
    let folder = folder("reserve = \"4MiB\"\nsnapshot = \"10s\"\nsegment = \"1MiB\"\nretain = \"1MiB\"\n");
    let Some(_disk) = Disk::mount(folder.path("disk"), "24m") else {
        eprintln!("skipped: this user may not mount a file system");
        return;
    };
    let process = Process::start(&folder, "disk/data", 2, Restart::No);
    let mut client = Client::new(process.ready());
    let (mut acknowledged, mut bytes, mut refused) = (0, 0, 0);
    let note = format!(",\"note\":\"{}\"}}", "x".repeat(400));
    for number in 0.. {
        let batch = batch(number);
        let body = lines(&batch).replace('}', &note);
        wait_until("it gives back what it has taken", || {
            let taken = client.post(&body) == Outcome::Acknowledged;
            refused += u64::from(!taken);
            taken
        });
        acknowledged += batch.len() as u64;
        bytes += body.len();
        if bytes > 50 << 20 {
            break;
        }
    }
    assert!(refused > 0, "it was never full");
    client.published();
    let (_, answer) = client.get_json("/v1/collections/sessions/rows?limit=10000").unwrap();
    let counted: u64 = answer["rows"].as_array().unwrap().iter().filter_map(|row| row["events"].as_u64()).sum();
    assert_eq!(counted, acknowledged);
    let ended = process.drain();
    assert_ne!(ended.logged("no space: the reserve is spent, events are refused").len(), 0);
}
