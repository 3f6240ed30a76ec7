//! A log is read without a configuration, and `init` writes one that reads the same.

use super::START;
use crate::headwater::Folder;
use serde_json::Value;

const EVENTS: &str = "{\"user_id\":\"ann\",\"ts\":1714557600,\"action\":\"search\"}\n\
                      {\"user_id\":\"bob\",\"ts\":1714557660,\"action\":\"login\"}\n\
                      {\"anonymous_id\":\"x y\",\"ts\":1714557700,\"action\":\"buy\"}\n";
const LINES: &str = "::ffff:203.0.113.5 - - [01/May/2024:10:00:00 +0000] \"GET /a HTTP/1.1\" 200 5 \"-\" \"curl\"\n\
                     203.0.113.5 - - [01/May/2024:10:00:09 +0000] \"GET /b HTTP/1.1\" 200 5 \"-\" \"curl\"\n";

fn folder() -> Folder {
    let folder = Folder::new();
    folder.write("events.jsonl", EVENTS);
    folder.write("more/access.log", LINES);
    folder
}

/// Returns the outputs of a replay of these arguments.
fn outputs(folder: &Folder, arguments: &[&str]) -> (String, String) {
    let fixed = ["--out", "out", "--format", "csv"];
    let run = folder.headwater([&["replay"], arguments, &fixed].concat());
    assert_eq!(run.code(), 0, "{}", run.stderr());
    (folder.read("out/sessions.csv"), run.stdout())
}

#[test]
fn logs_are_read_without_a_configuration_which_is_printed() {
    let folder = folder();
    let (sessions, text) = outputs(&folder, &["events.jsonl", "more"]);
    assert_eq!(sessions.lines().count(), 5, "{sessions}");
    let (_, configuration) = text.split_once("this one reads the same:\n\n").unwrap_or_else(|| panic!("{text}"));
    folder.write("used.toml", configuration);
    assert_eq!(outputs(&folder, &["used.toml"]).0, sessions, "{configuration}");
    assert!(configuration.contains("user = [\"user_id\", \"anonymous_id\"]"), "{configuration}");
    assert!(configuration.contains("user = { path = \"host\", as = [\"ip\"] }"), "{configuration}");
    let run = folder.headwater(["replay", "events.jsonl", "--json", "--out", "out"]);
    let summary: Value = serde_json::from_str(&run.stdout()).unwrap();
    assert!(summary["configuration"].as_str().unwrap().contains("time = \"ts\""));
    // By default, the output lies beside neither the logs nor an earlier configuration.
    assert_eq!(folder.headwater(["replay", "events.jsonl"]).code(), 0);
    assert!(folder.path("headwater-out/sessions.parquet").exists());
}

#[test]
fn init_writes_a_configuration_that_reads_the_same() {
    let folder = folder();
    let (sessions, _) = outputs(&folder, &["events.jsonl", "more"]);
    let run = folder.headwater(["init", "events.jsonl", "more/access.log"]);
    assert_eq!(run.code(), 0, "{}", run.stderr());
    let text = run.stdout();
    for part in
        ["# Made by `headwater init` from 2 files", "user_id 66.7%, anonymous_id 33.3%", "gap = \"30m\"", "#   buy"]
    {
        assert!(text.contains(part), "{part}: {text}");
    }
    folder.write("headwater.toml", &text);
    assert_eq!(outputs(&folder, &["headwater.toml"]).0, sessions, "{text}");
}

#[test]
fn init_finds_arrays_of_events_and_names_that_look_right() {
    let folder = Folder::new();
    let record = |session: u64| {
        format!("{{\"session\":{session},\"events\":[{{\"aid\":7,\"ts\":{START}000,\"type\":\"clicks\"}}]}}\n")
    };
    folder.write("nested.jsonl", (0..5).map(record).collect::<String>());
    folder.write("headwater.toml", folder.headwater(["init", "nested.jsonl"]).stdout());
    let text = folder.read("headwater.toml");
    assert!(text.contains("explode = \"events\"") && text.contains("user = \"session\"   # a guess"), "{text}");
    let replay = folder.replay("headwater.toml", [""; 0]);
    assert_eq!((replay.number("users"), replay.number("events")), (5, 5));
}

#[test]
fn init_leaves_out_files_of_no_events() {
    let folder = folder();
    folder.write("notes.csv", "root_id,root_tstamp,basis\na,2024-05-01,x\nb,2024-05-01,y\n");
    let run = folder.headwater(["init", "events.jsonl", "notes.csv"]);
    let text = run.stdout();
    assert!(text.contains("# Not read: notes.csv: it looks like rows"), "{text}");
    folder.write("headwater.toml", &text);
    assert_eq!(outputs(&folder, &["headwater.toml"]).0.lines().count(), 4, "{text}");
    assert_eq!(folder.headwater(["init", "notes.csv"]).code(), 1);
}

#[test]
fn a_wrong_argument_is_named() {
    let folder = folder();
    folder.write("a.zip", b"PK\x03\x04rest");
    folder.write("a.yaml", "user: 1\n");
    folder.write("a.xes", "<?xml version=\"1.0\"?>\n<log xes.version=\"1.0\"></log>\n");
    for (argument, what) in [("a.zip", "zip archive"), ("a.yaml", "YAML"), ("a.xes", "XES")] {
        let run = folder.headwater(["replay", argument]);
        assert_eq!(run.code(), 2);
        assert!(run.stderr().contains(what), "{argument}: {}", run.stderr());
    }
    let run = folder.headwater(["explain", "events.jsonl", "events.jsonl"]);
    assert!(run.code() == 2 && run.stderr().contains("headwater init"), "{}", run.stderr());
}

#[test]
fn a_replay_without_a_configuration_guesses_what_no_built_in_name_gives() {
    let folder = Folder::new();
    let scan = |parcel: u64, minute: u64| {
        format!(
            "{{\"parcelNumber\":\"P{parcel}\",\"scanned\":{{\"when\":\"2024-05-01T10:{minute:02}:00Z\"}},\"scanType\":\"in\"}}\n"
        )
    };
    folder.write("scans.jsonl", (0..6).map(|number| scan(number % 2, number)).collect::<String>());
    let run = folder.headwater(["replay", "scans.jsonl", "--json", "--out", "out"]);
    let summary: Value = serde_json::from_str(&run.stdout()).unwrap();
    assert_eq!((&summary["users"], &summary["sessions"]), (&2.into(), &2.into()), "{summary}");
    let told: Vec<&str> =
        summary["notices"].as_array().unwrap().iter().filter_map(|told| told["code"].as_str()).collect();
    assert_eq!(told, ["guessed"; 3]);
    assert_eq!(summary["classes"], serde_json::json!({"in": 6}));
    // What is printed, and what `init` writes, is the same guess.
    for configuration in
        [summary["configuration"].as_str().unwrap().to_owned(), folder.headwater(["init", "scans.jsonl"]).stdout()]
    {
        assert!(configuration.contains("user = \"parcelNumber\""), "{configuration}");
        assert!(configuration.contains("time = \"scanned.when\""), "{configuration}");
        folder.write("headwater.toml", configuration);
        assert_eq!(folder.replay("headwater.toml", [""; 0]).number("sessions"), 2);
    }

    // Where a built-in name is there, nothing is guessed.
    folder.write("known.jsonl", format!("{{\"user_id\":1,\"parcel\":2,\"ts\":{START}}}\n"));
    let run = folder.headwater(["replay", "known.jsonl", "--json", "--out", "out"]);
    assert!(!run.stdout().contains("guessed"), "{}", run.stdout());

    // An array of events is found, too.
    folder.write(
        "array.json",
        format!("{{\"Records\":[{{\"user_id\":1,\"ts\":{START}}},{{\"user_id\":2,\"ts\":{START}}}]}}"),
    );
    let run = folder.headwater(["replay", "array.json", "--json", "--out", "out"]);
    let summary: Value = serde_json::from_str(&run.stdout()).unwrap();
    assert_eq!(summary["events"], 2, "{summary}");
    assert!(summary["configuration"].as_str().unwrap().contains("explode = \"Records\""), "{summary}");
}
