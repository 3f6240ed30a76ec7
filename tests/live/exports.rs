//! A view as a file over HTTP: the rows that `…/rows` has, and the same bytes however they are asked for.

use super::client::{Client, Outcome};
use super::events::{Event, PAST_MS, lines};
use super::process::{Process, Restart};
use super::{OFTEN, folder};
use crate::headwater::csv;
use crate::patience::wait_until;
use arrow_array::Array;
use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use headwater_log::vfs::model::Rng;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::Value;
use std::collections::BTreeMap;
use std::thread::sleep;
use std::time::Duration;

/// The answer to a request: its status, its headers, and its body.
struct Got {
    status: u16,
    headers: BTreeMap<String, String>,
    body: Vec<u8>,
}

impl Got {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }
}

fn ask(client: &Client, method: &str, path: &str, range: Option<&str>) -> Got {
    let config = ureq::Agent::config_builder().http_status_as_error(false).build();
    let mut request = ureq::http::Request::builder().method(method).uri(format!("http://{}{path}", client.address));
    if let Some(range) = range {
        request = request.header("range", range);
    }
    let mut response = ureq::Agent::new_with_config(config).run(request.body(()).unwrap()).unwrap();
    let headers = response.headers().iter().map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()));
    Got {
        headers: headers.collect(),
        status: response.status().as_u16(),
        body: response.body_mut().with_config().limit(1 << 30).read_to_vec().unwrap(),
    }
}

fn post(client: &mut Client, rng: &mut Rng, count: usize) {
    let event = |_| {
        let user = rng.below(50);
        Event::any(rng, format!("user {user}"), PAST_MS, 600_000, None)
    };
    let events: Vec<Event> = (0..count).map(event).collect();
    assert_eq!(client.post(&lines(&events)), Outcome::Acknowledged);
    client.published();
}

#[test]
fn an_export_has_the_rows_of_its_tick() {
    let folder = folder(OFTEN);
    let mut columns = None;
    for workers in [1, 3] {
        let process = Process::start(&folder, "data", workers, Restart::No);
        let mut client = Client::new(process.ready());
        if workers == 1 {
            post(&mut client, &mut Rng::new(4), 600);
        }
        for name in ["sessions", "users", "counts"] {
            let at = ask(&client, "HEAD", &format!("/v1/collections/{name}.jsonl"), None);
            let tick = at.header("headwater-tick").to_owned();
            let rows = client.get_json(&format!("/v1/collections/{name}/rows?limit=10000&as_of={tick}")).unwrap().1;
            let mut rows: Vec<Value> = rows["rows"].as_array().unwrap().clone();
            rows.sort_by_key(Value::to_string);
            let export = |kind: &str| ask(&client, "GET", &format!("/v1/collections/{name}.{kind}?as_of={tick}"), None);
            let text = String::from_utf8(export("jsonl").body).unwrap();
            let mut found: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
            found.sort_by_key(Value::to_string);
            assert!(found == rows && rows.len() > 1, "{name}: {} rows of {}", found.len(), rows.len());
            assert_eq!(csv(&export("csv").body).len(), rows.len());
            // The order does not depend on the number of workers.
            if name == "sessions" {
                let users: Vec<String> =
                    csv(&export("csv").body).into_iter().map(|row| row["session_id"].clone()).collect();
                assert_eq!(columns.get_or_insert_with(|| users.clone()), &users);
            }
            let parquet = bytes::Bytes::from(export("parquet").body);
            let reader = ParquetRecordBatchReaderBuilder::try_new(parquet).unwrap().build().unwrap();
            let mut events = 0;
            for batch in reader {
                let batch = batch.unwrap();
                events +=
                    batch.column_by_name("events").unwrap().as_primitive::<Int64Type>().values().iter().sum::<i64>();
                if let Some(users) = batch.column_by_name("user") {
                    assert!(
                        users.as_string::<i32>().iter().all(|user| user.is_some_and(|user| user.starts_with("user ")))
                    );
                }
                assert_eq!(batch.column(0).null_count(), 0);
            }
            assert_eq!(events, rows.iter().map(|row| row["events"].as_i64().unwrap()).sum::<i64>());
        }
        let of_one = ask(&client, "GET", "/v1/collections/sessions.csv?key=user%207&columns=user,events", None);
        let of_one = csv(&of_one.body);
        assert!(!of_one.is_empty() && of_one.iter().all(|row| row.len() == 2 && row["user"] == "user 7"), "{of_one:?}");
        process.drain();
    }
}

/// Readers of Parquet ask for the end first, and then for parts.
#[test]
fn ranges_are_of_the_file_that_was_seen_first() {
    let folder = folder(OFTEN);
    let process = Process::start(&folder, "data", 2, Restart::No);
    let mut client = Client::new(process.ready());
    let mut rng = Rng::new(1);
    post(&mut client, &mut rng, 500);
    const PATH: &str = "/v1/collections/sessions.parquet";
    let head = ask(&client, "HEAD", PATH, None);
    let length: usize = head.header("content-length").parse().unwrap();
    assert_eq!((head.status, head.body.len(), head.header("accept-ranges")), (200, 0, "bytes"));
    let mut parts = vec![ask(&client, "GET", PATH, Some(&format!("bytes=-{}", length / 3)))];
    // The view changes meanwhile.
    post(&mut client, &mut rng, 500);
    sleep(Duration::from_millis(1100));
    let at = length - length / 3;
    parts.push(ask(&client, "GET", PATH, Some(&format!("bytes={}-{}", at / 2, at - 1))));
    parts.push(ask(&client, "GET", PATH, Some(&format!("bytes=0-{}", at / 2 - 1))));
    assert!(parts.iter().all(|part| part.status == 206 && part.header("etag") == head.header("etag")));
    let ranges: Vec<&str> = parts.iter().map(|part| part.header("content-range")).collect();
    assert_eq!(ranges[0], format!("bytes {at}-{}/{length}", length - 1));
    let whole: Vec<u8> = parts.into_iter().rev().flat_map(|part| part.body).collect();
    let tick = head.header("headwater-tick");
    let same = ask(&client, "GET", &format!("{PATH}?as_of={tick}"), None);
    assert!(
        whole.len() == length && ParquetRecordBatchReaderBuilder::try_new(bytes::Bytes::from(whole.clone())).is_ok()
    );
    assert!(same.body == whole, "a tick has the same bytes, made again");
    let newer = ask(&client, "HEAD", PATH, None);
    assert_ne!(newer.header("etag"), head.header("etag"));
    assert_eq!(ask(&client, "GET", PATH, Some("bytes=99999999-")).status, 416);
    process.drain();
}

#[test]
fn what_cannot_be_exported_is_said() {
    let folder = folder(OFTEN);
    let process = Process::start(&folder, "data", 1, Restart::No);
    let mut client = Client::new(process.ready());
    post(&mut client, &mut Rng::new(1), 5);
    for (path, status, says) in [
        ("sessions.xlsx", 404, ".parquet, .csv or .jsonl"),
        ("sessions", 404, "…/rows"),
        ("none.parquet", 404, "there is no such collection"),
        ("late.parquet", 400, "a journal holds no rows"),
        ("sessions.parquet?columns=none", 400, "none"),
        ("sessions.parquet?limit=3", 400, "there is no parameter `limit`"),
        ("sessions.parquet?as_of=999999", 400, "not published yet"),
    ] {
        let got = ask(&client, "GET", &format!("/v1/collections/{path}"), None);
        let text = String::from_utf8(got.body).unwrap();
        assert!(got.status == status && text.contains(says), "{path}: {} {text}", got.status);
    }
    // Nothing is left of what a process made.
    wait_until("an export is made", || ask(&client, "GET", "/v1/collections/users.csv", None).status == 200);
    assert_eq!(std::fs::read_dir(folder.path("data/exports")).unwrap().count(), 0);
    process.drain();
}
