//! Rows as they are at one tick, page by page.

use super::server::{Request, Server, Step, answered};
use crate::headwater::Folder;
use headwater_client::{Query, peek};

/// Ten rows, three on a page. A tick can be read for `pages` pages.
fn paged(pages: u64) -> Server {
    Server::start(move |number, request| answer(number as u64, request, pages))
}

fn answer(number: u64, request: &Request, pages: u64) -> Vec<Step> {
    assert_eq!(request.path, "/v1/collections/counts/rows");
    let as_of = request.asked("as_of").map_or(7 + number, |tick| tick.parse().unwrap());
    if 7 + number >= as_of + pages {
        return answered("410 Gone", "", r#"{"error":{"code":"as_of","message":"too old","oldest":9}}"#);
    }
    let first: usize = request.asked("after").map_or(0, |after| after.parse().unwrap());
    let limit = request.asked("limit").map_or(3, |limit| limit.parse().unwrap()).min(3);
    let rows: Vec<String> = (first..10).take(limit).map(|n| format!(r#"{{"class":"c{n}","events":{n}.50}}"#)).collect();
    let next = if first + limit < 10 { format!(r#","more":true,"next":"{}""#, first + limit) } else { String::new() };
    answered("200 OK", "", &format!(r#"{{"as_of":{as_of},"rows":[{}]{next}}}"#, rows.join(",")))
}

fn expected(rows: usize) -> String {
    (0..rows).map(|n| format!("{{\"class\":\"c{n}\",\"events\":{n}.50}}\n")).collect()
}

#[test]
fn every_page_is_printed_as_it_came() {
    let server = paged(9);
    let run = Folder::new().headwater(["peek", "counts", "--url", &server.url()]);
    assert_eq!((run.code(), run.stdout(), run.stderr()), (0, expected(10), String::new()));
    assert_eq!(server.requests().len(), 4);
}

#[test]
fn no_more_rows_than_asked_for() {
    for limit in [1, 3, 4, 10, 11] {
        let server = paged(9);
        let limit = limit.to_string();
        let run = Folder::new().headwater(["peek", "counts", "--url", &server.url(), "--limit", &limit]);
        assert_eq!((run.code(), run.stdout()), (0, expected(limit.parse::<usize>().unwrap().min(10))), "{limit}");
    }
    assert_eq!(Folder::new().headwater(["peek", "counts", "--limit", "0"]).code(), 2);
}

/// Not every collection can be read page by page.
#[test]
fn rows_that_cannot_be_had_are_told_to_be_missing() {
    let server = Server::always(answered("200 OK", "", r#"{"as_of":7,"rows":[{"class":"a"}],"more":true}"#));
    let run = Folder::new().headwater(["peek", "counts", "--url", &server.url()]);
    assert_eq!((run.code(), run.stdout().as_str()), (0, "{\"class\":\"a\"}\n"));
    assert_eq!(run.stderr(), "1 row as of tick 7, and more that are left out\n");
    let run = Folder::new().headwater(["peek", "counts", "--url", &server.url(), "--limit", "1"]);
    assert_eq!((run.code(), run.stderr().as_str()), (0, ""));
    assert_eq!(server.requests().len(), 2);
}

#[test]
fn pages_are_of_one_tick_or_told_not_to_be() {
    let server = paged(9);
    Folder::new().headwater(["peek", "counts", "--url", &server.url()]);
    let asked: Vec<_> = server.requests().iter().map(|request| request.asked("as_of").map(str::to_owned)).collect();
    assert_eq!(asked, [None, Some("7".into()), Some("7".into()), Some("7".into())]);

    let server = paged(2);
    let run = Folder::new().headwater(["peek", "counts", "--url", &server.url()]);
    assert_eq!(run.stdout(), expected(10));
    assert_eq!(run.stderr(), "these rows are as of tick 10, and no longer as of 7\n");
}

#[test]
fn questions_arrive_whole_and_wrong_ones_are_wrong_usage() {
    let server = Server::start(|_, request| match request.asked("filter") {
        Some("events >") => {
            answered("400 Bad Request", "", r#"{"error":{"code":"filter","message":"ends after `>`"}}"#)
        }
        _ => answered("200 OK", "", r#"{"as_of":1,"rows":[]}"#),
    });
    let folder = Folder::new();
    let url = server.url();
    let arguments = ["--key", "u 42", "--columns", "user,events", "--wait-for", "to+ken", "--token", "secret"];
    let run = folder.headwater(["peek", "sessions", "--url", &url].into_iter().chain(arguments));
    assert_eq!((run.code(), run.stdout()), (0, String::new()), "{}", run.stderr());
    let request = &server.requests()[0];
    let asked: Vec<_> = request.query.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(asked, [("columns", "user,events"), ("key", "u 42"), ("limit", "10000"), ("wait_for", "to+ken")]);
    assert_eq!(request.headers["authorization"], "Bearer secret");

    let run = folder.headwater(["peek", "sessions", "--url", &url, "--filter", "events >"]);
    assert_eq!(run.code(), 2);
    assert!(run.stderr().contains("ends after `>`"), "{}", run.stderr());
    let run = folder.headwater(["peek", "sessions", "--url", "http://127.0.0.1:1"]);
    assert_eq!(run.code(), 1);
    assert!(run.stderr().contains("cannot be reached"), "{}", run.stderr());
}

/// Numbers are not rounded on the way.
#[test]
fn rows_are_as_the_server_wrote_them() {
    let row = r#"{"b":12345678901234567.000001,"a":"\u00e9"}"#;
    let server = Server::always(answered("200 OK", "", &format!(r#"{{"as_of":7,"rows":[{row}],"next":null}}"#)));
    let page = peek(&server.url(), None, "sessions", &Query::default()).unwrap();
    assert_eq!((page.as_of, page.rows[0].json(), page.next), (7, row, None));
}
