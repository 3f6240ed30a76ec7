//! A start opens any data folder: one of an older release, one that another process has open, one without its log, a
//! restored backup, and one on a full disk. It goes on, or prints the reason and has changed nothing.

use super::client::Client;
use super::events::{Event, PAST_MS, lines};
use super::full::{Disk, batch};
use super::process::{Process, Restart};
use super::published::users_of;
use super::receiver::{Answer, Receiver};
use super::{MEANING, folder, run_toml};
use crate::headwater::Folder;
use crate::patience::{PATIENCE, wait_until};
use rustix::process::{Signal, kill_process};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

const VIEWS: [&str; 5] = ["sessions", "users", "counts", "shapes", "closings"];
const JOURNALS: [&str; 3] = ["late", "session_lineage", "dead_letters"];
const SINK: &str = "[[sink]]\nname = 'file'\nkind = 'file'\npath = 'changes.jsonl'\ncollection = 'sessions'\n\
                    changes = 'all'\nfrom = 'start'\n";

/// Status and body of an answer.
pub fn get(address: SocketAddr, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.0\r\nhost: {address}\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

fn found(address: SocketAddr, path: &str) -> String {
    let (status, body) = get(address, path);
    assert_eq!(status, 200, "{path}: {body}");
    body
}

/// Status and code of a refusal.
fn refused(address: SocketAddr, path: &str) -> (u16, String) {
    let (status, body) = get(address, path);
    let body: Value = serde_json::from_str(&body).unwrap_or_default();
    (status, body["error"]["code"].as_str().unwrap_or_default().to_owned())
}

fn frames(address: SocketAddr, path: &str) -> Vec<Value> {
    found(address, path).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// All rows of each collection, sorted.
fn rows(address: SocketAddr) -> BTreeMap<&'static str, Vec<String>> {
    let view = |name: &str| -> Vec<String> {
        let page = found(address, &format!("/v1/collections/{name}/rows?limit=10000"));
        let page: Value = serde_json::from_str(&page).unwrap();
        page["rows"].as_array().unwrap().iter().map(Value::to_string).collect()
    };
    let journal = |name: &str| -> Vec<String> {
        let frames = frames(address, &format!("/v1/collections/{name}/changes?from=0&until=caught_up"));
        let updates = frames.iter().filter_map(|frame| frame["updates"].as_array()).flatten();
        updates.map(|update| update["row"].to_string()).collect()
    };
    let all = VIEWS.map(|name| (name, view(name))).into_iter().chain(JOURNALS.map(|name| (name, journal(name))));
    let sorted = |(name, mut rows): (&'static str, Vec<String>)| {
        rows.sort();
        (name, rows)
    };
    all.map(sorted).collect()
}

/// The last progress of all sessions: upper and token.
fn progress(address: SocketAddr) -> (u64, String) {
    let frames = frames(address, "/v1/collections/sessions/changes?until=caught_up");
    let last = frames.iter().rfind(|frame| frame["type"] == "progress").unwrap();
    (last["upper"].as_u64().unwrap(), last["token"].as_str().unwrap().to_owned())
}

fn event(user: &str, at: i64) -> Event {
    Event { user: user.into(), time: PAST_MS + at, id: None, price: Some(2), page: None }
}

/// Posts events, and waits until they count. The ingest token.
fn post(address: SocketAddr, events: &[Event]) -> String {
    let (_, answer) = Client::new(address).post_as("application/x-ndjson", &lines(events));
    let token = answer["token"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned();
    found(address, &format!("/v1/collections/sessions/rows?limit=1&wait_for={token}"));
    token
}

/// However the lines are broken.
fn words(text: &str) -> String {
    text.split_whitespace().filter(|word| *word != "│").collect::<Vec<_>>().join(" ")
}

fn copy(from: &Path, to: &Path) {
    assert!(Command::new("cp").arg("-a").args([from, to]).status().unwrap().success());
}

/// Every file of a folder with its inode and bytes.
fn files(dir: &Path) -> BTreeMap<PathBuf, (u64, Vec<u8>)> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => all.extend(files(&path)),
            false => {
                let inode = fs::metadata(&path).unwrap().ino();
                drop(all.insert(path.clone(), (inode, fs::read(&path).unwrap())));
            }
        }
    }
    all
}

/// A release changed the text that its fingerprints hash, and refused every folder of the one before with a message about
/// `gap`. Each folder in `tests/folders` was written by the release that it is named after, and killed.
#[test]
fn folders_of_older_releases_open_and_go_on() {
    let releases = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/folders");
    for release in fs::read_dir(releases).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()) {
        for workers in [1, 3] {
            goes_on(&release, workers);
        }
    }
}

fn goes_on(release: &Path, workers: usize) {
    let folder = Folder::new();
    let archive = release.join("folder.tar.gz");
    assert!(fs::metadata(&archive).unwrap().len() < 200_000);
    let unpacked = Command::new("tar").arg("xzf").arg(&archive).arg("-C").arg(folder.path("")).status();
    assert!(unpacked.unwrap().success());
    let receiver = Receiver::start(|_| Answer::Take);
    let text = fs::read_to_string(release.join("run.toml")).unwrap();
    // However old the release is, its changes are kept.
    let text = text.replacen("[cluster]\n", "[cluster]\nretain_for = \"3650d\"\n", 1);
    folder.write("run.toml", text.replace("127.0.0.1:9", &receiver.address.to_string()));
    let handed_over = folder.read("changes.jsonl");
    let expected: Value = serde_json::from_slice(&fs::read(release.join("expected.json")).unwrap()).unwrap();

    let report = folder.headwater(["doctor", "data"]);
    assert_eq!(report.code(), 0, "{}", report.stdout());
    let process = Process::start(&folder, "data", workers, Restart::No);
    let address = process.ready();
    let before = expected["sessions"].as_array().unwrap();
    for (name, rows) in rows(address) {
        let expected = expected[name].as_array().cloned();
        if name == "shapes" && expected.is_none() {
            continue;
        }
        // Releases up to 0.1.0 had no users: what is known of them follows from the sessions.
        let expected = expected.unwrap_or_else(|| users_of(before));
        let mut expected: Vec<String> = expected.iter().map(Value::to_string).collect();
        expected.sort();
        assert_eq!(rows, expected, "{name} with {workers} workers");
    }
    check_begun(address);
    let text = |key: &str| expected[key].as_str().unwrap();
    let resume = format!("/v1/collections/sessions/changes?until=caught_up&token={}", text("resume_token"));
    match expected["resumes"] == true {
        true => {
            let (frames, upper) = (frames(address, &resume), expected["resume_upper"].as_u64().unwrap());
            let ticks: Vec<u64> = frames.iter().filter_map(|frame| frame["tick"].as_u64()).collect();
            assert!(!ticks.is_empty() && ticks.iter().all(|tick| *tick >= upper), "{ticks:?} from {upper} on");
        }
        // Users, times and ids are read otherwise since, so ticks of before are no beginning for what follows.
        false => assert_eq!(refused(address, &resume), (409, "program_changed".into())),
    }
    found(address, &format!("/v1/collections/sessions/rows?limit=1&wait_for={}", text("ingest_token")));

    post(address, &[event("user 9", 96_000), event("new", 0)]);
    let after = rows(address);
    assert_eq!(after["sessions"].len(), expected["sessions"].as_array().unwrap().len() + 1);
    let (_, token) = progress(address);
    process.drain();
    // What was handed over is neither taken back nor handed over again: its keys are what they were.
    let changes = folder.read("changes.jsonl");
    assert!(changes.starts_with(&handed_over) && changes.len() > handed_over.len());
    let keys: Vec<Value> =
        changes.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["key"].take()).collect();
    assert_eq!(keys.iter().map(Value::to_string).collect::<BTreeSet<_>>().len(), keys.len());

    let process = Process::start(&folder, "data", 4 - workers, Restart::No);
    let address = process.ready();
    assert_eq!(rows(address), after, "from a snapshot of this release");
    check_begun(address);
    frames(address, &format!("/v1/collections/sessions/changes?until=caught_up&token={token}"));
    if let Some(before) = expected["received"].as_array() {
        // A receiver goes on where it was, in the middle of a tick: it gets the changes that the file has, each once.
        let all = folder.read("changes.jsonl").lines().count();
        wait_until("the receiver has them", || before.len() + receiver.received.lock().unwrap().len() >= all);
        let received = receiver.received.lock().unwrap().clone();
        let keys = before.iter().chain(received.iter().map(|change| &change["key"]));
        let keys: BTreeSet<String> = keys.map(Value::to_string).collect();
        assert_eq!((keys.len(), before.len() + received.len()), (all, all));
    }
    process.drain();
    assert_eq!(folder.headwater(["doctor", "data"]).code(), 0);
}

/// The published changes of users and shapes add up to the rows. Those of users are those of the sessions, and shapes have
/// the events that the counts have: also in a folder of a release that had neither.
fn check_begun(address: SocketAddr) {
    let rows = rows(address);
    let parsed =
        |view: &str| -> Vec<Value> { rows[view].iter().map(|row| serde_json::from_str(row).unwrap()).collect() };
    for view in ["users", "shapes"] {
        assert!(!rows[view].is_empty());
        assert_eq!(added_up(address, view), rows[view]);
    }
    assert_eq!(rows["users"], users_of(&parsed("sessions")).iter().map(Value::to_string).collect::<Vec<_>>());
    let events = |view: &str| parsed(view).iter().map(|row| row["events"].as_i64().unwrap()).sum::<i64>();
    assert_eq!(events("shapes"), events("counts"));
}

fn added_up(address: SocketAddr, view: &str) -> Vec<String> {
    let mut sum: BTreeMap<String, i64> = BTreeMap::new();
    for frame in frames(address, &format!("/v1/collections/{view}/changes?from=0&until=caught_up")) {
        for update in frame["updates"].as_array().into_iter().flatten() {
            let times = sum.entry(update["row"].to_string()).or_insert(0);
            *times += update["diff"].as_i64().unwrap();
            assert!((0..=1).contains(times), "{update}");
        }
    }
    sum.retain(|_, times| *times != 0);
    sum.into_keys().collect()
}

/// A second process was refused at the lock, and had removed the reserve and raised `EPOCH` by then.
#[test]
fn what_only_looks_at_a_folder_or_is_refused_touches_nothing() {
    let folder = folder("reserve = \"1MiB\"\n");
    folder.write("second.toml", run_toml("reserve = \"0\"\n", MEANING));
    let process = Process::start(&folder, "data", 1, Restart::No);
    let address = process.ready();
    post(address, &[event("a", 0)]);
    let beside = || -> BTreeMap<PathBuf, (u64, Vec<u8>)> {
        let all = files(&folder.path("data")).into_iter();
        all.filter(|(path, _)| !path.starts_with(folder.path("data/log")) || path.ends_with("LOCK")).collect()
    };
    let before = beside();
    assert!(["EPOCH", "reserve", "HISTORY"].iter().all(|name| before.contains_key(&folder.path("data").join(name))));
    for arguments in [
        &["run", "second.toml", "--data-dir", "data", "--listen", "127.0.0.1:0"][..],
        &["run", "second.toml", "--data-dir", "data", "--listen", "127.0.0.1:0", "--no-restart"],
    ] {
        let second = folder.headwater(arguments);
        assert_eq!(second.code(), 1, "{}", second.stderr());
        assert!(second.stderr().contains("in use by another process"), "{}", second.stderr());
        assert_eq!(beside(), before, "{arguments:?}");
    }
    folder.headwater(["doctor", "data"]);
    folder.headwater(["plan", "second.toml"]);
    assert_eq!(beside(), before);
    post(address, &[event("a", 1)]);
    process.drain();
    let whole = files(&folder.path("data"));
    folder.headwater(["doctor", "data"]);
    folder.headwater(["plan", "run.toml"]);
    assert_eq!(files(&folder.path("data")), whole);
}

/// Without its log a folder began with nothing, in silence.
#[test]
fn a_folder_whose_log_is_gone_is_refused_until_it_is_begun_anew_on_purpose() {
    let folder = folder("reserve = \"0\"\n");
    let data = folder.path("data");
    let process = Process::start(&folder, "data", 1, Restart::No);
    post(process.ready(), &[event("a", 0)]);
    process.drain();
    copy(&data, &folder.path("whole"));
    let run = || folder.headwater(["run", "run.toml", "--data-dir", "data", "--listen", "127.0.0.1:0"]);
    for gone in [
        &["log"][..],
        &["log/wal", "log/remap", "log/out", "log/state"],
        &["log/wal", "log/remap", "log/out", "log/state", "log/control", "log/LOG"],
        &["log/wal"],
        &["log/wal/07"],
        &["log/remap"],
        &["log/control"],
        &["log/LOG"],
        &["EPOCH"],
    ] {
        fs::remove_dir_all(&data).unwrap();
        copy(&folder.path("whole"), &data);
        for name in gone {
            let path = data.join(name);
            if path.is_dir() { fs::remove_dir_all(path).unwrap() } else { fs::remove_file(path).unwrap() }
        }
        let before = files(&data);
        let report = folder.headwater(["doctor", "data", "--json"]);
        let (code, report) = (report.code(), serde_json::from_str::<Value>(&report.stdout()).unwrap());
        assert_eq!((code, &report["start"]["possible"]), (1, &Value::Bool(false)), "{gone:?}: {report}");
        let refused = run();
        assert_eq!(refused.code(), 2, "{gone:?}: {}", refused.stderr());
        let words = words(&refused.stderr());
        assert!(words.contains("missing") && words.contains("another data_dir"), "{gone:?}: {words}");
        assert_eq!(files(&data), before, "{gone:?}");
    }
    fs::remove_dir_all(&data).unwrap();
    let process = Process::start(&folder, "data", 1, Restart::No);
    process.ready();
    process.drain();
}

/// The first start may be killed anywhere; the next one begins where it left off.
#[test]
fn a_first_start_that_was_cut_short_is_no_lost_log() {
    let folder = folder("reserve = \"0\"\n");
    let data = folder.path("data");
    let whole = Process::start(&folder, "data", 1, Restart::No);
    whole.ready();
    whole.kill();
    let epoch = fs::read(data.join("EPOCH")).unwrap();
    copy(&data.join("log"), &folder.path("log"));
    for kept in [&[][..], &["LOCK"], &["LOCK", "LOG"], &["LOCK", "LOG", "wal"], &["LOCK", "LOG", "wal", "control"]] {
        fs::remove_dir_all(&data).unwrap();
        fs::create_dir_all(data.join("log")).unwrap();
        fs::write(data.join("EPOCH"), &epoch).unwrap();
        for name in kept {
            copy(&folder.path("log").join(name), &data.join("log"));
        }
        let process = Process::start(&folder, "data", 1, Restart::No);
        post(process.ready(), &[event("a", 0)]);
        process.drain();
    }
}

/// A backup was put back and went on; a subscriber's token from before was taken, and its replica was wrong from then on.
#[test]
fn what_was_given_out_before_a_backup_was_restored_is_of_another_history() {
    let folder = folder("");
    folder.write("run.toml", run_toml("", &format!("{MEANING}{SINK}")));
    let data = folder.path("data");
    let start = || Process::start(&folder, "data", 2, Restart::No);
    let process = start();
    post(process.ready(), &[event("a", 0)]);
    let (_, shared) = progress(process.ready());
    process.drain();
    copy(&data, &folder.path("backup"));

    let process = start();
    let address = process.ready();
    let (fork, _) = progress(address);
    let ingest = post(address, &[event("b", 0), event("c", 0)]);
    let (upper, token) = progress(address);
    let page: Value = serde_json::from_str(&found(address, "/v1/collections/sessions/rows?limit=1")).unwrap();
    let (as_of, history) = (page["as_of"].as_u64().unwrap(), page["history"].as_str().unwrap().to_owned());
    found(address, &format!("/v1/collections/sessions/rows?limit=1&as_of={as_of}&history={history}"));
    process.drain();
    let keys = || -> BTreeSet<String> {
        let changes: Vec<Value> =
            folder.read("changes.jsonl").lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        changes.iter().filter(|change| change["tick"].as_u64() >= Some(fork)).map(|c| c["key"].to_string()).collect()
    };
    let before = keys();
    assert!(!before.is_empty());

    fs::rename(&data, folder.path("lost")).unwrap();
    copy(&folder.path("backup"), &data);
    let process = start();
    let address = process.ready();
    let (began, mut at) = (Instant::now(), 0);
    while progress(address).0 < upper + 2 {
        assert!(began.elapsed() < PATIENCE, "nothing is published");
        // More than was posted before, so that offsets of both are there.
        post(address, &[event("d", at), event("e", at)]);
        at += 100;
    }
    let changes = |token: &str| format!("/v1/collections/sessions/changes?until=caught_up&token={token}");
    let conflict = (409, "other_history".to_owned());
    assert_eq!(refused(address, &changes(&token)), conflict);
    assert_eq!(refused(address, &format!("/v1/collections/sessions/rows?wait_for={ingest}")), conflict);
    for tick in ["rows?as_of", "changes?until=caught_up&from"] {
        assert_eq!(refused(address, &format!("/v1/collections/sessions/{tick}={as_of}&history={history}")), conflict);
    }
    // What both have in common goes on.
    let resumed = frames(address, &changes(&shared));
    assert!(resumed.iter().any(|frame| frame["type"] == "delta"));
    folder.write("token", &token);
    let subscribe = ["subscribe", "sessions", "--until-caught-up", "--json", "--resume-file", "token", "--url"];
    let url = format!("http://{address}");
    let told = folder.headwater(subscribe.into_iter().chain([url.as_str()]));
    assert_eq!(told.code(), 1);
    assert!(words(&told.stderr()).contains("; remove token and run again"), "{}", told.stderr());
    process.drain();
    let after = keys();
    assert!(!after.is_empty() && after.is_disjoint(&before), "{before:?} {after:?}");

    // A cursor that was not put back with the rest.
    fs::remove_dir_all(data.join("sinks")).unwrap();
    copy(&folder.path("lost/sinks"), &data);
    let run = folder.headwater(["run", "run.toml", "--data-dir", "data", "--listen", "127.0.0.1:0"]);
    assert_eq!(run.code(), 1, "{}", run.stderr());
    assert!(words(&run.stderr()).contains("another copy of this data folder"), "{}", run.stderr());
    let report = folder.headwater(["doctor", "data", "--json"]);
    assert_eq!(report.code(), 1);
    assert!(report.stdout().contains("cursor.json") && report.stdout().contains("another copy"), "{}", report.stdout());
}

/// A process that was killed on a full disk could not take the next epoch, and its supervisor gave up.
#[test]
fn on_a_full_disk_a_process_that_was_killed_comes_back() {
    for reserve in ["2MiB", "0"] {
        let folder = folder(&format!("reserve = \"{reserve}\"\n"));
        let Some(disk) = Disk::mount(folder.path("disk"), "24m") else {
            eprintln!("skipped: this user may not mount a file system");
            return;
        };
        let process = Process::start(&folder, "disk/data", 2, Restart::Supervisor);
        post(process.ready(), &batch(0));
        let ballast = disk.0.join("ballast");
        fill(&ballast);
        kill_process(process.working_soon(), Signal::KILL).unwrap();
        let address = match reserve {
            // Without one it waits until there is space.
            "0" => {
                process.logged("no space: the start waits until there is", 0);
                fs::remove_file(&ballast).unwrap();
                process.ready_again(1).0
            }
            // The reserve is what a start needs.
            _ => {
                let address = process.ready_again(1).0;
                fill(&disk.0.join("more"));
                kill_process(process.working_soon(), Signal::KILL).unwrap();
                process.logged("no space: the start waits until there is", 0);
                assert!(get_ready(address).is_none());
                fs::remove_file(&ballast).unwrap();
                process.ready_again(2).0
            }
        };
        let mut client = Client::new(address);
        let taken = || client.post(&lines(&[event("after", 0)])) == super::client::Outcome::Acknowledged;
        wait_until("it takes events again", taken);
        client.published();
        let page = found(address, "/v1/collections/sessions/rows?key=after");
        assert!(page.contains("\"events\":1"), "{page}");
        process.drain();
    }
}

fn get_ready(address: SocketAddr) -> Option<u16> {
    Client::new(address).get("/readyz")
}

/// Takes the last byte of a disk.
fn fill(path: &Path) {
    let mut file = fs::File::create(path).unwrap();
    for size in [1 << 20, 4096, 1] {
        while file.write_all(&vec![1; size]).is_ok() {}
    }
}
