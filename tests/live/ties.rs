//! Events of one time in a run: a number orders them, or the place in the file that a run follows. Neither the order of
//! arrival, nor restarts, nor the number of workers matter.

use super::client::{Client, Outcome};
use super::events::PAST_MS;
use super::process::{Process, Restart};
use super::published::Published;
use super::{MEANING, OFTEN, run_toml};
use crate::headwater::Folder;
use crate::patience::wait_until;
use headwater::collections::Collection;
use headwater_log::vfs::model::Rng;
use serde_json::json;
use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::Write;

const USERS: u64 = 12;

struct View {
    user: String,
    time: i64,
    /// Unlike in the pages, the order of the content is another one.
    seq: u64,
    page: String,
}

impl View {
    fn line(&self) -> String {
        let View { user, time, seq, page } = self;
        json!({ "user": user, "time": PAST_MS + time, "kind": page, "seq": seq, "page": page }).to_string() + "\n"
    }
}

/// Each user has one session, of few times.
fn views(seed: u64) -> Vec<View> {
    let mut rng = Rng::new(seed);
    let view = |seq| View {
        user: format!("user {}", rng.below(USERS)),
        time: 1000 * rng.below(3) as i64,
        seq,
        page: format!("page {}", rng.below(1000)),
    };
    (0..900).map(view).collect()
}

/// First and last page of each user's session, and so first and last class.
fn check(published: &Published, views: &[View]) {
    let mut ends: BTreeMap<&str, Vec<&View>> = BTreeMap::new();
    views.iter().for_each(|view| ends.entry(&view.user).or_default().push(view));
    let rows = published.rows(Collection::SESSIONS);
    assert_eq!(rows.len(), ends.len());
    for row in rows {
        let views = &ends[row["user"].as_str().unwrap()];
        let first = &views.iter().min_by_key(|view| (view.time, view.seq)).unwrap().page;
        let last = &views.iter().max_by_key(|view| (view.time, view.seq)).unwrap().page;
        for (column, page) in [("entry_page", first), ("exit_page", last), ("first_class", first), ("last_class", last)]
        {
            assert_eq!(row[column], **page, "{column} of {row}");
        }
        assert_eq!(row["events"], views.len());
    }
}

/// Returns the number of events that are in sessions.
fn events(client: &mut Client) -> u64 {
    let Some((200, body)) = client.get_json("/v1/collections/sessions/rows") else { return 0 };
    body["rows"].as_array().unwrap().iter().map(|row| row["events"].as_u64().unwrap()).sum()
}

fn meaning(ties: &str) -> String {
    let meaning = MEANING.replace("[events]\n", &format!("[events]\n{ties}\n"));
    meaning.split("[[class]]").next().unwrap().replace("id = [\"id\"]\ndedupe = \"7d\"\n", "")
}

#[test]
fn a_number_orders_posted_events_of_one_time() {
    let views = views(1);
    let mut sent: Vec<&View> = views.iter().collect();
    let mut rng = Rng::new(2);
    (1..sent.len()).rev().for_each(|at| sent.swap(at, rng.below(at as u64 + 1) as usize));
    let folder = Folder::new();
    let meaning = meaning("order = \"seq\"");
    folder.write("run.toml", run_toml(OFTEN, &meaning));
    folder.write("replay.toml", format!("[[source]]\nname = \"collector\"\npaths = \"events.jsonl\"\n{meaning}"));
    for (life, own) in sent.chunks(300).enumerate() {
        let process = Process::start(&folder, "data", 1 + life, Restart::No);
        let mut client = Client::new(process.ready());
        for some in own.chunks(29) {
            assert_eq!(client.post(&some.iter().map(|view| view.line()).collect::<String>()), Outcome::Acknowledged);
        }
        client.published();
        process.drain();
    }
    let published = Published::read(&folder.path("data"));
    check(&published, &views);
    published.is_replayed(&folder, &views.iter().map(View::line).collect::<String>());
}

#[test]
fn the_place_in_a_followed_file_orders_events_of_one_time() {
    let views = views(3);
    let folder = Folder::new();
    let meaning = meaning("ties = \"log\"");
    let source = "[[source]]\nname = \"collector\"\nkind = \"file\"\nfollow = true\npaths = \"logs/events.jsonl\"\n";
    folder.write("run.toml", format!("[cluster]\n{OFTEN}\n{source}{meaning}"));
    folder.write("replay.toml", format!("[[source]]\nname = \"collector\"\npaths = \"events.jsonl\"\n{meaning}"));
    fs::create_dir(folder.path("logs")).unwrap();
    let mut file = OpenOptions::new().create(true).append(true).open(folder.path("logs/events.jsonl")).unwrap();
    for (life, own) in views.chunks(300).enumerate() {
        let process = Process::start(&folder, "data", 3 - life, Restart::No);
        let mut client = Client::new(process.ready());
        for some in own.chunks(41) {
            file.write_all(some.iter().map(View::line).collect::<String>().as_bytes()).unwrap();
        }
        let upto = 300 * (life as u64 + 1);
        wait_until("the file has been read", || events(&mut client) == upto);
        process.drain();
    }
    let published = Published::read(&folder.path("data"));
    check(&published, &views);
    published.is_replayed(&folder, &views.iter().map(View::line).collect::<String>());
}
