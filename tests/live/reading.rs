//! Rows are read as they were at one tick, and include the reader's own writes. A token is valid after any restart, for the
//! query that it was made for. A client that behaves badly costs other clients nothing.

use super::client::{Client, Outcome};
use super::events::{Event, PAST_MS, lines};
use super::process::{Process, Restart};
use super::published::{Published, same, users_of};
use super::subscriber::{Subscriber, Truth};
use super::{MEANING, folder, run_toml};
use crate::patience::{PATIENCE, wait_until};
use headwater::collections::Collection;
use headwater_client::{Query, peek};
use headwater_log::vfs::model::Rng;
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Instant;

fn event(user: &str, at: i64) -> Event {
    Event { user: user.into(), time: PAST_MS + at, id: None, price: Some(1), page: None }
}

/// Status and body; null if that is no JSON.
fn get(client: &mut Client, path: &str) -> (u16, Value) {
    let text = fetch(client.address, &format!("/v1/collections/{path}"));
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, serde_json::from_str(body).unwrap_or_default())
}

fn fetch(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.0\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

fn rows(client: &mut Client, path: &str) -> Vec<Value> {
    let (status, body) = get(client, path);
    assert_eq!(status, 200, "{path}: {body}");
    body["rows"].as_array().unwrap().clone()
}

#[test]
fn rows_are_those_of_one_tick_and_have_ones_own_writes() {
    let folder = folder("");
    let mut rng = Rng::new(3);
    for workers in 1..4 {
        let process = Process::start(&folder, "data", workers, Restart::No);
        let mut client = Client::new(process.ready());
        for batch in 0..40 {
            let user = format!("user {}", rng.below(20));
            let body = lines(&[event(&user, rng.below(100_000) as i64), event(&user, rng.below(100_000) as i64)]);
            let (outcome, answer) = client.post_as("application/x-ndjson", &body);
            assert_eq!(outcome, Outcome::Acknowledged);
            let token = answer["token"].as_str().unwrap();
            let key = user.replace(' ', "%20");
            let ours = rows(&mut client, &format!("sessions/rows?key={key}&wait_for={token}"));
            let events: i64 = ours.iter().map(|row| row["events"].as_i64().unwrap()).sum();
            let filter = format!("filter=user%20%3D%20%22{key}%22");
            let counted = rows(&mut client, &format!("sessions/rows?{filter}"));
            assert_eq!(ours, counted, "batch {batch}");
            assert!(events >= 2 && ours.iter().all(|row| row["user"] == user.as_str()));
            // By id, which only a scan or an index can know.
            let id = ours[0]["session_id"].as_str().unwrap();
            assert_eq!(rows(&mut client, &format!("sessions/rows?key={id}")), ours[..1]);
        }
        assert_eq!(rows(&mut client, "sessions/rows?key=nobody"), Vec::<Value>::new());
        // Page by page, at one tick.
        let (_, first) = get(&mut client, "sessions/rows?limit=7");
        let tick = first["as_of"].as_u64().unwrap();
        client.post(&lines(&[event("user 1", 5_000_000)]));
        let (mut paged, mut page) = (first["rows"].as_array().unwrap().clone(), first);
        while let Some(next) = page["next"].as_str() {
            page = get(&mut client, &format!("sessions/rows?limit=7&as_of={tick}&after={next}")).1;
            assert_eq!(page["as_of"], tick);
            paged.extend(page["rows"].as_array().unwrap().iter().cloned());
        }
        same("pages", &paged, &rows(&mut client, &format!("sessions/rows?limit=10000&as_of={tick}")));
        // Those of one user, too: each page is of the last tick, which is the same one when all is published.
        client.published();
        let whole = rows(&mut client, "sessions/rows?key=user%201");
        let (mut paged, mut next) = (Vec::new(), String::new());
        loop {
            let page = get(&mut client, &format!("sessions/rows?key=user%201&limit=1{next}")).1;
            paged.extend(page["rows"].as_array().unwrap().iter().cloned());
            let Some(after) = page["next"].as_str() else { break };
            next = format!("&after={after}");
        }
        assert!(whole.len() > 1);
        same("pages of a user", &paged, &whole);
        // The users: one by name, those of a filter, and page by page.
        let users = rows(&mut client, "users/rows?limit=10000");
        assert_eq!(rows(&mut client, "users/rows?key=user%201"), [users_of(&whole).remove(0)]);
        let busy = rows(&mut client, "users/rows?limit=10000&filter=sessions%20%3E%201");
        let many = |row: &&Value| row["sessions"].as_i64().unwrap() > 1;
        assert_eq!(busy, users.iter().filter(many).cloned().collect::<Vec<_>>());
        let (mut paged, mut next) = (Vec::new(), String::new());
        loop {
            let page = get(&mut client, &format!("users/rows?limit=3{next}")).1;
            paged.extend(page["rows"].as_array().unwrap().iter().cloned());
            let Some(after) = page["next"].as_str() else { break };
            next = format!("&after={after}");
        }
        assert!(!busy.is_empty() && users.len() > 3);
        same("pages of users", &paged, &users);
        let all = |client: &mut Client, name: &str| {
            let mut all = rows(client, &format!("{name}/rows?limit=10000"));
            all.sort_by_key(Value::to_string);
            all
        };
        let views = [Collection::SESSIONS, Collection::USERS, Collection::COUNTS, Collection::CLOSINGS];
        let read = views.map(|view| all(&mut client, view.name()));
        process.drain();
        let published = Published::read(&folder.path("data"));
        for (view, read) in views.into_iter().zip(&read) {
            assert!(!read.is_empty());
            same(view.name(), read, &published.rows(view));
        }
    }
}

/// A new engine said that it was ready, and answered 503 `starting` to readers until its first tick.
#[test]
fn what_is_ready_can_be_read_also_before_the_first_event() {
    let folder = folder("tick = \"10s\"");
    let process = Process::start(&folder, "data", 2, Restart::No);
    let mut client = Client::new(process.ready());
    for view in ["sessions", "users", "counts", "shapes", "closings"] {
        assert_eq!(rows(&mut client, &format!("{view}/rows")), Vec::<Value>::new());
        let changes = fetch(client.address, &format!("/v1/collections/{view}/changes?until=caught_up"));
        assert!(changes.contains("\"type\":\"progress\",\"upper\":"), "{changes}");
    }
    process.drain();
}

fn post(address: SocketAddr, path: &str, body: &Value) -> (u16, String) {
    let (mut stream, body) = (TcpStream::connect(address).unwrap(), body.to_string());
    let length = body.len();
    write!(stream, "POST /v1/collections/{path} HTTP/1.0\r\ncontent-length: {length}\r\n\r\n{body}").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

/// A filter that names a few thousand users got an empty 414.
#[test]
fn what_is_too_long_for_a_path_is_posted() {
    let folder = folder("");
    let process = Process::start(&folder, "data", 2, Restart::No);
    let mut client = Client::new(process.ready());
    for user in 0..20 {
        client.post(&lines(&[event(&format!("user {user}"), 0)]));
    }
    client.published();
    let address = client.address;
    let names: Vec<String> = (10..15_000).map(|user| format!("\"user {user}\"")).collect();
    let filter = format!("user in ({})", names.join(", "));
    assert!(filter.len() > 150_000);
    let (status, text) =
        post(address, "sessions/rows", &json!({ "filter": filter, "columns": ["user", "events"], "limit": 5 }));
    let body: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((status, body["rows"].as_array().unwrap().len(), &body["more"]), (200, 5, &Value::Bool(true)));
    let (_, text) =
        post(address, "sessions/rows", &json!({ "filter": filter, "after": body["next"], "as_of": body["as_of"] }));
    let after: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(after["rows"].as_array().unwrap().len(), 5);
    let (status, text) =
        post(address, "sessions/changes", &json!({ "filter": filter, "until": "caught_up", "heartbeat": 1 }));
    assert_eq!((status, text.matches("\"diff\":1").count()), (200, 10), "{text}");
    let query = Query { filter: Some(filter), keys: vec!["user 11".into(), "user 12".into()], ..Query::default() };
    let page = peek(&format!("http://{address}"), None, "sessions", &query).unwrap();
    assert_eq!(page.rows.len(), 2, "the client posts what is long");
    // The same parameters give the same, whichever way they come.
    let (status, text) = post(address, "sessions/rows", &json!({ "key": ["user 1", "user 2"] }));
    assert_eq!(status, 200);
    let (status, body) = get(&mut client, "sessions/rows?key=user%201&key=user%202");
    assert_eq!((status, body), (200, serde_json::from_str(&text).unwrap()));
    for (path, body, expected) in [
        ("sessions/rows", json!([]), (400, "query")),
        ("sessions/rows", json!({ "filtr": "events > 1" }), (400, "query")),
        ("sessions/rows", json!({ "filter": null }), (400, "query")),
        ("sessions/rows", json!({ "filter": ["events > 1"] }), (400, "query")),
        ("sessions/rows", json!({ "filter": "events >" }), (400, "filter")),
        ("sessions/rows?limit=1", json!({}), (400, "query")),
        ("sessions/rows", json!({ "filter": "x".repeat(300_000) }), (413, "too_large")),
        ("nothing/rows", json!({}), (404, "collection")),
    ] {
        let (status, text) = post(address, path, &body);
        let answer: Value = serde_json::from_str(&text).unwrap();
        assert_eq!((status, answer["error"]["code"].as_str().unwrap()), expected, "{path} {text}");
    }
    process.drain();
}

/// The status and the code of the error.
fn refused(client: &mut Client, path: &str) -> (u16, String) {
    let (status, body) = get(client, path);
    (status, body["error"]["code"].as_str().unwrap_or_default().to_owned())
}

#[test]
fn a_token_is_good_for_what_it_was_given_for_as_long_as_the_changes_are_kept() {
    let folder = folder("snapshot = \"100ms\"\nsegment = \"64KiB\"\nretain = \"256KiB\"\n");
    let mut subscriber = Subscriber::new("sessions", "", "");
    let mut process = Process::start(&folder, "data", 2, Restart::No);
    for workers in [3, 1, 2] {
        let mut client = Client::new(process.ready());
        client.post(&lines(&[event("u", i64::from(workers as u32))]));
        client.published();
        subscriber.finish(process.ready());
        process.drain();
        process = Process::start(&folder, "data", workers, Restart::No);
    }
    let mut client = Client::new(process.ready());
    subscriber.finish(process.ready());
    assert_eq!(subscriber.snapshots, 1, "it goes on after every restart");
    let token = subscriber.token.clone().unwrap();
    let with = |token: &str| format!("sessions/changes?until=caught_up&token={token}");
    let error = |status: u16, code: &str| (status, code.to_owned());
    assert_eq!(refused(&mut client, &format!("{}&filter=events%20%3E%201", with(&token))), error(409, "other_query"));
    assert_eq!(refused(&mut client, &format!("counts/changes?token={token}")), error(409, "other_query"));
    assert_eq!(refused(&mut client, &with(&token[..20])), error(400, "token"));
    assert_eq!(refused(&mut client, "sessions/changes?from=1000000"), error(400, "from"));
    // Much happens.
    let mut number = 0;
    let began = Instant::now();
    while refused(&mut client, &with(&token)).0 != 410 {
        for _ in 0..20 {
            let batch: Vec<Event> = (0..100).map(|user| event(&format!("user {user}"), number)).collect();
            client.post(&lines(&batch));
            number += 10_000;
        }
        client.published();
        assert!(began.elapsed() < PATIENCE, "nothing is ever removed");
    }
    let (status, body) = get(&mut client, &with(&token));
    let oldest = body["error"]["oldest"].as_u64().unwrap();
    assert_eq!((status, body["error"]["code"].as_str()), (410, Some("token_expired")));
    // It may go on to be removed while we look.
    assert!(matches!(get(&mut client, &format!("late/changes?until=caught_up&from={oldest}")).0, 200 | 410));
    process.drain();

    // Another meaning of the same events is another program.
    let meaning = MEANING.replace("user = [\"user\"]", "user = [\"user\", \"who\"]");
    folder.write("run.toml", run_toml("", &meaning));
    let process = Process::start(&folder, "data", 2, Restart::No);
    let mut client = Client::new(process.ready());
    assert_eq!(refused(&mut client, &with(&token)), error(409, "program_changed"));
    process.drain();
    let process = Process::start(&folder, "elsewhere", 2, Restart::No);
    assert_eq!(refused(&mut Client::new(process.ready()), &with(&token)), error(400, "token"));
    process.drain();
}

/// Sends a request, and takes nothing of the answer.
fn ask(address: SocketAddr, path: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET /v1/collections/{path} HTTP/1.0\r\n\r\n").unwrap();
    stream
}

#[test]
fn readers_that_take_little_or_nothing_disturb_nobody() {
    let folder = folder("");
    let process = Process::start(&folder, "data", 2, Restart::No);
    let address = process.ready();
    let mut client = Client::new(address);
    let never: Vec<_> = (0..20).map(|_| ask(address, "sessions/changes?snapshot=true")).collect();
    let half_open: Vec<_> = (0..200)
        .map(|_| {
            let mut stream = TcpStream::connect(address).unwrap();
            stream.write_all(b"GET /v1/collections/sess").unwrap();
            stream
        })
        .collect();
    for bytes in 0..50 {
        ask(address, "sessions/changes").read_exact(&mut vec![0; bytes]).unwrap();
    }
    let mut slow = ask(address, "sessions/changes?snapshot=true");
    let mut subscriber = Subscriber::new("sessions", "", "snapshot=true");
    let mut byte = [0];
    for number in 0..200 {
        let batch: Vec<Event> =
            (0..200).map(|user| event(&format!("user {user} {}", "x".repeat(300)), number)).collect();
        assert_eq!(client.post(&lines(&batch)), Outcome::Acknowledged);
        if number % 40 == 0 {
            slow.read_exact(&mut byte).unwrap();
            subscriber.finish(address);
        }
    }
    client.published();
    subscriber.finish(address);
    let metrics = fetch(address, "/metrics");
    let number = |name: &str| {
        let line = metrics.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.trim().parse::<f64>().unwrap()
    };
    assert!(number("headwater_subscribers_waiting_bytes ") < 257e6);
    assert!(number("headwater_resident_memory_bytes ") < 1e9);
    drop((never, half_open, slow));
    // What they held is given back.
    wait_until("the subscribers are gone", || fetch(address, "/metrics").contains("headwater_subscribers 0\n"));
    process.drain();
    let mut truth = [Truth::new("sessions", |row| Some(row.clone()))];
    Published::read_for(&folder.path("data"), &mut truth);
    subscriber.check(&truth[0]);
}
