use super::text::{dead_letter_meaning, elapsed};
use super::*;
use crate::text::span;
use dataflows::Reason;

fn counts(counts: &[(&str, u64)]) -> BTreeMap<String, u64> {
    counts.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
}

fn clean() -> Summary {
    let mut summary = Summary {
        events: 31_106,
        users: 600,
        sessions: 3605,
        classes: counts(&[("catalog", 14_518), ("cart", 2842), ("main", 13_746)]),
        files: 1,
        bytes: 2_097_152,
        workers: 2,
        gap_s: 1800.0,
        bounces: 1000,
        first: EventTime::from_micros(1_588_000_000_000_000),
        last: EventTime::from_micros(1_588_201_200_000_000),
        duration_mean_s: Some(724.6),
        duration_median_s: Some(8.26),
        now: EventTime::from_micros(1_588_201_200_000_000),
        peak_rss_bytes: Some(52_428_800),
        out: vec!["out/sessions.parquet".into(), "out/counts.csv".into()],
        ..Summary::default()
    };
    summary.took(Duration::from_millis(420));
    summary
}

fn troubled() -> Summary {
    let class = |i: u64| (format!("class {i:02}"), 100 - i);
    let mut summary = Summary {
        events: 1,
        users: 1,
        sessions: 1,
        open_sessions: 1,
        bounces: 0,
        duration_mean_s: None,
        first: None,
        dead_letters: 12,
        duplicates: 3,
        duplicates_unchecked: 4,
        ambiguous: 5,
        outside: 6,
        texts_cut: 7,
        classes: (0..13).map(class).collect(),
        dead_letter_reasons: counts(&[("no_json", 2), ("conflicting_duplicate", 10), ("from_the_future", 1)]),
        sessionless: counts(&[("no_user", 1_000_000), ("no_time", 0)]),
        peak_rss_bytes: None,
        out: vec![],
        files: 2,
        ..clean()
    };
    summary.classes.insert("evil\x1b[2J".to_owned() + &"x".repeat(60), 1000);
    summary.took(Duration::from_secs(61));
    summary
}

#[test]
fn a_clean_run_is_short() {
    let expected = "\
3,605 sessions of 600 users from 31,106 events

events           31,106  in 1 file, 2.10 MB
users               600
sessions          3,605  split where a gap exceeds 30 min
  bounces         1,000  27.7% of them have one event
  duration               mean 12 min 5 s, median 8.3 s
  range                  2020-04-27T15:06:40Z to 2020-04-29T23:00:00Z

classes               3
  catalog        14,518   46.7%
  main           13,746   44.2%
  cart            2,842    9.1%

0.42 s, 74,062 events/s, 2 workers, peak memory 52.43 MB
out/sessions.parquet
out/counts.csv
";
    assert_eq!(clean().render(false), expected);
}

#[test]
fn trouble_is_explained() {
    let expected = "\
1 session of 1 user from 1 event

events                                      1  in 2 files, 2.10 MB
  duplicates                                3  the same id and payload again;
                                               left out
  not checked                               4  for duplicates beyond the horizon
  ambiguous                                 5  a path both dotted and nested;
                                               nested counts
  out of range                              6  outside --from and --to; left out
  texts cut                                 7  users, types, carried: over 1 KiB
users                                       1
sessions                                    1  split where a gap exceeds 30 min
  open                                      1  may go on after
                                               2020-04-29T23:00:00Z

classes                                    14
  evil\\u{1b}[2Jxxxxxxxxxxxxxxxx…xxxxxxxxxxxxxxxxxxxxxxxxxxxxx      1,000   45.0%
  class 00                                                           100    4.5%
  class 01                                                            99    4.5%
  class 02                                                            98    4.4%
  class 03                                                            97    4.4%
  class 04                                                            96    4.3%
  class 05                                                            95    4.3%
  class 06                                                            94    4.2%
  class 07                                                            93    4.2%
  class 08                                                            92    4.1%
  4 more                                                             358   16.1%

dead letters                               13  records that could not become
                                               events
  conflicting_duplicate                    10  an id seen before, with another
                                               payload
  from_the_future                           1
  no_json                                   2  not valid JSON, or cut short

without session                     1,000,000  events that have a class, but
                                               belong to no session
  no_user                           1,000,000  no value at the user paths

1 min 1 s, 0 events/s, 2 workers
";
    let text = troubled().render(false);
    assert_eq!(text, expected);
    assert!(text.lines().all(|line| line.chars().count() <= 80));
}

#[test]
fn colour_adds_nothing_but_colour() {
    let colored = clean().render(true);
    assert!(colored.starts_with("\x1b[1m3,605 sessions"));
    let plain = ["\x1b[1m", "\x1b[2m", "\x1b[0m"].iter().fold(colored, |text, code| text.replace(code, ""));
    assert_eq!(plain, clean().render(false));
}

#[test]
fn nothing_read_is_a_summary_too() {
    let text = Summary { files: 0, ..Summary::default() }.render(false);
    assert!(text.starts_with("0 sessions of 0 users from 0 events\n"), "{text}");
    assert!(text.contains("0.00 s, 0 events/s"), "{text}");
    assert!(!text.contains("classes"), "{text}");
}

#[test]
fn sinks_are_said_to_act_elsewhere() {
    assert!(
        Summary { sinks: 1, ..clean() }.render(false).ends_with("counts.csv\n1 sink acts in `headwater run` only\n")
    );
    assert!(Summary { sinks: 2, ..clean() }.render(false).ends_with("\n2 sinks act in `headwater run` only\n"));
}

#[test]
fn json_is_one_object_with_sorted_maps() {
    let json = troubled().json().unwrap();
    assert!(!json.contains('\n'));
    let object: serde_json::Value = serde_json::from_str(&json).unwrap();
    for field in [
        "events",
        "users",
        "sessions",
        "dead_letters",
        "duplicates",
        "elapsed_s",
        "events_per_s",
        "peak_rss_bytes",
        "classes",
        "dead_letter_reasons",
        "sessionless",
        "duplicates_unchecked",
        "ambiguous",
        "bytes",
        "workers",
        "gap_s",
        "outside",
        "texts_cut",
        "open_sessions",
        "now",
        "out",
        "files",
        "sinks",
    ] {
        assert!(object.get(field).is_some(), "{field}");
    }
    assert!(json.contains(r#""dead_letter_reasons":{"conflicting_duplicate":10,"from_the_future":1,"no_json":2}"#));
    assert!(json.contains(r#""now":"2020-04-29T23:00:00Z""#));
    assert!(json.contains(r#""peak_rss_bytes":null"#));
}

#[test]
fn every_reason_has_a_meaning_that_fits_on_a_line() {
    for reason in Reason::ALL {
        let meaning = dead_letter_meaning(reason.code());
        assert!((1..=50).contains(&meaning.len()), "{reason:?}: {meaning:?}");
    }
}

#[test]
fn spans_and_times() {
    let spans = [1800.0, 300.0, 3600.0, 5400.0, 86_400.0, 90.0, 0.5, 0.0].map(span);
    assert_eq!(spans, ["30 min", "5 min", "1 h", "90 min", "1 d", "90 s", "0.5 s", "0 s"]);
    let times = [0.0, 59.99, 60.0, 125.4, 7325.0].map(elapsed);
    assert_eq!(times, ["0.00 s", "59.99 s", "1 min 0 s", "2 min 5 s", "2 h 2 min"]);
}
