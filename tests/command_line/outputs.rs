//! The outputs of a replay: equal in every format and at any number of workers, and whole or absent.

use super::event;
use crate::headwater::{Folder, csv};
use parquet::file::reader::{FileReader as _, SerializedFileReader};
use parquet::record::Field;
use std::collections::BTreeMap;
use std::fs;

const CONFIG: &str = r#"
    [fields]
    price = ["item.price", "price"]

    [sessions]
    sum = { revenue = "price" }
    carry = ["page"]

    [[class]]
    name = "purchase"
    when = { price = { min = 0.01 } }
"#;

/// Two users, three sessions; prices that floating point could not sum, one that is no number, strange names.
fn shop(folder: &Folder) {
    folder.write("headwater.toml", CONFIG);
    let lines = [
        r#"{"user_id":"ann","ts":1700000000,"type":"view","page":"/"}"#,
        r#"{"user_id":"ann","ts":1700000010,"type":"buy","item":{"price":0.1},"page":"/a, \"b\""}"#,
        r#"{"user_id":"ann","ts":1700000010.5,"type":"buy","item.price":"0.2"}"#,
        r#"{"user_id":"ann","ts":1700009999,"type":"view","price":"free"}"#,
        r#"{"user_id":"bø\nb","ts":1700000001,"type":"view"}"#,
        "not an event",
    ];
    folder.write("events.jsonl", lines.join("\n"));
}

fn columns(row: &BTreeMap<String, String>, names: &[&str]) -> Vec<String> {
    names.iter().map(|name| row[*name].clone()).collect()
}

#[test]
fn sessions_have_typed_columns_in_every_format() {
    let folder = Folder::new();
    shop(&folder);
    let replay = folder.replay("headwater.toml", ["events.jsonl"]);
    let mut rows = replay.sessions;
    rows.sort_by_key(|row| (row["user"].clone(), row["start_us"].clone()));
    let names = ["user", "start_us", "end_us", "duration_us", "events", "classes", "first_class", "last_class"];
    let wanted = [
        [
            "ann",
            "1700000000000000",
            "1700000010500000",
            "10500000",
            "3",
            r#"{"purchase":2,"view":1}"#,
            "view",
            "purchase",
        ],
        ["ann", "1700009999000000", "1700009999000000", "0", "1", r#"{"view":1}"#, "view", "view"],
        ["bø\nb", "1700000001000000", "1700000001000000", "0", "1", r#"{"view":1}"#, "view", "view"],
    ];
    assert_eq!(rows.iter().map(|row| columns(row, &names)).collect::<Vec<_>>(), wanted);
    let names = ["revenue_not_numbers", "entry_page", "exit_page"];
    let wanted = [["0", "/", "/a, \"b\""], ["1", "", ""], ["0", "", ""]];
    assert_eq!(rows.iter().map(|row| columns(row, &names)).collect::<Vec<_>>(), wanted);
    let revenue: Vec<&str> = rows.iter().map(|row| row["revenue"].trim_end_matches('0')).collect();
    assert_eq!(revenue, ["0.3", "", ""]);
    assert!(rows.iter().all(|row| row["session_id"].len() == 32));

    // The other formats hold the same rows in the same order.
    let sessions = csv(folder.read("out/sessions.csv").as_bytes());
    let run = folder.headwater(["replay", "headwater.toml", "events.jsonl", "--out", "out", "--format", "jsonl"]);
    assert_eq!(run.code(), 0, "{}", run.stderr());
    let lines: Vec<serde_json::Value> =
        folder.read("out/sessions.jsonl").lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), sessions.len());
    for (line, session) in lines.iter().zip(&sessions) {
        for (name, value) in line.as_object().unwrap() {
            let text = match value {
                serde_json::Value::Null => String::new(),
                serde_json::Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            assert_eq!(text, session[name], "{name}");
        }
    }

    let run = folder.headwater(["replay", "headwater.toml", "events.jsonl", "--out", "out"]);
    assert_eq!(run.code(), 0, "{}", run.stderr());
    let reader = SerializedFileReader::new(fs::File::open(folder.path("out/sessions.parquet")).unwrap()).unwrap();
    let rows: Vec<_> = reader.get_row_iter(None).unwrap().map(Result::unwrap).collect();
    assert_eq!(rows.len(), sessions.len());
    for (row, session) in rows.iter().zip(&sessions) {
        for (name, value) in row.get_column_iter() {
            match value {
                Field::Null => assert_eq!(session[name], "", "{name}"),
                Field::Str(text) => assert_eq!(text, &session[name], "{name}"),
                Field::TimestampMicros(micros) => {
                    let time = jiff::Timestamp::from_microsecond(*micros).unwrap();
                    assert_eq!(time.to_string(), session[name], "{name}");
                }
                Field::Long(number) => assert_eq!(number.to_string(), session[name], "{name}"),
                Field::Decimal(_) => assert_eq!(value.to_string(), format!("{:0<8}", session[name]), "{name}"),
                Field::MapInternal(map) => {
                    let counts: BTreeMap<String, i64> = serde_json::from_str(&session[name]).unwrap();
                    let mut seen = BTreeMap::new();
                    for (class, count) in map.entries() {
                        let (Field::Str(class), Field::Long(count)) = (class, count) else { panic!("{name}: {value}") };
                        seen.insert(class.clone(), *count);
                    }
                    assert_eq!(seen, counts);
                }
                other => panic!("{name}: {other}"),
            }
        }
    }
    let files = ["counts.parquet", "dead_letters.jsonl", "sessions.parquet", "shapes.parquet", "users.parquet"];
    assert_eq!(listing(&folder), files, "one format at a time");
}

/// Several megabytes, so that every worker has a share, with dead letters and strangers in between.
#[test]
fn outputs_do_not_depend_on_the_number_of_workers() {
    let folder = Folder::new();
    folder.write("headwater.toml", CONFIG);
    for file in 0..3 {
        let lines: String = (0..30_000)
            .map(|n: i64| match n % 1000 {
                0 => format!("bad {n}\n"),
                1 => format!("{{\"timestamp\":{n},\"price\":{n}}}\n"),
                _ => event(&format!("user {}", n * 7919 % 613), n * 37, &format!("kind {}", n % 5)) + "\n",
            })
            .collect();
        folder.write(&format!("logs/{file}.jsonl"), lines);
    }
    let outputs = |workers: &str| {
        let replay = folder.replay("headwater.toml", ["logs", "--workers", workers]);
        assert_eq!(replay.number("workers").to_string(), workers);
        assert_eq!((replay.number("events"), replay.number("dead_letters")), (89_910, 90));
        (folder.read("out/sessions.csv"), replay.counts, replay.dead_letters)
    };
    let one = outputs("1");
    for workers in ["2", "3"] {
        assert!(one == outputs(workers), "{workers} workers");
    }
}

/// As the guide says, with row groups of Parquet that end elsewhere: row by row, in the order of the file.
#[test]
fn rows_of_many_row_groups_are_in_the_same_order_at_any_number_of_workers() {
    let folder = Folder::new();
    let load = "--events 300000 --users 10000000 --zipf 0 --gap 1m --days 60 --late 5% --conflicts 1% --malformed 1%";
    let run = folder.headwater(["generate", "--out", "load"].into_iter().chain(load.split(' ')));
    assert_eq!(run.code(), 0, "{}", run.stderr());
    let replay = |workers: &str, format: &str| {
        let out = format!("out-{workers}");
        let arguments = ["replay", "load/headwater.toml", "--workers", workers, "--out", &out, "--format", format];
        let run = folder.headwater(arguments);
        assert_eq!(run.code(), 0, "{}", run.stderr());
        out
    };
    let rows = |out: &str| {
        let file = fs::File::open(folder.path(format!("{out}/sessions.parquet"))).unwrap();
        SerializedFileReader::new(file).unwrap()
    };
    let outs = ["1", "2", "3"].map(|workers| replay(workers, "parquet"));
    let [one, others @ ..] = outs.each_ref().map(|out| rows(out));
    assert!(one.num_row_groups() > 1);
    for (other, workers) in others.iter().zip(2..) {
        assert!(other.num_row_groups() > 1);
        let pairs = one.get_row_iter(None).unwrap().zip(other.get_row_iter(None).unwrap());
        for (at, (left, right)) in pairs.enumerate() {
            assert_eq!(left.unwrap(), right.unwrap(), "row {at} at {workers} workers");
        }
        let count = |reader: &SerializedFileReader<_>| reader.metadata().file_metadata().num_rows();
        assert_eq!(count(&one), count(other));
    }
    let texts = |out: &String, names: &[&str]| {
        names.iter().map(|name| folder.read(&format!("{out}/{name}"))).collect::<Vec<_>>()
    };
    let same = |names: &[&str]| {
        let [one, others @ ..] = outs.each_ref().map(|out| texts(out, names));
        assert!(one.iter().all(|text| text.lines().count() > 1000));
        assert!(others.iter().all(|other| *other == one), "{names:?}");
    };
    same(&["dead_letters.jsonl"]);
    for format in ["csv", "jsonl"] {
        for workers in ["1", "2", "3"] {
            replay(workers, format);
        }
        same(&["sessions", "counts"].map(|table| format!("{table}.{format}")).each_ref().map(String::as_str));
    }
}

#[test]
fn a_failed_run_leaves_the_previous_outputs() {
    let folder = Folder::new();
    shop(&folder);
    folder.replay("headwater.toml", ["events.jsonl"]);
    folder.write("out/notes.txt", "not headwater's");
    let files = listing(&folder);
    assert_eq!(files, ["counts.csv", "dead_letters.jsonl", "notes.txt", "sessions.csv", "shapes.csv", "users.csv"]);
    let content = |folder: &Folder| files.iter().map(|file| folder.read(&format!("out/{file}"))).collect::<Vec<_>>();
    let before = content(&folder);

    folder.write("picture.jsonl", b"\x89PNG\r\n\x1a\n\0\0\0\0");
    folder.write("more.jsonl", event("zoe", 0, "a"));
    for (bad, says) in
        [("gone.jsonl", "gone.jsonl"), ("gone/*.jsonl", "gone/*.jsonl"), ("picture.jsonl", "picture.jsonl")]
    {
        let run = folder.headwater(["replay", "headwater.toml", "more.jsonl", bad, "--out", "out", "--format", "csv"]);
        assert_eq!(run.code(), 1, "{}", run.stderr());
        assert!(run.stderr().contains(says), "{}", run.stderr());
        assert_eq!(listing(&folder), files);
        assert_eq!(content(&folder), before);
    }
}

#[test]
fn a_wrong_configuration_or_argument_is_exit_code_2() {
    let folder = Folder::new();
    shop(&folder);
    folder.write("wrong.toml", "[sessions]\ngab = \"30m\"\n");
    let run = folder.headwater(["replay", "wrong.toml", "events.jsonl", "--out", "out"]);
    assert_eq!(run.code(), 2);
    assert!(run.stderr().contains("wrong.toml:2:1") && run.stderr().contains("gap"), "{}", run.stderr());
    assert_eq!(folder.headwater(["replay", "absent.toml"]).code(), 2);
    assert_eq!(folder.headwater(["replay", "headwater.toml", "events.jsonl", "--gap", "soon"]).code(), 2);
    assert_eq!(folder.headwater(["replay", "headwater.toml", "events.jsonl", "--workers", "0"]).code(), 2);
    assert_eq!(folder.headwater(["replay"]).code(), 2);
    assert_eq!(folder.headwater(["replay", "headwater.toml", "events.jsonl", "--fromat", "csv"]).code(), 2);
    assert!(!folder.path("out").exists());
}

/// The summary on screen is for people; it names the figures that `--json` gives.
#[test]
fn the_summary_says_what_was_found() {
    let folder = Folder::new();
    shop(&folder);
    let run = folder.headwater(["replay", "headwater.toml", "events.jsonl", "--out", "out"]);
    assert_eq!(run.code(), 0, "{}", run.stderr());
    for word in ["5", "events", "2", "users", "3", "sessions", "purchase", "view", "no_json"] {
        assert!(run.stdout().contains(word), "{word} in {}", run.stdout());
    }
    assert!(!run.stdout().contains('\u{1b}'), "no colour without a terminal");
}

fn listing(folder: &Folder) -> Vec<String> {
    let entries = folder.path("out").read_dir().unwrap();
    let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Names of 1 MB went into rows and states as they were.
#[test]
fn long_names_are_cut_with_a_digest_and_the_summary_says_so() {
    let folder = Folder::new();
    folder.write("headwater.toml", CONFIG);
    let long = "x".repeat(1_000_000);
    let lines: String = (0..280).map(|n| event(&format!("{long}{n:03}"), 0, "view") + "\n").collect();
    folder.write("events.jsonl", lines + &event("ann", 0, "view"));
    let replay = folder.replay("headwater.toml", ["events.jsonl"]);
    let counts = ["users", "sessions", "texts_cut", "dead_letters"].map(|name| replay.number(name));
    assert_eq!(counts, [281, 281, 280, 0]);
    assert!(replay.sessions.iter().all(|row| row["user"].len() <= 1024));
}
