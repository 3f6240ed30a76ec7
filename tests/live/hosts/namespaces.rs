//! Three hosts in network namespaces of their own, joined by a bridge: a link that goes down closes no connection. Needs
//! root; without, it says so.

use super::{super::folder, OFTEN, write_key};
use crate::headwater::Folder;
use crate::live::events::{Event, PAST_MS, lines, sessions};
use crate::live::process::{Process, Restart};
use crate::live::published::{Published, same};
use crate::patience::{eventually, wait_until};
use headwater_log::vfs::model::Rng;
use rustix::process::Signal;
use serde_json::Value;
use std::process::Command;

/// Namespaces, each with one end of a pair whose other end is at a bridge. They are removed with their links at the end.
struct Namespaces {
    prefix: String,
    hosts: usize,
}

/// Runs `ip`: whether it succeeded, and what it said.
fn ip(arguments: &str) -> Result<(), String> {
    let output = Command::new("ip").args(arguments.split(' ')).output().map_err(|error| error.to_string())?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.success() { Ok(()) } else { Err(format!("ip {arguments}: {said}")) }
}

impl Namespaces {
    /// # Errors
    /// If this user, or this system, has none.
    fn new(hosts: usize) -> Result<Namespaces, String> {
        let prefix = format!("hw{:x}", std::process::id());
        let namespaces = Namespaces { prefix, hosts };
        let bridge = namespaces.bridge();
        // The bridge has a namespace of its own, so that the system's own network is not touched.
        ip(&format!("netns add {bridge}"))?;
        ip(&format!("-n {bridge} link add br0 type bridge"))?;
        ip(&format!("-n {bridge} link set br0 up"))?;
        for host in 1..=hosts {
            let name = namespaces.name(host);
            ip(&format!("netns add {name}"))?;
            ip(&format!("-n {name} link add eth0 type veth peer name v{host} netns {bridge}"))?;
            ip(&format!("-n {bridge} link set v{host} master br0 up"))?;
            ip(&format!("-n {name} addr add 10.77.0.{host}/24 dev eth0"))?;
            ip(&format!("-n {name} link set eth0 up"))?;
            ip(&format!("-n {name} link set lo up"))?;
        }
        Ok(namespaces)
    }

    fn name(&self, host: usize) -> String {
        format!("{}-{host}", self.prefix)
    }

    fn bridge(&self) -> String {
        format!("{}-br", self.prefix)
    }

    /// Cuts a host off, or connects it again. No connection is closed by that.
    fn link(&self, host: usize, up: bool) {
        ip(&format!("-n {} link set v{host} {}", self.bridge(), if up { "up" } else { "down" })).unwrap();
    }

    /// Asks the first host: the status of the answer, and its body.
    fn ask(&self, address: &str, path: &str, body: Option<&str>) -> Option<(u16, Value)> {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name(1), "curl", "-s", "-m", "60", "-w", "\n%{http_code}"]);
        if let Some(body) = body {
            command.args(["--data-binary", body, "-H", "content-type: application/x-ndjson"]);
        }
        let output = command.arg(format!("http://{address}{path}")).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let (body, status) = text.rsplit_once('\n')?;
        Some((status.parse().ok()?, serde_json::from_str(body).unwrap_or_default()))
    }

    fn start(&self, folder: &Folder, host: usize) -> Process {
        let (name, data) = (self.name(host), if host == 1 { "data".to_owned() } else { format!("none {host}") });
        let within = ["ip", "netns", "exec", &name];
        // No --host: each finds its place by its own address.
        let more = ["--hosts", "hosts.txt", "--key", "cluster.key"];
        Process::start_within(&within, folder, data, 1, Restart::Supervisor, None, &more)
    }

    /// Waits until the first host takes events, of a higher epoch than `after`.
    fn ready(&self, first: &Process, after: u64) -> (String, u64) {
        eventually("the hosts are ready", || {
            let fields = |line: &str| Some(serde_json::from_str::<Value>(line).ok()?["fields"].take());
            let stderr = first.stderr();
            let mut listening = stderr.lines().filter_map(fields).filter(|fields| fields["message"] == "listening");
            let address = listening.next_back()?["address"].as_str()?.to_owned();
            let epoch = self.ask(&address, "/v1/status", None)?.1["epoch"].as_u64()?;
            let (status, _) = self.ask(&address, "/readyz", None)?;
            (epoch > after && status == 200).then_some((address, epoch))
        })
    }

    /// Posts events with ids, until they are acknowledged.
    fn post(&self, first: &Process, sent: &mut Vec<Event>, rng: &mut Rng) {
        for _ in 0..20 {
            let number = sent.len();
            let mut any = |event| {
                let user = format!("user {}", rng.below(20));
                Event::any(rng, user, PAST_MS, 60_000, Some(format!("{number}-{event}")))
            };
            let batch: Vec<Event> = (0..10).map(&mut any).collect();
            wait_until("the events are acknowledged", || {
                let (address, _) = self.ready(first, 0);
                self.ask(&address, "/v1/events", Some(&lines(&batch))).is_some_and(|(status, _)| status == 202)
            });
            sent.extend(batch);
        }
    }
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        for name in (1..=self.hosts).map(|host| self.name(host)).chain([self.bridge()]) {
            // One that was not made cannot be removed.
            let _ = ip(&format!("netns del {name}"));
        }
    }
}

fn namespaces(test: &str) -> Option<Namespaces> {
    match Namespaces::new(3) {
        Ok(namespaces) if Command::new("curl").arg("--version").output().is_ok() => Some(namespaces),
        Ok(_) => {
            eprintln!("SKIPPED: {test}: no curl");
            None
        }
        Err(why) => {
            eprintln!("SKIPPED: {test}: {why}");
            None
        }
    }
}

fn prepare() -> Folder {
    let folder = folder(OFTEN);
    folder.write("hosts.txt", "10.77.0.1:7475\n10.77.0.2:7475\n10.77.0.3:7475\n");
    write_key(&folder, "cluster.key", "0f");
    folder
}

fn stop(first: Process, others: Vec<Process>) {
    first.signal(Signal::TERM);
    for process in [first].into_iter().chain(others) {
        let ended = process.end();
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    }
}

/// One test, so that no other one uses these addresses at the same time.
#[test]
fn a_link_that_goes_down_is_noticed_and_the_hosts_converge_when_it_is_back() {
    let Some(namespaces) = namespaces("a link that goes down") else { return };
    let folder = prepare();
    let (mut sent, mut rng) = (Vec::new(), Rng::new(6));
    let first = namespaces.start(&folder, 1);
    let others: Vec<Process> = [2, 3].into_iter().map(|host| namespaces.start(&folder, host)).collect();
    let (_, mut epoch) = namespaces.ready(&first, 0);
    namespaces.post(&first, &mut sent, &mut rng);
    // The first host, and another one, are cut off from the two that are left.
    for victim in [3, 1] {
        let seen: Vec<usize> = [&first].into_iter().chain(&others).map(|host| host.stderr().len()).collect();
        namespaces.link(victim, false);
        // One host notices it first, and its end is what the others notice.
        wait_until("the silence is noticed", || {
            let hosts = [&first].into_iter().chain(&others).zip(&seen);
            hosts.into_iter().any(|(host, seen)| host.stderr()[*seen..].contains("no sign of life for 5 s"))
        });
        wait_until("the first host says who is missing", || {
            let stderr = first.stderr();
            let said =
                |line: &str| line.contains("waiting for other hosts") && line.contains("host 3 (10.77.0.3:7475)");
            stderr[seen[0]..].lines().any(said)
        });
        namespaces.link(victim, true);
        let ready = namespaces.ready(&first, epoch);
        assert!(ready.1 > epoch, "the log is fenced by a higher epoch");
        epoch = ready.1;
        namespaces.post(&first, &mut sent, &mut rng);
    }

    // Delay and loss make it slower, and change nothing.
    let netem = |host: usize| {
        let (name, dev) = (namespaces.bridge(), format!("v{host}"));
        let arguments = [
            "netns", "exec", &name, "tc", "qdisc", "add", "dev", &dev, "root", "netem", "delay", "20ms", "5ms", "loss",
            "1%",
        ];
        Command::new("ip").args(arguments).output().is_ok_and(|output| output.status.success())
    };
    if (1..=3).all(netem) {
        namespaces.post(&first, &mut sent, &mut rng);
        assert_eq!(namespaces.ready(&first, 0).1, epoch, "delay and loss start nothing again");
    } else {
        eprintln!("SKIPPED: delay and loss: this kernel has no netem");
    }
    stop(first, others);
    let published = Published::read(&folder.path("data"));
    same("sessions", &published.sessions(), &sessions(&sent));
    published.is_replayed(&folder, &lines(&sent));
}
