//! Raw events land as tables: each once, byte for byte, whatever happens to the process. A landing that fails is said, and
//! holds nothing up.

mod history;
mod readers;
mod table;

use super::client::{Client, Outcome};
use super::events::{Event, PAST_MS, lines};
use super::kill::seed;
use super::process::{Process, Restart};
use super::{MEANING, OFTEN, run_toml};
use crate::headwater::{Folder, Replay};
use crate::patience::{eventually, wait_until};
use headwater_log::vfs::model::Rng;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;
use table::{Row, rows};

pub const LANDING: &str = "[landing]\nvisible_every = \"100ms\"\nvacuum_after = \"1s\"\n";

/// A folder whose run lands what is posted.
fn folder(landing: &str) -> Folder {
    let folder = Folder::new();
    folder.write("run.toml", run_toml(OFTEN, &format!("{landing}{MEANING}")));
    folder
}

fn landing(client: &mut Client) -> Value {
    client.get_json("/v1/status").map_or(Value::Null, |(_, report)| report["landing"].clone())
}

fn is_landed(client: &mut Client) {
    client.published();
    wait_until("all has landed", || {
        let report = landing(client);
        report["why"].is_null() && report["lag_ticks"] == 0
    });
}

/// How often each payload is there.
fn payloads<'p>(all: impl IntoIterator<Item = &'p [u8]>) -> BTreeMap<&'p [u8], u64> {
    let mut counts = BTreeMap::new();
    all.into_iter().for_each(|payload| *counts.entry(payload).or_default() += 1);
    counts
}

fn is_unique(rows: &[Row]) {
    let mut places: Vec<_> = rows.iter().map(|row| (&row.source, row.part, row.offset)).collect();
    places.sort();
    let all = places.len();
    places.dedup();
    assert_eq!(places.len(), all, "rows are there twice");
}

/// Lines that are hard on decoders and on files.
fn hostile(rng: &mut Rng) -> Vec<Vec<u8>> {
    let mut all: Vec<Vec<u8>> = [
        &br#"{}"#[..],
        br#"{"user":"","time":"","kind":""}"#,
        br#"{"user":"a","time":99999999999999999999,"kind":"../../etc/passwd"}"#,
        br#"{"user":"\u0000\ud83d\ude00","time":-62135596800000,"kind":"a/b=c%2e\u0000"}"#,
        br#"{"user":"half \ud83d","time":1,"kind":"x"}"#,
        br#"{"user":1e400,"time":"0000-00-00","kind":null,"price":"no number"}"#,
        br#"{"user":"twice","user":"thrice","time":1,"kind":"__HIVE_DEFAULT_PARTITION__"}"#,
        br#"  {"user" : "spaces" ,	"time":1,"kind":"_other"}   "#,
        br#"{"user":{"a":[[[[]]]]},"page":{},"price":[1,2,3],"kind":["k"]}"#,
        br#"[1,2,3]"#,
        br#"null"#,
        br#"{"cut":"#,
        b"{\"user\":\"\xff\xfe\",\"time\":1}",
        b"\xff\xfe\x00\x01 no text at all",
        "{\"user\":\"é\u{10ffff}\u{202e}\",\"time\":1700000000000,\"kind\":\"ü\"}".as_bytes(),
    ]
    .map(<[u8]>::to_vec)
    .into();
    all.push([b"[".repeat(300), b"]".repeat(300)].concat());
    all.push(format!(r#"{{"user":"{}","time":1,"kind":"{}"}}"#, "u".repeat(5000), "k".repeat(300)).into_bytes());
    for number in 0..200 {
        let length = rng.below(60);
        // No end of a line, and no space at either end.
        let any = (0..length).map(|_| 0x21 + rng.below(0xdf) as u8).collect::<Vec<_>>();
        all.push([format!("{number} ").into_bytes(), any].concat());
    }
    all
}

#[test]
fn payloads_land_as_they_came() {
    let folder = Folder::new();
    let mut packed = Vec::new();
    let shop = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/shop/ecom.csv.gz");
    flate2::read::MultiGzDecoder::new(fs::File::open(&shop).unwrap()).read_to_end(&mut packed).unwrap();
    let hostile = hostile(&mut Rng::new(5));
    folder.write("hostile.jsonl", hostile.join(&b'\n'));
    let source = |name: &str, path: &str, format: &str| {
        format!("[[source]]\nname = \"{name}\"\nkind = \"file\"\npaths = \"{path}\"\nformat = \"{format}\"\n")
    };
    let shop = source("shop", &shop.display().to_string(), "csv");
    let config = shop + &source("odd", "hostile.jsonl", "json");
    folder.write("run.toml", format!("[cluster]\n[landing]\nmax_classes = 5\n{config}{MEANING}"));
    let process = Process::start(&folder, "data", 2, Restart::No);
    let mut client = Client::new(process.ready());
    wait_until("the files are read", || {
        let report = client.get_json("/v1/status").unwrap().1;
        report["sources"].as_array().unwrap().iter().all(|source| source["state"] == "ended")
    });
    client.published();
    process.drain();

    let (events, letters) =
        (rows(&folder.path("data/landing/events")), rows(&folder.path("data/landing/dead_letters")));
    assert!(letters.len() > 100, "{}", letters.len());
    let all: Vec<Row> = events.into_iter().chain(letters).collect();
    is_unique(&all);
    let mut lines: Vec<&[u8]> = packed.split(|byte| *byte == b'\n').map(|line| line.trim_ascii_end()).collect();
    let header = lines.remove(0);
    lines.retain(|line| !line.is_empty());
    let of = |source: &str| {
        all.iter().filter(|row| row.source == source).map(|row| row.payload.as_slice()).collect::<Vec<_>>()
    };
    assert_eq!(payloads(of("shop")), payloads(lines));
    assert!(all.iter().filter(|row| row.source == "shop").all(|row| row.header.as_deref() == Some(header)));
    // Spaces around a record are not part of it.
    let hostile: Vec<&[u8]> = hostile.iter().map(|line| line.trim_ascii()).collect();
    let odd = of("odd");
    let trimmed: Vec<&[u8]> = odd.iter().map(|payload| payload.trim_ascii()).collect();
    assert_eq!(payloads(trimmed), payloads(hostile));
    // The classes have folders of their own up to the bound.
    let folders = fs::read_dir(folder.path("data/landing/events")).unwrap();
    let names: Vec<_> = folders.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    let classes = names.iter().filter(|name| name.starts_with("class=")).count();
    assert!(classes == 6 && names.contains(&"class=_other".to_owned()), "{names:?}");
}

#[test]
fn killed_at_random_each_event_lands_once() {
    let mut rng = Rng::new(seed());
    let folder = folder(LANDING);
    let (mut acknowledged, mut unknown) = (Vec::new(), 0);
    let mut number = 0;
    for round in 0..15 {
        let workers = 1 + rng.below(2) as usize;
        let process = Process::start(&folder, "data", workers, Restart::No);
        let (address, _) = process.ready_again(0);
        let mut client = Client::new(address);
        let moment = std::time::Instant::now() + Duration::from_micros(rng.below(700_000));
        while std::time::Instant::now() < moment {
            number += 1;
            let event = |at: u64| {
                let id = Some(format!("{number}-{at}"));
                Event::any(&mut rng, format!("user {}", at % 7), PAST_MS, 600_000, id)
            };
            let batch: Vec<Event> = (0..1 + number % 40).map(event).collect();
            match client.post(&lines(&batch)) {
                Outcome::Acknowledged => acknowledged.extend(batch),
                _ => unknown += batch.len(),
            }
        }
        match round % 4 {
            3 => drop(process.drain()),
            _ => drop(process.kill()),
        }
    }
    let process = Process::start(&folder, "data", 2, Restart::No);
    let mut client = Client::new(process.ready());
    is_landed(&mut client);
    let report = landing(&mut client);
    assert_eq!(report["lost_records"], 0, "{report}");
    process.drain();
    let landed = rows(&folder.path("data/landing/events"));
    is_unique(&landed);
    let sent: Vec<String> = acknowledged.iter().map(|event| event.json().to_string()).collect();
    let (ours, theirs) =
        (payloads(landed.iter().map(|row| row.payload.as_slice())), payloads(sent.iter().map(String::as_bytes)));
    for (payload, count) in &theirs {
        assert_eq!(ours.get(payload), Some(count), "{}", String::from_utf8_lossy(payload));
    }
    assert!(ours.len() <= theirs.len() + unknown, "{} landed, {} sent", ours.len(), theirs.len() + unknown);
    let low = fs::read_dir(folder.path("data/log/remap")).unwrap().count();
    eprintln!("{} events, {} landed, {unknown} unknown; {low} files of the remap", sent.len(), landed.len());
    // No file is there that no commit has.
    table::is_whole(&folder.path("data/landing/events"));
}

/// A reader sees each row once, before a join and behind it.
#[test]
fn small_files_are_joined_while_others_read() {
    let folder = folder("[landing]\nvisible_every = \"100ms\"\n");
    let process = Process::start(&folder, "data", 1, Restart::No);
    let mut client = Client::new(process.ready());
    let table = folder.path("data/landing/events");
    let mut sent = 0;
    let joined = |client: &mut Client| landing(client)["joined_files"].as_u64().unwrap();
    wait_until("some files are joined, and their joins again", || {
        for round in 0..20 {
            let line = |user: u64| format!("{{\"user\":\"u{user}\",\"time\":{}}}\n", PAST_MS + sent as i64 + round);
            assert_eq!(client.post(&(0..3).map(line).collect::<String>()), Outcome::Acknowledged);
            sent += 3;
            is_landed(&mut client);
            let rows = rows(&table);
            is_unique(&rows);
            assert_eq!(rows.len(), sent);
        }
        joined(&mut client) > 16
    });
    let report = landing(&mut client);
    process.drain();
    let [files, removed] = table::log(&table);
    assert!(files.len() < removed.len(), "{} files, {} were joined", files.len(), removed.len());
    assert_eq!(report["joined_files"], removed.len(), "{report}");
    table::is_whole(&table);
}

/// Each trouble is said in the status; events go on being taken, and land when it is over.
#[test]
fn a_landing_that_fails_is_said_and_holds_nothing_up() {
    let folder = folder("[landing]\nvisible_every = \"100ms\"\npath = \"land\"\n");
    folder.write("land", "a file where the folder should be");
    let process = Process::start(&folder, "data", 1, Restart::No);
    let mut client = Client::new(process.ready());
    let mut sent = 0;
    let mut post = |client: &mut Client| {
        sent += 1;
        let event =
            Event { user: "u".into(), time: PAST_MS + sent, id: Some(sent.to_string()), price: None, page: None };
        assert_eq!(client.post(&lines([&event])), Outcome::Acknowledged);
        client.published();
    };
    let says = |client: &mut Client, what: &str| {
        let why =
            eventually(what, || landing(client)["why"].as_str().filter(|why| why.contains(what)).map(str::to_owned));
        eprintln!("{why}");
    };
    post(&mut client);
    says(&mut client, "cannot make the folder");
    fs::remove_file(folder.path("land")).unwrap();
    is_landed(&mut client);

    // The log of a table is moved away, and put back.
    let (log, aside) = (folder.path("land/events/_delta_log"), folder.path("aside"));
    fs::rename(&log, &aside).unwrap();
    post(&mut client);
    says(&mut client, "is gone");
    post(&mut client);
    let _made = fs::remove_dir_all(&log);
    fs::rename(&aside, &log).unwrap();
    is_landed(&mut client);

    // Another process lands in the same folder.
    let other = self::folder(&format!("[landing]\npath = \"{}\"\n", folder.path("land").display()));
    let second = Process::start(&other, "data", 1, Restart::No);
    let mut other_client = Client::new(second.ready());
    says(&mut other_client, "another process lands in");
    assert_eq!(other_client.post("{\"user\":\"u\",\"time\":1}\n"), Outcome::Acknowledged);
    post(&mut client);
    is_landed(&mut client);
    process.drain();
    // Also when that has ended: the tables are not its own.
    says(&mut other_client, "of another data folder");
    second.kill();
    let landed = rows(&folder.path("land/events"));
    assert_eq!(landed.len() as i64, sent);
    is_unique(&landed);
}

/// The queue waits for the landing, within the bound of `hold`; what is behind it is said to be lost.
#[test]
fn the_queue_is_kept_for_the_landing_within_a_bound() {
    let config = |hold: &str| format!("[landing]\nvisible_every = \"100ms\"\npath = \"land\"\nhold = \"{hold}\"\n");
    for (hold, kept) in [("1GiB", true), ("1MiB", false)] {
        let folder = folder(&config(hold));
        folder.write("land", "a file where the folder should be");
        let process = Process::start(&folder, "data", 1, Restart::No);
        let mut client = Client::new(process.ready());
        let filler = "x".repeat(10_000);
        let mut sent = 0;
        for _ in 0..60 {
            let line = |at: u64| {
                format!("{{\"user\":\"u\",\"time\":{},\"id\":\"{}\",\"f\":\"{filler}\"}}\n", PAST_MS, sent + at)
            };
            assert_eq!(client.post(&(0..8).map(line).collect::<String>()), Outcome::Acknowledged);
            sent += 8;
            sleep(Duration::from_millis(30));
        }
        if !kept {
            wait_until("the queue is released", || {
                let _more = client.post("{\"user\":\"u\",\"time\":1}\n");
                process.stderr().contains("the landing is too far behind")
            });
            sleep(Duration::from_millis(500));
        }
        fs::remove_file(folder.path("land")).unwrap();
        is_landed(&mut client);
        let report = landing(&mut client);
        process.drain();
        let landed = rows(&folder.path("land/events"));
        is_unique(&landed);
        eprintln!("hold {hold}: {sent} sent, {} landed, {report}", landed.len());
        match kept {
            true => assert_eq!((landed.len(), &report["lost_records"]), (sent as usize, &0.into())),
            false => {
                let lost = report["lost_records"].as_u64().unwrap();
                assert!((landed.len() as u64) < sent && !landed.is_empty() && lost > 0, "{report}");
            }
        }
    }
}
