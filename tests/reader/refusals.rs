//! The client reports a refusal of a server, and a violation of the protocol, as what it is. It waits for conditions that
//! pass.

use super::history::History;
use super::server::{Framing, Server, Step, answered, streamed};
use crate::headwater::own_address;
use headwater_client::{Batch, ClientError, Query, Subscription, peek};
use std::net::TcpListener;
use std::time::{Duration, Instant};

fn first_batch(url: &str) -> Result<Option<Batch>, ClientError> {
    let wanted = Subscription::builder(url, "sessions").until_caught_up(true);
    wanted.back_off(Duration::ZERO, Duration::ZERO).build()?.next_batch()
}

/// Debug text of the error of an answer.
fn refused(status: &str, body: &str) -> String {
    let server = Server::always(answered(status, "", body));
    let error = first_batch(&server.url()).unwrap_err();
    assert_eq!(server.requests().len(), 1, "asking again does not help: {error:?}");
    let of_peek = peek(&server.url(), None, "sessions", &Query::default()).unwrap_err();
    assert_eq!(format!("{error:?}"), format!("{of_peek:?}"));
    assert!(!error.to_string().is_empty());
    format!("{error:?}")
}

#[test]
fn what_does_not_pass_is_an_error_of_its_type() {
    let error = |code: &str, more: &str| format!(r#"{{"error":{{"code":"{code}","message":"why"{more}}}}}"#);
    let cases = [
        ("410 Gone", error("token_expired", r#","oldest":90"#), r#"Expired { oldest: Some(90), message: "why" }"#),
        ("410 Gone", error("token_expired", ""), r#"Expired { oldest: None, message: "why" }"#),
        ("409 Conflict", error("program_changed", ""), r#"ProgramChanged { message: "why" }"#),
        ("409 Conflict", error("else", ""), r#"Refused { status: Some(409), code: "else", message: "why" }"#),
        ("400 Bad Request", error("filter", ""), r#"Refused { status: Some(400), code: "filter", message: "why" }"#),
        (
            "401 Unauthorized",
            error("unauthorized", ""),
            r#"Refused { status: Some(401), code: "unauthorized", message: "why" }"#,
        ),
        (
            "403 Forbidden",
            error("forbidden", ""),
            r#"Refused { status: Some(403), code: "forbidden", message: "why" }"#,
        ),
        (
            "404 Not Found",
            error("collection", ""),
            r#"Refused { status: Some(404), code: "collection", message: "why" }"#,
        ),
        ("500 Internal", error("internal", ""), r#"Refused { status: Some(500), code: "internal", message: "why" }"#),
        // Another server may listen at that address.
        (
            "403 Forbidden",
            "<html>\x1b[2J</html>".into(),
            r#"Refused { status: Some(403), code: "", message: "the server refuses: <html>\\u{1b}[2J</html>" }"#,
        ),
        ("302 Found", String::new(), r#"Refused { status: Some(302), code: "", message: "the server refuses" }"#),
        ("204 No Content", String::new(), r#"Refused { status: Some(204), code: "", message: "the server refuses" }"#),
    ];
    for (status, body, expected) in cases {
        assert_eq!(refused(status, &body), expected);
    }
}

#[test]
fn an_error_within_the_stream_is_the_same_error() {
    let cases = [
        (r#""code":"token_expired","message":"why","oldest":90"#, r#"Expired { oldest: Some(90), message: "why" }"#),
        (r#""code":"program_changed","message":"why""#, r#"ProgramChanged { message: "why" }"#),
        (r#""code":"internal","message":"why""#, r#"Refused { status: None, code: "internal", message: "why" }"#),
    ];
    for (fields, expected) in cases {
        let lines = [HELLO.to_owned(), format!(r#"{{"type":"error",{fields}}}"#)];
        let server = Server::always(vec![Step::Send(streamed(&lines, Framing::Chunked))]);
        assert_eq!(format!("{:?}", first_batch(&server.url()).unwrap_err()), expected);
    }
}

const HELLO: &str =
    r#"{"type":"hello","collection":"sessions","kind":"view","key":["session_id"],"since":0,"upper":9,"program":"p"}"#;

/// A server that says what it must not has a fault. Trying again would hide it.
#[test]
fn garbage_ends_it() {
    let snapshot = r#"{"type":"snapshot","as_of":3,"updates":[],"last":true}"#;
    let bodies: [&[&str]; 9] = [
        &["<html>"],
        &["[1,2]"],
        &[snapshot],
        &[HELLO, HELLO],
        &[HELLO, snapshot, r#"{"type":"delta","tick":4,"updates":[{"row":1}]}"#],
        &[HELLO, snapshot, r#"{"type":"delta","tick":3,"updates":[]}"#],
        &[HELLO, snapshot, r#"{"type":"progress","upper":4}"#],
        &[HELLO, snapshot, r#"{"type":"progress","upper":4,"token":"t"}"#, snapshot],
        &[HELLO, r#"{"type":"delta","tick":5,"updates":[]}"#],
    ];
    for body in bodies {
        let lines: Vec<String> = body.iter().map(|line| (*line).to_owned()).collect();
        let server = Server::always(vec![Step::Send(streamed(&lines, Framing::Chunked))]);
        let wanted = Subscription::builder(server.url(), "sessions").back_off(Duration::ZERO, Duration::ZERO);
        let mut subscription = wanted.build().unwrap();
        let error = loop {
            match subscription.next_batch() {
                Ok(_) => {}
                Err(error) => break error,
            }
        };
        assert!(matches!(error, ClientError::Protocol { .. }), "{body:?}: {error:?}");
        assert_eq!(server.requests().len(), 1, "{body:?}");
    }
    let not_text = [b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n".as_slice(), b"\xff\xfe\xfd\n"].concat();
    let server = Server::always(vec![Step::Send(not_text)]);
    assert!(matches!(first_batch(&server.url()), Err(ClientError::Protocol { .. })));
    let server = Server::always(vec![Step::Send(b"SSH-2.0-OpenSSH_9.2\r\n".to_vec())]);
    assert!(matches!(first_batch(&server.url()), Err(ClientError::Protocol { .. })));
}

#[test]
fn what_passes_is_waited_for_and_for_as_long_as_the_server_says() {
    let history = History::new(1, 9);
    let busy = r#"{"error":{"code":"starting","message":"the process opens its log"}}"#;
    let mut serve = history.serve(Framing::Chunked);
    let server = Server::start(move |number, request| match number {
        0 => answered("503 Service Unavailable", "retry-after: 1\r\n", busy),
        1 => answered("429 Too Many Requests", "", busy),
        2 => answered("502 Bad Gateway", "", "<html>no server is behind this proxy</html>"),
        3 => {
            let error = r#"{"type":"error","code":"draining","message":"the process is about to stop"}"#;
            vec![Step::Send(streamed(&[HELLO.to_owned(), error.to_owned()], Framing::Chunked))]
        }
        _ => serve(number, request),
    });
    let began = Instant::now();
    let batch = first_batch(&server.url()).unwrap().unwrap();
    assert!(batch.reset);
    assert_eq!(server.requests().len(), 5);
    assert!(began.elapsed() >= Duration::from_secs(1), "{:?}", began.elapsed());
    // One question is answered or not.
    let server = Server::always(answered("503 Service Unavailable", "retry-after: 1\r\n", busy));
    let error = peek(&server.url(), None, "sessions", &Query::default()).unwrap_err();
    let expected = r#"Refused { status: Some(503), code: "starting", message: "the process opens its log" }"#;
    assert_eq!(format!("{error:?}"), expected);
}

#[test]
fn nobody_there_at_first_is_an_error_and_later_a_matter_of_patience() {
    let address = TcpListener::bind((own_address(), 0)).unwrap().local_addr().unwrap();
    let nobody = format!("http://{address}");
    let error = first_batch(&nobody).unwrap_err();
    assert!(matches!(&error, ClientError::Unreachable { url, .. } if *url == nobody), "{error:?}");
    assert!(matches!(peek(&nobody, None, "sessions", &Query::default()), Err(ClientError::Unreachable { .. })));

    let history = History::new(1, 9);
    let server = Server::start(history.serve(Framing::Chunked));
    let wanted = Subscription::builder(server.url(), "sessions").patience(Duration::from_millis(300));
    let mut subscription = wanted.back_off(Duration::from_millis(10), Duration::from_millis(50)).build().unwrap();
    while subscription.next_batch().unwrap().unwrap().upper < history.upper() {}
    drop(server);
    let began = Instant::now();
    let error = subscription.next_batch().unwrap_err();
    assert!(matches!(error, ClientError::Unreachable { .. }), "{error:?}");
    assert!(began.elapsed() >= Duration::from_millis(200), "{:?}", began.elapsed());
}

/// Queries arrive unchanged, also with characters that have a meaning in a URL.
#[test]
fn questions_arrive_whole() {
    let server = Server::start(History::new(1, 9).serve(Framing::Chunked));
    let filter = "user = 'a&b=c+d%20é' and events > 1?#";
    let wanted = Subscription::builder(format!("{}/", server.url()), "sessions").bearer("secret");
    let wanted = wanted.filter(filter).key("u 1/2").key("").columns(["user", "events"]).snapshot(true);
    wanted.build().unwrap().next_batch().unwrap();
    let request = &server.requests()[0];
    let asked: Vec<_> = request.query.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let expected =
        [("columns", "user,events"), ("filter", filter), ("heartbeat", "5"), ("key", "u 1/2|"), ("snapshot", "true")];
    assert_eq!(asked, expected);
    assert_eq!(request.headers["authorization"], "Bearer secret");
    assert_eq!(request.headers["accept"], "application/x-ndjson");

    let server = Server::always(answered("404 Not Found", "", ""));
    let odd = Subscription::builder(server.url(), "a/b ?c").build().unwrap().next_batch();
    assert!(odd.is_err());
    assert_eq!(server.requests()[0].path, "/v1/collections/a%2Fb%20%3Fc/changes");

    for (url, bearer) in
        [("https://127.0.0.1:1", "t"), ("127.0.0.1:1", "t"), ("", "t"), ("http://127.0.0.1:1", "t\r\nx: y")]
    {
        let error = Subscription::builder(url, "sessions").bearer(bearer).build().err();
        assert!(matches!(error, Some(ClientError::Usage { .. })), "{url} {bearer:?}: {error:?}");
    }
}
