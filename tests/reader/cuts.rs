//! A reader ends with the rows of an undisturbed one, wherever connections break and however the bytes are split.

use super::history::{History, Rows, apply};
use super::server::{Framing, Request, Server, Step, streamed};
use crate::patience::PATIENCE;
use headwater_client::{Batch, Frame, Progress, Subscription, Update};
use headwater_log::vfs::model::Rng;
use std::time::{Duration, Instant};

/// Reads until it has caught up, looking at every batch.
fn read(url: &str, mut each: impl FnMut(&Batch)) -> Vec<Batch> {
    let wanted = Subscription::builder(url, "sessions").until_caught_up(true);
    let mut subscription = wanted.back_off(Duration::ZERO, Duration::ZERO).build().unwrap();
    let mut batches = Vec::new();
    while let Some(batch) = subscription.next_batch().unwrap() {
        each(&batch);
        batches.push(batch);
    }
    batches
}

fn concatenated(batches: &[Batch]) -> Vec<Update> {
    batches.iter().flat_map(|batch| batch.updates.clone()).collect()
}

/// A replica that is kept with batches has to be the truth at each of them.
struct Replica<'h> {
    history: &'h History,
    rows: Rows,
}

impl Replica<'_> {
    fn check(&mut self, batch: &Batch) {
        if batch.reset {
            self.rows.clear();
        }
        apply(&mut self.rows, &batch.updates);
        assert_eq!(self.rows, self.history.rows(batch.upper), "at {}", batch.upper);
        assert_eq!(batch.token, format!("t.{}", batch.upper));
    }
}

/// The first connection breaks after each byte there is, head and framing included, and later ones anywhere. A reader
/// would differ if it took a break for an end, or resumed one tick too early or late. It would also differ if it kept
/// the rows of a broken tick.
#[test]
fn a_connection_that_breaks_at_any_byte_costs_nothing() {
    // Short, with everything in it.
    let in_pieces = |history: &History| {
        let lines = history.lines(&Request::default());
        let has = |kind| lines.iter().any(|line| line.contains(kind) && line.contains("\"last\":false"));
        has("\"snapshot\"") && has("\"delta\"")
    };
    let history = (0..).map(|seed| History::new(seed, 7)).find(in_pieces).unwrap();
    for framing in [Framing::Chunked, Framing::Close] {
        let undisturbed = Server::start(history.serve(framing));
        let truth = concatenated(&read(&undisturbed.url(), |_| {}));
        let length = history.answer(&undisturbed.requests()[0], framing).len();
        // The other framing differs in what an end looks like, for which fewer places will do.
        for cut in (0..length).step_by(if framing == Framing::Chunked { 1 } else { 5 }) {
            let (mut rng, served) = (Rng::new(cut as u64), history.clone());
            let server = Server::start(move |number, request| {
                let mut answer = served.answer(request, framing);
                match number {
                    0 => answer.truncate(cut),
                    1 => answer.truncate(rng.below(answer.len() as u64 + 1) as usize),
                    _ => {}
                }
                vec![Step::Send(answer)]
            });
            let mut replica = Replica { history: &history, rows: Rows::new() };
            let batches = read(&server.url(), |batch| replica.check(batch));
            assert_eq!(concatenated(&batches), truth, "cut at {cut} of {length}, {framing:?}");
            assert!(batches[0].reset && batches[1..].iter().all(|batch| !batch.reset), "cut at {cut}");
            assert_eq!(batches.last().unwrap().upper, history.upper());
            for request in &server.requests() {
                let asks = (request.asked("token").is_some(), request.asked("snapshot"));
                assert!(asks.1.is_none(), "a token and a snapshot exclude each other, and the default is the server's");
            }
        }
    }
}

/// A client that streams frames and goes back at a `Rewind` has the same.
#[test]
fn frames_are_taken_back_before_they_come_again() {
    let history = History::new(2, 12);
    let mut whole = None;
    for cut in 0..2000 {
        let (served, mut rng) = (history.clone(), Rng::new(cut));
        let server = Server::start(move |number, request| {
            let mut answer = served.answer(request, Framing::Chunked);
            if number < 3 {
                answer.truncate(rng.below(answer.len() as u64) as usize);
            }
            vec![Step::Send(answer)]
        });
        let wanted = Subscription::builder(server.url(), "sessions").until_caught_up(true);
        let mut subscription = wanted.back_off(Duration::ZERO, Duration::ZERO).build().unwrap();
        let (mut kept, mut since, mut greeted) = (Vec::new(), Vec::new(), false);
        while let Some(frame) = subscription.next_frame().unwrap() {
            match frame {
                Frame::Hello(_) => {
                    assert!(!greeted && since.is_empty());
                    greeted = true;
                }
                Frame::Snapshot { updates, .. } | Frame::Delta { updates, .. } => since.extend(updates),
                Frame::Progress(Progress { token, .. }) => {
                    kept.append(&mut since);
                    assert_eq!(subscription.token(), Some(token.as_str()));
                }
                Frame::Rewind { .. } => {
                    since.clear();
                    greeted = false;
                }
            }
        }
        assert!(since.is_empty());
        assert_eq!(*whole.get_or_insert_with(|| kept.clone()), kept, "{cut}");
        if cut >= 100 {
            break;
        }
    }
}

#[test]
fn bytes_may_come_one_by_one() {
    let history = History::new(3, 12);
    for framing in [Framing::Chunked, Framing::Close] {
        let served = history.clone();
        let server = Server::start(move |_, request| {
            served.answer(request, framing).chunks(1).map(|byte| Step::Send(byte.to_vec())).collect()
        });
        let mut replica = Replica { history: &history, rows: Rows::new() };
        let batches = read(&server.url(), |batch| replica.check(batch));
        assert_eq!(batches.last().unwrap().upper, history.upper());
        assert_eq!(server.requests().len(), 1, "slow is not lost");
    }
}

/// A server that stops ends its answers as one that has said everything does: a reader that was to catch up has not.
#[test]
fn the_end_of_an_answer_is_not_the_end_of_what_there_is() {
    let is_progress = |(_, line): &(usize, &String)| line.contains("\"progress\"");
    let history = History::new(4, 12);
    let served = history.clone();
    let server = Server::start(move |number, request| {
        let mut lines = served.lines(request);
        let (at, _) = lines.iter().enumerate().filter(is_progress).nth(1).unwrap();
        if number == 0 {
            lines.truncate(at + 1);
        }
        vec![Step::Send(streamed(&lines, Framing::Chunked))]
    });
    let wanted = Subscription::builder(server.url(), "sessions").until_caught_up(true);
    let (mut subscription, mut upper) = (wanted.build().unwrap(), 0);
    while let Some(frame) = subscription.next_frame().unwrap() {
        match frame {
            Frame::Progress(progress) => upper = progress.upper,
            Frame::Rewind { reason } => panic!("nothing is void: {reason}"),
            _ => {}
        }
    }
    assert_eq!((upper, server.requests().len()), (history.upper(), 2));
}

/// A machine that has lost its power closes no connection.
#[test]
fn a_connection_on_which_nothing_comes_is_lost_after_three_heartbeats() {
    let history = History::new(5, 12);
    let served = history.clone();
    let server = Server::start(move |number, request| {
        let mut answer = served.answer(request, Framing::Chunked);
        if number == 0 {
            answer.truncate(answer.len() / 2);
        }
        vec![Step::Send(answer), Step::Hold]
    });
    let wanted = Subscription::builder(server.url(), "sessions").heartbeat(Duration::from_millis(200));
    let mut subscription = wanted.until_caught_up(true).build().unwrap();
    let began = Instant::now();
    let mut replica = Replica { history: &history, rows: Rows::new() };
    while let Some(batch) = subscription.next_batch().unwrap() {
        replica.check(&batch);
    }
    assert_eq!(replica.rows, history.rows(history.upper()));
    let took = began.elapsed();
    // Never too soon. How much later is for the machine to say, and whether it loses another one.
    assert!((Duration::from_millis(600)..PATIENCE).contains(&took), "{took:?}");
    let requests = server.requests();
    assert!(requests.len() >= 2 && requests.iter().all(|request| request.asked("heartbeat") == Some("0.2")));
}

/// "From now on" of a journal means the first time that it was asked: what comes between two attempts is not left out.
#[test]
fn a_journal_is_followed_from_when_it_was_first_asked() {
    let hello = |upper: u64| {
        format!(r#"{{"type":"hello","collection":"late","kind":"journal","key":[],"since":0,"upper":{upper}}}"#)
    };
    let server = Server::start(move |number, request| {
        let lines = match (number, request.asked("from"), request.asked("token")) {
            (0, None, None) => vec![hello(7)],
            (1, Some("7"), None) => {
                let delta = r#"{"type":"delta","tick":8,"updates":[{"row":{"user":"ann"},"diff":1}]}"#;
                vec![hello(9), delta.into(), r#"{"type":"progress","upper":9,"token":"nine"}"#.into()]
            }
            (2, None, Some("nine")) => vec![hello(9), r#"{"type":"progress","upper":9,"token":"nine"}"#.into()],
            other => panic!("{other:?}: {request:?}"),
        };
        vec![Step::Send(streamed(&lines, Framing::Chunked))]
    });
    let mut subscription =
        Subscription::builder(server.url(), "late").back_off(Duration::ZERO, Duration::ZERO).build().unwrap();
    let batch = subscription.next_batch().unwrap().unwrap();
    assert_eq!((batch.updates.len(), batch.updates[0].tick, batch.reset), (1, 8, false));
    assert!(subscription.next_batch().unwrap().unwrap().updates.is_empty(), "it goes on with the token");
}
