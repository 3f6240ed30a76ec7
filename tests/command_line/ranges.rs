//! `--from`, `--to` (half-open, on event time) and `--gap`.

use super::{event, session};
use crate::headwater::Folder;

const DAY: i64 = 86_400;

fn week(folder: &Folder) {
    folder.write("headwater.toml", "");
    let lines: Vec<String> = (0..7).map(|day| event("u", day * DAY, "a")).collect();
    folder.write("week.jsonl", lines.join("\n"));
}

#[test]
fn a_range_holds_its_start_and_not_its_end() {
    let folder = Folder::new();
    week(&folder);
    let days =
        |days: std::ops::Range<i64>| -> Vec<_> { days.map(|day| session("u", day * DAY, day * DAY, 1)).collect() };
    let cases: [(&[&str], _); 6] = [
        (&["--from", "2020-01-03"], 2..7),
        (&["--to", "2020-01-03T00:00:00Z"], 0..2),
        (&["--to", "2020-01-03T00:00:00.000001Z"], 0..3),
        (&["--from", "1577923200", "--to", "1578009600"], 1..2),
        (&["--from", "2020-01-02T02:00:00+02:00", "--to", "2020-01-06"], 1..5),
        (&["--from", "2021-01-01"], 0..0),
    ];
    for (options, wanted) in cases {
        let replay = folder.replay("headwater.toml", ["week.jsonl"].iter().chain(options));
        assert_eq!(replay.rows(), days(wanted.clone()), "{options:?}");
        assert_eq!(replay.number("events"), wanted.count() as u64, "{options:?}");
        assert_eq!(replay.number("outside") + replay.number("events"), 7, "{options:?}");
    }
}

/// Neighbours exactly at the gap belong together; a microsecond more splits.
#[test]
fn the_gap_is_inclusive() {
    let folder = Folder::new();
    folder.write("headwater.toml", "[sessions]\ngap = \"1h\"\n");
    folder.write("two.jsonl", [event("u", 0, "a"), event("u", 90, "a")].join("\n"));
    let sessions = |gap: &[&str]| folder.replay("headwater.toml", ["two.jsonl"].iter().chain(gap)).number("sessions");
    assert_eq!(sessions(&[]), 1);
    assert_eq!(sessions(&["--gap", "90s"]), 1);
    assert_eq!(sessions(&["--gap", "1m30s"]), 1);
    assert_eq!(sessions(&["--gap", "89s"]), 2);
    assert_eq!(sessions(&["--gap", "89999ms"]), 2);
}

#[test]
fn now_says_which_sessions_are_still_open() {
    let folder = Folder::new();
    week(&folder);
    let open = |now: &[&str]| folder.replay("headwater.toml", ["week.jsonl"].iter().chain(now)).number("open_sessions");
    assert_eq!(open(&[]), 1, "by default now is the largest event time");
    assert_eq!(open(&["--now", "2020-01-07T00:30:00Z"]), 1);
    assert_eq!(open(&["--now", "2020-01-07T00:30:01Z"]), 0);
}
