//! The promise: users, times and ids of any log are read right at the first try, or the replay says what looks wrong.
//! Each test is of a kind of log, generated in many variants.

use crate::headwater::{Folder, Replay};
use serde_json::{Value, json};
use std::collections::BTreeMap;

mod init;
mod told;

/// 2024-05-01T10:00:00Z in seconds.
const START: i64 = 1_714_557_600;

/// Replays lines of JSON with a configuration.
fn replay(config: &str, lines: &[Value]) -> Replay {
    let lines: Vec<String> = lines.iter().map(Value::to_string).collect();
    replay_text(config, &lines.join("\n"))
}

fn replay_text(config: &str, text: &str) -> Replay {
    let folder = Folder::new();
    folder.write("headwater.toml", config);
    folder.write("in", text);
    folder.replay("headwater.toml", ["in"])
}

/// Returns events by user.
fn users(replay: &Replay) -> BTreeMap<String, u64> {
    let mut users = BTreeMap::new();
    for (user, _, _, events) in replay.rows() {
        *users.entry(user).or_default() += events;
    }
    users
}

fn map(pairs: &[(&str, u64)]) -> BTreeMap<String, u64> {
    pairs.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
}

/// Returns the codes of the notices.
fn codes(replay: &Replay) -> Vec<String> {
    let notices = replay.summary["notices"].as_array().unwrap();
    notices.iter().map(|notice| notice["code"].as_str().unwrap().to_owned()).collect()
}

/// Days as digits were seconds of 1970: all events of a year became one session.
#[test]
fn the_digits_of_a_date_are_that_date() {
    for (text, seconds) in
        [("20240501", 1_714_521_600), ("202405011000", START), ("20240501100000", START), ("20240501100000000", START)]
    {
        for value in [json!(text), json!(text.parse::<u64>().unwrap())] {
            let replay = replay("", &[json!({"user_id": "u", "date": value, "event": "a"})]);
            assert_eq!(replay.rows(), [("u".to_owned(), seconds * 1000, seconds * 1000, 1)], "{value}");
            assert_eq!(codes(&replay), [""; 0]);
        }
    }
    let folder = Folder::new();
    folder.write("headwater.toml", "");
    folder.write("in.csv", "user_id,date,event\nu,20240501,a\nu,20240502,a\nu,20240801,a\n");
    assert_eq!(folder.replay("headwater.toml", ["in.csv", "--from", "20240502"]).number("events"), 2);
    assert_eq!(folder.replay("headwater.toml", ["in.csv"]).number("sessions"), 3);
}

/// Times that no event has are read as they are written, and told.
#[test]
fn times_that_are_hard_to_believe_are_told() {
    let at = |config: &str, value: Value| replay(config, &[json!({"user_id": "u", "ts": value, "event": "a"})]);
    for early in [json!(2024), json!(1000), json!("240501"), json!("1989-12-31T23:59:59Z"), json!(-1)] {
        assert_eq!(codes(&at("", early.clone())), ["early_times"], "{early}");
    }
    for late in [json!(2_024_050_110), json!("2099-01-01"), json!(4_102_444_800_000_i64)] {
        assert_eq!(codes(&at("", late.clone())), ["late_times"], "{late}");
    }
    for good in [json!(START), json!("1990-01-01"), json!("2024-05-01 10:00")] {
        assert_eq!(codes(&at("", good.clone())), [""; 0], "{good}");
    }
    let relative = at("[events]\ntime_unit = \"ms\"\n", json!(0));
    assert_eq!((relative.rows(), codes(&relative)), (vec![("u".to_owned(), 0, 0, 1)], vec!["early_times".to_owned()]));
    let micros = at("[events]\ntime_unit = \"us\"\n", json!(START * 1_000_000));
    assert_eq!(micros.rows()[0].1, START * 1000);
    let day_first = at("[events]\ntime_format = [\"%d/%m/%Y %H:%M\"]\nzone = \"+02:00\"\n", json!("01/05/2024 12:00"));
    assert_eq!(day_first.rows()[0].1, START * 1000);
}

/// A word for "none" was a user, and all visitors without a name were one.
#[test]
fn words_for_none_are_no_user() {
    for word in
        ["-", "null", "NULL", "\\N", "undefined", "None", "nil", "NaN", "", " ", "00000000-0000-0000-0000-000000000000"]
    {
        let event = |user: &str, address: &str, at: i64| json!({"userId": user, "anonymousId": address, "timestamp": START + at, "event": "view"});
        let lines = [event(word, "a1", 0), event(word, "a2", 1), event("ann", "a2", 2)];
        assert_eq!(users(&replay("", &lines)), map(&[("a1", 1), ("a2", 1), ("ann", 1)]), "{word:?}");
        let configured = "[events]\nuser = [\"userId\", \"anonymousId\"]\n";
        assert_eq!(users(&replay(configured, &lines)), map(&[("a1", 1), ("a2", 1), ("ann", 1)]), "{word:?}");
        let alone = replay("[events]\nuser = \"userId\"\n", &lines);
        assert_eq!(
            (users(&alone), alone.numbers("sessionless")),
            (map(&[("ann", 1)]), map(&[("no_user", 2)])),
            "{word:?}"
        );
        let text: Vec<String> = std::iter::once("userId,anonymousId,timestamp".to_owned())
            .chain([("", 0), (word, 1)].map(|(user, at)| format!("\"{user}\",a{at},{}", START + at)))
            .collect();
        assert_eq!(users(&replay_text("", &text.join("\n"))), map(&[("a0", 1), ("a1", 1)]), "{word:?}");
    }
    let zero = |user: Value| json!({"userId": user, "anonymousId": "a", "timestamp": START});
    assert_eq!(users(&replay("", &[zero(json!(0)), zero(json!(false)), zero(json!("0"))])), map(&[("a", 3)]));
    let only = json!({"userId": 0, "timestamp": START});
    assert_eq!(users(&replay("", &[only])), map(&[("0", 1)]), "with no other candidate it is a user");
    let own = replay("[events]\nabsent = [\"guest\"]\n", &[zero(json!("guest")), zero(json!("-"))]);
    assert_eq!(users(&own), map(&[("-", 1), ("a", 1)]));
    assert_eq!(users(&replay("[events]\nabsent = []\n", &[zero(json!("null"))])), map(&[("null", 1)]));
}

/// A time of zero beat the good one behind it.
#[test]
fn times_for_none_give_way_to_the_next_candidate() {
    for none in [
        json!(0),
        json!("0"),
        json!("0001-01-01T00:00:00Z"),
        json!("9999-12-31"),
        json!("-"),
        json!("0000-00-00 00:00:00"),
        json!(null),
    ] {
        let both = replay("", &[json!({"user_id": "u", "event_time": none, "ts": START})]);
        assert_eq!(both.rows(), [("u".to_owned(), START * 1000, START * 1000, 1)], "{none}");
        let alone = replay("", &[json!({"user_id": "u", "event_time": none})]);
        assert_eq!(alone.numbers("sessionless"), map(&[("no_time", 1)]), "{none}");
    }
}

/// An id that is a word for "none" made all events but the first duplicates.
#[test]
fn words_for_none_are_no_id() {
    let event = |id: Value, at: i64| json!({"user_id": "u", "ts": START, "id": id, "n": at});
    let lines =
        [event(json!("-"), 1), event(json!("null"), 2), event(json!("-"), 3), event(json!(7), 4), event(json!(7.0), 4)];
    let replay = replay("[events]\nid = \"id\"\n", &lines);
    // Of the same number in two forms one counts: the payloads differ.
    assert_eq!((replay.number("events"), replay.number("dead_letters")), (4, 1));
}

#[test]
fn a_whole_number_is_one_user_in_every_form() {
    let lines =
        ["123", "123.0", "1.23e2", "12300E-2", "\"123\""].map(|user| format!("{{\"user_id\":{user},\"ts\":{START}}}"));
    assert_eq!(users(&replay_text("", &lines.join("\n"))), map(&[("123", 5)]));
    let others = ["1.5", "\"1.0\"", "-7.0"].map(|user| format!("{{\"user_id\":{user},\"ts\":{START}}}"));
    assert_eq!(users(&replay_text("", &others.join("\n"))), map(&[("-7", 1), ("1.0", 1), ("1.5", 1)]));
    let table = format!("user_id,ts\n123,{START}\n123.0,{START}\n1.5,{START}\n");
    assert_eq!(users(&replay_text("", &table)), map(&[("123", 2), ("1.5", 1)]));
}

#[test]
fn the_host_of_a_log_line_is_its_server() {
    for client in ["clientip", "remote_addr", "ClientHost", "client_ip"] {
        let event = |address: &str| json!({client: address, "host": "web-1", "timestamp": START, "verb": "GET"});
        let replay = replay("", &[event("203.0.113.5"), event("203.0.113.9"), event("203.0.113.5")]);
        assert_eq!(users(&replay), map(&[("203.0.113.5", 2), ("203.0.113.9", 1)]), "{client}");
    }
    let server_alone = replay("", &[json!({"host": "web-1", "timestamp": START})]);
    assert_eq!(users(&server_alone), map(&[]));
    assert_eq!(codes(&server_alone), ["no_user"]);
}

/// Events of the exports that the documentation names, as their vendors describe them.
#[test]
fn exports_are_read_without_a_configuration() {
    for (event, user, class) in [
        (json!({"event": "Buy", "properties": {"time": START, "distinct_id": "u1"}}), "u1", "Buy"),
        (
            json!({"event_date": "20240501", "event_timestamp": "1714557600000000", "event_name": "page_view", "user_id": null, "user_pseudo_id": "123.456"}),
            "123.456",
            "page_view",
        ),
        (
            json!({"event_time": "2024-05-01 10:00:00.000000", "event_type": "open", "user_id": null, "device_id": "d1", "amplitude_id": 9}),
            "d1",
            "open",
        ),
        (
            json!({"type": "track", "event": "Pay", "userId": "u1", "anonymousId": "a1", "timestamp": "2024-05-01T10:00:00Z"}),
            "u1",
            "Pay",
        ),
        (
            json!({"ClientAddr": "203.0.113.5:5000", "ClientHost": "203.0.113.5", "RequestMethod": "GET", "time": "2024-05-01T10:00:00Z", "StartUTC": "2024-05-01T10:00:00.1Z"}),
            "203.0.113.5",
            "GET",
        ),
        (
            json!({"eventVersion": "1.08", "userIdentity": {"type": "IAMUser", "arn": "arn:aws:iam::1:user/ann", "userName": "ann"}, "eventTime": "2024-05-01T10:00:00Z", "eventName": "PutObject", "eventType": "AwsApiCall", "sourceIPAddress": "203.0.113.5"}),
            "ann",
            "PutObject",
        ),
        (
            json!({"id": "evt_1", "type": "invoice.paid", "created": START, "data": {"object": {"customer": "cus_1"}}}),
            "cus_1",
            "invoice.paid",
        ),
        (json!({"id": 1, "created_at": "2024-05-01T12:00:00+02:00", "customer": {"id": 7.0}}), "7", "unclassified"),
        (json!({"idvisitor": "c0ffee", "server_time": "2024-05-01 10:00:00", "type": "action"}), "c0ffee", "action"),
        (json!({"ts": START, "request": {"remote_ip": "203.0.113.5", "method": "GET"}}), "203.0.113.5", "GET"),
        (
            json!({"ClientIP": "2001:DB8::7", "EdgeStartTimestamp": "2024-05-01T10:00:00Z", "ClientRequestMethod": "GET"}),
            "2001:db8::7",
            "GET",
        ),
    ] {
        let replay = replay("", std::slice::from_ref(&event));
        assert_eq!(replay.rows(), [(user.to_owned(), START * 1000, START * 1000, 1)], "{event}");
        assert_eq!(replay.numbers("classes"), map(&[(class, 1)]), "{event}");
    }
}

/// The envelope's time was that of all its elements.
#[test]
fn the_element_comes_before_the_envelope() {
    let event = json!({"user_id": "u1", "timestamp": "2024-05-01T10:00:00Z", "event_name": "outer", "batch": [
        {"time": "2024-05-01T10:05:00Z", "action": "a"}, {"time": "2024-05-01T10:40:00Z", "device_id": "d"}, {}]});
    let replay = replay("[events]\nexplode = \"batch\"\n", &[event]);
    let minute = |minute: i64| (START + minute * 60) * 1000;
    let row = |user: &str, at: i64| (user.to_owned(), minute(at), minute(at), 1);
    assert_eq!(users(&replay), map(&[("d", 1), ("u1", 2)]));
    assert!(replay.rows().contains(&row("d", 40)));
    assert_eq!(
        replay.rows().iter().find(|(user, ..)| user == "u1").unwrap(),
        &("u1".to_owned(), minute(0), minute(5), 2)
    );
    assert_eq!(replay.numbers("classes"), map(&[("a", 1), ("outer", 2)]));
}

#[test]
fn a_wrapped_event_comes_before_what_wraps_it() {
    let wrapped = |minute: u64| {
        let event = json!({"user_id": "u1", "ts": format!("2024-05-01T10:{minute:02}:00Z"), "event": "a"});
        json!({"@timestamp": "2024-05-01T12:00:00Z", "message": event.to_string()})
    };
    let folder = Folder::new();
    folder.write("log.jsonl", format!("{}\n{}\n", wrapped(0), wrapped(5)));
    let run = folder.headwater(["replay", "log.jsonl", "--json", "--out", "out"]);
    let summary: Value = serde_json::from_str(&run.stdout()).unwrap();
    assert_eq!((&summary["first"], &summary["last"]), (&json!("2024-05-01T10:00:00Z"), &json!("2024-05-01T10:05:00Z")));
    // What is printed names one source, and reads the same.
    let configuration = summary["configuration"].as_str().unwrap();
    assert_eq!(configuration.matches("[[source]]").count(), 1, "{configuration}");
    for configuration in [configuration.to_owned(), folder.headwater(["init", "log.jsonl"]).stdout()] {
        folder.write("headwater.toml", configuration);
        assert_eq!(folder.replay("headwater.toml", [""; 0]).summary["first"], summary["first"]);
    }
}

#[test]
fn flat_dotted_and_nested_events_are_of_one_user_and_time() {
    let lines = [
        json!({"user": {"id": "u1"}, "event": {"type": "click", "time": "2024-05-01T10:00:00Z"}}),
        json!({"user.id": "u1", "event.type": "click", "event.time": "2024-05-01T10:01:00Z"}),
        json!({"user_id": "u1", "event_type": "click", "event_time": "2024-05-01T10:02:00Z"}),
    ];
    let replay = replay("", &lines);
    assert_eq!(users(&replay), map(&[("u1", 3)]));
    assert_eq!((replay.number("sessions"), replay.numbers("classes")), (1, map(&[("click", 3)])));
}

#[test]
fn a_day_and_a_time_of_day_are_read_together() {
    for (day, time) in [("date", "time"), ("event_date", "event_time"), ("Date", "Time")] {
        for of_day in ["10:00:00", "10:00", "10:00:00.000 AM"] {
            let replay = replay("", &[json!({"user_id": "u", day: "2024-05-01", time: of_day})]);
            assert_eq!(replay.rows(), [("u".to_owned(), START * 1000, START * 1000, 1)], "{day} {of_day}");
        }
    }
    let composed =
        replay("[events]\ntime = [[\"d\", \"t\"]]\n", &[json!({"user_id": "u", "d": 20_240_501, "t": "10:00"})]);
    assert_eq!(composed.rows()[0].1, START * 1000);
    let composed =
        replay("[events]\ntime = [[\"d\", \"t\"]]\n", &[json!({"user_id": "u", "d": "1.5.2024", "t": "10:00"})]);
    assert_eq!(composed.rows()[0].1, START * 1000);
    let alone = replay("", &[json!({"user_id": "u", "time": "10:00:00"})]);
    assert_eq!(codes(&alone), ["unreadable_times"]);
}

#[test]
fn transforms_make_one_user_of_the_forms_of_an_address() {
    let line =
        |host: &str| format!("{host} - - [01/May/2024:10:00:00 +0000] \"GET /a HTTP/1.1\" 200 5 \"-\" \"curl/8\"");
    let hosts = ["2001:db8::7", "2001:0db8:0:0:0:0:0:7", "::ffff:203.0.113.5", "203.0.113.5", "host.example"];
    let replay = replay_text("", &hosts.map(line).join("\n"));
    assert_eq!(users(&replay), map(&[("2001:db8::7", 2), ("203.0.113.5", 2), ("host.example", 1)]));

    let config = r#"
        [events]
        user = [{ path = "xff", as = ["first_of_list", "without_port", "ip"] }, { path = "name", regex = "^u-(.*)$", as = "lower", map = { ann = "Ann" } }]
        [sessions]
        carry = ["page"]
        [fields]
        page = { path = "url", regex = "^[^?]*" }
        [[class]]
        name = "start"
        when = { page = "/start" }
    "#;
    let event = |xff: &str, name: &str| json!({"xff": xff, "name": name, "ts": START, "url": "/start?x=1"});
    let lines = [event("203.0.113.5:99, 10.0.0.1", ""), event("-", "u-ANN"), event("", "u-Bob"), event("", "other")];
    let replay = super::values::replay(config, &lines);
    assert_eq!(users(&replay), map(&[("203.0.113.5", 1), ("Ann", 1), ("bob", 1)]));
    assert_eq!(replay.numbers("sessionless"), map(&[("no_user", 1)]));
    assert_eq!(replay.numbers("classes"), map(&[("start", 4)]));
    assert!(replay.sessions.iter().all(|session| session["entry_page"] == "/start"));
}

#[test]
fn keys_and_texts_are_steps_of_a_path() {
    let event = json!({"event_name": "e", "event_timestamp": 1_714_557_600_000_000_i64, "event_params": [
        {"key": "page", "value": {"string_value": "/a"}}, {"key": "ga_session_id", "value": {"int_value": "17"}}]});
    let replay = replay("[events]\nuser = \"event_params[key=ga_session_id].value.int_value\"\n", &[event]);
    assert_eq!(users(&replay), map(&[("17", 1)]));
    let inner = json!({"user": {"id": "u1"}, "at": START}).to_string();
    let config = "[events]\nuser = \"log{}.user.id\"\ntime = \"log{}.at\"\n";
    let docker = super::values::replay(config, &[json!({"log": inner.clone() + "\n", "stream": "stdout"})]);
    assert_eq!(docker.rows(), [("u1".to_owned(), START * 1000, START * 1000, 1)]);
    let table = format!("log,n\n\"{}\",1\n", inner.replace('"', "\"\""));
    assert_eq!(users(&replay_text(config, &table)), map(&[("u1", 1)]));
    let otel = json!({"resourceLogs": [{"scopeLogs": [{"logRecords": [
        {"timeUnixNano": "1714557600000000000", "attributes": [{"key": "user.id", "value": {"stringValue": "u1"}}]}]}]}]});
    let config = "[events]\nexplode = \"resourceLogs[].scopeLogs[].logRecords\"\ntime = \"timeUnixNano\"\nuser = 'attributes[key=\"user.id\"].value.stringValue'\n";
    assert_eq!(users(&super::values::replay(config, &[otel])), map(&[("u1", 1)]));
}

/// Rules could not see a bot.
#[test]
fn conditions_look_into_texts() {
    let agents = ["Googlebot/2.1", "Mozilla/5.0 (compatible; BINGBOT)", "curl/8", "Spider"];
    for when in [
        r#"{ ua = { contains = ["bot", "spider"], nocase = true } }"#,
        r#"{ ua = { matches = "(?i)bot|spider" } }"#,
        r#"{ ua = { regex = "bot|spider", nocase = true } }"#,
        r#"{ ua = { not = { prefix = "curl" } } }"#,
        r#"{ ua = { not = { in = ["curl/8"] } } }"#,
        r#""ua contains ('bot', 'spider') nocase""#,
        r#""ua matches '(?i)bot|spider'""#,
        r#""ua not starts_with 'curl' and not ua ends_with '/8'""#,
        r#""ua contains 'bot' nocase or ua = 'SPIDER' nocase""#,
        r#""ua not in ('CURL/8') nocase""#,
    ] {
        let lines: Vec<Value> =
            agents.iter().map(|ua| json!({"user_id": "u", "ts": START, "event": "req", "ua": ua})).collect();
        let replay = replay(&format!("[[class]]\nname = \"bot\"\nwhen = {when}\n"), &lines);
        assert_eq!(replay.numbers("classes"), map(&[("bot", 3), ("req", 1)]), "{when}");
    }
}

/// The requests of a monitor made one session of a day.
#[test]
fn a_class_can_be_kept_out_of_sessions() {
    let event = |minute: i64, ua: &str| json!({"user_id": "u", "ts": START + minute * 60, "event": "req", "ua": ua});
    let lines =
        [event(0, "Firefox"), event(20, "Monitor"), event(40, "Monitor"), event(60, "Firefox"), event(70, "curl")];
    let rule = "[[class]]\nname = \"bot\"\nwhen = { ua = \"Monitor\" }\n";
    let all = replay(rule, &lines);
    assert_eq!((all.number("sessions"), all.numbers("sessionless")), (1, map(&[])));
    for more in ["", "[[class]]\nname = \"tool\"\npriority = 1\nwhen = { ua = \"curl\" }\n"] {
        let apart = replay(&format!("{rule}sessions = false\n{more}"), &lines);
        let minute = |minute: i64| (START + minute * 60) * 1000;
        let rows = [("u".to_owned(), minute(0), minute(0), 1), ("u".to_owned(), minute(60), minute(70), 2)];
        assert_eq!((apart.rows(), apart.number("events")), (rows.to_vec(), 5));
        assert_eq!((apart.numbers("classes")["bot"], apart.numbers("sessionless")), (2, map(&[("class_apart", 2)])));
        assert!(apart.counts.contains("bot,2024-05-01T10:00:00Z,2\n"), "{}", apart.counts);
    }
    // Another rule comes before it, so the event has another class.
    let other = format!("{rule}sessions = false\n[[class]]\nname = \"all\"\npriority = 1\nwhen = \"ua is not null\"\n");
    assert_eq!(replay(&other, &lines).number("sessions"), 1);
}

#[test]
fn the_local_zone_is_that_of_the_system() {
    let folder = Folder::new();
    folder.write("headwater.toml", "[events]\nzone = \"local\"\n");
    folder.write("in", "{\"user_id\":\"u\",\"ts\":\"2024-05-01 12:00:00\"}");
    let arguments = ["replay", "headwater.toml", "in", "--out", "out", "--format", "csv", "--json"];
    let run = folder.headwater_in("Europe/Berlin", arguments);
    assert_eq!(run.code(), 0, "{}", run.stderr());
    assert!(
        folder.read("out/sessions.csv").contains(&format!(",{START}000000,")),
        "{}",
        folder.read("out/sessions.csv")
    );
}

/// Databases and spreadsheets change how names are spelled.
#[test]
fn a_built_in_name_counts_in_every_spelling() {
    for [user, time, kind] in [
        ["USER_ID", "EVENT_TIME", "EVENT_NAME"],
        ["UserId", "Timestamp", "EventType"],
        ["userID", "eventTime", "eventType"],
        ["User ID", "Created at", "Event name"],
        ["user id", "event time", "event type"],
        ["user-id", "occurred-at", "event-type"],
        ["userid", "EVENTTIME", "ACTIVITY"],
        ["Case ID", "Complete Timestamp", "Activity"],
    ] {
        let found = replay("", &[json!({user: "u", time: "2024-05-01T10:00:00Z", kind: "a"})]);
        assert_eq!((users(&found), found.numbers("classes")), (map(&[("u", 1)]), map(&[("a", 1)])), "{user}");
        let found = replay_text("", &format!("{user},{time},{kind}\nu,2024-05-01 10:00:00,a\n"));
        assert_eq!((users(&found), found.numbers("classes")), (map(&[("u", 1)]), map(&[("a", 1)])), "{user}");
    }
}

#[test]
fn the_actor_goes_before_whom_an_action_is_about() {
    let found = replay("", &[json!({"actor": "ann", "user": "bob", "user_id": 2, "created_at": START, "action": "x"})]);
    assert_eq!(users(&found), map(&[("ann", 1)]));
    let found = replay("", &[json!({"user_id": "u", "ts": START, "event": {"action": "buy", "user_id": "v"}})]);
    assert_eq!((users(&found), found.numbers("classes")), (map(&[("u", 1)]), map(&[("buy", 1)])));
}

/// Python writes them, and JSON does not know them.
#[test]
fn what_is_no_number_is_absent() {
    let found = replay_text("", "{\"user_id\":\"u\",\"ts\":1714557600,\"price\":NaN,\"x\":[-Infinity]}\n");
    assert_eq!((users(&found), found.number("repaired"), found.number("dead_letters")), (map(&[("u", 1)]), 1, 0));
}
