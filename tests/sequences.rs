//! The promise: a replay recognises the sequences of its configuration, the same with any number of workers, and says what is
//! wrong with them.

use crate::headwater::Folder;
use serde_json::{Value, json};

const CONFIG: &str = r#"
[events]
id = "id"
dedupe = "7d"

[[source]]
name = "shop"
paths = ["shop.jsonl"]

[[class]]
name = "purchase"
when = { type = "order", paid = true }

[[sequence]]
name = "checkout"
steps = ["cart", "shipping?", "purchase"]
within = "1h"
except = [{ class = "logout", between = ["cart", "purchase"] }]
by = "country"

[[sequence]]
name = "delivery"
per = "package"
steps = ["sent", "scan", "scan", "delivered"]
within = "30d"
"#;

/// ann buys, in another country than the one of her cart; bob logs out, and begins again; cid's last cart stays; dan's order is
/// not paid. Two lines repeat an event, one of them with another payload.
const SHOP: &str = r#"{"id": "1", "user": "ann", "time": "2024-05-01T10:00:00Z", "type": "cart", "country": "DE"}
{"id": "2", "user": "ann", "time": "2024-05-01T10:05:00Z", "type": "shipping"}
{"id": "3", "user": "ann", "time": "2024-05-01T10:20:00Z", "type": "order", "paid": true, "country": "FR"}
{"id": "3", "user": "ann", "time": "2024-05-01T10:20:00Z", "type": "order", "paid": true, "country": "FR"}
{"id": "4", "user": "bob", "time": "2024-05-01T10:00:00Z", "type": "cart"}
{"id": "5", "user": "bob", "time": "2024-05-01T10:01:00Z", "type": "logout"}
{"id": "6", "user": "bob", "time": "2024-05-01T10:02:00Z", "type": "cart"}
{"id": "7", "user": "bob", "time": "2024-05-01T10:02:30Z", "type": "order", "paid": true}
{"id": "8", "user": "cid", "time": "2024-05-01T09:00:00Z", "type": "cart", "country": "DE"}
{"id": "9", "user": "cid", "time": "2024-05-01T11:40:00Z", "type": "cart", "country": "DE"}
{"id": "9", "user": "cid", "time": "2024-05-01T11:50:00Z", "type": "order", "paid": true}
{"id": "10", "user": "dan", "time": "2024-05-01T10:00:00Z", "type": "cart", "country": "DE"}
{"id": "11", "user": "dan", "time": "2024-05-01T10:10:00Z", "type": "order", "paid": false}
{"id": "12", "user": "x", "time": "2024-05-01T10:00:00Z", "type": "sent", "package": "p1"}
{"id": "13", "user": "y", "time": "2024-05-01T11:00:00Z", "type": "scan", "package": "p1"}
{"id": "14", "user": "z", "time": "2024-05-01T11:30:00Z", "type": "scan", "package": "p1"}
{"id": "15", "user": "z", "time": "2024-05-01T11:31:00Z", "type": "scan"}
"#;

fn replay(folder: &Folder, more: &[&str]) -> (Value, Vec<Value>, Vec<Value>) {
    let fixed = ["replay", "shop.toml", "--out", "out", "--format", "jsonl", "--json"];
    let run = folder.headwater(fixed.iter().chain(more));
    assert_eq!(run.code(), 0, "{}", run.stderr());
    let rows = |name: &str| folder.read(name).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    (serde_json::from_str(&run.stdout()).unwrap(), rows("out/activities.jsonl"), rows("out/funnels.jsonl"))
}

fn shop() -> Folder {
    let folder = Folder::new();
    folder.write("shop.toml", CONFIG);
    folder.write("shop.jsonl", SHOP);
    folder
}

#[test]
fn a_replay_writes_activities_with_their_evidence_and_counts_them() {
    let folder = shop();
    let (summary, activities, funnels) = replay(&folder, &["--workers", "1"]);
    let of = |sequence: &str| {
        let of = activities.iter().filter(|row| row["sequence"] == sequence);
        let mut rows: Vec<Value> = of
            .map(|row| {
                json!([row["key"], row["start"], row["state"], row["step"], row["ended"], row["steps"], row["by"]])
            })
            .collect();
        rows.sort_by_key(Value::to_string);
        rows
    };
    let minutes = |minutes: i64| minutes * 60_000_000;
    let day = |time: &str| format!("2024-05-01T{time}Z");
    assert_eq!(
        of("checkout"),
        [
            json!(["ann", day("10:00:00"), "matched", "purchase", day("10:20:00"),
            {"cart": 0, "shipping": minutes(5), "purchase": minutes(20)}, "country=DE"]),
            json!(["bob", day("10:00:00"), "broken", "cart", day("10:01:00"), {"cart": 0}, "country="]),
            json!(["bob", day("10:02:00"), "matched", "purchase", day("10:02:30"),
            {"cart": 0, "purchase": 30_000_000}, "country="]),
            json!(["cid", day("09:00:00"), "expired", "cart", null, {"cart": 0}, "country=DE"]),
            json!(["cid", day("11:40:00"), "open", "cart", null, {"cart": 0}, "country=DE"]),
            json!(["dan", day("10:00:00"), "expired", "cart", null, {"cart": 0}, "country=DE"]),
        ]
    );
    // A package is followed through the hands of its users.
    assert_eq!(
        of("delivery"),
        [json!(["p1", day("10:00:00"), "open", "scan 2", null,
        {"sent": 0, "scan": minutes(60), "scan 2": minutes(90)}, null])]
    );

    let checkout = &summary["funnels"][0];
    let steps = json!([
        {"step": "cart", "reached": 5},
        {"step": "shipping?", "reached": 1},
        {"step": "purchase", "reached": 2},
    ]);
    assert_eq!(checkout["steps"], steps);
    let states = ["matched", "open", "expired", "broken"].map(|state| checkout[state].as_u64().unwrap());
    assert_eq!(states, [2, 1, 2, 1]);
    assert_eq!(checkout["median_within"], "<=1m");
    // By hour and country, and every activity is in one row.
    let rows: Vec<Value> = funnels
        .iter()
        .filter(|row| row["sequence"] == "checkout")
        .map(|row| json!([row["hour"], row["by"], row["reached"]["cart"], row["matched"], row["broken"]]))
        .collect();
    assert_eq!(
        rows,
        [
            json!([day("09:00:00"), "country=DE", 1, 0, 0]),
            json!([day("10:00:00"), "country=", 1, 1, 1]),
            json!([day("10:00:00"), "country=DE", 2, 1, 0]),
            json!([day("11:00:00"), "country=DE", 1, 0, 0]),
        ]
    );
    // An event without the key of a sequence gives a notice, and so does a step that no event is.
    let notices: Vec<&str> =
        summary["notices"].as_array().unwrap().iter().map(|notice| notice["message"].as_str().unwrap()).collect();
    assert!(notices.iter().any(|notice| notice.contains("`delivery`: 1 events have no `package`")), "{notices:?}");
    assert!(notices.iter().any(|notice| notice.contains("no event has the class `delivered`")), "{notices:?}");

    for workers in ["2", "3"] {
        let (_, again, funnels_again) = replay(&folder, &["--workers", workers]);
        assert_eq!((&activities, &funnels), (&again, &funnels_again), "{workers} workers");
    }
    // Later, the last cart is abandoned too.
    let (summary, ..) = replay(&folder, &["--now", "2024-05-02T00:00:00Z"]);
    assert_eq!(summary["funnels"][0]["expired"], 3);
}
