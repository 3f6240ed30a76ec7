//! Lines of text that programs write for people, and forms that only the values of a file decide.

use super::{counts, refused, replay};

/// Ten events of three users, each a minute after the one before.
const USERS: [usize; 10] = [0, 1, 0, 2, 1, 0, 2, 1, 0, 0];

fn file(line: impl Fn(usize, usize) -> String) -> String {
    USERS.iter().enumerate().map(|(minute, user)| line(minute, *user) + "\n").collect()
}

#[test]
fn lines_with_a_time_and_pairs_are_read() {
    for line in [
        "2024-05-01 10:0M:00,123 INFO  [http-1] c.s.Login - user=uN action=login",
        "2024/05/01 10:0M:00 [notice] 7#7: login ok, user=uN, action=login, server: x",
        "[Wed May 01 10:0M:00.5 2024] [app:info] [pid 7] login user_id=\"uN\" action=login",
        "I 2024-05-01T10:0M:00Z 1 login.go:7] userId=uN action=login took 5 ms",
    ] {
        let text = file(|minute, user| line.replace("0M", &format!("0{minute}")).replace("uN", &format!("u{user}")));
        let found = replay("", "app.log", text);
        assert_eq!(counts(&found), (10, 3, 0), "{line}: {}", found.summary);
        assert_eq!((found.number("sessions"), found.numbers("classes")["login"]), (3, 10), "{line}");
    }
}

/// Each line is an event of its own, also one that says nothing of a user.
#[test]
fn any_line_can_be_taken_apart() {
    let config = r#"
        [[source]]
        name = "auth"
        paths = "auth.log"
        format = "text"

        [source.events]
        user = { path = "line", regex = "(?:for|user) (\\w+)" }
        time = "time"
        year = 2024

        [[class]]
        name = "login"
        when = 'line contains "Accepted password"'
    "#;
    let text = file(|minute, user| {
        format!("May  1 10:0{minute}:01 web1 sshd[7]: Accepted password for user{user} from 203.0.113.5 port 22 ssh2")
    });
    let other = "May  1 10:00:03 web1 sshd[7]: Connection closed by 203.0.113.5\n\tat somewhere\n";
    let found = replay(config, "auth.log", text + other);
    assert_eq!(counts(&found), (12, 3, 0), "{}", found.summary);
    assert_eq!((found.number("sessions"), found.numbers("classes")["login"]), (3, 10));
    assert_eq!(found.numbers("sessionless")["no_user"], 2);
}

#[test]
fn a_year_is_asked_for_where_times_have_none() {
    let line = "May  1 10:00:01 user=u1 event=a\n";
    let found = replay("[events]\ntime = 'time'\n", "app.log", line.repeat(3));
    assert_eq!(found.number("sessions"), 0);
    assert!(found.summary["notices"].to_string().contains("year = 2024"), "{}", found.summary);
    assert_eq!(replay("[events]\nyear = 2024\n", "app.log", line.repeat(3)).number("sessions"), 1);
}

#[test]
fn text_without_a_user_stops_with_the_setting_that_reads_it() {
    let prose = "2024-05-01 10:00:00 ann logged in\n2024-05-01 10:01:00 bob logged in\n";
    refused("", "app.log", prose, &["format = \"text\"", "regex"]);
    refused("", "notes.txt", "some prose,\nwithout times\n", &["cannot detect the format"]);
}

/// Values above 12, or the hours of a half day, tell the month from the day.
#[test]
fn the_order_of_day_and_month_is_read_from_the_values() {
    for (of, is_read) in [
        (Some("5/13/2024 10:0M"), true),
        (Some("13/05/2024 10:0M:00"), true),
        (Some("5/1/2024 10:0M AM"), true),
        (Some("05/01/2024 10:0M:00"), false),
    ] {
        let form = of.unwrap_or_default();
        let row = |minute: usize, user| format!("u{user},{},buy", form.replace("0M", &format!("0{minute}")));
        let found = replay("", "a.csv", String::from("user,time,event\n") + &file(row));
        let notices = found.summary["notices"].to_string();
        assert_eq!(found.number("sessions"), if is_read { 3 } else { 0 }, "{form}: {notices}");
        assert!(notices.contains(if is_read { "is a guess" } else { "if the month is first" }), "{form}: {notices}");
    }
}

/// Reports have a title, and what they are about.
#[test]
fn lines_above_a_header_are_skipped() {
    let rows = file(|minute, user| format!("u{user},2024-05-01 10:0{minute}:00,buy"));
    for title in ["Report, made 2024-05-02\n\n", "Account: 7\nFrom May to June, all\n", "\"A title\"\n"] {
        let found = replay("", "report.csv", format!("{title}user,time,event\n{rows}"));
        assert_eq!((counts(&found), found.number("sessions")), ((10, 3, 0), 3), "{title:?}: {}", found.summary);
        assert_eq!(super::skipped(&found, "lines_above"), title.len() as u64, "{title:?}: {}", found.summary);
    }
}

/// A sender that collects events gives its own time beside them.
#[test]
fn a_batch_with_a_time_of_its_own_holds_events() {
    let event = |minute: usize| {
        format!(r#"{{"userId":"u{}","timestamp":"2024-05-01T10:0{minute}:00Z","event":"view"}}"#, USERS[minute])
    };
    let events = (0..10).map(event).collect::<Vec<_>>().join(",");
    let found = replay("", "batch.json", format!(r#"{{"sentAt":"2024-05-01T11:00:00Z","batch":[{events}]}}"#));
    assert_eq!((counts(&found), found.number("sessions")), ((10, 3, 0), 3), "{}", found.summary);
    // An order has a user. What it holds are no events.
    let order = r#"{"user_id":"u1","time":"2024-05-01T10:00:00Z","items":[{"owner_id":"x","created_at":"2020-01-01T00:00:00Z"}]}"#;
    assert_eq!(counts(&replay("", "orders.json", order)), (1, 1, 0));
}

#[test]
fn a_user_in_a_text_that_is_json_is_found() {
    let text = file(|minute, user| {
        format!(r#"{{"ts":"2024-05-01T10:0{minute}:00Z","params":"{{\"user_id\":\"u{user}\",\"n\":1}}"}}"#)
    });
    let found = replay("", "params.json", text);
    assert_eq!((counts(&found), found.number("sessions")), ((10, 3, 0), 3), "{}", found.summary);
    assert!(found.summary["read"].to_string().contains("params{}.user_id"), "{}", found.summary);
}

#[test]
fn events_within_arrays_within_arrays_are_found() {
    let record = |minute: usize| {
        let user = USERS[minute];
        format!(
            r#"{{"timeUnixNano":"{}","attributes":[{{"key":"user.id","value":{{"stringValue":"u{user}"}}}}]}}"#,
            (1_714_557_600 + 60 * minute as u64) * 1_000_000_000
        )
    };
    let records = |range: std::ops::Range<usize>| range.map(record).collect::<Vec<_>>().join(",");
    let of = |range| format!(r#"{{"resource":{{}},"scopeLogs":[{{"scope":{{}},"logRecords":[{}]}}]}}"#, records(range));
    let text = format!(r#"{{"resourceLogs":[{},{}]}}"#, of(0..6), of(6..10));
    let found = replay("", "otel.json", text);
    assert_eq!((counts(&found), found.number("sessions")), ((10, 3, 0), 3), "{}", found.summary);
}

#[test]
fn an_object_of_events_is_told() {
    let event = |minute: usize| format!(r#""-N{minute}":{{"user":"u1","timestamp":"2024-05-01T10:0{minute}:00Z"}}"#);
    let text = format!("{{{}}}", (0..4).map(event).collect::<Vec<_>>().join(","));
    let notices = replay("", "export.json", text).summary["notices"].to_string();
    assert!(notices.contains("jq -c '.[]'") && !notices.contains("is a guess"), "{notices}");
}

/// Queues deliver an event as a text, or as its base64, in an object of their own.
#[test]
fn events_in_the_objects_of_queues_are_found() {
    use base64::Engine;
    let base64 = |text: &str| base64::engine::general_purpose::STANDARD.encode(text);
    let quoted = |text: &str| serde_json::to_string(text).unwrap();
    let event = |minute: usize, user: usize| {
        format!(r#"{{"user":"u{user}","timestamp":"2024-05-01T10:0{minute}:00Z","event":"open"}}"#)
    };
    let kcat = file(|minute, user| {
        format!(r#"{{"topic":"t","partition":0,"ts":1,"key":"k","payload":{}}}"#, quoted(&event(minute, user)))
    });
    let pub_sub = file(|minute, user| {
        format!(
            r#"{{"message":{{"data":"{}","messageId":"{minute}"}},"subscription":"s"}}"#,
            base64(&event(minute, user))
        )
    });
    let sns = file(|minute, user| {
        format!(r#"{{"Type":"Notification","MessageId":"{minute}","Message":{}}}"#, quoted(&event(minute, user)))
    });
    for text in [kcat, pub_sub, sns] {
        let found = replay("", "queue.json", &text);
        assert_eq!((counts(&found), found.number("sessions")), ((10, 3, 0), 3), "{text:.120}: {}", found.summary);
        assert_eq!(found.numbers("classes")["open"], 10);
    }
}
