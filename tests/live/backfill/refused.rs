//! What cannot come in: each is a clear error, and nothing of it is in.

use super::*;

/// A running engine, and its folder.
fn engine() -> (Folder, Process, SocketAddr) {
    let folder = folder("");
    let process = Process::start(&folder, "data", 1, Restart::No);
    let address = process.ready();
    (folder, process, address)
}

fn event(number: i64) -> Event {
    Event { user: "u".into(), time: PAST_MS + number * 250, id: None, price: None, page: Some(number as u64) }
}

fn events(count: i64) -> String {
    lines(&(0..count).map(event).collect::<Vec<_>>())
}

#[test]
fn what_is_damaged_unknown_or_asked_wrongly_is_said_before_anything_is_in() {
    let (folder, process, address) = engine();
    folder.write("good.jsonl", events(10));
    let packed = gzip(events(2000).as_bytes());
    folder.write("cut.jsonl.gz", &packed[..packed.len() - 20]);
    folder.write("broken.parquet", b"PAR1\x15\x04\x15\x04\x4c no footer PAR1");
    folder.write("noise.bin", [7_u8; 5000]);
    folder.write("other.toml", run_toml("", &MEANING.replace("[\"user\"]", "[\"who\"]")));
    folder.write("many.toml", format!("{}[[source]]\nname = \"web\"\nkind = \"http\"\n", run_toml("", MEANING)));
    let url = format!("http://{address}");
    for (arguments, code, says) in [
        (
            vec!["run.toml", "good.jsonl", "cut.jsonl.gz"],
            1,
            "cut.jsonl.gz is damaged: the gzip data is damaged or cut short",
        ),
        (vec!["run.toml", "good.jsonl", "broken.parquet"], 1, "broken.parquet is damaged: the parquet data"),
        (vec!["run.toml", "good.jsonl", "noise.bin"], 1, "noise.bin"),
        (vec!["run.toml", "good.jsonl", "nothing.jsonl"], 1, "no file matches `nothing.jsonl`"),
        (vec!["run.toml", "good.jsonl", "/dev/null"], 1, "is no regular file"),
        (vec!["run.toml"], 2, "no files"),
        (vec!["run.toml", "good.jsonl", "--name", "a b"], 2, "a name has letters"),
        (vec!["run.toml", "good.jsonl", "--source", "nope"], 2, "has no source `nope`"),
        (
            vec!["run.toml", "good.jsonl", "--from", "2024-01-02", "--to", "2024-01-01"],
            2,
            "--from has to be before --to",
        ),
        (vec!["other.toml", "good.jsonl"], 2, "with other settings"),
        (vec!["many.toml", "good.jsonl"], 2, "has several sources"),
        (vec!["many.toml", "good.jsonl", "--source", "web"], 2, "has no source `web`"),
        (vec![&url, "good.jsonl"], 2, "a URL is none"),
        (vec!["run.toml", "pause"], 2, "no backfill is open"),
        (vec!["run.toml", "status", "--name", "nope"], 2, "there is no backfill `nope`"),
    ] {
        let run = folder.headwater(["backfill"].iter().chain(&arguments).copied().chain(["--url", &url]));
        assert!(run.code() == code && run.said().contains(says), "{arguments:?}: {}: {}", run.code(), run.stderr());
    }
    let mut client = Client::new(address);
    assert_eq!(client.get_json("/v1/backfills").unwrap().1["backfills"], Value::Array(Vec::new()));
    client.published();
    process.drain();
    let published = Published::read(&folder.path("data"));
    assert_eq!((published.sessions(), published.rows(Collection::DEAD_LETTERS)), (vec![], vec![]));
}

#[test]
fn a_name_stands_for_its_files_and_files_come_in_once() {
    let (folder, process, address) = engine();
    folder.write("one.jsonl", events(10));
    folder.write("two.jsonl", events(20));
    let run = |more: &[&str]| backfill(&folder, address, more);
    assert_eq!(run(&["one.jsonl"]).code(), 0);
    for (more, code, says) in [
        (&["one.jsonl"][..], 0, ""),
        (&["two.jsonl"], 2, "has begun with other files"),
        (&["one.jsonl", "two.jsonl"], 2, "has begun with other files"),
        (&["one.jsonl", "--from", "2001-01-01"], 2, "has begun with other files"),
        (&["one.jsonl", "--name", "again"], 2, "are in already, as backfill `history`"),
        (&["two.jsonl", "--name", "more"], 0, ""),
    ] {
        let run = run(more);
        assert!(run.code() == code && run.said().contains(says), "{more:?}: {}: {}", run.code(), run.stderr());
    }
    process.drain();
    let all: Vec<Event> = (0..10).chain(0..20).map(event).collect();
    same("sessions", &Published::read(&folder.path("data")).sessions(), &sessions(&all));
}

#[test]
fn a_file_that_changes_while_it_is_read_stops_the_client_and_goes_on_when_it_is_as_it_was() {
    let (folder, process, address) = engine();
    let whole = events(40_000);
    folder.write("log.jsonl", &whole);
    let bringing = Bringing::start(&folder, address, &["log.jsonl"], &["--rate", "20000", "--share", "100"]);
    let mut client = Client::new(address);
    wait_until("a part has come in", || records(&mut client, "history") > 0);
    // Behind what has been read, and as long as before: the size does not say it.
    let changed = whole.replacen("\"page\":39999", "\"page\":39998", 1);
    assert_ne!(changed, whole);
    folder.write("log.jsonl", &changed);
    assert_eq!(bringing.end(), Some(1));
    let said = folder.read("client.err").replace(['│', '╰', '─', '▶'], " ");
    let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(said.contains("log.jsonl has changed since it was looked at"), "{said}");
    let run = backfill(&folder, address, &["log.jsonl"]);
    assert!(run.code() == 2 && run.said().contains("other files"), "{}", run.stderr());
    folder.write("log.jsonl", &whole);
    let run = backfill(&folder, address, &["log.jsonl"]);
    assert_eq!(run.code(), 0, "{}", run.stderr());
    process.drain();
    let published = Published::read(&folder.path("data"));
    same("sessions", &published.sessions(), &sessions(&(0..40_000).map(event).collect::<Vec<_>>()));
    published.is_replayed(&folder, &whole);
}

#[test]
fn of_two_clients_of_one_backfill_the_later_one_goes_on() {
    let (folder, process, address) = engine();
    folder.write("log.jsonl", events(8000));
    let first = Bringing::start(&folder, address, &["log.jsonl"], &["--rate", "4000", "--share", "100"]);
    let mut client = Client::new(address);
    wait_until("a part has come in", || records(&mut client, "history") > 0);
    let second = Bringing::start(&folder, address, &["log.jsonl"], &["--rate", "8000", "--share", "100"]);
    assert_eq!(first.end(), Some(1));
    let said = folder.read("client.err");
    assert!(said.contains("another client goes on"), "{said}");
    assert_eq!(second.end(), Some(0), "{said}");
    process.drain();
    let published = Published::read(&folder.path("data"));
    same("sessions", &published.sessions(), &sessions(&(0..8000).map(event).collect::<Vec<_>>()));
}

/// Records that are too large or damaged are the dead letters of a replay.
#[test]
fn bad_records_of_history_are_the_dead_letters_of_a_replay() {
    let (folder, process, address) = engine();
    let large = |bytes: usize| format!("{{\"user\":\"u\",\"time\":{PAST_MS},\"kind\":\"{}\"}}\n", "x".repeat(bytes));
    let limit = 1 << 20;
    let mut all = events(5) + "[1, 2]\nno json\n" + &large(limit - 60) + &large(limit) + &large(limit + 500);
    all += &(large(3 * limit) + &events(3) + "{\"user\":\"u\"}\n{\"cut\":");
    folder.write("log.jsonl", &all);
    let run = backfill(&folder, address, &["log.jsonl"]);
    assert_eq!(run.code(), 0, "{}", run.stderr());
    process.drain();
    let published = Published::read(&folder.path("data"));
    let reasons = |letters: Vec<Value>| {
        let mut reasons: Vec<String> = letters.iter().map(|letter| letter["reason"].to_string()).collect();
        reasons.sort();
        reasons
    };
    let ours = reasons(published.rows(Collection::DEAD_LETTERS));
    let replay = folder.replay("replay.toml", ["log.jsonl"]);
    assert_eq!(ours, reasons(replay.dead_letters()));
    assert!(ours.len() >= 5, "{ours:?}");
    assert_eq!(published.sessions(), replay.rows());
}
