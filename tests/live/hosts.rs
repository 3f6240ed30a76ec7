//! Several hosts of one run, each a command of its own: the same answers and the same bytes as one process. When a host is
//! killed, stands still or leaves, the others notice it and wait for it, and nothing is lost. What is no host cannot
//! disturb them.

mod namespaces;

use super::client::{Client, Outcome};
use super::events::{Event, PAST_MS, lines, sessions};
use super::journals::folder_with_history;
use super::process::{Process, Restart};
use super::published::{Published, same};
use super::{OFTEN, folder};
use crate::headwater::{Folder, own_address};
use crate::patience::{eventually, wait_until};
use headwater_log::vfs::model::Rng;
use rustix::process::{Signal, kill_process};
use serde_json::Value;
use std::fs;
use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::Duration;

/// Writes the file of as many hosts, at addresses that no other test has, and their key.
fn write_hosts(folder: &Folder, hosts: usize) -> Vec<SocketAddr> {
    let ip = own_address();
    // All at once, so that no port is given twice.
    let listeners: Vec<_> = (0..hosts).map(|_| TcpListener::bind((ip, 0)).unwrap()).collect();
    let addresses: Vec<SocketAddr> = listeners.iter().map(|listener| listener.local_addr().unwrap()).collect();
    let text: String = addresses.iter().map(|address| format!("{address}\n")).collect();
    folder.write("hosts.txt", format!("# the first leads\n{text}"));
    write_key(folder, "cluster.key", "0f");
    addresses
}

fn write_key(folder: &Folder, name: &str, byte: &str) {
    let key = folder.write(name, byte.repeat(32) + "\n");
    fs::set_permissions(key, fs::Permissions::from_mode(0o600)).unwrap();
}

/// Starts a host, from 1 on. Only the first one has a data folder.
fn start(folder: &Folder, data: &str, workers: usize, host: usize, restart: Restart) -> Process {
    start_with(folder, data, workers, host, restart, &["--hosts", "hosts.txt", "--key", "cluster.key"])
}

fn start_with(folder: &Folder, data: &str, workers: usize, host: usize, restart: Restart, more: &[&str]) -> Process {
    let (number, data) = (host.to_string(), if host == 1 { data.to_owned() } else { format!("none {host}") });
    let more = [more, &["--host", &number]].concat();
    Process::start_with(folder, data, workers, restart, None, &more)
}

fn start_all(folder: &Folder, data: &str, workers: usize, hosts: usize, restart: Restart) -> Vec<Process> {
    (1..=hosts).map(|host| start(folder, data, workers, host, restart)).collect()
}

/// Asks the first host to stop: all of them have to say that all is well, and the others have written nothing.
fn drain(folder: &Folder, hosts: Vec<Process>) {
    hosts[0].signal(Signal::TERM);
    for (host, process) in (1..).zip(hosts) {
        let ended = process.end();
        assert_eq!(ended.code, Some(0), "host {host}: {}", ended.stderr);
        assert!(!ended.stderr.contains("panicked"), "host {host}: {}", ended.stderr);
        assert!(!folder.path(format!("none {host}")).exists());
    }
}

/// Waits until the newest process of the first host takes events, of a higher epoch than `after`: its address and epoch.
fn ready(first: &Process, after: u64) -> (SocketAddr, u64) {
    eventually("the hosts are ready", || {
        let fields = |line: &str| Some(serde_json::from_str::<Value>(line).ok()?["fields"].take());
        let stderr = first.stderr();
        let mut listening = stderr.lines().filter_map(fields).filter(|fields| fields["message"] == "listening");
        let address = listening.next_back()?["address"].as_str()?.parse().ok()?;
        let mut client = Client::new(address);
        let epoch = client.get_json("/v1/status")?.1["epoch"].as_u64()?;
        (epoch > after && client.get("/readyz") == Some(200)).then_some((address, epoch))
    })
}

/// Waits until the log of a process has this text.
fn says(process: &Process, text: &str) {
    wait_until(text, || process.stderr().contains(text));
}

#[test]
fn a_tick_has_the_same_bytes_with_any_number_of_hosts() {
    let (folder, published) = folder_with_history();
    for (workers, hosts) in [(1, 2), (2, 2), (1, 3)] {
        published.computed_again(&folder, &format!("copy {hosts} x {workers}"), |copy| {
            write_hosts(&folder, hosts);
            let all = start_all(&folder, copy, workers, hosts, Restart::No);
            ready(&all[0], 0);
            drain(&folder, all);
        });
    }
    // From a checkpoint too, which the others read from the first host.
    write_hosts(&folder, 3);
    let all = start_all(&folder, "data", 1, 3, Restart::No);
    let (address, _) = ready(&all[0], 0);
    let rows = Client::new(address).get_json("/v1/collections/sessions/rows?limit=5000").unwrap().1;
    drain(&folder, all);
    let alone = Process::start(&folder, "data", 2, Restart::No);
    let expected = Client::new(alone.ready()).get_json("/v1/collections/sessions/rows?limit=5000").unwrap().1;
    assert!(rows["rows"].as_array().is_some_and(|rows| rows.len() > 1));
    assert_eq!(rows["rows"], expected["rows"]);
    alone.drain();
}

/// A client that sends each batch until it is acknowledged, whatever happens in between.
struct Persistent {
    rng: Rng,
    sent: Vec<Event>,
    batches: usize,
}

impl Persistent {
    fn new() -> Persistent {
        Persistent { rng: Rng::new(5), sent: Vec::new(), batches: 0 }
    }

    /// Sends batches until `over`, and a few more. `first`: the first host, whose address differs after each start.
    fn send(&mut self, first: &Process, over: &AtomicBool) {
        let mut left = 5;
        while left > 0 {
            left -= usize::from(over.load(Ordering::Acquire));
            self.batches += 1;
            let mut any = |event| {
                let (user, id) = (self.rng.below(30), format!("{}-{event}", self.batches));
                Event::any(&mut self.rng, format!("user {user}"), PAST_MS, 600_000, Some(id))
            };
            let batch: Vec<_> = (0..10).map(&mut any).collect();
            let mut outcome = Outcome::Unknown;
            while outcome != Outcome::Acknowledged {
                outcome = Client::new(ready(first, 0).0).post(&lines(&batch));
            }
            self.sent.extend(batch);
        }
    }
}

#[test]
fn whichever_host_is_killed_nothing_is_lost_and_the_number_of_hosts_may_change() {
    let folder = folder(OFTEN);
    let mut client = Persistent::new();
    for (workers, hosts, victim) in [(1, 2, 2), (2, 2, 1), (1, 3, 3), (1, 3, 2)] {
        write_hosts(&folder, hosts);
        let all = start_all(&folder, "data", workers, hosts, Restart::Supervisor);
        let (_, epoch) = ready(&all[0], 0);
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| client.send(&all[0], &over));
            kill_process(all[victim - 1].working_soon(), Signal::KILL).unwrap();
            let (address, _) = ready(&all[0], epoch);
            let status = Client::new(address).get_json("/v1/status").unwrap().1;
            assert_eq!(
                (status["workers"].as_u64(), status["processes"].as_u64()),
                (Some((workers * hosts) as u64), Some(hosts as u64))
            );
            over.store(true, Ordering::Release);
        });
        Client::new(ready(&all[0], epoch).0).published();
        drain(&folder, all);
    }
    // Back to one process: what was computed on several hosts is what it goes on from.
    let process = Process::start(&folder, "data", 2, Restart::No);
    process.ready();
    process.drain();
    let published = Published::read(&folder.path("data"));
    same("sessions", &published.sessions(), &sessions(&client.sent));
    published.is_replayed(&folder, &lines(&client.sent));
}

#[test]
fn a_host_that_is_gone_is_waited_for_and_one_that_stands_still_is_noticed() {
    let folder = folder(OFTEN);
    write_hosts(&folder, 3);
    let mut all = start_all(&folder, "data", 1, 3, Restart::Supervisor);
    let (_, first) = ready(&all[0], 0);

    // The whole machine is lost, supervisor and all. The others say who is missing.
    all.pop().unwrap().kill();
    says(&all[0], "waiting for other hosts");
    says(&all[0], "host 3 (");
    all.push(start(&folder, "data", 1, 3, Restart::Supervisor));
    let (_, second) = ready(&all[0], first);

    // It stands still, as behind a cut network: no connection closes. The others find out by its silence.
    let still = all[1].working_soon();
    kill_process(still, Signal::STOP).unwrap();
    // One of them notices it first, and its end is what the other one notices.
    let silent = |host: &Process| host.stderr().contains("no sign of life for 5 s");
    wait_until("the silence is noticed", || silent(&all[0]) || silent(&all[2]));
    kill_process(still, Signal::CONT).unwrap();
    let (_, third) = ready(&all[0], second);

    // It is asked to leave: the others wait for it.
    let leaves = all.remove(1);
    leaves.signal(Signal::TERM);
    let ended = leaves.end();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(ended.stderr.contains("this host leaves"), "{}", ended.stderr);
    all.insert(1, start(&folder, "data", 1, 2, Restart::Supervisor));
    let (address, _) = ready(&all[0], third);
    let event = Event { user: "u".into(), time: PAST_MS, id: None, price: None, page: None };
    let mut client = Client::new(address);
    assert_eq!(client.post(&lines([&event])), Outcome::Acknowledged);
    client.published();
    // However often other hosts were lost, none gives up.
    assert!(all.iter().all(|host| !host.stderr().contains("not started again")));
    drain(&folder, all);
    same("sessions", &Published::read(&folder.path("data")).sessions(), &sessions([&event]));
}

#[test]
fn what_is_no_host_disturbs_neither_a_start_nor_a_run() {
    let folder = folder(OFTEN);
    let addresses = write_hosts(&folder, 3);
    let over = &AtomicBool::new(false);
    let mut client = Persistent::new();
    std::thread::scope(|scope| {
        let mut all: Vec<Process> = (1..3).map(|host| start(&folder, "data", 1, host, Restart::Supervisor)).collect();
        for address in &addresses {
            scope.spawn(move || attack(*address, over));
        }
        // The attacks go on for a while before the last host comes.
        says(&all[0], "waiting for other hosts");
        all.push(start(&folder, "data", 1, 3, Restart::Supervisor));
        let (address, epoch) = ready(&all[0], 0);
        let enough = AtomicBool::new(false);
        scope.spawn(|| sleep(Duration::from_secs(3))).join().unwrap();
        enough.store(true, Ordering::Release);
        client.send(&all[0], &enough);
        let mut reads = Client::new(address);
        reads.published();
        assert_eq!(reads.get_json("/v1/status").unwrap().1["epoch"].as_u64(), Some(epoch), "it was started again");
        says(&all[0], "a connection was refused");
        drain(&folder, all);
        over.store(true, Ordering::Release);
    });
    same("sessions", &Published::read(&folder.path("data")).sessions(), &sessions(&client.sent));
}

/// Scans, sends garbage, forged heads and frames that are too large, and says nothing at all, over and over.
fn attack(address: SocketAddr, over: &AtomicBool) {
    let (mut silent, mut number) = (Vec::new(), 0_u64);
    while !over.load(Ordering::Acquire) {
        sleep(Duration::from_millis(2));
        let Ok(mut client) = TcpStream::connect(address) else { continue };
        number += 1;
        let sent = match number % 5 {
            0 => Ok(()),
            1 => client.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"),
            2 => client.write_all(&[&b"HWHOST\x01\x00\xff\xff"[..], &[0xaa; 70_000]].concat()),
            3 => client.write_all(&[&b"HWHOST\x01\x00\x50\x00"[..], &[0x55; 80]].concat()),
            _ => {
                silent.push(client);
                silent.drain(..silent.len().saturating_sub(64));
                Ok(())
            }
        };
        // It may have been closed meanwhile, as it should be.
        drop(sent);
    }
}

#[test]
fn hosts_that_differ_say_so_on_both_sides_and_come_together_when_they_agree() {
    let folder = folder(OFTEN);
    let addresses = write_hosts(&folder, 2);
    write_key(&folder, "other.key", "0e");
    let more = format!("{}\n{}\n{}:1\n", addresses[0], addresses[1], own_address());
    folder.write("three.txt", more);
    let other = super::run_toml(OFTEN, &super::MEANING.replace("gap = \"2s\"", "gap = \"3s\""));
    folder.write("other/run.toml", other);
    let first = start(&folder, "data", 1, 1, Restart::Supervisor);
    let own = ["--hosts", "hosts.txt", "--key", "cluster.key"];
    let cases: [(&[&str], usize, [&str; 2]); 3] = [
        (
            &["--hosts", "hosts.txt", "--key", "other.key"],
            1,
            ["does not have the same key", "does not have the same key"],
        ),
        (
            &["--hosts", "three.txt", "--key", "cluster.key"],
            1,
            ["the number of hosts differs: 2 here, 3 there", "the number of hosts differs: 3 here, 2 there"],
        ),
        (&own, 2, ["the number of workers differs: 1 here, 2 there", "the number of workers differs: 2 here, 1 there"]),
    ];
    for (more, workers, [says_first, says_second]) in cases {
        let second = start_with(&folder, "data", workers, 2, Restart::Supervisor, more);
        says(&second, says_second);
        says(&first, says_first);
        second.kill();
    }
    let second = start_with(&folder, "data", 1, 2, Restart::Supervisor, &own);
    ready(&first, 0);
    // Both have the place of the second one: the third command is refused, and the two go on.
    let third = start_with(&folder, "data", 1, 2, Restart::No, &own);
    assert_eq!(third.end().code, Some(1), "its address is taken");
    drain(&folder, vec![first, second]);

    // Another configuration.
    let first = start(&folder, "data", 1, 1, Restart::Supervisor);
    // It has read its own.
    says(&first, "waiting for other hosts");
    folder.write("run.toml", folder.read("other/run.toml"));
    let second = start(&folder, "data", 1, 2, Restart::Supervisor);
    says(&second, "the fingerprint of the configuration differs");
    says(&first, "the fingerprint of the configuration differs");
    first.kill();
    second.kill();
}

#[test]
fn files_of_hosts_that_cannot_be_used_are_refused_at_their_line() {
    let folder = folder("");
    write_hosts(&folder, 2);
    let refused = |arguments: &[&str], said: &[&str]| {
        let run = folder.headwater([&["run", "run.toml"], arguments].concat());
        let text = run.said();
        assert_eq!(run.code(), 2, "{arguments:?}: {text}");
        assert!(said.iter().all(|what| text.contains(what)), "{arguments:?}: {text}");
    };
    folder.write("reached.txt", "127.0.0.1:7475\n203.0.113.9:7475\n");
    refused(
        &["--hosts", "reached.txt", "--host", "1"],
        &["203.0.113.9:7475", "reached.txt:2", "can be reached from other"],
    );
    folder.write("wrong.txt", "127.0.0.1\n");
    refused(&["--hosts", "wrong.txt"], &["`127.0.0.1` is no address"]);
    refused(&["--hosts", "none.txt"], &["cannot read none.txt"]);
    refused(&["--hosts", "hosts.txt"], &["does not say which host this is", "--host"]);
    refused(&["--hosts", "hosts.txt", "--host", "3"], &["there is no host 3: the file has 2"]);
    refused(&["--hosts", "hosts.txt", "--host", "1", "--key", "none.key"], &["none.key", "cannot be used"]);
    fs::set_permissions(folder.path("cluster.key"), fs::Permissions::from_mode(0o644)).unwrap();
    refused(&["--hosts", "hosts.txt", "--host", "1", "--key", "cluster.key"], &["its mode is 644", "chmod 600"]);
    refused(&["--host", "1"], &["--host and --key are for a run on several hosts"]);
    refused(&["--hosts", "hosts.txt", "--processes", "2"], &["--processes"]);
    assert!(!folder.path("data").exists());
}
