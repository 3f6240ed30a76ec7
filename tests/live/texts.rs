//! Senders do not decide how large the texts of events become.

use super::client::{Client, Outcome};
use super::events::{Event, PAST_MS, lines};
use super::folder;
use super::process::{Process, Restart};
use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpStream;

/// 280 users with names of 1 MB, whose sessions closed together, made a tick that could not be published: five failures,
/// and none of the starts since got further.
#[test]
fn long_names_are_cut_and_the_metrics_say_so() {
    let folder = folder("");
    let start = || Process::start(&folder, "data", 2, Restart::No);
    let long = "x".repeat(1_000_000);
    let rows = |address| -> BTreeSet<String> {
        let (status, page) = Client::new(address).get_json("/v1/collections/sessions/rows?limit=1000").unwrap();
        assert_eq!(status, 200, "{page}");
        page["rows"].as_array().unwrap().iter().map(|row| row["user"].as_str().unwrap().to_owned()).collect()
    };
    let process = start();
    let address = process.ready();
    let mut client = Client::new(address);
    for n in 0..280 {
        let event = Event { user: format!("{long}{n:03}"), time: PAST_MS, id: None, price: None, page: None };
        assert_eq!(client.post(&lines(&[event])), Outcome::Acknowledged);
    }
    client.published();
    let users = rows(address);
    assert!(users.len() == 280 && users.iter().all(|user| user.len() <= 1024));
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET /metrics HTTP/1.0\r\nhost: {address}\r\n\r\n").unwrap();
    let mut metrics = String::new();
    stream.read_to_string(&mut metrics).unwrap();
    assert!(metrics.lines().any(|line| line == "headwater_texts_cut_total 280"), "{metrics}");
    process.drain();
    let process = start();
    assert_eq!(rows(process.ready()), users);
    process.drain();
}
