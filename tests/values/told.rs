//! What a replay read from where, and what looks wrong, on the terminal and in JSON.

use super::{START, codes, replay, replay_text};
use crate::headwater::Folder;
use serde_json::{Value, json};

fn messages(config: &str, lines: &[Value]) -> Vec<(String, String)> {
    let replay = replay(config, lines);
    let notices = replay.summary["notices"].as_array().unwrap().clone();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    notices.iter().map(|notice| (text(&notice["code"]), text(&notice["message"]))).collect()
}

#[test]
fn the_candidates_that_gave_the_values_are_counted() {
    let lines = [
        json!({"user_id": "u1", "device_id": "d1", "ts": START, "action": "a"}),
        json!({"user_id": null, "device_id": "d1", "ts": START, "action": "a"}),
        json!({"device_id": "d1", "timestamp": START}),
        json!({"ts": START}),
    ];
    let replay = replay("", &lines);
    let read = &replay.summary["read"][0];
    assert_eq!(
        read["user"],
        json!([{"path": "device_id", "events": 2}, {"path": "user_id", "events": 1}, {"path": null, "events": 1}])
    );
    assert_eq!(read["time"], json!([{"path": "ts", "events": 3}, {"path": "timestamp", "events": 1}]));
    assert_eq!((&read["source"], &read["format"]), (&json!("files"), &json!("json")));
    assert_eq!(codes(&replay), ["mixed_users"]);
    let folder = Folder::new();
    folder.write("headwater.toml", "");
    folder.write("in", lines.map(|line| line.to_string()).join("\n"));
    let text = folder.headwater(["replay", "headwater.toml", "in", "--out", "out"]).stdout();
    assert!(text.contains("user") && text.contains("from device_id 2, user_id 1\n"), "{text}");
    assert!(text.contains("look at\n  - users of source `files` come from values"), "{text}");
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
}

#[test]
fn users_of_one_meaning_are_no_mixture() {
    let of = |key: &str, value: &str| json!({key: value, "ts": START});
    assert_eq!(codes(&replay("", &[of("user_id", "a"), of("username", "b")])), [""; 0]);
    assert_eq!(codes(&replay("", &[of("user_id", "a"), of("remote_addr", "203.0.113.5")])), ["mixed_users"]);
    let configured = "[events]\nuser = [\"user_id\", \"remote_addr\"]\n";
    assert_eq!(codes(&replay(configured, &[of("user_id", "a"), of("remote_addr", "b")])), ["mixed_users"]);
}

#[test]
fn a_path_that_nothing_has_is_told_with_the_keys_that_are_there() {
    let lines = [json!({"user_id": "u", "ts": START, "event": "a", "price": 1, "id": 1})];
    for (config, path) in [
        ("[events]\nuser = \"user_idd\"\n", "user_id"),
        ("[events]\nuser = [\"usr_id\", \"user_id\"]\n", "user_id"),
        ("[events]\ntime = [\"tss\", \"ts\"]\n", "ts"),
        ("[events]\ntype = \"evnt\"\n", "event"),
        ("[events]\nid = \"idd\"\n", "id"),
        ("[sessions]\nsum = { revenue = \"pricee\" }\n", "price"),
        ("[sessions]\ncarry = [\"pryce\"]\n", "price"),
        ("[fields]\namount = \"priec\"\n[[class]]\nname = \"x\"\nwhen = { amount = { min = 1 } }\n", "price"),
    ] {
        let told = messages(config, &lines);
        let (_, message) =
            told.iter().find(|(code, _)| code == "missing_path").unwrap_or_else(|| panic!("{config}: {told:?}"));
        assert!(message.contains(&format!("records have `{path}`")), "{config}: {message}");
    }
    for config in [
        "[events]\nuser = [\"user_id\"]\nid = \"id\"\n[sessions]\nsum = { revenue = \"price\" }\ncarry = \"event\"\n",
        "[fields]\namount = [\"cost\", \"price\"]\n[sessions]\nsum = { revenue = \"amount\" }\n",
    ] {
        assert_eq!(messages(config, &lines), [], "{config}");
    }
}

#[test]
fn keys_of_exploded_events_begin_at_the_element() {
    let attribute = |key: &str| json!({"key": key, "value": {"stringValue": "u1"}});
    let log = json!({"observed": "2024-05-01T10:00:00Z", "attributes": [attribute("user.id"), attribute("a]b")]});
    let lines = [json!({"host": {"arch": "arm"}, "logs": [{"records": [log]}]})];
    // With a source, nothing is guessed.
    let said = messages("[[source]]\nname = \"in\"\npaths = \"in\"\n[events]\nexplode = \"logs[].records\"\n", &lines);
    let keys = "its records have `attributes[key=\"a]b\"].value.stringValue`, `attributes[key=user.id].value.stringValue`, \
                `host.arch`, `observed`; name one: user = \"…\"";
    assert!(said.iter().any(|(code, message)| code == "no_user" && message.ends_with(keys)), "{said:?}");
}

#[test]
fn events_in_an_array_are_told() {
    let events = json!([{"user_id": "u", "ts": START}, {"user_id": "v", "ts": START}]);
    for key in ["Records", "events", "data"] {
        let told = messages("[[source]]\nname = \"in\"\npaths = \"in\"\n", &[json!({key: events, "next": null})]);
        let (_, message) = told.iter().find(|(code, _)| code == "not_exploded").unwrap_or_else(|| panic!("{told:?}"));
        assert!(message.contains(&format!("explode = \"{key}\"")), "{message}");
        assert_eq!(messages(&format!("[events]\nexplode = \"{key}\"\n"), &[json!({key: events})]), []);
    }
    let told = messages("[events]\nexplode = \"evnts\"\n", &[json!({"events": events})]);
    assert!(
        told.iter()
            .any(|(_, message)| message.contains("no array of objects at `evnts`") && message.contains("`events`")),
        "{told:?}"
    );
    // Items of an order are no events.
    assert_eq!(messages("", &[json!({"user_id": "u", "ts": START, "items": [{"sku": 1}]})]), []);
}

#[test]
fn one_user_with_most_events_is_told() {
    let event = |user: String| json!({"user_id": user, "ts": START});
    let of = |guests: usize, others: usize| -> Vec<Value> {
        let guests = std::iter::repeat_n("guest".to_owned(), guests);
        guests.chain((0..others).map(|n| format!("u{n}"))).map(event).collect()
    };
    assert_eq!(codes(&replay("", &of(30, 10))), ["one_user"]);
    assert_eq!(codes(&replay("", &of(100, 200))), ["one_user"]);
    assert_eq!(codes(&replay("", &of(7, 0))), ["one_user"]);
    for (guests, others) in [(3, 1), (10, 20), (20, 200), (1, 0)] {
        assert_eq!(codes(&replay("", &of(guests, others))), [""; 0], "{guests} {others}");
    }
}

#[test]
fn addresses_with_ports_and_lists_are_told() {
    let of = |user: &str| json!({"peer": user, "ts": START});
    let config = "[events]\nuser = \"peer\"\n";
    let ports = messages(config, &[of("203.0.113.5:50000"), of("203.0.113.5:50001")]);
    assert!(ports[0].0 == "users_with_ports" && ports[0].1.contains("without_port"), "{ports:?}");
    let lists = messages(config, &[of("203.0.113.5, 10.0.0.1"), of("203.0.113.6, 10.0.0.1")]);
    assert!(lists[0].0 == "users_are_lists" && lists[0].1.contains("first_of_list"), "{lists:?}");
}

#[test]
fn a_form_of_time_that_is_a_guess_is_told_with_an_example() {
    let told = messages("", &[json!({"user_id": "u", "ts": "05/01/2024 10:00:00"})]);
    let (_, message) = told.iter().find(|(code, _)| code == "unreadable_times").unwrap();
    assert!(message.contains("`05/01/2024 10:00:00`") && message.contains("time_format"), "{message}");
    let table = replay_text("", "user_id,ts\nu,05/01/2024\n");
    assert!(codes(&table).contains(&"unreadable_times".to_owned()));
}
