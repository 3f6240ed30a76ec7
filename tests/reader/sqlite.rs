//! The example keeps its promise: after any kill, the copy is exact, and goes on.

#[allow(dead_code, reason = "its main is for people")]
#[path = "../../examples/sqlite_copy.rs"]
mod sqlite_copy;

use super::history::History;
use super::server::{Framing, Server, answered};
use crate::headwater::Folder;
use headwater_client::Subscription;
use sqlite_copy::Copy;
use std::time::Duration;

fn expected(history: &History, upper: u64) -> Vec<String> {
    history.rows(upper).into_keys().collect()
}

#[test]
fn the_copy_is_exact_whenever_it_ends_and_goes_on() {
    let history = History::new(6, 40);
    let server = Server::start(history.serve(Framing::Chunked));
    let folder = Folder::new();
    let mut upper = 0;
    for batches in [1, 2, 3, usize::MAX] {
        // Opened again, as by another process.
        let mut copy = Copy::open(folder.path("sessions.db")).unwrap();
        assert_eq!(copy.rows().unwrap(), expected(&history, upper));
        if batches == usize::MAX {
            copy.follow(&server.url(), true).unwrap();
            upper = history.upper();
        } else {
            let mut wanted = Subscription::builder(server.url(), "sessions");
            if upper > 0 {
                wanted = wanted.resume(format!("t.{upper}"));
            }
            let mut sessions = wanted.build().unwrap();
            for _ in 0..batches {
                let batch = sessions.next_batch().unwrap().unwrap();
                upper = batch.upper;
                copy.apply(batch).unwrap();
                assert_eq!(copy.rows().unwrap(), expected(&history, upper));
            }
        }
    }
    let asked: Vec<_> = server.requests().iter().map(|request| request.asked("token").is_some()).collect();
    assert_eq!(asked, [false, true, true, true]);
    assert_eq!(Copy::open(folder.path("sessions.db")).unwrap().rows().unwrap(), expected(&history, upper));
}

/// A token that is too old: the copy stays as it is until a new snapshot replaces it.
#[test]
fn an_expired_token_makes_a_new_copy_and_other_errors_end_it() {
    let (old, new) = (History::new(7, 12), History::new(8, 12));
    let folder = Folder::new();
    let mut copy = Copy::open(folder.path("sessions.db")).unwrap();
    copy.follow(&Server::start(old.serve(Framing::Chunked)).url(), true).unwrap();

    let mut serve = new.serve(Framing::Chunked);
    let server = Server::start(move |number, request| match request.asked("token") {
        Some(_) if number == 0 => answered("410 Gone", "", r#"{"error":{"code":"token_expired","message":"too old"}}"#),
        _ => serve(number, request),
    });
    let error = copy.follow(&server.url(), true).unwrap_err();
    copy.begin_again(error).unwrap();
    assert_eq!(copy.rows().unwrap(), expected(&old, old.upper()), "nothing is lost meanwhile");
    copy.follow(&server.url(), true).unwrap();
    assert_eq!(copy.rows().unwrap(), expected(&new, new.upper()));

    let server = Server::always(answered("403 Forbidden", "", ""));
    let error = copy.follow(&server.url(), true).unwrap_err();
    assert!(copy.begin_again(error).is_err());
}

/// The program notices a copy that another program has changed, and leaves it alone.
#[test]
fn a_batch_that_does_not_fit_changes_nothing() {
    let history = History::new(9, 60);
    let server = Server::start(history.serve(Framing::Chunked));
    let mut sessions =
        Subscription::builder(server.url(), "sessions").back_off(Duration::ZERO, Duration::ZERO).build().unwrap();
    let folder = Folder::new();
    let mut copy = Copy::open(folder.path("sessions.db")).unwrap();
    let mut before = Vec::new();
    loop {
        let mut batch = sessions.next_batch().unwrap().unwrap();
        // The snapshot is left out.
        batch.reset = false;
        if batch.upper == 21 {
            continue;
        }
        match copy.apply(batch) {
            Ok(()) => before = copy.rows().unwrap(),
            Err(_) => break,
        }
    }
    assert_eq!(copy.rows().unwrap(), before);
}
